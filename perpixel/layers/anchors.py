"""Boxes that a network begins its search for objects with, and how they are told from objects (Faster R-CNN, Ren et al., NIPS
2015, section 3.1; FPN, section 4).

A box is left, top, right, bottom in pixels of the network's input. Its sides are edges: from 0 to 4 are four pixels. Conventions
are torchvision's, which computes as Detectron does but for Detectron's boxes, whose last pixel is inside."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

RATIOS = (0.5, 1.0, 2.0)  # height over width
LARGEST_LOG = math.log(1000 / 16)  # of the ratio by which a side is changed
NEGATIVE, BETWEEN = -1, -2  # in place of the object of a box
AT_ONCE = 1 << 22  # overlaps that are in memory, with some 40 bytes each


def anchors(
    shapes: Sequence[tuple[int, int]], size: tuple[int, int], sides: Sequence[Sequence[float]], device: torch.device
) -> list[Tensor]:
    """For each feature map of `shapes` (height, width) its boxes float32 (h * w * A, 4), row by row.

    At each cell are the ratios of RATIOS, each with all `sides` of the level: roots of the area. The stride is the input's `size`
    over the map's, rounded down."""
    levels = []
    for (height, width), level_sides in zip(shapes, sides, strict=True):
        cell = _at_a_cell(level_sides).to(device)
        rows = torch.arange(height, device=device) * (size[0] // height)
        columns = torch.arange(width, device=device) * (size[1] // width)
        top, left = torch.meshgrid(rows, columns, indexing="ij")
        shifts = torch.stack([left, top, left, top], -1).reshape(-1, 1, 4)
        levels.append((shifts + cell).reshape(-1, 4))
    return levels


def _at_a_cell(sides: Sequence[float]) -> Tensor:
    """The boxes (A, 4) about 0, in whole pixels."""
    heights = torch.tensor(RATIOS).sqrt()
    areas = torch.tensor(sides, dtype=torch.float32)
    half = torch.stack([((1 / heights)[:, None] * areas).flatten(), (heights[:, None] * areas).flatten()], 1) / 2
    return torch.cat([-half, half], 1).round()


def encode(objects: Tensor, boxes: Tensor, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """The changes (N, 4) that make each of `boxes` (N, 4) the object (N, 4) beside it.

    Those of the centre are in sides of the box, those of the sides logarithms; each is multiplied by its weight."""
    sides, centres = _sides_and_centres(boxes)
    wanted_sides, wanted_centres = _sides_and_centres(objects)
    changes = torch.cat([(wanted_centres - centres) / sides, (wanted_sides / sides).log()], 1)
    return changes * changes.new_tensor(weights)


def decode(changes: Tensor, boxes: Tensor, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """The boxes that `changes` (..., 4) make of `boxes` (..., 4): the inverse of `encode`, but that no side grows 62.5-fold."""
    sides, centres = _sides_and_centres(boxes)
    changes = changes / changes.new_tensor(weights)
    centres = changes[..., :2] * sides + centres
    half = changes[..., 2:].clamp(max=LARGEST_LOG).exp() * sides / 2
    return torch.cat([centres - half, centres + half], -1)


def _sides_and_centres(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sides = boxes[..., 2:] - boxes[..., :2]
    return sides, boxes[..., :2] + sides / 2


def matched(objects: Tensor, boxes: Tensor, high: float, low: float, each: bool = False) -> Tensor:
    """For each of `boxes` (N, 4) the object, of `objects` (M, 4), that it overlaps the most, int64 (N,).

    Below an IoU of `low` it is NEGATIVE, from there to `high` BETWEEN. With `each`, the boxes that overlap an object the most are
    matched too, however little that is. No more than AT_ONCE overlaps are in memory."""
    from torchvision.ops import box_iou  # only now: it takes two seconds to import

    best = boxes.new_full((len(boxes),), -1.0)
    nearest = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    chosen = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    rows = max(1, AT_ONCE // max(1, len(boxes)))
    for start in range(0, len(objects) if len(boxes) else 0, rows):
        overlaps = box_iou(objects[start : start + rows], boxes)
        values, places = overlaps.max(0)
        better = values > best
        best, nearest = torch.where(better, values, best), torch.where(better, places + start, nearest)
        if each:
            highest = overlaps.max(1, keepdim=True).values
            chosen |= ((overlaps == highest) & (highest > 0)).any(0)
    unmatched = torch.where(best >= low, BETWEEN, NEGATIVE)
    return torch.where((best >= high) | chosen, nearest, unmatched)


def share_inside(boxes: Tensor, region: Tensor) -> Tensor:
    """Of the pixels that each of `boxes` (N, 4) covers in a picture, the share that lies in its `region` bool (H, W).

    Sides are rounded to whole pixels. A box beside the picture counts by the pixels of the border that are nearest to it."""
    height, width = region.shape
    sums = F.pad(region.to(torch.int32).cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32), (1, 0, 1, 0))
    left, top, right, bottom = boxes.round().long().unbind(1)
    left, top = left.clamp(0, width - 1), top.clamp(0, height - 1)
    right, bottom = torch.maximum(right.clamp(max=width), left + 1), torch.maximum(bottom.clamp(max=height), top + 1)
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return inside / ((right - left) * (bottom - top))
