"""Run lengths of masks: there and back, equal to COCO's own code, and a sentence for whatever is no run length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perpixel.masks.rle import columns, compress, decode, encode, encode_part, read_runs, runs
from perpixel.sample import Crop

# pycocotools has not followed NumPy 2 in its __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))
strings = st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=12,
)  # fmt: skip


def test_runs_go_down_the_columns_and_begin_with_0() -> None:
    mask = np.array([[0, 1, 1], [0, 1, 0]])
    assert runs(mask) == [2, 3, 1]
    assert runs(1 - mask) == [0, 2, 3, 1]
    assert np.array_equal(decode([2, 3, 1], 2, 3), mask)


def test_the_string_of_a_mask_that_coco_published() -> None:
    assert compress([6, 1, 40, 4, 5, 4, 5, 4, 21]) == "61X13mN000`0"  # of maskApi.h


@given(masks)
def test_a_part_has_the_string_of_its_mask(mask: np.ndarray) -> None:
    crop = Crop.of(mask)
    assert encode_part(crop.pixels, crop.top, crop.left, crop.size) == encode(mask)


@given(masks)
def test_a_mask_comes_back(mask: np.ndarray) -> None:
    for counts in (encode(mask), encode(mask).encode(), runs(mask), tuple(runs(mask)), np.array(runs(mask))):
        decoded = decode(counts, *mask.shape)
        assert decoded.dtype == bool
        assert np.array_equal(decoded, mask)


@given(masks)
def test_strings_are_those_of_pycocotools(mask: np.ndarray) -> None:
    oracle = pytest.importorskip("pycocotools.mask")
    theirs = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encode(mask).encode() == theirs["counts"]
    assert np.array_equal(oracle.decode({"size": list(mask.shape), "counts": encode(mask).encode()}), mask)


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=50))
def test_runs_of_no_length_and_long_ones_survive_the_string(lengths: list[int]) -> None:
    size = sum(lengths)
    if 1 <= size <= 2**24:
        side = 2**9
        lengths.append(-size % side)
        height, width = side, (size + lengths[-1]) // side
        assert read_runs(compress(lengths), height, width).tolist() == lengths
        expected = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T
        assert np.array_equal(decode(lengths, height, width), expected)


def test_the_largest_runs_fit() -> None:
    lengths = [2**28 - 1, 1]
    assert read_runs(compress(lengths), 2**14, 2**14).tolist() == lengths
    assert read_runs(compress([0, 2**28, 0, 0]), 2**14, 2**14).tolist() == [0, 2**28, 0, 0]


@given(st.integers(-5, 70000) | st.just(2**31), st.integers(-5, 70000) | st.just(2**31), strings | anything)
def test_whatever_is_no_rle_is_told_in_a_sentence(height: int, width: int, counts: object) -> None:
    sentence = "."
    try:
        lengths = read_runs(counts, height, width)
        assert lengths.min() >= 0
        assert lengths.sum() == height * width
    except ValueError as error:
        sentence = str(error)
    assert sentence.endswith(".")
    assert len(sentence) < 200


nested: list[object] = []
for _ in range(100_000):
    nested = [nested]


@pytest.mark.parametrize(
    ("counts", "size", "part"),
    [
        ([5, -1, 8], (3, 4), "run 1 of the RLE is -1 pixels long"),
        ([5, 6], (3, 4), "the runs of the RLE sum to 11 pixels, but 3x4 are 12."),
        ([5, 8], (3, 4), "sum to 13 pixels"),
        ([], (3, 4), "sum to 0 pixels"),
        ("", (3, 4), "sum to 0 pixels"),
        ([2**31, 1], (3, 4), "run 0 of the RLE is 2147483648 pixels long"),
        ([10**400], (3, 4), r"run 0 of the RLE is a number beyond 10\^18"),
        ([float("nan"), 12], (3, 4), "run 0 of the RLE is nan, not a whole number"),
        ([12.0], (3, 4), "run 0 of the RLE is 12.0, not a whole number"),
        ([True, 11], (3, 4), "run 0 of the RLE is True, not"),
        (["12"], (3, 4), "run 0 of the RLE is '12', not"),
        ([nested], (3, 4), "run 0 of the RLE is a list, not"),
        (None, (3, 4), "run lengths are a list or a string, not None"),
        ({"counts": 5}, (3, 4), "run lengths are a list or a string, not a dict"),
        ("P", (3, 4), "ends in the middle of a number"),
        ("oooooooo0", (3, 4), "at place 0, is longer than 6 characters"),
        ("3 4", (3, 4), "holds ' ' at place 1; its characters are '0' to 'o'"),
        ("3é4", (3, 4), "holds 'é'; its characters"),
        ("3\ud8004", (3, 4), r"holds '\\ud800'; its characters"),
        ("H5", (3, 4), "run 0 of the RLE is -8 pixels long"),
        ("<", (2**31, 2**31), "a side of 2147483648 pixels is no whole number 1..65535"),
        ("<", (0, 4), "a side of 0 pixels"),
        ("<", (3, -4), "a side of -4 pixels"),
        ("<", (3, 4.0), r"a side of 4\.0 pixels"),
        ("<", (None, 4), "a side of None pixels"),
        ("<", (65535, 65535), "65535x65535 pixels are more than 268435456"),
        ("<", (nested, 4), "a side of a list pixels"),
    ],
    ids=range(27),
)
def test_one_sentence_for_a_mistake(counts: object, size: tuple[int, int], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        decode(counts, *size)


def test_a_mask_has_two_dimensions() -> None:
    with pytest.raises(ValueError, match=r"two dimensions, not the shape \(2, 2, 2\)"):
        encode(np.zeros((2, 2, 2), bool))
    with pytest.raises(ValueError, match="a side of 0 pixels"):
        runs(np.zeros((0, 2), bool))


@given(masks)
def test_columns_are_those_with_pixels(mask: np.ndarray) -> None:
    lengths = read_runs(runs(mask), *mask.shape)
    mask_part, left = columns(lengths, mask.shape[0])
    there = np.flatnonzero(mask.any(0))
    assert np.array_equal(mask_part, mask[:, there[0] : there[-1] + 1] if len(there) else mask[:, :0])
    assert left == (there[0] if len(there) else 0)
