"""What `.caffemodel` files hold is read bit by bit, and nothing that a file says costs more than the file is worth."""

import resource
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from caffe_files import Weights, blob, caffemodel, message, number, varint, write_caffemodel
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from perpixel.errors import DataError, UntrustedFile
from perpixel.weights.caffe_file import MOST_FIELDS, Layer, read_caffemodel

KERNELS = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 7
LAYERS: list[Weights] = [
    ("conv", "Convolution", [KERNELS, np.array([0.5, -1e-30], np.float32)]),
    ("relu", "ReLU", []),
    ("ip", "InnerProduct", [KERNELS.reshape(2, 12)]),
]
SINGLE = struct.pack("<f", 1.5)


def of_layer(*fields: bytes) -> bytes:
    return message(100, message(1, b"conv") + b"".join(fields))


def of_blob(*fields: bytes) -> bytes:
    return of_layer(message(7, b"".join(fields)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caffe") / "net.caffemodel"


def read(place: Path, content: bytes) -> list[Layer]:
    place.write_bytes(content)
    return read_caffemodel(place)


def same(found: list[Layer], written: list[Weights]) -> bool:
    return len(found) == len(written) and all(
        (layer.name, layer.type) == (name, kind)
        and [(array.dtype, array.tobytes()) for array in layer.blobs] == [(array.dtype, array.tobytes()) for array in blobs]
        for layer, (name, kind, blobs) in zip(found, written, strict=True)
    )


class TestRead:
    @pytest.mark.parametrize("double", [False, True], ids=["single", "double"])
    @pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
    @pytest.mark.parametrize("old", [False, True], ids=["layer", "layers"])
    def test_every_way_of_writing_gives_the_same_weights(self, place: Path, old: bool, packed: bool, double: bool) -> None:
        found = read(place, caffemodel(LAYERS, old=old, packed=packed, double=double))
        assert same(found, LAYERS)
        assert [layer.shapes for layer in found] == [[(2, 3, 2, 2), (2,)], [], [(2, 12)]]

    def test_old_shapes_have_four_sides(self, place: Path) -> None:
        found = read(place, caffemodel(LAYERS, old=True, legacy=True))
        assert same(found, LAYERS)
        assert [layer.shapes for layer in found] == [[(2, 3, 2, 2), (1, 1, 1, 2)], [], [(1, 1, 2, 12)]]

    def test_the_old_shape_counts_where_there_are_two(self, place: Path) -> None:
        sides = b"".join(number(tag, side) for tag, side in ((1, 1), (2, 2), (3, 1), (4, 1)))
        assert read(place, of_blob(sides, message(7, message(1, b"\2")), message(5, 2 * SINGLE)))[0].shapes == [(1, 2, 1, 1)]

    def test_a_blob_without_a_shape_is_one_number(self, place: Path) -> None:
        assert read(place, of_blob(message(5, SINGLE)))[0].blobs[0] == np.float32(1.5)

    def test_weights_may_come_in_pieces(self, place: Path) -> None:
        unpacked = b"".join(b"\x2d" + struct.pack("<f", value) for value in (3, 4, 5))
        pieces = [message(5, struct.pack("<2f", 1, 2)), unpacked, number(77, 5), b"\x2d" + struct.pack("<f", 6), message(5, b"")]
        found = read(place, of_blob(message(7, message(1, b"\2")), *pieces, message(7, number(1, 3))))
        assert found[0].blobs[0].tolist() == [[1, 2, 3], [4, 5, 6]]

    def test_unknown_fields_are_skipped_whatever_is_in_them(self, place: Path) -> None:
        nested = b""
        for _ in range(2000):  # a layer's settings may nest; what is not needed is not entered
            nested = message(106, nested)
        unknown = nested + number(10, 1 << 63) + varint(200 << 3 | 5) + b"abcd" + varint(201 << 3 | 1) + b"abcdefgh"
        content = unknown + of_layer(unknown, message(7, unknown + blob(KERNELS) + unknown), unknown)
        assert same(read(place, content), [("conv", "", [KERNELS])])

    def test_gradients_are_not_weights(self, place: Path) -> None:
        content = of_blob(message(5, SINGLE), message(6, 7 * SINGLE), message(9, 3 * SINGLE))
        assert read(place, content)[0].blobs[0].shape == ()

    def test_old_types_have_their_names(self, place: Path) -> None:
        for value, name in ((4, "Convolution"), (39, "Deconvolution"), (21, "SoftmaxWithLoss"), (57, "type 57")):
            assert read(place, message(2, message(4, b"a") + number(5, value)))[0].type == name

    def test_the_weights_outlive_the_file(self, place: Path) -> None:
        found = read(place, caffemodel(LAYERS))
        place.unlink()
        assert same(found, LAYERS)
        assert all(array.flags.aligned and array.flags.writeable for layer in found for array in layer.blobs)

    @given(
        blobs=st.lists(
            arrays.arrays(
                np.float32,
                arrays.array_shapes(max_dims=4, max_side=5),
                elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
            ),
            max_size=3,
        ),
        old=st.booleans(),
        packed=st.booleans(),
        legacy=st.booleans(),
        double=st.booleans(),
    )
    def test_what_was_written_is_read(self, place: Path, blobs, old, packed, legacy, double) -> None:
        layers = [("a", "Convolution", blobs), ("b", "ReLU", []), ("c", "InnerProduct", blobs[::-1])]
        assert same(read(place, caffemodel(layers, old=old, packed=packed, legacy=legacy, double=double)), layers)


TEN = b"\xff" * 9 + b"\x01"  # the longest number
DAMAGED = {
    "nothing": (b"", "empty"),
    "words": (b"hello, world", "wire type|field|number|early"),
    "no layers": (message(1, b"a network"), "it has no layers"),
    "a cut number": (b"\xff\xff", "it ends within a number"),
    "a number without end": (b"\xff" * 11, "a number has more than 64 bits"),
    "a number of 65 bits": (b"\x08" + b"\xff" * 9 + b"\x02", "a number has more than 64 bits"),
    "field 0": (b"\x00\x01", "no field has the number 0"),
    "a field of 61 bits": (TEN, "no field has the number"),
    "a length past the end": (b"\x0a\x05abc", "it ends 2 bytes early"),
    "a length of 2^64 - 1": (b"\x0a" + TEN, "bytes early"),
    "a group": (b"\x0b\x0c", "a field has the wire type 3"),
    "a group's end": (b"\x0c", "a field has the wire type 4"),
    "wire type 7": (b"\x0f", "a field has the wire type 7"),
    "a cut single": (of_blob(b"\x2d\0\0"), "it ends within a number"),
    "a cut double": (of_blob(b"\x41\0\0"), "it ends within a number"),
    "a layer that is a number": (varint(100 << 3) + b"\1", "field 100 has the wire type 0"),
    "weights that are a number": (of_blob(number(5, 1)), "field 5 has the wire type 0"),
    "three bytes of weights": (of_blob(message(5, b"abc")), "blob 0 of conv ends within a number"),
    "weights missing": (of_blob(message(7, message(1, b"\2")), message(5, SINGLE)), "has the shape 2 and 1 weights"),
    "weights too many": (of_blob(message(7, message(1, b"\1")), message(5, 2 * SINGLE)), "has the shape 1 and 2 weights"),
    "no weights": (of_blob(), "has the shape one number and 0 weights"),
    "a huge side": (of_blob(message(7, message(1, varint(1 << 40))), message(5, SINGLE)), "has the shape 1099511627776 and 1"),
    "huge sides": (of_blob(message(7, message(1, 4 * varint(1 << 30))), message(5, SINGLE)), "has the shape 1073741824x"),
    "sides below 0": (of_blob(message(7, message(1, 2 * varint(-1))), message(5, SINGLE)), "has the shape -1x-1 and 1"),
    "a side below 0 and one of 0": (of_blob(message(7, message(1, varint(-1) + b"\0"))), "has the shape -1x0 and 0"),
    "an old side below 0": (of_blob(number(1, -1), number(2, -1), number(3, 1), number(4, 1), message(5, SINGLE)), "-1x-1x1x1"),
    "an old shape cut short": (of_blob(number(1, 1), message(5, SINGLE)), "has the shape 1x0x0x0 and 1"),
    "33 axes": (of_blob(message(7, message(1, 33 * b"\1")), message(5, SINGLE)), "has more than 32 axes"),
    "a million axes": (of_blob(message(7, message(1, 1_000_000 * b"\1")), message(5, SINGLE)), "has more than 32 axes"),
    "axes of both kinds": (of_blob(*33 * [message(7, number(1, 1))], message(5, SINGLE)), "has more than 32 axes"),
    "not a number": (of_blob(message(5, struct.pack("<f", float("nan")))), "blob 0 of conv holds a weight that is not finite"),
    "infinity": (of_blob(b"\x2d" + struct.pack("<f", float("inf"))), "blob 0 of conv holds a weight that is not finite"),
    "beyond single": (of_blob(message(8, struct.pack("<d", 1e300))), "blob 0 of conv holds a weight that is not finite"),
    "weights in both kinds": (of_blob(message(5, SINGLE), message(8, 2 * SINGLE)), "in single and in double precision"),
    "weights twice": (2 * of_blob(message(5, SINGLE)), "these layers have weights twice: conv"),
    "weights without a name": (message(100, message(7, blob(KERNELS))), "a layer with weights has no name"),
    "a name that is no text": (message(100, message(1, b"\xff")), "codec can't decode"),
    "a name that moves the cursor": (message(100, message(1, b"\x1b[2J")), "a layer has the name"),
    "a name of two lines": (message(100, message(1, b"a\nb")), "a layer has the name"),
    "an endless name": (message(100, message(1, b"a" * 10_000)), "a layer has a name of 10000 bytes"),
    "millions of layers": (1_000_000 * message(100, b""), f"it has more than {MOST_FIELDS} fields"),
    "millions of old layers": (3_000_000 * message(2, b""), f"it has more than {MOST_FIELDS} fields"),
    "millions of blobs": (of_layer(1_000_000 * message(7, b"")), f"it has more than {MOST_FIELDS} fields"),
    "millions of pieces": (of_blob(1_000_000 * message(5, SINGLE)), f"it has more than {MOST_FIELDS} fields"),
    "pieces that alternate": (of_blob(1_000_000 * (b"\x2d" + SINGLE + b"\x08\1")), f"it has more than {MOST_FIELDS} fields"),
    "millions of empty shapes": (of_blob(1_000_000 * message(7, b"")), f"it has more than {MOST_FIELDS} fields"),
    "millions of unknown fields": (1_000_000 * number(9, 1), f"it has more than {MOST_FIELDS} fields"),
}  # fmt: skip


class TestUntrusted:
    @pytest.mark.parametrize("damage", DAMAGED)
    def test_refused_in_one_sentence(self, place: Path, damage: str) -> None:
        content, reason = DAMAGED[damage]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(UntrustedFile, match=reason) as told:
            read(place, content)
        assert str(told.value).startswith(f"{place}: is damaged or no .caffemodel (")
        assert str(told.value).isprintable()
        assert len(str(told.value)) < 1000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB

    def test_every_cut_is_refused_or_a_shorter_file(self, place: Path) -> None:
        whole = caffemodel(LAYERS)
        shorter = 0
        for length in range(len(whole)):
            try:
                found = read(place, whole[:length])
            except UntrustedFile:
                continue
            shorter += 1
            assert same(found, LAYERS[: len(found)])
        assert shorter == 2  # between layers

    @given(st.binary(max_size=300))
    def test_any_bytes_are_layers_or_refused(self, place: Path, content: bytes) -> None:
        with suppress(UntrustedFile):
            assert read(place, content)

    @given(
        changes=st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4),
        old=st.booleans(),
        packed=st.booleans(),
    )
    def test_any_change_of_a_file_gives_finite_weights_or_is_refused(self, place: Path, changes, old, packed) -> None:
        content = bytearray(caffemodel(LAYERS, old=old, packed=packed))
        for at, new, removed in changes:
            at %= len(content)
            content[at : at + removed] = new
        try:
            found = read(place, bytes(content))
        except UntrustedFile:
            return
        assert found
        for layer in found:
            assert all(np.isfinite(array).all() and array.dtype == np.float32 for array in layer.blobs)

    def test_no_file(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "none.caffemodel"):
            with pytest.raises(DataError, match=r"there is no such file; name a \.caffemodel"):
                read_caffemodel(path)


def test_a_million_unpacked_weights_cost_one_field(tmp_path: Path) -> None:
    values = np.arange(1_000_000, dtype=np.float32)
    records = np.empty((len(values), 5), np.uint8)
    records[:, 0] = 5 << 3 | 5
    records[:, 1:] = values.view(np.uint8).reshape(-1, 4)
    path = tmp_path / "net.caffemodel"
    path.write_bytes(of_blob(message(7, message(1, varint(1000) + varint(1000))), records.tobytes()))
    assert np.array_equal(read_caffemodel(path)[0].blobs[0], values.reshape(1000, 1000))


def test_the_layers_of_a_file_stand_in_its_order(tmp_path: Path) -> None:
    path = write_caffemodel(tmp_path / "net.caffemodel", LAYERS)
    assert [layer.name for layer in read_caffemodel(str(path))] == ["conv", "relu", "ip"]
