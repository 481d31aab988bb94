"""PNG as it is written: other readers find the same pixels, in files that are no larger than Pillow's."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import draw_sample
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.codecs.encode_png import encode_png
from perpixel.codecs.png import read_png_labels
from perpixel.images import encode_image, encode_labels, read_palette

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)


@given(arrays.arrays(np.uint8, SHAPES), st.booleans())
def test_every_reader_finds_grey_and_palette(values: np.ndarray, labels: bool) -> None:
    for palette in (False, True):
        image = Image.fromarray(values)
        if palette:
            image.putpalette(bytes(range(256)) * 3)
        data = encode_png(image, labels)
        assert data is not None
        with Image.open(io.BytesIO(data)) as read:
            assert read.mode == ("P" if palette else "L")
            assert np.array_equal(np.asarray(read), values)
        assert np.array_equal(read_png_labels(data, 2**20), values)


@given(arrays.arrays(np.uint16, SHAPES), st.booleans())
def test_every_reader_finds_16_bits(values: np.ndarray, labels: bool) -> None:
    data = encode_png(Image.fromarray(values), labels)
    assert data is not None
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), values)
    assert np.array_equal(read_png_labels(data, 2**20), values)


@given(st.integers(0, 2**32 - 1), st.integers(1, 50), st.integers(1, 50))
def test_every_reader_finds_colours(seed: int, height: int, width: int) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    data = encode_png(Image.fromarray(values))
    assert data is not None
    with Image.open(io.BytesIO(data)) as read:
        assert np.array_equal(np.asarray(read), values)
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), values)


def test_a_mask_keeps_the_colours_of_its_classes(tmp_path: Path) -> None:
    classes = ClassTable.of([f"class {number}" for number in range(30)])
    labels = np.random.default_rng(0).integers(0, 30, (20, 30))
    (tmp_path / "mask.png").write_bytes(encode_labels(labels, classes))
    palette = read_palette(tmp_path / "mask.png")
    assert palette is not None
    assert [tuple(colour) for colour in palette[:30].tolist()] == [tuple(colour) for colour in classes.colours]


@pytest.mark.parametrize("mode", ["1", "LA", "RGBA", "CMYK"])
def test_what_only_pillow_writes_is_left_to_it(mode: str) -> None:
    image = Image.new(mode, (5, 4))
    assert encode_png(image) is None
    if mode != "CMYK":
        with Image.open(io.BytesIO(encode_image(image, ".png"))) as read:
            assert read.mode == mode


def test_files_are_no_larger_than_those_of_pillow() -> None:
    """Of a picture and of its labels, at Pillow's fastest level."""
    image, labels = draw_sample(0, (240, 320))
    for picture, are_labels in ((Image.fromarray(image), False), (Image.fromarray(labels), True)):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        data = encode_png(picture, are_labels)
        assert data is not None
        assert len(data) < 1.05 * len(buffer.getvalue())
