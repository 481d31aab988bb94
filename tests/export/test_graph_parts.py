"""What replaces torch's functions in a graph computes what they compute."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from perpixel.layers.score_map import ScoreMap
from perpixel.machines.engines import open_engine
from perpixel.weights.exported_file import serialized
from perpixel.weights.graph import Cells, as_onnx
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


def test_a_window_of_3_pools_a_side_of_1() -> None:
    x = torch.randn(1, 2, 1, 4, generator=torch.Generator().manual_seed(0))
    with Alike():
        pooled = F.max_pool2d(x, 3, 2, ceil_mode=True)
    assert torch.equal(pooled, F.max_pool2d(F.pad(x, (0, 1, 0, 2), value=-torch.inf), 3, 2))


def test_a_graph_pools_a_map_of_one_cell() -> None:
    with Alike():
        traced = torch.export.export(torch.nn.MaxPool2d(2, ceil_mode=True), (torch.zeros(1, 1, 4, 4),), strict=False)
    assert "pad" in str(traced.graph), "the function was replaced"


class Normalised(torch.nn.Module):
    """As ParseNet's: 1e-10 keeps a cell of zeros from 0 / 0."""

    def score_map(self, images: torch.Tensor) -> ScoreMap:
        return ScoreMap.of_cells(images / (images.square().sum(1, keepdim=True) + 1e-10).sqrt(), 1)


def test_a_small_number_that_is_added_stays_in_a_graph() -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    graph = as_onnx(Cells(Normalised()), ["scores", "span"])
    for images in (np.zeros((1, 3, 5, 7), np.float32), np.full((1, 3, 5, 7), 1e-6, np.float32)):
        scores = open_engine("onnx", serialized(graph), 1).run(images)[0]
        np.testing.assert_allclose(scores, Normalised().score_map(torch.from_numpy(images)).scores.numpy(), rtol=1e-6)
