"""Masks decoded without Pillow: the same values from every encoder, and not a word about a file that is not sound."""

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from perpixel.codecs.png import read_png_labels
from perpixel.errors import DataError
from perpixel.images import read_labels_fast

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def header(shape: tuple[int, ...], bits: int = 8, colour: int = 0, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", shape[1], shape[0], bits, colour, 0, 0, interlaced))


def filtered(values: np.ndarray, kinds: list[int]) -> bytes:
    """The rows of a mask, each filtered as the standard (section 9.2) says for its kind."""
    step = values.dtype.itemsize
    x = values.astype(values.dtype.newbyteorder(">")).view(np.uint8).reshape(len(values), -1).astype(int)
    b = np.pad(x, ((1, 0), (0, 0)))[:-1]
    a, c = (np.pad(part, ((0, 0), (step, 0)))[:, :-step] for part in (x, b))
    p = a + b - c
    far = np.abs(np.stack([p - a, p - b, p - c]))
    paeth = np.choose(far.argmin(0), [a, b, c])  # the first of equals, as the standard asks
    rows = [x, x - a, x - b, x - (a + b) // 2, x - paeth]
    return b"".join(bytes([kind]) + (rows[kind][y] % 256).astype(np.uint8).tobytes() for y, kind in enumerate(kinds))


def png(values: np.ndarray, kinds: list[int], colour: int = 0, before: bytes = b"") -> bytes:
    pixels = zlib.compress(filtered(values, kinds))
    start = SIGNATURE + header(values.shape, 8 * values.dtype.itemsize, colour) + (chunk(b"PLTE", bytes(768)) if colour else b"")
    return start + before + chunk(b"IDAT", pixels[:9]) + chunk(b"IDAT", pixels[9:]) + chunk(b"IEND", b"")


def by_pillow(file: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(file)))


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """Runs of few values or of many, 8 or 16 bits, rows that repeat or do not."""
    height, width, side = draw(st.integers(1, 9)), draw(st.integers(1, 70)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    most = draw(st.sampled_from([2, 5, np.iinfo(dtype).max + 1]))
    cells = rng.integers(0, most, (height // side + 1, width // side + 1))
    noise = rng.integers(0, most, (height, width))
    drawn = np.kron(cells, np.ones((side, side), int))[:height, :width]
    return np.where(rng.random((height, width)) < draw(st.sampled_from([0, 0.1])), noise, drawn).astype(dtype)


@given(masks(), st.data())
def test_rows_of_all_filters_are_read_as_pillow_reads_them(mask: np.ndarray, data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.integers(0, 4), min_size=len(mask), max_size=len(mask)))
    file = png(mask, kinds, data.draw(st.sampled_from([0, 3])) if mask.dtype == np.uint8 else 0)
    labels = read_png_labels(file, 2**28)
    assert labels is not None
    assert labels.dtype == mask.dtype
    assert labels.flags.c_contiguous
    assert labels.flags.writeable
    assert labels.tolist() == mask.tolist() == by_pillow(file).tolist()


@given(masks(), st.integers(0, 9), st.sampled_from(["NONE", "SUB", "UP", "AVG", "PAETH", "ALL"]))
def test_what_pillow_and_opencv_write_comes_back(mask: np.ndarray, level: int, filters: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", compress_level=level)
    options = [cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_FILTER, getattr(cv2, f"IMWRITE_PNG_{filters}_FILTERS", None)
               or getattr(cv2, f"IMWRITE_PNG_FILTER_{filters}")]  # fmt: skip
    for file in (buffer.getvalue(), cv2.imencode(".png", mask, options)[1].tobytes()):
        labels = read_png_labels(file, 2**28)
        assert labels is not None
        assert labels.tolist() == mask.tolist()


@given(masks(), st.data())
def test_a_file_with_a_changed_byte_or_without_its_end_is_left_to_pillow(mask: np.ndarray, data: st.DataObject) -> None:
    file = bytearray(png(mask, [4] * len(mask), before=chunk(b"tEXt", b"Comment\0street")))
    place = data.draw(st.integers(0, len(file) - 1))
    assert read_png_labels(bytes(file[:place]), 2**28) is None
    file[place] ^= data.draw(st.integers(1, 255))
    assert read_png_labels(bytes(file), 2**28) is None


MASK = np.arange(12, dtype=np.uint8).reshape(3, 4)
PIXELS = chunk(b"IDAT", zlib.compress(filtered(MASK, [0] * 3)))
END = chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "file",
    [
        b"",
        SIGNATURE,
        SIGNATURE + header(MASK.shape) + END,
        SIGNATURE + PIXELS + header(MASK.shape) + END,
        SIGNATURE + header(MASK.shape) + header(MASK.shape) + PIXELS + END,
        SIGNATURE + header(MASK.shape) + chunk(b"NEWS", b"") + PIXELS + END,
        SIGNATURE + header(MASK.shape) + chunk(b"acTL", struct.pack(">II", 2, 0)) + PIXELS + END,
        SIGNATURE + header(MASK.shape, interlaced=1) + PIXELS + END,
        SIGNATURE + header((3, 0)) + PIXELS + END,
        SIGNATURE + header((2, 4)) + PIXELS + END,
        SIGNATURE + header((4, 4)) + PIXELS + END,
        SIGNATURE + header((3, 1), colour=2) + PIXELS + END,
        SIGNATURE + header(MASK.shape, bits=4) + PIXELS + END,
        SIGNATURE + header(MASK.shape) + chunk(b"IDAT", zlib.compress(b"\5" * 15)) + END,
        SIGNATURE + header(MASK.shape) + chunk(b"IDAT", zlib.compress(filtered(MASK, [0] * 3))[:-1]) + END,
        SIGNATURE + header(MASK.shape) + chunk(b"IDAT", b"no stream of zlib's") + END,
    ],
)
def test_what_it_does_not_know_it_leaves_alone(file: bytes) -> None:
    assert read_png_labels(file, 2**28) is None


def test_too_many_pixels_and_missing_files_are_left_to_pillow(tmp_path) -> None:
    assert read_png_labels(png(MASK, [0] * 3), 12) is not None
    assert read_png_labels(png(MASK, [0] * 3), 11) is None
    assert read_png_labels(tmp_path / "none.png", 12) is None
    assert read_png_labels(tmp_path, 12) is None


def test_a_bomb_is_not_inflated() -> None:
    bomb = zlib.compress(bytes(2**26), 9)
    file = SIGNATURE + header((1, 1)) + chunk(b"IDAT", bomb) + END
    tracemalloc.start()
    assert read_png_labels(file, 2**28) is None
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_what_pillow_can_read_or_must_refuse_it_is_asked_for(tmp_path) -> None:
    few_bits = SIGNATURE + header((1, 2), bits=4) + chunk(b"IDAT", zlib.compress(b"\0\x5f")) + END
    assert read_labels_fast(few_bits).tolist() == [[5, 15]]
    with pytest.raises(DataError, match="cannot be read"):
        read_labels_fast(SIGNATURE + header(MASK.shape) + chunk(b"IDAT", zlib.compress(b"\5" * 15)) + END)
    with pytest.raises(DataError, match=r"none\.png: there is no such file"):
        read_labels_fast(tmp_path / "none.png")
