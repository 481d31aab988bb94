"""Maps whose cell j lies on the pixel j * stride of each side, as the DeepLabs' do (Caffe and TensorFlow, corners aligned).

Windows of 3x3 and 7x7 that are padded by half of their side keep such grids. A side of k * stride + 1 pixels, such as 321 and
513, gives k + 1 cells. The last cell lies on the last pixel. So pictures are padded to the next side of that kind. A map is
then enlarged by interpolation between aligned corners, for every size of picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from perpixel.layers.score_map import ScoreMap, enlarge, may_differ_from_0
from perpixel.sample import Targets


def padded(images: Tensor, stride: int, colour: Tensor) -> Tensor:
    """images (B, 3, H, W) with the sides k * stride + 1. Rows at the bottom and columns on the right are added in `colour`
    (3, 1, 1)."""
    down, right = ((1 - side) % stride for side in images.shape[-2:])
    return F.pad(images - colour, (0, right, 0, down)) + colour if any(map(may_differ_from_0, (down, right))) else images


def spread(features: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """`features` on the grid that is `factor` times as fine, cut to `size` = (height, width)."""
    return enlarge(features, factor, size, first=0)


def on_pixels(scores: Tensor, stride: int) -> ScoreMap:
    """The map whose cell j lies on the pixel j * stride. For a padded picture it equals `ScoreMap.cornered`."""
    return ScoreMap(scores, stride, 0.0)


def at_cells(scores: Tensor, targets: Targets, stride: int) -> tuple[Tensor, Targets]:
    """The cells of `scores` that lie in the picture, and the targets at the pixels that are nearest to them.

    `scores` (B, C, h, w) belong to a picture that was padded for `stride`, or to a smaller copy of that picture. In both cases
    their corners lie on the corners of the padded picture."""
    rows, columns = (
        _pixels(cells, side, stride, scores.device)
        for cells, side in zip(scores.shape[-2:], targets.labels.shape[-2:], strict=True)
    )
    labels = targets.labels[:, rows[:, None], columns]
    weights = None if targets.weights is None else targets.weights[:, rows[:, None], columns]
    return scores[..., : len(rows), : len(columns)], Targets(labels, weights)


def _pixels(cells: int, side: int, stride: int, device: torch.device) -> Tensor:
    """The pixel nearest to each of the cells that lie on a side of the picture."""
    last = -(-(side - 1) // stride) * stride
    places = torch.arange(cells, device=device, dtype=torch.float64) * (last / max(1, cells - 1))
    pixels = places.add(0.5).floor().long()
    return pixels[pixels < side]
