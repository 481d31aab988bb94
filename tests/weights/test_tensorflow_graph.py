"""Frozen graphs of TensorFlow are read without it, and refused in a sentence when they are damaged or claim too much."""

import json
import resource
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from caffe_files import message, number, varint
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tensorflow_files import constant, frozen_graph, node, tensor
from test_tensorflow import CLASSES, WIDTH, graph_of

import perpixel
from perpixel.cli import main
from perpixel.errors import DataError, UntrustedFile
from perpixel.weights.import_weights import import_weights
from perpixel.weights.protobuf import MOST_FIELDS
from perpixel.weights.tensorflow_graph import read_frozen_graph

ARRAYS: dict[str, NDArray[Any]] = {
    "conv/weights": np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype(np.float32),
    "conv/biases": np.zeros(4, np.float32),
    "conv/BatchNorm/gamma": np.ones(4, np.float64),
    "conv/BatchNorm/moving_mean": np.linspace(0, 1, 4).astype(np.float16),
    "none/weights": np.zeros((0, 3), np.float32),
}
ONE = np.arange(3, dtype=np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graph") / "frozen_inference_graph.pb"


def read(place: Path, content: bytes) -> dict[str, NDArray[Any]]:
    place.write_bytes(content)
    return read_frozen_graph(place)


def of_values(shape: tuple[int, ...], values: bytes, kind: int = 1) -> bytes:
    """A graph whose only constant has that shape and those values."""
    return constant("w/weights", tensor(np.empty(shape, np.float32), kind, values))


class TestRead:
    def test_every_weight_comes_back_and_nothing_else(self, place: Path) -> None:
        found = read(place, frozen_graph(ARRAYS))
        assert list(found) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            assert found[name].tobytes() == array.tobytes()

    @pytest.mark.parametrize("values", [
        message(5, ONE.tobytes()), b"".join(b"\x2d" + struct.pack("<f", value) for value in ONE),
        message(5, ONE[:1].tobytes()) + message(5, ONE[1:].tobytes()),
    ])  # fmt: skip
    def test_values_in_a_list(self, place: Path, values: bytes) -> None:
        assert read(place, of_values((3,), values))["w/weights"].tolist() == [0, 1, 2]

    def test_the_last_value_of_a_list_repeats(self, place: Path) -> None:
        assert read(place, of_values((2, 2), message(5, ONE[:2].tobytes())))["w/weights"].tolist() == [[0, 1], [1, 1]]
        double = message(6, struct.pack("<d", 0.1))
        assert read(place, of_values((2,), double, kind=2))["w/weights"].tolist() == [0.1, 0.1]

    def test_nodes_in_a_circle_are_never_followed(self, place: Path) -> None:
        circle = node("a", "Identity", ("b",)) + node("b", "Identity", ("a",)) + node("c", "Identity", ("c",))
        assert list(read(place, circle + frozen_graph(ARRAYS) + circle)) == list(ARRAYS)

    def test_constants_that_are_no_weights_are_not_entered(self, place: Path) -> None:
        """A nonsense value, a text and a type that does not exist."""
        others = constant("Shape", b"\xff") + constant("weights_of_classes", number(1, 99)) + node("w/biases", "VariableV2")
        assert list(read(place, others + frozen_graph(ARRAYS))) == list(ARRAYS)


HUGE = message(2, number(1, 1 << 20))
DAMAGED = {
    "nothing": (b"", "empty"),
    "words": (b"hello, world", "wire type|field|number|early"),
    "a saved model": (number(1, 1) + message(2, b""), "field 1 has the wire type 0"),
    "a graph without weights": (frozen_graph({}), "it has no constants that are weights"),
    "a graph with variables": (node("w/weights", "VariableV2", dtype=number(6, 1)), "it has no constants that are weights"),
    "a constant without a value": (node("w/weights", "Const", dtype=number(6, 1)), "w/weights has no value"),
    "a value that is no tensor": (node("w/weights", "Const", value=number(3, 1)), "w/weights has no value"),
    "texts": (constant("w/weights", number(1, 7) + message(8, b"a")), "w/weights has the type 7, which is no float16"),
    "integers": (constant("w/weights", tensor(np.arange(3, dtype=np.int32))), "w/weights has the type 3, which is no float16"),
    "8 bits": (of_values((3,), message(4, b"abc"), kind=12), "w/weights has the type 12"),
    "no type": (constant("w/weights", message(4, b"abcd")), "w/weights has the type 0"),
    "too few values": (of_values((3,), message(4, ONE[:2].tobytes())), r"w/weights has the shape \[3\] and 2 values"),
    "too many values": (of_values((3,), message(4, bytes(16))), r"w/weights has the shape \[3\] and 4 values"),
    "too long a list": (of_values((1,), message(5, bytes(8))), r"w/weights has the shape \[1\] and 2 values"),
    "no values": (of_values((1,), b""), r"w/weights has the shape \[1\] and 0 values"),
    "three bytes": (of_values((1,), message(4, b"abc")), "w/weights ends within a number"),
    "three bytes in a list": (of_values((1,), message(5, b"abc")), "w/weights ends within a number"),
    "values twice": (of_values((1,), message(4, bytes(4)) + message(5, bytes(4))), "w/weights has its values twice"),
    "a value for a million": (
        constant("w/weights", number(1, 1) + message(2, HUGE) + message(5, bytes(4))), "its weights claim more than 2 times its",
    ),
    "a value for 2^80": (
        constant("w/weights", number(1, 1) + message(2, 4 * HUGE) + message(5, bytes(4))), "its weights claim more than 2 times",
    ),
    "many values for many": (
        b"".join(constant(f"{place}/weights", tensor(np.empty(200, np.float32), 1, message(5, bytes(4)))) for place in range(99)),
        "its weights claim more than 2 times its bytes",
    ),
    "a side below 0": (
        constant("w/weights", number(1, 1) + message(2, message(2, number(1, -1)))), "w/weights has a side of 184467440737095516",
    ),
    "33 axes": (constant("w/weights", number(1, 1) + message(2, 33 * message(2, number(1, 1)))), "has more than 32 axes"),
    "not a number": (of_values((1,), message(5, struct.pack("<f", float("nan")))), "w/weights holds a number that is not finite"),
    "two of a name": (2 * constant("w/weights", tensor(ONE)), "it has two weights of the name w/weights"),
    "a long name": (constant("w" * 300 + "/weights", tensor(ONE)), "a node has a name of 308 bytes"),
    "a name that moves the cursor": (constant("\x1b[2J/weights", tensor(ONE)), "a node has the name"),
    "a name that is no text": (message(1, message(1, b"\xff")), "codec can't decode"),
    "millions of nodes": (1_000_000 * message(1, b""), f"it has more than {MOST_FIELDS} fields"),
    "millions of attributes": (message(1, 1_000_000 * message(5, b"")), f"it has more than {MOST_FIELDS} fields"),
    "millions of lists": (of_values((1,), 1_000_000 * message(5, b"")), f"it has more than {MOST_FIELDS} fields"),
    "a length past the end": (b"\x0a\x05abc", "it ends 2 bytes early"),
    "a length of 2^64 - 1": (b"\x0a" + varint(-1), "bytes early"),
}  # fmt: skip


class TestUntrusted:
    @pytest.mark.parametrize("damage", DAMAGED)
    def test_refused_in_one_sentence(self, place: Path, damage: str) -> None:
        content, reason = DAMAGED[damage]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(UntrustedFile, match=reason) as told:
            read(place, content)
        assert str(told.value).startswith(f"{place}: is damaged or no frozen graph of TensorFlow (")
        assert str(told.value).isprintable()
        assert len(str(told.value)) < 1000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB

    def test_every_cut_is_refused_or_a_shorter_graph(self, place: Path) -> None:
        whole = frozen_graph(ARRAYS)
        for length in range(len(whole)):
            with suppress(UntrustedFile):
                found = read(place, whole[:length])
                assert list(found) == list(ARRAYS)[: len(found)]
                assert all(found[name].tobytes() == ARRAYS[name].tobytes() for name in found)

    @given(st.binary(max_size=300))
    def test_any_bytes_are_weights_or_refused(self, place: Path, content: bytes) -> None:
        with suppress(UntrustedFile):
            assert read(place, content)

    @given(changes=st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4))
    def test_any_change_gives_finite_weights_or_is_refused(self, place: Path, changes: list[tuple[int, bytes, int]]) -> None:
        content = bytearray(frozen_graph(ARRAYS))
        for at, new, removed in changes:
            at %= len(content)
            content[at : at + removed] = new
        with suppress(UntrustedFile):
            found = read(place, bytes(content))
            assert found
            assert all(np.isfinite(array).all() for array in found.values())
            assert sum(array.nbytes for array in found.values()) <= 2 * len(content)

    def test_no_file(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "none.pb"):
            with pytest.raises(DataError, match=r"there is no such file; name a frozen_inference_graph\.pb"):
                read_frozen_graph(path)


class TestDeepLabV3Plus:
    @torch.inference_mode()
    def test_the_imported_network_is_the_released_graph(self, tmp_path: Path) -> None:
        graph, images = graph_of("xception_41"), torch.rand(1, 3, 65, 97, dtype=torch.float64)
        path = tmp_path / "frozen_inference_graph.pb"
        path.write_bytes(frozen_graph(graph.arrays))
        folder = import_weights(path, "deeplabv3plus", CLASSES, tmp_path / "model", width=WIDTH, backbone="xception41").parent
        network, graph.dtype = perpixel.load(folder).network.eval().double(), torch.float64
        torch.testing.assert_close(network.score_map(images).scores, graph(images), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize(("change", "says"), [
        ({"aspp0/weights": None}, "missing: aspp0/weights"), ({"other/weights": ONE}, "unknown: other/weights"),
        ({"aspp0/weights": ONE}, r"of another shape: aspp0/weights \(3\)"),
        ({"logits/semantic/biases": np.full(CLASSES, 1e300)}, "logits/semantic/biases holds a number that float32 cannot hold"),
    ])  # fmt: skip
    def test_another_network_is_told(self, tmp_path: Path, change: dict[str, NDArray[Any] | None], says: str) -> None:
        arrays = {**graph_of("xception_41").arrays, **change}
        path = tmp_path / "graph.pb"
        path.write_bytes(frozen_graph({name: array for name, array in arrays.items() if array is not None}))
        with pytest.raises(UntrustedFile, match=says):
            import_weights(path, "deeplabv3plus", CLASSES, tmp_path / "model", width=WIDTH, backbone="xception41")
        assert not (tmp_path / "model").exists()

    def test_the_command_lists_and_refuses(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "frozen_inference_graph.pb"
        path.write_bytes(frozen_graph(ARRAYS))
        main(["import", str(path), "--list", "--json"])
        rows = {row["name"]: (row["type"], row["shapes"]) for row in json.loads(capsys.readouterr().out)}
        assert rows["conv/weights"] == ("float32", [[3, 3, 2, 4]])
        for content, says in ((frozen_graph(ARRAYS), "does not hold deeplabv3plus with 21 classes"), (b"abc", "is damaged")):
            path.write_bytes(content)
            with pytest.raises(SystemExit) as caught:
                main(["import", str(path), "--network", "deeplabv3plus", "--out", str(tmp_path / "model")])
            assert caught.value.code == 4
            error = capsys.readouterr().err
            assert says in error
            assert len(error.splitlines()) == 1
