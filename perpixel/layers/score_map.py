"""ScoreMap: class scores on a coarse grid, and the places at which pixels of the picture read them bilinearly.

Networks that end in a bilinear interpolation return the map before that interpolation. So prediction takes the argmax without
logits at the size of the picture. `enlarge` makes these logits in `forward` and for losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class ScoreMap:
    """`scores` float (B, C, h, w); pixel i of a side reads them at i / stride + shift.

    `shift` is (1 - stride) / (2 stride) where cell j covers the pixels j * stride .. (j + 1) * stride - 1.
    Both are a number for both sides, or a pair: for rows and for columns. `span` is the size (height, width) from which they
    follow, where they follow from one: the cells tile it from edge to edge, or lie with their `corners` on its corners."""

    scores: Tensor
    stride: float | tuple[float, float]
    shift: float | tuple[float, float]
    span: tuple[int, int] | None = None
    corners: bool = False

    @classmethod
    def of_cells(cls, scores: Tensor, stride: int) -> ScoreMap:
        """The map whose cells tile the picture from its top left corner."""
        return cls(scores, stride, (1 - stride) / (2 * stride))

    @classmethod
    def stretched(cls, scores: Tensor, size: tuple[int, int]) -> ScoreMap:
        """The map whose cells tile a picture of `size` from edge to edge: `F.interpolate(scores, size)`, corners not aligned."""
        height, width = (side / cells for side, cells in zip(size, scores.shape[-2:], strict=True))
        return cls(scores, (height, width), ((1 - height) / (2 * height), (1 - width) / (2 * width)), size)

    @classmethod
    def cornered(cls, scores: Tensor, size: tuple[int, int]) -> ScoreMap:
        """The map whose corner cells lie on the corners of a picture of `size`: `F.interpolate`, corners aligned."""
        height, width = (  # a single cell, or pixel, is read at any stride; without a branch, so that a graph has none
            greater(side - 1, 1) / greater(cells - 1, 1) for side, cells in zip(size, scores.shape[-2:], strict=True)
        )
        return cls(scores, (height, width), (0.0, 0.0), size, corners=True)


def greater(first: int, second: int) -> int:
    """The greater of two numbers. In a graph that is being traced sizes are open, and `max` would take one for all pictures."""
    found: int = torch.sym_max(first, second)  # type: ignore[assignment]
    return found


def may_differ_from_0(number: int) -> bool:
    """Whether a number is not 0, or a graph that is being traced leaves it open. There a branch would be taken for all sizes."""
    return not isinstance(number, int) or number != 0


def enlarge(features: Tensor, factor: int, size: tuple[int, int], first: float | None = None) -> Tensor:
    """Bilinear interpolation by exactly `factor`, cut (or its last row and column repeated) to `size` = (height, width).

    A map made by strides that round up is longer than the picture divided by the stride. To stretch it to the picture's size
    would shift its far end by up to a stride. To enlarge it exactly and cut it shifts nothing.
    The centre of cell 0 falls on pixel `first`, a whole number or a half. Its default, and its least value, is (factor - 1) / 2,
    where cells tile. Pixels before the first cell repeat that cell."""
    height, width = size
    tiled = (factor - 1) / 2
    lead = 0 if first is None else int(first - tiled)
    if first is not None and (first - tiled) % 1:  # from centre to centre, where centres fall on pixels
        lead = int(first)
        rows, columns = ((side - 1) * factor + 1 for side in features.shape[-2:])
        features = F.interpolate(features, (rows, columns), mode="bilinear", align_corners=True)
    elif factor > 1:
        features = F.interpolate(features, scale_factor=float(factor), mode="bilinear", align_corners=False)
    missing = greater(0, height - lead - features.shape[-2]), greater(0, width - lead - features.shape[-1])
    if lead or any(map(may_differ_from_0, missing)):
        features = F.pad(features, (lead, missing[1], lead, missing[0]), mode="replicate")
    return features[..., :height, :width]
