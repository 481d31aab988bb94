"""What travels: a Sample goes in, a Prediction comes out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable


class Instances:
    """Objects of one picture: `masks` bool (N, H, W), `class_ids` int64 (N,), `scores` float32 (N,) in [0, 1] or none.

    `crowd` bool (N,) is True where an entry stands for many objects that nobody told apart; without it none does.
    `numbers` int32 (H, W) says the same in the space of one mask: 0 where no object is, i + 1 at object i; of objects that
    overlap it shows the last."""

    def __init__(
        self,
        masks: NDArray[np.bool_],
        class_ids: NDArray[np.int64],
        scores: NDArray[np.float32] | None = None,
        crowd: NDArray[np.bool_] | None = None,
    ) -> None:
        self.masks, self.class_ids, self.scores = masks, class_ids, scores
        self.crowd = np.zeros(len(class_ids), np.bool_) if crowd is None else crowd

    @classmethod
    def of_numbers(
        cls, numbers: NDArray[Any], class_ids: NDArray[np.int64], crowd: NDArray[np.bool_] | None = None
    ) -> Instances:
        """Objects by `numbers` (H, W); their `masks` are made when they are first asked for."""
        objects = cls.__new__(cls)
        objects.numbers, objects.class_ids, objects.scores = numbers.astype(np.int32, copy=False), class_ids, None
        objects.crowd = np.zeros(len(class_ids), np.bool_) if crowd is None else crowd
        return objects

    def mask(self, index: int) -> NDArray[np.bool_]:
        """The pixels (H, W) of one object, without making the masks of all."""
        if "masks" in vars(self):
            mask: NDArray[np.bool_] = self.masks[index]
            return mask
        shown: NDArray[np.bool_] = self.numbers == index + 1
        return shown

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        masks: NDArray[np.bool_] = self.numbers == np.arange(1, len(self.class_ids) + 1, dtype=np.int32)[:, None, None]
        return masks

    @cached_property
    def numbers(self) -> NDArray[np.int32]:
        numbers = np.zeros(self.masks.shape[1:], np.int32)
        for number, mask in enumerate(self.masks, start=1):
            numbers[mask] = number
        return numbers


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
