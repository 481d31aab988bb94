"""Maps whose cells lie on pixels: padding, enlarging and reading labels, for every size."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from perpixel.layers.corners import at_cells, on_pixels, padded, spread
from perpixel.layers.score_map import ScoreMap
from perpixel.sample import Targets

sides = st.integers(1, 70)
COLOUR = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)


@pytest.mark.parametrize(("stride", "side", "becomes"), [
    (8, 321, 321), (8, 322, 329), (8, 1, 1), (8, 2, 9), (16, 513, 513), (16, 512, 513), (16, 500, 513),
])  # fmt: skip
def test_sides_become_a_multiple_of_the_stride_and_one(stride: int, side: int, becomes: int) -> None:
    assert padded(torch.zeros(1, 3, side, 1), stride, COLOUR).shape == (1, 3, becomes, 1)


@given(height=sides, width=sides)
def test_what_is_added_is_the_colour_at_the_bottom_and_on_the_right(height: int, width: int) -> None:
    images = torch.rand(2, 3, height, width)
    found = padded(images, 8, COLOUR)
    torch.testing.assert_close(found[..., :height, :width], images)
    around = torch.ones(found.shape[-2:], dtype=torch.bool)
    around[:height, :width] = False
    torch.testing.assert_close(found[..., around], COLOUR.view(1, 3, 1).expand(2, 3, int(around.sum())))


def test_the_cells_of_padded_windows_lie_on_pixels() -> None:
    """Each window is centred on its pixel: a picture whose columns are numbered comes out with 0, 8, 16 ..."""
    windows = nn.Sequential(*(nn.AvgPool2d(side, 2, side // 2, count_include_pad=False) for side in (7, 3, 3)))
    numbers = torch.arange(81.0).expand(1, 1, 81, 81)
    found = windows(numbers)[0, 0]
    assert found.shape == (11, 11)
    torch.testing.assert_close(found[5, 2:-2], torch.arange(0.0, 81, 8)[2:-2])


@given(height=sides, width=sides, stride=st.sampled_from([4, 8, 16]))
def test_enlarging_is_interpolation_with_corners_aligned(height: int, width: int, stride: int) -> None:
    whole = [stride * -(-(side - 1) // stride) + 1 for side in (height, width)]
    scores = torch.randn(1, 2, *((side - 1) // stride + 1 for side in whole))
    expected = F.interpolate(scores, whole, mode="bilinear", align_corners=True)[..., :height, :width]
    torch.testing.assert_close(spread(scores, stride, (height, width)), expected)


def test_on_a_padded_picture_it_is_the_cornered_map() -> None:
    scores = torch.randn(1, 2, 5, 9)
    ours, theirs = on_pixels(scores, 16), ScoreMap.cornered(scores, (65, 129))
    assert theirs.stride == (ours.stride, ours.stride) == (16, 16)
    assert theirs.shift == (ours.shift, ours.shift) == (0, 0)


@given(height=sides, width=sides)
def test_labels_are_those_of_every_eighth_pixel(height: int, width: int) -> None:
    labels, weights = torch.randint(9, (2, height, width)), torch.rand(2, height, width)
    scores = torch.randn(2, 3, -(-(height - 1) // 8) + 1, -(-(width - 1) // 8) + 1)
    cells, found = at_cells(scores, Targets(labels, weights), 8)
    assert torch.equal(found.labels, labels[:, ::8, ::8])
    assert found.weights is not None
    assert torch.equal(found.weights, weights[:, ::8, ::8])
    assert torch.equal(cells, scores[..., : found.labels.shape[1], : found.labels.shape[2]])


def test_a_smaller_copy_reads_the_nearest_pixels() -> None:
    """Of 321 pixels at 0.75: 31 cells from corner to corner, 10.667 pixels apart."""
    labels = torch.arange(321).expand(1, 321, 321)
    _, found = at_cells(torch.zeros(1, 2, 31, 31), Targets(labels), 8)
    assert found.labels[0, 0].tolist() == [int(320 * cell / 30 + 0.5) for cell in range(31)]
