"""Predictions in files: which file is the mask of a picture, and its labels; and which holds its objects or its panoptic map."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable, refuse_void
from perpixel.codecs import tiff
from perpixel.datasets import Dataset, HasPictures, HasTruths
from perpixel.datasets.cityscapes import Cityscapes, train_ids
from perpixel.datasets.coco import panoptic_ids, require_listed
from perpixel.datasets.coco_annotations import read_panoptic
from perpixel.errors import DataError
from perpixel.files import in_either_form, walk
from perpixel.images import read_labels, read_labels_fast
from perpixel.prediction import panoptic
from perpixel.prediction.instances import INSTANCES, labels_of, read_instances
from perpixel.prediction.panoptic import PANOPTIC
from perpixel.sample import PanopticMap, Prediction, Sample, Segment

TIFF_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (".png", *TIFF_SUFFIXES, ".bmp")


def masks_of(folder: Path, dataset: Dataset) -> Callable[[Sample], Prediction]:
    """A function from a sample to its mask: the file that is called as the sample, or as the file of its picture, which may lie
    in a folder of its city, say; in `folder`, or in its `masks/`.

    It raises DataError for a mask that is missing, of another size or georeference than the truth, or of other values."""
    files, truths = _pictures(dataset), _truths(dataset)

    def answer(sample: Sample) -> Prediction:
        labels, path = _labels(folder, sample, files.get(sample.name), dataset)
        _require_place(path, [file for file in (truths.get(sample.name), files.get(sample.name)) if file is not None])
        return Prediction(labels, dataset.classes)

    return answer


def objects_of(folder: Path, dataset: Dataset) -> Callable[[Sample], Prediction]:
    """The same for the objects that `perpixel predict` left in `folder/instances/`, and the labels that they draw.

    It raises DataError for a file that is missing or damaged, and for one of another size than the picture."""
    files = _pictures(dataset)

    def answer(sample: Sample) -> Prediction:
        path = _file(sample.name, files.get(sample.name), [folder / INSTANCES], (".json",))
        if not path.exists():
            raise DataError(f"{path}: there is no file of objects for the picture {sample.name}; predict it first.")
        objects = read_instances(path, dataset.classes)
        if sample.instances is not None and objects.size != sample.instances.size:
            raise DataError(f"{path}: is {objects.size}, the truth {sample.instances.size}; objects are judged at its size.")
        return Prediction(labels_of(objects, dataset.classes), dataset.classes, None, objects)

    return answer


def maps_of(folder: Path, dataset: Dataset) -> Callable[[Sample], Prediction]:
    """The same for the panoptic maps that `perpixel predict` left in `folder`: panoptic.json and the PNGs that it names.

    Categories are known by their names. Raises DataError for a damaged file, and a category that the data set does not have. What
    it returns raises DataError for a picture without a map, and a map that is missing or shows other segments."""
    files, path = _pictures(dataset), folder / f"{PANOPTIC}.json"
    listed, classes = read_panoptic(path), dataset.classes
    places = {Path(listed.pictures[id].file_name).with_suffix("").as_posix(): id for id in listed.maps}
    others = [name for name in listed.categories.values() if name not in classes.names]
    if others:
        raise DataError(f"{path}: has the category {others[0]!r}, which the data set does not have; predict by its classes.")
    class_ids = {id: classes.id_of(name) for id, name in listed.categories.items()}
    things = frozenset(class_ids[id] for id in listed.things or ())

    def answer(sample: Sample) -> Prediction:
        id = next((places[name] for name in _names(sample.name, files.get(sample.name)) if name in places), None)
        if id is None:
            raise DataError(f"{path}: has no panoptic map of the picture {sample.name}; predict it first.")
        name, segments = listed.maps[id]
        png = path.with_suffix("") / name
        ids = panoptic_ids(png)
        require_listed(np.unique(ids), segments, png, str(path))
        segments_by_class = tuple(Segment(one.id, class_ids[one.category], one.crowd) for one in segments)
        panoptic_map = PanopticMap(ids, segments_by_class, things)
        return Prediction(panoptic.drawn(panoptic_map, classes)[0], classes, panoptic=panoptic_map)

    return answer


def _pictures(dataset: Dataset) -> dict[str, Path]:
    """The files of the pictures by the names of their samples, where they have files."""
    if not isinstance(dataset, HasPictures):
        return {}
    return {dataset.name(index): dataset.picture(index) for index in range(len(dataset))}


def _truths(dataset: Dataset) -> dict[str, Path]:
    """The files of the truth by the names of their samples, where each has one."""
    if not isinstance(dataset, HasTruths):
        return {}
    return {dataset.name(index): dataset.truth_file(index) for index in range(len(dataset))}


def _require_place(path: Path, others: list[Path]) -> None:
    """Raises DataError where a mask states another georeference than the first of `others` that states one."""
    place = _georeference(path)
    for other in others if place is not None else ():
        if (true_place := _georeference(other)) is not None:
            if place is not None and place.differs(true_place):
                raise DataError(
                    f"{path}: lies elsewhere than its truth ({place}; {other.name}: {true_place}); predict the raster of the "
                    "truth, or warp the mask to its pixels."
                )
            return


def _georeference(path: Path) -> tiff.Georeference | None:
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    with path.open("rb") as file:
        return tiff.read_georeference(file)


def label_ids_of(folder: Path, dataset: Dataset) -> Callable[[Sample], Prediction]:
    """The same for masks of label ids, as Cityscapes' server takes them: PNGs anywhere below the folder, named
    CITY_SEQUENCE_FRAME*.png. Values are not looked at."""
    names = sorted((path.name, str(path)) for path in walk(folder) if path.suffix == ".png")
    return lambda sample: Prediction(read_labels_fast(_only_file(names, sample.name, folder)), dataset.classes)


def _labels(folder: Path, sample: Sample, picture: Path | None, dataset: Dataset) -> tuple[NDArray[Any], Path]:
    """The class ids of the mask of a sample, and its file."""
    path = _file(sample.name, picture, [folder, folder / "masks"], SUFFIXES)
    if not path.exists():
        raise DataError(f"{path}: there is no mask for the picture {sample.name}; predict it first.")
    mask, classes = read_labels(path), _with_no_data(path, dataset.classes)
    assert sample.labels is not None
    if mask.shape != sample.labels.shape:
        raise DataError(f"{path}: is {mask.shape}, the truth {sample.labels.shape}; masks are judged at the truth's size.")
    try:
        labels = classes.decode(mask, str(path))
        refuse_void(mask, (labels == classes.void) & (sample.labels != classes.void), str(path))
    except DataError as error:
        raise (train_ids(mask, path) if isinstance(dataset, Cityscapes) else None) or error from None
    return labels, path


def _with_no_data(path: Path, classes: ClassTable) -> ClassTable:
    """The table, by which the value that a TIFF declares for no data is void, unless it is a class."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return classes
    with path.open("rb") as file:
        value = tiff.read_no_data(file)
    known = {value for values in (*classes.values, classes.void_values) for value in values}
    if value is None or value in known or not 0 <= value <= 65535:
        return classes
    return replace(classes, void_values=(*classes.void_values, value))


def _file(name: str, picture: Path | None, folders: list[Path], suffixes: tuple[str, ...]) -> Path:
    """The file in one of `folders` that is called as the sample, or as the file of its picture; where there is none, the first
    place where it could be."""
    places = [folder / f"{name}{suffix}" for name in _names(name, picture) for folder in folders for suffix in suffixes]
    return next((file for place in places if (file := in_either_form(place)).exists()), places[0])


def _names(name: str, picture: Path | None) -> list[str]:
    """What a file of predictions may be called: as the sample, or as the file of its picture, in a folder of its own or not."""
    return [name, *([picture.stem, f"{picture.parent.name}/{picture.stem}"] if picture else [])]


def _only_file(names: list[tuple[str, str]], name: str, folder: Path) -> Path:
    """The one file whose name begins with `name`; `names` are sorted names and paths."""
    first = bisect_left(names, (name, ""))
    after = next((i for i in range(first, len(names)) if not names[i][0].startswith(name)), len(names))
    if after - first == 1:
        return Path(names[first][1])
    if after == first:
        raise DataError(f"{folder}: holds no mask {name}*.png; predict it first.")
    raise DataError(f"{folder}: holds {names[first][1]} and {names[first + 1][1]} for the picture {name}; keep one.")
