"""Enlarging by an exact factor, and the argmax that never makes the full-size scores."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from perpixel.layers.score_map import ScoreMap, enlarge
from perpixel.prediction.score_maps import Scores

seeds = st.integers(0, 2**32 - 1)


def ramp(length):
    """(1, 1, length, 1) with the values 0, 1, 2 ..."""
    return torch.arange(float(length))[None, None, :, None]


def interpolated(scores, stride, shift, seen, size):
    """Scores (H, W, C) in float64 at every pixel of `size`, each read between its four cells."""
    whole = np.asarray(scores, np.float64)
    for axis in (0, 1):
        pixel = (np.arange(size[axis]) + 0.5) * seen[axis] / size[axis] - 0.5
        at = np.clip(pixel / stride + shift, 0, whole.shape[axis] - 1)
        below = np.floor(at).astype(int)
        above = np.minimum(below + 1, whole.shape[axis] - 1)
        share = (at - below).reshape(-1, *[1] * (2 - axis))
        whole = whole.take(below, axis) * (1 - share) + whole.take(above, axis) * share
    return whole


def assert_argmax(labels, scores):
    """`labels` (H, W) are the argmax of `scores` (H, W, C), or as good to five digits."""
    chosen = np.take_along_axis(scores, labels[..., None].astype(int), 2)[..., 0]
    assert (scores.max(2) - chosen < 1e-5).all()


def test_enlarge_by_hand():
    # Cell j covers the pixels 2 j and 2 j + 1; pixel centres lie a quarter of a cell from the cell's centre.
    assert enlarge(ramp(3), 2, (6, 2))[0, 0, :, 0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2]


@pytest.mark.parametrize("factor", [1, 2, 8, 32])
def test_enlarge_is_torchs_interpolation_where_the_sizes_fit(factor):
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    size = (4 * factor, 5 * factor)
    expected = F.interpolate(features, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarge(features, factor, size), expected)


def test_a_map_that_is_too_long_is_cut_not_squeezed():
    assert torch.equal(enlarge(ramp(3), 2, (5, 1)), enlarge(ramp(3), 2, (6, 2))[..., :5, :1])


def test_the_last_row_and_column_are_repeated_where_a_map_is_short():
    assert enlarge(ramp(2), 2, (7, 3))[0, 0].T.tolist() == [[0, 0.25, 0.75, 1, 1, 1, 1]] * 3


def test_the_first_cell_may_lie_elsewhere():
    # On pixel 1, and cells on whole pixels: what lies before it is repeated.
    assert enlarge(ramp(3), 2, (7, 2), first=1)[0, 0, :, 0].tolist() == [0, 0, 0.5, 1, 1.5, 2, 2]
    assert enlarge(ramp(2), 4, (6, 2), first=2.5)[0, 0, :, 0].tolist() == [0, 0, 0, 0.125, 0.375, 0.625]
    assert torch.equal(enlarge(ramp(3), 8, (20, 3), first=3.5), enlarge(ramp(3), 8, (20, 3)))


@given(
    seed=seeds, factor=st.sampled_from([2, 8, 16, 32]), halves=st.integers(0, 40),
    cells=st.integers(1, 5), height=st.integers(1, 90), width=st.integers(1, 90),
)  # fmt: skip
def test_enlarge_reads_every_pixel_between_its_cells(seed, factor, halves, cells, height, width):
    first = halves / 2 + (factor - 1) / 2
    scores = torch.randn(1, 4, cells, cells, generator=torch.Generator().manual_seed(seed))
    found = enlarge(scores, factor, (height, width), first)[0].movedim(0, -1)
    size = (height, width)
    np.testing.assert_allclose(found, interpolated(scores[0].movedim(0, -1), factor, -first / factor, size, size), atol=1e-5)


@given(seed=seeds, stride=st.sampled_from([1, 2, 4, 8, 32]), height=st.integers(1, 70), width=st.integers(1, 70))
def test_labels_are_the_argmax_of_the_enlarged_map(seed, stride, height, width):
    cells = torch.randn(1, 5, -(-height // stride), -(-width // stride), generator=torch.Generator().manual_seed(seed))
    found = ScoreMap.of_cells(cells, stride)
    scores = Scores(cells[0].movedim(0, -1).contiguous().numpy(), found.stride, found.shift, (height, width))
    labels = scores.labels((height, width))
    assert labels.shape == (height, width)
    assert_argmax(labels, enlarge(cells, stride, (height, width))[0].movedim(0, -1).double().numpy())


@given(
    seed=seeds,
    cells=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 7)),
    stride=st.sampled_from([1, 2, 3, 8, 16, 32]),
    shift=st.floats(-2, 2),
    seen=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    few_values=st.booleans(),
)
def test_labels_and_probabilities_at_any_size(seed, cells, stride, shift, seen, size, few_values):
    random = np.random.default_rng(seed)
    # Whole numbers make ties and cells whose four corners agree.
    values = random.integers(0, 3, cells) if few_values else random.normal(size=cells)
    scores = Scores(values.astype(np.float32), stride, shift, seen)
    expected = interpolated(scores.scores, stride, shift, seen, size)
    assert_argmax(scores.labels(size), expected)
    softmax = torch.from_numpy(expected).softmax(2).movedim(2, 0).numpy()
    np.testing.assert_allclose(scores.probabilities(size), softmax, atol=1e-5)


def test_labels_between_two_cells_change_where_the_scores_cross():
    # Class 0 falls from 3 to 0 and class 1 rises from 0 to 1: they meet at 3/4 of the way from cell 0 to cell 1.
    scores = np.array([[[3, 0], [0, 1]]], np.float32)
    assert Scores(scores, 8, 0.0, (1, 12)).labels((1, 12)).tolist() == [[0] * 7 + [1] * 5]


def test_a_class_that_wins_only_between_two_cells():
    # A quarter of the way from cell 0 to cell 1 the classes have 3, 1 and 3.5.
    scores = np.array([[[4, 0, 3.5], [0, 4, 3.5]]], np.float32)
    assert Scores(scores, 4, 0.0, (1, 5)).labels((1, 5)).tolist() == [[0, 2, 2, 2, 1]]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (17, 25), (33, 8)])
@pytest.mark.parametrize("cells", [(1, 1), (3, 1), (3, 4)])
def test_a_cornered_map_is_torchs_interpolation_with_corners_aligned(size, cells):
    scores = torch.randn(1, 2, *cells, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(scores, size, mode="bilinear", align_corners=True)[0].movedim(0, -1).numpy()
    found = ScoreMap.cornered(scores, size)
    ours = Scores(scores[0].movedim(0, -1).numpy(), found.stride, found.shift, size)
    np.testing.assert_allclose(ours.interpolated(size), wanted, atol=1e-5)
