"""Predicted masks and objects in files, checked: each picture of a data set has one file, of its size and with its classes.

A mistake in the file of one picture is a `Problem` of this picture, and the other pictures go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from perpixel.classes import refuse_void
from perpixel.datasets import Dataset
from perpixel.datasets.cityscapes import Cityscapes, train_ids
from perpixel.datasets.coco import Coco
from perpixel.datasets.folder import files_below
from perpixel.errors import DataError, printable
from perpixel.images import MASK_SUFFIXES, read_labels
from perpixel.prediction.instances import INSTANCES, read_instances
from perpixel.sample import Instances

FILES_OF = {"masks": MASK_SUFFIXES, INSTANCES: frozenset({".json"})}  # suffixes of what predict leaves, by folder


@dataclass(frozen=True)
class Problem:
    """What is wrong with one mask, or one picture's lack of it."""

    name: str
    message: str


def sound_masks(masks: Path, dataset: Dataset, problems: list[Problem]) -> Iterator[tuple[int, NDArray[Any]]]:
    """The class ids (H, W) of each picture that has one sound mask, with its place; what is wrong with the others is added."""
    for index, path in _one_file_each(masks, "masks", dataset, problems):
        try:
            labels = _labels(path, dataset, _size(dataset, index))
        except DataError as error:
            problems.append(Problem(dataset.name(index), str(error)))
            continue
        yield index, labels


def sound_objects(folder: Path, dataset: Dataset, problems: list[Problem]) -> Iterator[tuple[int, Instances]]:
    """The objects of each picture that has one sound file of them, with its place; what is wrong with the others is added, and
    that no picture has any."""
    count = 0
    for index, path in _one_file_each(folder, INSTANCES, dataset, problems):
        try:
            objects, size = read_instances(path, dataset.classes), _size(dataset, index)
            if objects.size != size:
                sizes = f"{objects.size[0]}x{objects.size[1]}, its picture {size[0]}x{size[1]} (height x width)"
                raise DataError(f"{printable(path)}: is of {sizes}; predict at the picture's own size.")
            if objects.scores is None and len(objects.class_ids):
                raise DataError(f"{printable(path)}: its objects have no scores, by which the server ranks them; predict them.")
        except DataError as error:
            problems.append(Problem(dataset.name(index), str(error)))
            continue
        count += len(objects.class_ids)
        yield index, objects
    if not count and not problems:
        problems.append(
            Problem(folder.name, f"{printable(folder)}: no object was found in any picture; there is nothing to submit.")
        )


def _one_file_each(folder: Path, kind: str, dataset: Dataset, problems: list[Problem]) -> Iterator[tuple[int, Path]]:
    """The file of each picture that has one, with its place; what is wrong with the others, and files of none, is added.

    `kind` is the folder that `perpixel predict` leaves such files in."""
    names = [dataset.name(index) for index in range(len(dataset))]
    by_picture, strays = _matched(folder, kind, names, isinstance(dataset, Cityscapes))
    for name, path in strays:
        problems.append(Problem(name, f"{printable(path)}: belongs to no picture of {dataset.split}; take it out."))
    one, several = ("file of objects", "files") if kind == INSTANCES else ("mask", "masks")
    for index, (name, paths) in enumerate(zip(names, by_picture, strict=True)):
        if len(paths) == 1:
            yield index, paths[0]
            continue
        message = f"has no {one}; predict it" if not paths else f"has the {several} {', '.join(map(printable, paths))}; keep one"
        problems.append(Problem(name, f"{name}: {message}."))


def _size(dataset: Dataset, index: int) -> tuple[int, int]:
    """The height and width of a picture, of the annotation file where that has them."""
    if isinstance(dataset, Coco) and dataset.listed[index].height:
        return dataset.listed[index].height, dataset.listed[index].width
    height, width = dataset.sample(index).image.shape[:2]
    return height, width


def _labels(path: Path, dataset: Dataset, size: tuple[int, ...]) -> NDArray[Any]:
    """The class ids of a mask of that size without void. Raises DataError for another."""
    mask = read_labels(path)
    try:
        labels = dataset.classes.decode(mask, str(path))
        refuse_void(mask, labels == dataset.classes.void, str(path))
    except DataError as error:
        raise (train_ids(mask, path) if isinstance(dataset, Cityscapes) else None) or error from None
    if labels.shape != size:
        sizes = f"{labels.shape[0]}x{labels.shape[1]}, its picture {size[0]}x{size[1]} (height x width)"
        raise DataError(f"{path}: is {sizes}; predict at the picture's own size.")
    return labels


def _matched(folder: Path, kind: str, names: list[str], prefix: bool) -> tuple[list[list[Path]], list[tuple[str, Path]]]:
    """The files of each name, and those of none. `prefix`: a file's name begins with the picture's."""
    below = folder / kind if (folder / kind).is_dir() else folder  # as predict leaves them
    if not below.is_dir():
        raise DataError(f"{below}: there is no such folder; name the one that holds what was predicted.")
    files = [path for paths in files_below(below, FILES_OF[kind]).values() for path in paths]
    places = {name: index for index, name in enumerate(names)}
    by_picture: list[list[Path]] = [[] for _ in names]
    strays = []
    for path in files:
        known = "_".join(path.stem.split("_")[:3]) if prefix else path.stem
        if known in places:
            by_picture[places[known]].append(path)
        else:
            strays.append((path.stem, path))
    return by_picture, strays
