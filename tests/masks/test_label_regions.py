"""Regions of a label map from bands of rows: those of the whole map, and of GDAL's polygons."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from perpixel.masks.polygons import fill
from perpixel.masks.regions import Region, regions

VOID = 255


def bands(labels: np.ndarray, heights: Sequence[int]) -> list[np.ndarray]:
    """The map cut into bands of these heights, again and again."""
    parts, top = [], 0
    while top < len(labels):
        height = heights[len(parts) % len(heights)]
        parts.append(labels[top : top + height])
        top += height
    return parts


def found(labels: np.ndarray, heights: Sequence[int] = (1000,)) -> list[Region]:
    return list(regions(bands(labels, heights), VOID))


def corners(ring: np.ndarray) -> frozenset[tuple[int, int]]:
    return frozenset((x, y) for x, y in ring.tolist())


def described(all_regions: list[Region]) -> list[tuple[int, list[tuple[int, int]], list[list[tuple[int, int]]]]]:
    """Regions in an order of their own, with rings in an order of their own."""
    return sorted(
        (one.label, sorted(corners(one.outer)), sorted(sorted(corners(hole)) for hole in one.holes)) for one in all_regions
    )


def drawn(all_regions: list[Region], size: tuple[int, int]) -> np.ndarray:
    """The map that regions show: each outer ring filled, without its holes."""
    labels = np.full(size, VOID, np.uint8)
    for region in all_regions:
        mask = fill([region.outer.ravel().astype(float)], *size)
        for hole in region.holes:
            mask &= ~fill([hole.ravel().astype(float)], *size)
        assert mask.sum() == region.pixels
        assert (labels[mask] == VOID).all()
        labels[mask] = region.label
    return labels


maps = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1)).map(
    lambda drawn: np.random.default_rng(drawn[2]).choice(np.array([0, 1, 2, VOID], np.uint8), drawn[:2], p=[0.45, 0.4, 0.1, 0.05])
)


@given(maps, st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_bands_of_any_height_give_the_regions_of_the_whole_map(labels: np.ndarray, heights: list[int]) -> None:
    assert described(found(labels, heights)) == described(found(labels))


@given(maps)
def test_regions_show_the_map_and_are_its_pieces(labels: np.ndarray) -> None:
    ours = found(labels, [2])
    np.testing.assert_array_equal(drawn(ours, labels.shape), labels)
    assert len(ours) == sum(ndimage.label(labels == label)[1] for label in range(3))


@given(maps)
def test_no_ring_meets_itself_and_each_corner_is_a_turn(labels: np.ndarray) -> None:
    for region in found(labels, [3]):
        for ring in (region.outer, *region.holes):
            assert len(corners(ring)) == len(ring)
            steps = np.diff(np.concatenate([ring, ring[:1]]), axis=0)
            assert ((steps == 0).sum(1) == 1).all()  # along rows or columns
            assert (np.roll(steps, -1, 0) * steps == 0).all()  # across the step before


@given(maps)
def test_they_are_gdals_polygons(labels: np.ndarray) -> None:
    features = pytest.importorskip("rasterio.features")
    theirs = []
    for shape, label in features.shapes(labels, mask=labels != VOID, connectivity=4):
        outer, *holes = (np.array(ring, np.int32)[:-1] for ring in shape["coordinates"])
        theirs.append(Region(int(label), 0, outer, tuple(holes)))
    assert described(found(labels, [1, 2])) == described(theirs)


def test_a_ring_of_one_class_around_another() -> None:
    labels = np.zeros((4, 5), np.uint8)
    labels[1:3, 1:4] = 1
    inner, outer = sorted(found(labels, [2]), key=lambda region: region.pixels)
    assert (inner.label, inner.pixels, corners(inner.outer), inner.holes) == (1, 6, {(1, 1), (4, 1), (4, 3), (1, 3)}, ())
    assert (outer.label, outer.pixels, corners(outer.outer)) == (0, 14, {(0, 0), (5, 0), (5, 4), (0, 4)})
    assert [corners(hole) for hole in outer.holes] == [corners(inner.outer)]


def test_pixels_that_share_a_corner_are_two_regions_and_leave_two_holes() -> None:
    labels = np.zeros((4, 4), np.uint8)
    labels[1, 1] = labels[2, 2] = 1
    assert sorted((one.label, one.pixels, len(one.holes)) for one in found(labels, [1])) == [(0, 14, 2), (1, 1, 0), (1, 1, 0)]


def test_void_has_no_region() -> None:
    assert found(np.full((3, 3), VOID, np.uint8), [1]) == []
    assert list(regions([], VOID)) == []


def test_a_column_through_many_bands_is_one_region_of_four_corners() -> None:
    (region,) = found(np.full((500, 1), 7, np.uint8), [3])
    assert (region.label, region.pixels, corners(region.outer)) == (7, 500, {(1, 0), (1, 500), (0, 500), (0, 0)})
