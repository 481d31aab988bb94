"""Objects from class labels: connected components. Small components can be dropped, and holes filled.

    numbers = components(prediction.labels, class_id, minimum_area=500)     # int32 (H, W): 0 no object, 1 .. N"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perpixel.errors import UsageError
from perpixel.instances import Instances

NEIGHBOURS = {4: ndimage.generate_binary_structure(2, 1), 8: ndimage.generate_binary_structure(2, 2)}


def components(
    labels: NDArray[Any], class_id: int, connectivity: int = 4, minimum_area: int = 0, fill_holes: bool = False
) -> NDArray[np.int32]:
    """The objects of a class in `labels` (H, W), numbered from 1 in the order of their first pixels; 0 elsewhere.

    An object is a piece of the class whose pixels share edges (`connectivity` 4), or edges or corners (8). With `fill_holes`,
    pixels that the class encloses first become part of the class. The pixels outside of the class then use the other
    connectivity, as topology demands. Last, objects with fewer than `minimum_area` pixels are dropped: U-Net's release for cell
    tracking drops objects below 500 pixels and fills no holes. Raises UsageError for another connectivity or a negative area."""
    refuse_rules(connectivity, minimum_area)
    mask = labels == class_id
    if fill_holes:
        mask = ndimage.binary_fill_holes(mask, NEIGHBOURS[12 - connectivity])
    numbers: NDArray[np.int32] = ndimage.label(mask, NEIGHBOURS[connectivity], output=np.int32)[0]
    return _renumbered(numbers, np.bincount(numbers.ravel()) >= minimum_area) if minimum_area > 1 else numbers


def refuse_rules(connectivity: int, minimum_area: int) -> None:
    """Raises UsageError for a connectivity or an area that `components` refuses."""
    if connectivity not in NEIGHBOURS:
        raise UsageError(f"connectivity = {connectivity}: pixels of an object share edges (4), or edges or corners (8).")
    if minimum_area < 0:
        raise UsageError(f"minimum_area = {minimum_area}: is in pixels; give 0 (all objects) or above.")


def instances_of(numbers: NDArray[Any], class_id: int) -> Instances:
    """The objects of `components`, given by their `numbers` (H, W), as instances of one class."""
    return Instances.of_numbers(numbers, np.full(int(numbers.max()), class_id, np.int64))


def of_class(instances: Instances, class_id: int) -> NDArray[np.int32]:
    """The numbers (H, W) of the instances of one class, from 1; 0 elsewhere. Where instances overlap, the last counts."""
    return _renumbered(instances.numbers, np.concatenate([[False], instances.class_ids == class_id]))


def without_void(numbers: NDArray[Any], void: NDArray[np.bool_]) -> NDArray[np.int32]:
    """`numbers` (H, W) with 0 at `void` pixels (H, W), and without the objects that are void in more than half of their
    pixels."""
    count = int(numbers.max()) + 1
    hidden = np.bincount(numbers[void], minlength=count)
    return _renumbered(np.where(void, 0, numbers), 2 * hidden <= np.bincount(numbers.ravel(), minlength=count))


def _renumbered(numbers: NDArray[Any], keep: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The map of the objects i with `keep[i]`, numbered from 1 in their order."""
    keep = keep.copy()
    keep[0] = False
    table: NDArray[np.int32] = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    renumbered: NDArray[np.int32] = table[numbers]
    return renumbered
