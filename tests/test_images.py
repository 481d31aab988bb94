"""Bytes in, pixels out: every kind of picture and mask, and every kind of broken file."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from fakes import tiff_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.errors import DataError
from perpixel.images import (
    NotRead,
    count_pages,
    dropped,
    encode_labels,
    read_header,
    read_image,
    read_labels,
    read_labels_fast,
    read_palette,
    read_size,
    write_image,
    write_labels,
)

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)


def file_of(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(values, bits, grey=True):
    """A PNG by hand: rows of `bits` bits per pixel, grey or palette indices."""
    height, width = values.shape
    as_bits = (values[..., None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(as_bits.reshape(height, width * bits).astype(np.uint8), axis=1)
    palette = b"" if grey else chunk(b"PLTE", bytes(3 * 2**bits))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0 if grey else 3, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + palette + pixels + chunk(b"IEND", b"")


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tiff(bits, white_is_zero, data, width):
    """A TIFF of one row by hand."""
    tags = [(256, 3, width), (257, 3, 1), (258, 3, bits), (259, 3, 1), (262, 3, 0 if white_is_zero else 1), (273, 4, 8),
            (277, 3, 1), (278, 3, 1), (279, 4, len(data))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    data += b"\0" * (len(data) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_grey_is_repeated():
    grey = Image.fromarray(np.array([[0, 7, 255]], np.uint8))
    assert read_image(file_of(grey)).tolist() == [[[0, 0, 0], [7, 7, 7], [255, 255, 255]]]


def test_alpha_is_dropped_not_blended():
    assert read_image(file_of(Image.new("RGBA", (1, 1), (10, 20, 30, 0)))).tolist() == [[[10, 20, 30]]]
    assert read_image(file_of(Image.new("LA", (1, 1), (40, 0)))).tolist() == [[[40, 40, 40]]]


def test_sixteen_bits_become_the_upper_eight():
    grey = Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16))
    assert read_image(file_of(grey))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("transparency", [None, 0, b"\x00\x80"])
def test_palette_is_looked_up(transparency):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8))
    picture.putpalette([*RED, *GREEN])
    options = {} if transparency is None else {"transparency": transparency}
    assert read_image(file_of(picture, **options)).tolist() == [[[255, 0, 0], [0, 255, 0]]]


def test_cmyk_jpeg_is_converted():
    picture = read_image(file_of(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert np.abs(picture.astype(int) - RED).max() <= 3


TURNED = {  # the picture that a viewer shows for the stored rows [1 2 3], [4 5 6]
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation_is_applied_to_pictures(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.repeat(np.array(TURNED[1], np.uint8)[..., None] * 40, 3, axis=2)
    data = file_of(Image.fromarray(stored), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    assert (read_image(data)[..., 0] // 40).tolist() == TURNED[orientation]
    assert read_size(data) == np.shape(TURNED[orientation])


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation_of_a_jpeg(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.kron(np.array(TURNED[1], np.uint8) * 40, np.ones((16, 16), np.uint8))
    data = file_of(Image.fromarray(stored), "JPEG", exif=exif, quality=100)
    assert np.rint(read_image(data)[8::16, 8::16, 0] / 40).tolist() == TURNED[orientation]
    assert read_size(data, turn=False) == (32, 48)


def test_the_header_of_a_png_is_read_without_its_pixels_where_turns_do_not_matter():
    tag = Image.Exif()
    tag[0x0112] = 6
    whole = file_of(Image.new("L", (40, 30)), exif=tag)
    assert read_header(whole).orientation == 6
    header = read_header(whole[: whole.index(b"IDAT") + 6], turn=False)
    assert (header.size, header.orientation, header.mode) == ((30, 40), 1, "L")


def test_exif_orientation_is_not_applied_to_masks():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_labels(file_of(Image.fromarray(np.array([[1, 2]], np.uint8)), exif=exif)).tolist() == [[1, 2]]


@settings(deadline=None)
@given(arrays.arrays(np.uint8, SHAPES))
def test_grey_masks_come_back(mask):
    assert np.array_equal(read_labels(file_of(Image.fromarray(mask))), mask)


@settings(deadline=None)
@given(arrays.arrays(np.uint8, SHAPES), st.sampled_from(["PNG", "TIFF", "BMP"]))
def test_palette_masks_come_back_as_indices(mask, kind):
    picture = Image.fromarray(mask)
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    assert np.array_equal(read_labels(file_of(picture, kind)), mask)


@settings(deadline=None)
@given(arrays.arrays(np.uint16, SHAPES), st.sampled_from(["PNG", "TIFF"]))
def test_sixteen_bit_masks_come_back(mask, kind):
    values = read_labels(file_of(Image.fromarray(mask), kind))
    assert values.dtype == np.uint16
    assert np.array_equal(values, mask)


@settings(deadline=None)
@given(st.data(), st.sampled_from([1, 2, 4, 8]), st.booleans())
def test_masks_of_few_bits_come_back_unstretched(data, bits, grey):
    mask = data.draw(arrays.arrays(np.uint8, SHAPES, elements=st.integers(0, 2**bits - 1)))
    assert np.array_equal(read_labels(png(mask, bits, grey)), mask)


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize(
    ("bits", "data", "values"),
    [(1, b"\xa0", [1, 0, 1]), (2, b"\x1c", [0, 1, 3]), (4, b"\x01\xf0", [0, 1, 15]), (8, b"\0\1\xff", [0, 1, 255])],
)
def test_grey_tiff_masks_come_back_neither_stretched_nor_inverted(bits, data, values, white_is_zero):
    assert read_labels(tiff(bits, white_is_zero, data, width=3)).tolist() == [values]


def test_palette_of_a_mask():
    picture = Image.fromarray(np.array([[0, 1]], np.uint8))
    picture.putpalette([*RED, *BLUE])
    assert read_palette(file_of(picture))[:2].tolist() == [[255, 0, 0], [0, 0, 255]]
    assert read_palette(file_of(Image.new("L", (1, 1)))) is None


def test_a_jpeg_is_no_mask():
    with pytest.raises(DataError, match="is a JPEG, whose compression changes mask values; save masks as PNG"):
        read_labels(file_of(Image.new("L", (8, 8)), "JPEG"))


def test_a_coloured_picture_is_no_mask():
    with pytest.raises(DataError, match="is a RGB picture; a mask holds one value per pixel"):
        read_labels(file_of(Image.new("RGB", (8, 8))))


def test_32_bit_masks_must_fit_into_16():
    signed = tiff_of(np.zeros((2, 2, 1), np.int16))
    with pytest.raises(DataError, match="is a TIFF of 1 band of int16, which is not read; save it with 8 or 16 bits"):
        read_image(signed)
    fits, too_large = (Image.fromarray(np.array([[value]], np.int32)) for value in (300, 70000))
    assert read_labels(file_of(fits, "TIFF")).tolist() == [[300]]
    with pytest.raises(DataError, match=r"outside 0\.\.65535; renumber"):
        read_labels(file_of(too_large, "TIFF"))
    with pytest.raises(DataError, match="save it with 8 or 16 bits"):
        read_image(file_of(fits, "TIFF"))


@pytest.mark.parametrize("read", [read_image, read_labels, read_size])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no PNG"),
        (b"not a picture", "convert it to one"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "is a JPEG 2000 file, .*is no PNG"),
    ],
)
def test_what_is_no_picture_is_refused(read, data, words, tmp_path):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.png: .*{words}"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_image, read_labels])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_a_file_cut_short_is_refused(read, kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    data = file_of(Image.fromarray(noise), kind)
    with pytest.raises(DataError):
        read(data[: len(data) // 2])


@pytest.mark.parametrize("read", [read_image, read_labels, read_size])
def test_a_huge_header_is_refused_before_decoding(read):
    data = png(np.zeros((1, 1), np.uint8), 8)
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    with pytest.raises(DataError, match="100000x100000 pixels are more than 268435456; cut it into tiles"):
        read(data[:8] + chunk(b"IHDR", header) + data[33:])


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: there is no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="is a folder, not a file"):
        read_image(tmp_path)


def test_labels_are_written_in_the_colours_of_the_table(tmp_path):
    table = ClassTable(("road", "car"), (RED, BLUE), ((7,), (26, 27)), void_values=(0,), void_colour=GREEN)
    write_labels(tmp_path, "a.png", np.array([[0, 1, 255]], np.uint8), table)
    assert read_labels(tmp_path / "a.png").tolist() == [[7, 26, 0]]
    assert read_image(tmp_path / "a.png").tolist() == [[[255, 0, 0], [0, 0, 255], [0, 255, 0]]]


@settings(deadline=None)
@given(st.data(), st.sampled_from([1, 2, 21, 255, 256, 300]))
def test_labels_come_back_through_a_file(data, count):
    table = ClassTable.of([f"class {i}" for i in range(count)])
    ids = st.sampled_from([*range(count), table.void])
    labels = data.draw(arrays.arrays(table.dtype, SHAPES, elements=ids))
    stored = read_labels(encode_labels(labels, table))
    assert stored.dtype == table.dtype
    assert np.array_equal(table.decode(stored), labels)


def test_overwriting_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    table = ClassTable.of(["a", "b"])
    write_labels(path.parent, path.name, np.zeros((1, 1), np.uint8), table)

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            write_labels(path.parent, path.name, np.ones((1, 1), np.uint8), table)
    assert list(tmp_path.iterdir()) == [path]
    assert read_labels(path).tolist() == [[0]]
    write_labels(path.parent, path.name, np.ones((1, 1), np.uint8), table)
    assert list(tmp_path.iterdir()) == [path]
    assert read_labels(path).tolist() == [[1]]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".TIFF", ".bmp"])
def test_pictures_come_back_from_lossless_formats(tmp_path, suffix):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    path: Path = tmp_path / f"a{suffix}"
    write_image(path.parent, path.name, picture)
    assert np.array_equal(read_image(path), picture)


def test_an_unknown_suffix_gets_the_known_ones(tmp_path):
    with pytest.raises(DataError, match=r"no picture format has the suffix '\.gif'; use one of \.bmp"):
        write_image(tmp_path, "a.gif", np.zeros((1, 1, 3), np.uint8))


class TestPages:
    SLICES = tuple(np.full((2, 3), 40 * number, np.uint8) for number in range(3))

    def stack(self, *pages, **options):
        first, *more = map(Image.fromarray, pages)
        return file_of(first, "TIFF", save_all=True, append_images=more, **options)

    def test_each_page_is_read_by_its_number(self):
        stack = self.stack(*self.SLICES)
        assert count_pages(stack) == 3
        for number, values in enumerate(self.SLICES):
            assert np.array_equal(read_labels(stack, number), values)
            assert np.array_equal(read_image(stack, page=number), values[..., None].repeat(3, 2))
        assert np.array_equal(read_labels(stack), self.SLICES[0])

    def test_pages_may_have_sizes_and_depths_of_their_own(self):
        stack = self.stack(np.zeros((2, 3), np.uint8), np.full((4, 1), 40_000, np.uint16), compression="tiff_lzw")
        assert read_labels(stack, 1).tolist() == [[40_000]] * 4

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
    def test_other_formats_have_one(self, kind):
        file = file_of(Image.new("RGB", (3, 2)), kind)
        assert count_pages(file) == 1
        with pytest.raises(DataError, match="picture in memory: cannot be read"):
            read_image(file, page=1)

    def test_a_page_that_is_not_there_is_told(self):
        with pytest.raises(DataError, match=r"picture in memory: cannot be read .*; the file is damaged or cut short"):
            read_labels(self.stack(*self.SLICES), 3)

    def test_the_size_of_every_page_is_checked_before_it_is_decoded(self, monkeypatch):
        monkeypatch.setattr("perpixel.images.MAX_PIXELS", 100)
        stack = self.stack(np.zeros((10, 10), np.uint8), np.zeros((1, 101), np.uint8))
        assert read_labels(stack).shape == (10, 10)
        with pytest.raises(DataError, match="1x101 pixels are more than 100"):
            read_labels(stack, 1)


class TestDamageThatIsTold:
    def test_a_bit_of_the_pixels_of_a_png(self):
        """Pillow reads them without a look at their checksum: of 31 in 300 such files it gave other labels."""
        mask = np.kron(np.random.default_rng(0).integers(0, 4, (6, 8)), np.ones((16, 16))).astype(np.uint8)
        data = file_of(Image.fromarray(mask))
        start = data.index(b"IDAT") + 4
        for place in range(start, data.index(b"IEND") - 8, 3):
            damaged = bytearray(data)
            damaged[place] ^= 1 << place % 8
            for read in (read_labels, read_labels_fast, read_image):
                with pytest.raises(DataError):
                    read(bytes(damaged))

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
    def test_a_mask_cut_to_fifty_bytes(self, kind, tmp_path):
        path = tmp_path / "a"
        path.write_bytes(file_of(Image.new("L", (40, 30)), kind)[:50])
        with pytest.raises(DataError, match=r"a: cannot be read .*; the file is damaged or cut short"):
            read_labels(path)

    def test_a_picture_too_large_for_memory(self, monkeypatch):
        def full(*_):
            raise MemoryError

        monkeypatch.setattr("perpixel.images.np.array", full)
        for read in (read_image, read_labels):
            with pytest.raises(NotRead, match="is too large for the memory of this machine"):
                read(file_of(Image.new("L", (4, 4))))


class TestDropped:
    """Clauses that `predict` shows behind the name of a file."""

    def clauses(self, data):
        return [left_out.clause for left_out in dropped(data)]

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
    def test_nothing_of_a_plain_picture(self, kind):
        assert dropped(file_of(Image.new("RGB", (4, 4)), kind)) == ()

    def test_pages_sixteen_bits_and_bands_are_all_reported(self):
        values = np.zeros((4, 4, 4), np.uint16)
        values[1, 2] = 4095
        first = tiff_of(values, extra=(0,))
        assert self.clauses(first) == [
            "has 4 bands, of which the first 3 are read",
            "has 16 bits per pixel, of which networks see the upper 8: its greatest value becomes 15 of 255, nearly black",
        ]
        pages = [Image.new("L", (4, 4)) for _ in range(3)]
        stack = file_of(pages[0], "TIFF", save_all=True, append_images=pages[1:])
        assert self.clauses(stack) == ["holds 3 pictures, of which the first is read"]

    def test_twelve_bits_are_reported_by_their_greatest_value(self):
        grey = Image.fromarray(np.array([[0, 4095]], np.uint16))
        assert self.clauses(file_of(grey))[0].endswith("its greatest value 4095 of 65535 becomes 16 of 255, nearly black")
        bright = Image.fromarray(np.array([[0, 65535]], np.uint16))
        assert self.clauses(file_of(bright))[0].endswith("its greatest value 65535 of 65535 becomes 255 of 255")

    def test_alpha_is_reported_with_the_number_of_pixels(self):
        clear = np.full((2, 3, 4), 255, np.uint8)
        assert dropped(file_of(Image.fromarray(clear))) == ()
        clear[1, 1:, 3] = 7
        (alpha,) = dropped(file_of(Image.fromarray(clear)))
        assert alpha.clause == "is transparent at row 1, column 1 (2 pixels, alpha 7), and alpha is not read"
        assert (alpha.kind, alpha.pixel, alpha.value, alpha.count) == ("transparent picture", (1, 1), 7, 2)


def test_lossy_formats_are_no_masks():
    for data, name in (
        (file_of(Image.new("L", (8, 8)), "WEBP"), "lossy WEBP"),
        (file_of(Image.new("L", (8, 8)), "TIFF", compression="jpeg"), "TIFF compressed as JPEG"),
    ):
        with pytest.raises(DataError, match=f"is a {name}, whose compression changes mask values; save masks as PNG"):
            read_labels(data)


def test_a_name_is_shown_without_the_characters_that_a_terminal_obeys(tmp_path):
    with pytest.raises(DataError) as raised:
        read_image(tmp_path / "a\x1b[2J\nb.png")
    assert str(raised.value) == f"{tmp_path}/a\\x1b[2J\\nb.png: there is no such file."
