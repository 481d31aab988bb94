"""What replaces torch's functions in a graph computes what they compute."""

import pytest
import torch
from torch.nn import functional as F

from perpixel.weights.graph_parts import Alike


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("before", [(5, 7), (60, 300), (301, 411)])
@pytest.mark.parametrize("after", [(3, 3), (61, 200), (224, 224)])
def test_a_smoothed_resize_is_torchs(mode: str, before: tuple[int, int], after: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *before, generator=torch.Generator().manual_seed(0))
    with Alike():
        ours = F.interpolate(x, size=after, mode=mode, antialias=True)
    torch.testing.assert_close(ours, F.interpolate(x, size=after, mode=mode, antialias=True), rtol=0, atol=2e-6)
    assert not torch.equal(ours, F.interpolate(x, size=after, mode=mode, antialias=True)), "the function was replaced"


def test_of_equal_values_the_first_gives_the_place_and_values_return_there() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(3, (2, 3, 6, 14), generator=generator).float()
    most, places = F.max_pool2d(x, 2, return_indices=True)
    with Alike():
        ours = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(ours[0], most)
    assert torch.equal(ours[1], places)
    values = torch.rand(most.shape, generator=generator)
    with Alike():
        spread = F.max_unpool2d(values, places, 2)
    assert torch.equal(spread, F.max_unpool2d(values, places, 2))


def test_what_is_not_replaced_stays() -> None:
    x = torch.rand(1, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    for arguments in ({"kernel_size": 2}, {"kernel_size": 3}, {"kernel_size": 2, "stride": 1}, {"kernel_size": 2, "padding": 1}):
        most, places = F.max_pool2d(x, return_indices=True, **arguments)  # windows of 2 x 2 do not tile 9 x 9
        with Alike():
            ours = F.max_pool2d(x, return_indices=True, **arguments)
        assert torch.equal(ours[0], most)
        assert torch.equal(ours[1], places)
    most, places = F.max_pool2d(x, 2, return_indices=True)
    with Alike():
        spread = F.max_unpool2d(most, places, 2, output_size=(9, 9))
    assert torch.equal(spread, F.max_unpool2d(most, places, 2, output_size=(9, 9)))
    with Alike():
        assert torch.equal(F.interpolate(x, (4, 4), mode="bilinear"), F.interpolate(x, size=(4, 4), mode="bilinear"))


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 7)])
def test_edges_go_on_as_torchs(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    for margins in ((1, 2, 3, 0), (0, 4), (0, 0, 0, 0)):
        with Alike():
            ours = F.pad(x, margins, mode="replicate") if len(margins) == 4 else F.pad(x[0], margins, mode="replicate")
        assert torch.equal(ours, F.pad(x if len(margins) == 4 else x[0], margins, mode="replicate"))


@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize("sides", [(2, 2), (3, 2), (9, 8), (8, 9)])
def test_pools_that_round_up_are_torchs(window: int, sides: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *sides, generator=torch.Generator().manual_seed(0))
    for padding in (0, 1):
        pool = torch.nn.MaxPool2d(window, 2, padding, ceil_mode=True)
        with Alike():
            ours = pool(x)
        assert torch.equal(ours, pool(x))


def test_a_graph_pools_a_map_of_one_cell() -> None:
    with Alike():
        traced = torch.export.export(torch.nn.MaxPool2d(2, ceil_mode=True), (torch.zeros(1, 1, 4, 4),), strict=False)
    assert "pad" in str(traced.graph), "the function was replaced"
