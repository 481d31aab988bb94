"""The objects of a picture: the masks of many objects in the memory of a few, as crops, as one map of numbers, or as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Crop:
    """The pixels of an object in a picture of `size` (height, width), in the smallest box around them.

    The box has the `shape` (h, w) and begins at `top`, `left`. `bits` has its pixels, eight in a byte, because the masks of
    hundreds of objects in a large picture would fill the memory."""

    bits: NDArray[np.uint8]
    shape: tuple[int, int]
    top: int
    left: int
    size: tuple[int, int]

    @classmethod
    def of(cls, mask: NDArray[np.bool_], top: int = 0, left: int = 0, size: tuple[int, int] | None = None) -> Crop:
        """The smallest box around the pixels of a mask, which is the picture (H, W), or a part of it from `top`, `left` on."""
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        size = size or (mask.shape[0], mask.shape[1])
        if not rows.size:
            return cls(np.zeros(0, np.uint8), (0, 0), 0, 0, size)
        inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        shape = inside.shape[0], inside.shape[1]
        return cls(np.packbits(inside), shape, top + int(rows[0]), left + int(columns[0]), size)

    @property
    def pixels(self) -> NDArray[np.bool_]:
        """The pixels of the box, bool (h, w)."""
        height, width = self.shape
        return np.unpackbits(self.bits, count=height * width).view(np.bool_).reshape(height, width)

    @property
    def box(self) -> tuple[slice, slice]:
        """Where the box lies in the picture."""
        return slice(self.top, self.top + self.shape[0]), slice(self.left, self.left + self.shape[1])

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels (H, W) in the whole picture."""
        mask = np.zeros(self.size, np.bool_)
        mask[self.box] = self.pixels
        return mask

    def joined(self, other: Crop) -> Crop:
        """The pixels of both."""
        if not (self.bits.size and other.bits.size):
            return self if self.bits.size else other
        boxes = self.box, other.box
        top, left = (min(box[axis].start for box in boxes) for axis in (0, 1))
        bottom, right = (max(box[axis].stop for box in boxes) for axis in (0, 1))
        mask = np.zeros((bottom - top, right - left), np.bool_)
        for crop in (self, other):
            at = crop.top - top, crop.left - left
            mask[at[0] : at[0] + crop.shape[0], at[1] : at[1] + crop.shape[1]] |= crop.pixels
        return Crop.of(mask, top, left, self.size)


@dataclass(frozen=True)
class PlainInstances:
    """The content of `Instances`, as files keep it."""

    crops: tuple[Crop, ...]
    size: tuple[int, int]
    class_ids: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    scores: NDArray[np.float32] | None


class Instances:
    """Objects of one picture: `masks` bool (N, H, W), `class_ids` int64 (N,), `scores` float32 (N,) in [0, 1] or none.

    `crowd` bool (N,) is True for an entry that stands for many objects whose outlines nobody separated; by default all are False.
    `numbers` int32 (H, W) holds all objects in one map: i + 1 at object i, and 0 elsewhere. Where objects overlap, it has the
    last."""

    _size: tuple[int, int]

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

    @classmethod
    def of_crops(
        cls,
        crops: Sequence[Crop],
        size: tuple[int, int],
        class_ids: NDArray[np.int64],
        crowd: NDArray[np.bool_],
        scores: NDArray[np.float32] | None = None,
    ) -> Instances:
        """Objects of a picture of this size by their crops; `masks` and `numbers` are made when they are first asked for."""
        objects = cls.__new__(cls)
        objects._crops, objects._size = crops, size
        objects.class_ids, objects.scores, objects.crowd = class_ids, scores, crowd
        return objects

    def plain(self) -> PlainInstances:
        """Its content, for a file (see `shards.plain`)."""
        crops = tuple(self.crop(index) for index in range(len(self.class_ids)))
        return PlainInstances(crops, self.size, self.class_ids, self.crowd, self.scores)

    @classmethod
    def of_plain(cls, content: PlainInstances) -> Instances:
        """The inverse of `plain`."""
        return cls.of_crops(content.crops, content.size, content.class_ids, content.crowd, content.scores)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        if "_size" in vars(self):
            return self._size
        height, width = (self.masks if "masks" in vars(self) else self.numbers).shape[-2:]
        return height, width

    @property
    def by_score(self) -> list[int]:
        """The indices of the objects in the order of drawing: the highest score last; without scores in their own order."""
        return [*range(len(self.class_ids))] if self.scores is None else np.argsort(self.scores, kind="stable").tolist()

    def mask(self, index: int) -> NDArray[np.bool_]:
        """The pixels (H, W) of one object, without making the masks of all."""
        if "masks" in vars(self):
            mask: NDArray[np.bool_] = self.masks[index]
            return mask
        if "_crops" in vars(self):
            return self._crops[index].mask
        shown: NDArray[np.bool_] = self.numbers == index + 1
        return shown

    def crop(self, index: int) -> Crop:
        """The pixels of one object in the smallest box around them. No mask is made where objects have none."""
        return self._crops[index]

    @cached_property
    def _crops(self) -> Sequence[Crop]:
        if "masks" in vars(self):
            return [Crop.of(mask) for mask in self.masks]
        from scipy import ndimage  # imported here, because it takes a quarter of a second to load

        size, count = (self.numbers.shape[0], self.numbers.shape[1]), len(self.class_ids)
        slices = ndimage.find_objects(self.numbers, count) if count else []
        boxes = [box or (slice(0, 0), slice(0, 0)) for box in slices]
        return [
            Crop.of(self.numbers[box] == number, box[0].start, box[1].start, size) for number, box in enumerate(boxes, start=1)
        ]

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        if "_size" in vars(self):
            return np.array([crop.mask for crop in self._crops], np.bool_).reshape(len(self._crops), *self._size)
        masks: NDArray[np.bool_] = self.numbers == np.arange(1, len(self.class_ids) + 1, dtype=np.int32)[:, None, None]
        return masks

    @cached_property
    def numbers(self) -> NDArray[np.int32]:
        if "_size" in vars(self):
            drawn = np.zeros(self._size, np.int32)
            for number, crop in enumerate(self._crops, start=1):
                drawn[crop.box][crop.pixels] = number
            return drawn
        numbers = np.zeros(self.masks.shape[1:], np.int32)
        for number, mask in enumerate(self.masks, start=1):
            numbers[mask] = number
        return numbers
