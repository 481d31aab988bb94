"""Boxes, and how they overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]  # (N, 4): top, left, bottom, right in pixels; bottom and right are the first row and column outside


def enlarge(boxes: Boxes, factor: float) -> Boxes:
    """`boxes` (N, 4) with both sides `factor` times as long, about the same centre; they may leave the picture."""
    middle, half = (boxes[:, 2:] + boxes[:, :2]) / 2, (boxes[:, 2:] - boxes[:, :2]) * (factor / 2)
    return np.concatenate([middle - half, middle + half], axis=1)


def overlaps(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Intersection over union of each of `boxes` (N, 4) with each of `others` (M, 4): (N, M), in [0, 1]."""
    first = np.maximum(boxes[:, None, :2], others[None, :, :2])
    last = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.clip(last - first, 0, None).prod(axis=2)
    areas, other_areas = ((some[:, 2:] - some[:, :2]).prod(axis=1) for some in (boxes, others))
    return np.asarray(both / (areas[:, None] + other_areas[None] - both))
