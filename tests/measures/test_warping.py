"""Warping error: simple points, what a flip would do, and what stays wrong, by hand and by other ways to the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import label

from perpixel.measures.warping import KINDS, _articulation, _simple, warp, warping_errors

EIGHT = np.ones((3, 3))
MASKS = arrays.arrays(np.bool_, (7, 8))
PROBABILITIES = arrays.arrays(np.float32, (7, 8), elements=st.integers(0, 10).map(lambda tenth: np.float32(tenth / 10)))


def drawn(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


def kinds(truth: np.ndarray, predicted: np.ndarray) -> dict[str, int]:
    found = warping_errors(truth, predicted.astype(np.float32), 0.5)
    return {name: int(count) for name, count in zip(KINDS, found, strict=True) if count}


class TestByHand:
    def test_a_border_that_moves_is_no_error(self) -> None:
        truth, predicted = drawn("###.##", "###.##", "###.##"), drawn("##.###", "##.###", "#..###")
        assert kinds(truth, predicted) == {}
        assert np.array_equal(warp(truth, predicted.astype(float), 0.5)[0], predicted)

    def test_a_membrane_that_is_missing_merges_by_each_of_its_pixels(self) -> None:
        assert kinds(drawn("###.###", "###.###", "###.###"), drawn("#######", "#######", "#######")) == {"merges": 3}

    def test_a_membrane_that_is_too_much_splits_by_the_pixel_that_holds_out(self) -> None:
        truth, predicted = drawn("#######", "#######", "#######"), drawn("###.###", "###.###", "###.###")
        assert kinds(truth, predicted) == {"splits": 1}
        assert np.argwhere(warp(truth, predicted.astype(float), 0.5)[1]).tolist() == [[2, 3]]

    def test_a_thick_membrane_that_is_too_much_leaves_a_bridge_of_its_thickness(self) -> None:
        truth, predicted = drawn("########", "########"), drawn("##....##", "##....##")
        assert kinds(truth, predicted) == {"splits": 4}

    def test_objects_and_holes_come_and_go_by_a_pixel(self) -> None:
        empty, block, full = drawn(*["....."] * 5), drawn(".....", ".###.", ".###.", ".###.", "....."), drawn(*["#####"] * 5)
        ring = full & ~drawn(".....", ".....", "..#..", ".....", ".....")
        assert kinds(empty, block)["object_additions"] > 0
        assert kinds(block, empty) == {"object_deletions": 1}
        assert kinds(full, ring) == {"hole_additions": 1}
        assert kinds(ring, full) == {"hole_deletions": 1}

    def test_the_surest_pixels_go_first(self) -> None:
        # A wall is too much; where the prediction doubts most, the bridge stays.
        truth = drawn("#####", "#####", "#####")
        probabilities = np.array([[1, 1, 0.1, 1, 1], [1, 1, 0.0, 1, 1], [1, 1, 0.2, 1, 1]])
        for doubtful in range(3):
            rolled = np.roll(probabilities, doubtful, axis=0)
            _, wrong, _ = warp(truth, rolled, 0.5)
            assert wrong.sum() == 1 or rolled[1, 2] == 0
        assert np.argwhere(warp(truth, probabilities[[1, 0, 2]], 0.5)[1]).tolist() == [[2, 2]]
        assert np.argwhere(warp(truth, probabilities[[2, 0, 1]], 0.5)[1]).tolist() == [[0, 2]]


def neighbours_are_one_of_each(patch: np.ndarray) -> bool:
    """The definition: one 4-connected piece of inside shares an edge with the middle, and one 8-connected of outside is there."""
    around = patch.copy()
    around[1, 1] = False
    pieces = label(around)[0]
    edges = {int(pieces[place]) for place in ((0, 1), (1, 0), (1, 2), (2, 1))} - {0}
    outside = ~patch
    outside[1, 1] = False
    return len(edges) == 1 and label(outside, EIGHT)[1] == 1


def test_a_simple_point_is_what_digital_topology_calls_so_in_all_512_patches() -> None:
    for bits in range(512):
        patch = np.array([bits >> place & 1 for place in range(9)], bool).reshape(3, 3)
        assert _simple(patch, 1, 1) == neighbours_are_one_of_each(patch), patch


@given(MASKS, PROBABILITIES, st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_warping_keeps_the_number_of_segments_and_of_membranes(truth, probabilities, threshold) -> None:
    warped, wrong, kinds = warp(truth, probabilities, threshold)

    def topology(mask: np.ndarray) -> tuple[int, int]:
        framed = np.pad(mask, 1)
        return label(framed)[1], label(~framed, EIGHT)[1]

    assert topology(warped) == topology(truth)
    assert np.array_equal(wrong, warped != (probabilities > threshold))
    assert np.array_equal(kinds >= 0, wrong)
    assert not (warped != truth)[truth == (probabilities > threshold)].any()
    for y, x in np.argwhere(wrong):
        assert not _simple(np.pad(warped, 1), y + 1, x + 1)


@given(MASKS, PROBABILITIES)
def test_what_a_flip_would_do_is_what_it_does(truth, probabilities) -> None:
    """Splits and merges, the errors that the challenge counts, by labelling the picture again after each flip."""
    warped, wrong, kinds = warp(truth, probabilities, 0.5)
    for y, x in np.argwhere(wrong):
        around = slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2)
        with_it, without = warped.copy(), warped.copy()
        with_it[y, x], without[y, x] = True, False
        segments = label(without)[0]
        beside = set(np.unique(segments[around])) - {0}
        name = KINDS[kinds[y, x]]
        if warped[y, x]:
            assert (name == "splits") == (len(beside) > 1)
            assert (name == "object_deletions") == (len(beside) == 0)
        else:
            assert (name == "merges") == (len(beside) > 1)
            assert (name == "object_additions") == (len(beside) == 0)


@given(MASKS)
def test_pixels_that_hold_a_segment_together_are_networkxs_articulation_points(mask) -> None:
    networkx = pytest.importorskip("networkx", reason="networkx, which knows articulation points, is not installed")
    framed = np.pad(mask, 1)
    graph = networkx.grid_2d_graph(*framed.shape).subgraph(map(tuple, np.argwhere(framed)))
    assert {tuple(place) for place in np.argwhere(_articulation(framed))} == set(networkx.articulation_points(graph))


@given(MASKS)
def test_the_truth_itself_has_no_error(truth) -> None:
    assert not warping_errors(truth, truth.astype(np.float32), 0.5).any()
