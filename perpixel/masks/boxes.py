"""Boxes of pixels: enlarging them, and their intersection over union."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]  # (N, 4): top, left, bottom, right in pixels; bottom and right are the first row and column outside


def enlarge(boxes: Boxes, factor: float) -> Boxes:
    """`boxes` (N, 4) with both sides `factor` times as long and the same centres. They may reach out of the picture."""
    middle, half = (boxes[:, 2:] + boxes[:, :2]) / 2, (boxes[:, 2:] - boxes[:, :2]) * (factor / 2)
    return np.concatenate([middle - half, middle + half], axis=1)


def overlaps(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Intersection over union of each of `boxes` (N, 4) with each of `others` (M, 4): (N, M), in [0, 1]."""
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    intersections = np.clip(bottom_right - top_left, 0, None).prod(axis=2)
    areas, other_areas = ((corners[:, 2:] - corners[:, :2]).prod(axis=1) for corners in (boxes, others))
    return np.asarray(intersections / (areas[:, None] + other_areas[None] - intersections))
