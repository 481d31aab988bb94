"""What travels: a Sample goes in, a Prediction comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable


@dataclass(frozen=True)
class Instances:
    """Objects of one picture: `masks` bool (N, H, W), `class_ids` int64 (N,), `scores` float32 (N,) in [0, 1] or none."""

    masks: NDArray[np.bool_]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Sample:
    """One picture with its truth: `image` uint8 RGB (H, W, 3), `labels` class ids (H, W) with void, or none."""

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[Any] | None = None
    instances: Instances | None = None


@dataclass(frozen=True)
class Prediction:
    """A network's answer: `labels` class ids (H, W) at the picture's size, `scores` float32 (C, H, W) in [0, 1] if asked for."""

    labels: NDArray[Any]
    classes: ClassTable
    scores: NDArray[np.float32] | None = None
    instances: Instances | None = None
