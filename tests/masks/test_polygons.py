"""Polygons: pixels as COCO's own code draws them, outlines that give each mask back, a sentence for whatever is no polygon."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perpixel.masks.polygons import fill, outlines, rings

# pycocotools has not followed NumPy 2 in its __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14))
coordinates = st.floats(-30, 60) | st.integers(-5, 40) | st.integers(-10, 80).map(lambda half: half / 2)
polygons = st.lists(st.lists(coordinates, min_size=6, max_size=16).filter(lambda values: len(values) % 2 == 0), max_size=4)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=30,
)  # fmt: skip


def test_a_rectangle_is_the_pixels_within_it() -> None:
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:7] = True
    assert np.array_equal(fill([[2, 1, 7, 1, 7, 4, 2, 4]], 6, 8), expected)


def test_several_polygons_are_their_union_and_nothing_is_nothing() -> None:
    square, shifted = [0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 6, 2, 6, 6, 2, 6]
    assert np.array_equal(fill([square, shifted], 6, 8), fill([square], 6, 8) | fill([shifted], 6, 8))
    assert fill([square, square], 6, 8).sum() == 16
    assert not fill([], 6, 8).any()


@given(polygons, st.integers(1, 40), st.integers(1, 40))
def test_pixels_are_those_of_pycocotools(shapes: list[list[float]], height: int, width: int) -> None:
    oracle = pytest.importorskip("pycocotools.mask")
    theirs = np.zeros((height, width), bool)
    if shapes:
        theirs = oracle.decode(oracle.merge(oracle.frPyObjects(shapes, height, width))).astype(bool)
    assert np.array_equal(fill(shapes, height, width), theirs)


@given(masks)
def test_outlines_give_the_mask_back(mask: np.ndarray) -> None:
    assert np.array_equal(fill(outlines(mask), *mask.shape), mask)


def area(ring: np.ndarray) -> float:
    x, y = ring.T
    return (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2


def filled(ring: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return fill([ring.ravel().tolist()], *mask.shape)


@given(masks)
def test_rings_are_the_outer_edge_of_each_piece_and_its_holes(mask: np.ndarray) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    labels, count = ndimage.label(mask)
    shown = np.zeros_like(mask)
    pieces = rings(mask)
    for outer, *holes in pieces:
        piece = filled(outer, mask)
        for hole in holes:
            assert (piece & filled(hole, mask)).sum() == -area(hole) > 0  # a hole lies inside, and runs the other way round
            piece &= ~filled(hole, mask)
        assert len(np.unique(labels[piece])) == 1
        shown |= piece
        assert area(outer) + sum(map(area, holes)) == piece.sum()
        assert all(len(np.unique(ring, axis=0)) == len(ring) >= 4 for ring in (outer, *holes))
    assert (len(pieces), shown.tolist()) == (count, mask.tolist())


def test_a_hole_that_touches_the_outside_at_a_corner_is_a_ring_of_its_own() -> None:
    mask = np.ones((3, 3), bool)
    mask[0, 0] = mask[1, 1] = False
    (outer, hole), = rings(mask, left=10, top=20)
    assert outer.tolist() == [[11, 20], [13, 20], [13, 23], [10, 23], [10, 21], [11, 21]]
    assert sorted(hole.tolist()) == [[11, 21], [11, 22], [12, 21], [12, 22]]
    assert rings(np.zeros((3, 4), bool)) == []


@given(masks)
def test_outlines_are_one_polygon_for_each_piece(mask: np.ndarray) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    labels, count = ndimage.label(mask)
    polygons_of_mask = outlines(mask)
    assert len(polygons_of_mask) == count
    assert sorted(int(labels[fill([polygon], *mask.shape)].min()) for polygon in polygons_of_mask) == [*range(1, count + 1)]


@given(masks)
def test_outlines_read_the_same_in_a_program_that_draws_by_the_even_odd_rule(mask: np.ndarray) -> None:
    draw = pytest.importorskip("skimage.measure")
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    middles = np.stack([columns.ravel(), rows.ravel()], 1)
    shown = np.zeros(mask.size, bool)
    for polygon in outlines(mask):
        shown |= draw.points_in_poly(middles, np.reshape(polygon, (-1, 2)))
    assert np.array_equal(shown.reshape(mask.shape), mask)


def test_a_ring_is_one_polygon_with_a_bridge() -> None:
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    assert outlines(mask) == [[0, 0, 2, 0, 2, 3, 3, 3, 3, 2, 2, 2, 2, 0, 5, 0, 5, 5, 0, 5]]


def test_straight_sides_have_no_corners_on_them() -> None:
    assert outlines(np.ones((300, 400), bool)) == [[0, 0, 400, 0, 400, 300, 0, 300]]
    assert outlines(np.zeros((3, 4), bool)) == []


def test_a_large_mask_of_many_pieces_and_holes() -> None:
    mask = np.random.default_rng(0).random((200, 300)) < 0.5
    assert np.array_equal(fill(outlines(mask), 200, 300), mask)


values = st.floats() | st.integers()


@given(anything | st.lists(st.lists(values, max_size=8), max_size=3), st.integers(-1, 50), st.integers(1, 50))
def test_whatever_is_no_polygon_is_told_in_a_sentence(shapes: object, height: int, width: int) -> None:
    sentence = "."
    try:
        assert fill(shapes, height, width).shape == (height, width)
    except ValueError as error:
        sentence = str(error)
    assert sentence.endswith(".")
    assert len(sentence) < 200


nested: list[object] = []
for _ in range(100_000):
    nested = [nested]


@pytest.mark.parametrize(
    ("shapes", "size", "part"),
    [
        ([[0, 0, 9, 0, math.nan, 9]], (9, 9), "polygon 0 has the coordinate nan at place 4; coordinates are finite"),
        ([[0, 0, 9, 0, math.inf, 9]], (9, 9), "polygon 0 has the coordinate inf at place 4"),
        ([[0, 0, 9, 0, 9, 9], [0, 0, 1e15, 0, 9, 9]], (9, 9), r"polygon 1 has the coordinate 1000000000000000.0 at place 2"),
        ([[0, 0, 10**400, 0, 9, 9]], (9, 9), r"polygon 0 has the coordinate a number beyond 10\^18"),
        ([[-1e6, 0, 1e6, 0, -1e6, 9, 1e6, 9]], (9, 9), "outlines are longer than 4194304 pixels up to polygon 0"),
        ([[0, 0, 9, 0, 9]], (9, 9), "polygon 0 has 5 values; it needs x and y of three corners or more"),
        ([[0, 0, 9, 9]], (9, 9), "polygon 0 has 4 values"),
        ([[]], (9, 9), "polygon 0 has 0 values"),
        ([[0, 0, 9, 0, 9, 9, 3]], (9, 9), "polygon 0 has 7 values"),
        ([0, 0, 9, 0, 9, 9], (9, 9), "polygon 0 is 0; a polygon is a list"),
        ([["0", 0, 9, 0, 9, 9]], (9, 9), "polygon 0 has '0' at place 0; coordinates are numbers"),
        ([[None, 0, 9, 0, 9, 9]], (9, 9), "polygon 0 has None at place 0"),
        ([[nested] * 6], (9, 9), "polygon 0 has a list at place 0"),
        (nested, (9, 9), "polygon 0 has 1 values"),
        ("0 0 9 0", (9, 9), "polygons are a list of lists"),
        ({"counts": []}, (9, 9), "polygons are a list of lists x, y, x, y ..., not a dict"),
        ([[0, 0, 9, 0, 9, 9]], (2**31, 9), "a side of 2147483648 pixels"),
        ([[0, 0, 9, 0, 9, 9]], (65535, 65535), "65535x65535 pixels are more than"),
    ],
    ids=range(18),
)
def test_one_sentence_for_a_mistake(shapes: object, size: tuple[int, int], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        fill(shapes, *size)


def test_far_corners_within_the_limits_are_drawn() -> None:
    assert np.array_equal(fill([[-1e6, -1e6, 1e6, -1e6, 9, 9]], 5, 5), np.triu(np.ones((5, 5), bool), 1))
