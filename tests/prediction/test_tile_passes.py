"""Operations over the whole picture by passes over tiles: scores equal those of torch's own operation on the whole picture."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.layers.pooling import average_pool, max_pool
from perpixel.layers.score_map import ScoreMap
from perpixel.networks.encnet import Encoding
from perpixel.prediction.score_maps import score_map
from perpixel.prediction.symmetries import ALL, read_back
from perpixel.prediction.tiles import tiles, tiling_of

SIDE = 72


class Scores(nn.Module):
    """Two convolutions of stride 2, an operation on their map, and scores from it, stretched over the picture."""

    def __init__(self, operation: Callable[[Tensor], Tensor], modules: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1))
        self.operation, self.more, self.score = operation, modules, nn.Conv2d(8, 4, 1)
        self.runs = 0

    def score_map(self, images: Tensor) -> ScoreMap:
        if images.device.type != "meta":
            self.runs += 1
        x = self.layers(images)
        x = self.operation(x) if self.more is None else self.operation(self.more, x)
        return ScoreMap.stretched(self.score(x), (images.shape[-2], images.shape[-1]))


def excited(x: Tensor) -> Tensor:
    return x * x.mean((2, 3), keepdim=True).sigmoid()


def grids(pool: Callable[..., list[Tensor]], cornered: bool) -> Callable[[Tensor], Tensor]:
    return lambda x: x + sum(
        F.interpolate(grid, x.shape[-2:], mode="bilinear", align_corners=cornered) for grid in pool(x, (1, 2, 3, 6))
    )


def shrunk(scale: float) -> Callable[[Tensor], Tensor]:
    """The map at a scale, its sides rounded, and back again."""

    def run(x: Tensor) -> Tensor:
        size = [round(side * scale) for side in x.shape[-2:]]
        smaller = F.interpolate(x, size, mode="bilinear", align_corners=True)
        return x + F.interpolate(smaller, x.shape[-2:], mode="bilinear", align_corners=True)

    return run


LEVELS = {  # each operation, and the passes that it takes before the last one
    "mean": (Scores(lambda x: x - x.mean((2, 3), keepdim=True)), 1),
    "sum": (Scores(lambda x: x + x.sum((2, 3), keepdim=True) / 1000), 1),
    "mean over channels too": (Scores(lambda x: x - x.mean((1, 2, 3), keepdim=True)), 1),
    "maximum": (Scores(lambda x: x - x.amax((2, 3), keepdim=True)), 1),
    "length": (Scores(lambda x: x / x.norm(dim=(2, 3), keepdim=True) * 100), 1),
    "group normalisation": (Scores(lambda norm, x: norm(x).relu(), nn.GroupNorm(2, 8)), 1),
    "encoding": (Scores(lambda encoding, x: x + encoding(x).mean(1)[..., None, None] / 100, Encoding(8, 3)), 1),
    "one behind the other": (Scores(lambda x: excited(excited(excited(x)))), 3),
    "side by side": (Scores(lambda x: excited(x) + x.amax((2, 3), keepdim=True)), 1),
    "grids of means": (Scores(grids(average_pool, True)), 1),
    "grids of means, corners not aligned": (Scores(grids(average_pool, False)), 1),
    "grids of maxima": (Scores(grids(max_pool, True)), 1),
    "three quarters of the size": (Scores(shrunk(0.75)), 0),
    "half of an odd size": (
        Scores(lambda x: x + F.interpolate(F.max_pool2d(x, 2, ceil_mode=True), x.shape[-2:], mode="bilinear")), 0
    ),
}  # fmt: skip


@pytest.mark.parametrize("operation", LEVELS)
@pytest.mark.parametrize("size", [(151, 133), (90, 40)], ids=str)
def test_scores_are_those_of_the_whole_picture(operation: str, size: tuple[int, int]) -> None:
    network, levels = LEVELS[operation]
    side = SIDE if levels else 2 * SIDE  # interpolation of rounded sizes needs more room
    size = size if levels else (2 * size[0] + 1, 2 * size[1])
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    whole = score_map(network.eval(), image)
    network.runs = 0
    windows = list(tiles(network, image, size, side, ALL[:1]))
    assert len(windows) > 1
    for window, (part,) in windows:
        np.testing.assert_allclose(part.interpolated(size, window), whole.interpolated(size, window), atol=2e-5, rtol=1e-4)
    summed = network.runs - len(windows)
    assert (summed > 0) == (levels > 0)
    assert summed >= levels * 2
    ending = {0: "those of the whole picture", 1: "summed in a pass before", 3: "summed in 3 passes before"}[levels]
    assert tiling_of(network, side).words.endswith(ending)


def test_turned_pictures_have_sums_of_their_own() -> None:
    network, size = LEVELS["grids of means"][0].eval(), (90, 117)
    image = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    for symmetry in (ALL[3], ALL[6]):
        whole = score_map(network, np.ascontiguousarray(np.rot90(image, 2) if symmetry == ALL[3] else turned_by(image)))
        for window, scores in tiles(network, image, size, SIDE, [symmetry]):
            expected = read_back([whole], [symmetry], size, window)
            np.testing.assert_allclose(read_back(scores, [symmetry], size, window)[0], expected[0], atol=2e-5)


def turned_by(image: np.ndarray) -> np.ndarray:
    """Transposed, then with its rows reversed: ALL[6]."""
    assert ALL[6] == (True, True, False)
    return image.swapaxes(0, 1)[::-1]
