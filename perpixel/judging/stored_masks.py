"""Predicted masks in files: which file is the mask of a picture, and its labels."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from perpixel.classes import refuse_void
from perpixel.datasets import Dataset, HasPictures
from perpixel.datasets.cityscapes import Cityscapes, train_ids
from perpixel.errors import DataError
from perpixel.files import in_either_form, walk
from perpixel.images import read_labels, read_labels_fast
from perpixel.sample import Prediction, Sample

SUFFIXES = (".png", ".tif", ".tiff", ".bmp")


def masks_of(folder: Path, dataset: Dataset) -> Callable[[Sample], Prediction]:
    """A function from a sample to its mask: the file that is called as the sample, or as the file of its picture, which may lie
    in a folder of its city, say; in `folder`, or in its `masks/`.

    It raises DataError for a mask that is missing, of another size than the truth, or of other values."""
    files: dict[str, Path] = {}
    if isinstance(dataset, HasPictures):
        files = {dataset.name(index): dataset.picture(index) for index in range(len(dataset))}
    return lambda sample: Prediction(_labels(folder, sample, files.get(sample.name), dataset), dataset.classes)


def label_ids_of(folder: Path, dataset: Dataset) -> Callable[[Sample], Prediction]:
    """The same for masks of label ids, as Cityscapes' server takes them: PNGs anywhere below the folder, named
    CITY_SEQUENCE_FRAME*.png. Values are not looked at."""
    names = sorted((path.name, str(path)) for path in walk(folder) if path.suffix == ".png")
    return lambda sample: Prediction(read_labels_fast(_only_file(names, sample.name, folder)), dataset.classes)


def _labels(folder: Path, sample: Sample, picture: Path | None, dataset: Dataset) -> NDArray[Any]:
    names = [sample.name, *([picture.stem, f"{picture.parent.name}/{picture.stem}"] if picture else [])]
    places = [place / f"{name}{suffix}" for name in names for place in (folder, folder / "masks") for suffix in SUFFIXES]
    path = next((file for place in places if (file := in_either_form(place)).exists()), places[0])
    if not path.exists():
        raise DataError(f"{path}: there is no mask for the picture {sample.name}; predict it first.")
    mask, classes = read_labels(path), dataset.classes
    assert sample.labels is not None
    if mask.shape != sample.labels.shape:
        raise DataError(f"{path}: is {mask.shape}, the truth {sample.labels.shape}; masks are judged at the truth's size.")
    try:
        labels = classes.decode(mask, str(path))
        refuse_void(mask, (labels == classes.void) & (sample.labels != classes.void), str(path))
    except DataError as error:
        raise (train_ids(mask, path) if isinstance(dataset, Cityscapes) else None) or error from None
    return labels


def _only_file(names: list[tuple[str, str]], name: str, folder: Path) -> Path:
    """The one file whose name begins with `name`; `names` are sorted names and paths."""
    first = bisect_left(names, (name, ""))
    after = next((i for i in range(first, len(names)) if not names[i][0].startswith(name)), len(names))
    if after - first == 1:
        return Path(names[first][1])
    if after == first:
        raise DataError(f"{folder}: holds no mask {name}*.png; predict it first.")
    raise DataError(f"{folder}: holds {names[first][1]} and {names[first + 1][1]} for the picture {name}; keep one.")
