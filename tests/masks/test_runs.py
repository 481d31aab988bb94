"""Runs of many masks: drawn, read, written, measured and cut to bands as pixels are, and as COCO's own code does it."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perpixel.masks import polygon_runs, rle, runs
from perpixel.measures.boundary_iou import mask_band, width_of

# pycocotools has not followed NumPy 2 in its __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
masks = st.lists(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)), max_size=5)
near = st.integers(-60, 300).map(lambda step: step / 5) | st.integers(-20, 120).map(lambda half: half / 2)
coordinates = near | st.floats(-30, 60) | st.floats(-1e4, 1e4) | st.integers(-5, 40)
outlines = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=9).map(lambda corners: [*np.ravel(corners)])
objects = st.lists(st.lists(outlines, max_size=3), min_size=1, max_size=4)
side = st.integers(1, 50)


def sizes_of(mask_list: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    heights, widths = np.array([mask.shape for mask in mask_list], np.int64).reshape(-1, 2).T.copy()
    return heights, widths


def runs_of(mask_list: list[np.ndarray]) -> runs.Runs:
    return runs.joined([np.array(rle.runs(mask)) for mask in mask_list])


@settings(max_examples=150)
@given(objects, side, side)
def test_outlines_are_drawn_as_pycocotools_draws_them(shapes: list[list[list[float]]], height: int, width: int) -> None:
    oracle = pytest.importorskip("pycocotools.mask")
    count = len(shapes)
    result = polygon_runs.draw(shapes, np.full(count, height), np.full(count, width))
    empty = rle.compress([height * width])
    theirs = [
        oracle.merge(oracle.frPyObjects(polygons, height, width))["counts"].decode() if polygons else empty for polygons in shapes
    ]
    # For a single polygon pycocotools may write a run of no length at the end.
    assert runs.write(result) == [rle.encode(rle.decode(counts, height, width)) for counts in theirs]


def test_an_outline_that_crosses_one_column_many_times_is_drawn() -> None:
    oracle = pytest.importorskip("pycocotools.mask")
    zigzag = [float(value) for row in range(3000) for value in ((row % 2) * 2, (row * 7919 % 3000) / 100)]
    result = polygon_runs.draw([[zigzag]], np.array([40]), np.array([5]))
    theirs = oracle.frPyObjects([zigzag], 40, 5)[0]["counts"].decode()
    assert runs.write(result) == [rle.encode(rle.decode(theirs, 40, 5))]


@pytest.mark.parametrize(
    ("polygon", "farthest", "longest"),
    [([0, 0, 9, 0], 100, 100), ([0, 0, 9, 0, 9], 100, 100), ([0, 0, 9, 0, np.nan, 9], np.inf, np.inf),
     ([0, 0, 101, 0, 9, 9], 100, 1000), ([0, 0, 90, 0, 9, 9], 100, 100)],
)  # fmt: skip
def test_a_polygon_that_cannot_be_drawn_is_named(polygon: list[float], farthest: float, longest: float) -> None:
    sound = [[0.0, 0, 4, 0, 4, 4]]
    assert polygon_runs.draw([sound, [*sound, polygon]], np.full(2, 9), np.full(2, 9), farthest, longest) == 1


texts = (
    coordinates.map(repr) | st.floats(-1e6, 1e6).map(repr) | st.decimals(-99, 99, places=3).map(str)
    | st.sampled_from(["-0", "0.0", "1e1", "25E-1", "-3.5e+0", "12.3456789012345678", "0.00000000000000000000000000000001"])
)  # fmt: skip


written_polygons = st.lists(texts, min_size=6, max_size=8).filter(lambda numbers: len(numbers) % 2 == 0)


@given(st.lists(st.lists(written_polygons, max_size=3), max_size=3), st.sampled_from([",", ", ", " ,\n\t"]))
def test_polygons_that_are_written_are_those_of_their_numbers(shapes: list[list[list[str]]], between: str) -> None:
    text = [
        ("[" + between.join("[" + between.join(numbers) + " ]" for numbers in object_texts) + "]").encode()
        for object_texts in shapes
    ]
    sizes = np.full(len(shapes), 30), np.full(len(shapes), 40)
    result = polygon_runs.draw_written([memoryview(outline) for outline in text], *sizes)
    expected = polygon_runs.draw([json.loads(outline) for outline in text], *sizes)
    assert [lengths.tolist() for lengths in result.each()] == [lengths.tolist() for lengths in expected.each()]


@pytest.mark.parametrize(
    "text",
    [b"[1, 2, 3, 4, 5, 6]", b"[[[1, 2, 3, 4, 5, 6]]]", b'[["1", 2, 3, 4, 5, 6]]', b"[[NaN, 2, 3, 4, 5, 6]]", b"[[1, 2, 3, 4, 5]]",
     b"[[null, 2, 3, 4, 5, 6]]", b'{"size": [9, 9]}', b"[[1, 2, 3, 4, 5, 1e400]]", b"[[1, 2, 3, 4, 5, true]]"],
)  # fmt: skip
def test_what_is_written_otherwise_is_named(text: bytes) -> None:
    sound = b"[[1, 2, 3, 4, 5, 6]]"
    assert polygon_runs.draw_written([sound, text, sound], np.full(3, 9), np.full(3, 9), 1e6) == 1


@given(masks)
def test_strings_are_those_of_single_masks_and_come_back(mask_list: list[np.ndarray]) -> None:
    heights, widths = sizes_of(mask_list)
    strings = runs.write(runs_of(mask_list))
    assert strings == [rle.encode(mask) for mask in mask_list]
    result = runs.read(strings, heights * widths)
    assert [lengths.tolist() for lengths in result.each()] == [rle.runs(mask) for mask in mask_list]


def written(numbers: list[tuple[int, int]]) -> str:
    """The compressed string of numbers. Each number comes with the count of needless characters that it gets."""
    text = ""
    for number, more in numbers:
        groups = [number & 31]
        while (number := number >> 5) != (-1 if groups[-1] & 16 else 0):
            groups.append(number & 31)
        groups += [31 if groups[-1] & 16 else 0] * more
        text += "".join(chr(48 + group + 32 * (place + 1 < len(groups))) for place, group in enumerate(groups))
    return text


numbers = st.lists(st.tuples(st.integers(-9, 20), st.just(0) | st.integers(0, 1)), max_size=5).map(written)


@settings(max_examples=300)
@given(numbers | st.text(st.characters(min_codepoint=46, max_codepoint=113), max_size=5) | st.text(max_size=3), st.data())
def test_a_string_is_read_exactly_where_it_is_sound(counts: str, data: st.DataObject) -> None:
    sums = [*range(1, 30)]
    with contextlib.suppress(ValueError):  # the size that the string is valid for, if it is valid for any
        sums = [int(str(error_of(counts)).split("sum to ")[1].split()[0])] * 9 + sums
    pixels = data.draw(st.sampled_from([total for total in sums if total]))
    try:
        expected = rle.without_empty(rle.read_runs(counts, pixels, 1))
    except ValueError:
        assert runs.read(["d0", counts], np.array([20, pixels])) == 1
    else:
        result = runs.read([counts, "d0"], np.array([pixels, 20]))
        assert [lengths.tolist() for lengths in result.each()] == [expected.tolist(), [20]]


def error_of(counts: str) -> str:
    try:
        rle.read_runs(counts, 65535, 1)
    except ValueError as error:
        return str(error) if "sum to" in str(error) else "sum to none"
    return "sum to 65535"


@pytest.mark.parametrize(
    ("counts", "lengths"), [("d00", [20]), ("dP0", [20]), ("50?", [20]), ("5P0?", [20]), ("5309", [5, 15]), ("0d0", [0, 20])]
)
def test_a_longer_way_to_write_a_mask_is_read(counts: str, lengths: list[int]) -> None:
    assert runs.read([counts], np.array([20])).lengths.tolist() == lengths


@given(masks)
def test_areas_and_boxes_are_those_of_the_pixels(mask_list: list[np.ndarray]) -> None:
    edges, areas, boxes = runs.measure(runs_of(mask_list), sizes_of(mask_list)[0])
    assert edges.tolist() == [end for mask in mask_list for end in np.cumsum(rle.runs(mask)).tolist()]
    for mask, area, box in zip(mask_list, areas, boxes, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert area == mask.sum()
        assert box.tolist() == ([columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1] if len(rows) else [0] * 4)


@given(masks, st.floats(0.01, 0.3))
def test_bands_are_those_of_the_pixels(mask_list: list[np.ndarray], dilation: float) -> None:
    depths = np.array([width_of(mask.shape, dilation) for mask in mask_list], np.int64)
    result = runs.bands(runs_of(mask_list), *sizes_of(mask_list), depths)
    assert [lengths.tolist() for lengths in result.each()] == [rle.runs(mask_band(mask, dilation)) for mask in mask_list]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12).filter(any))
def test_runs_of_no_length_are_taken_out(lengths: list[int]) -> None:
    result = rle.without_empty(np.array(lengths))
    assert result.tolist() == rle.runs(rle.dense(np.array(lengths), 1, sum(lengths)))
