"""The data sets of the review, and a user's own. A new data set needs one file here and one line in `DATASETS` or `ON_DISK`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from perpixel.bands import FILE, Bands
from perpixel.classes import ClassTable
from perpixel.datasets import (
    ade20k,
    camvid,
    cell_tracking,
    cityscapes,
    coco,
    context,
    isbi2012,
    nuclei2018,
    nyud,
    scenes,
    siftflow,
    voc,
)
from perpixel.datasets.dataset import Dataset as Dataset
from perpixel.datasets.folder import Folder
from perpixel.datasets.scenes import Scenes
from perpixel.datasets.things import Things
from perpixel.errors import DataError, UsageError, did_you_mean
from perpixel.images import read_size, read_size_of_bands
from perpixel.sample import Sample


@runtime_checkable
class Stored(Protocol):
    """A data set in files. `files` are the files that define the content of its split."""

    def files(self) -> list[Path]: ...


@runtime_checkable
class HasInstances(Protocol):
    """A data set that reads its objects on request only. Other data sets have objects in every sample, or have none."""

    def with_instances(self) -> Dataset: ...


@runtime_checkable
class HasPictures(Protocol):
    """A data set with one file for each picture."""

    def picture(self, index: int) -> Path: ...


@runtime_checkable
class HasTruths(Protocol):
    """A data set with one file of truth for each picture, a mask or instances."""

    def truth_file(self, index: int) -> Path: ...


@runtime_checkable
class HasBands(Protocol):
    """A data set whose pictures may have other bands than RGB; without such `bands` they are RGB."""

    @property
    def bands(self) -> Bands | None: ...
    def __len__(self) -> int: ...
    def image(self, index: int) -> NDArray[Any]: ...
    def with_bands(self, bands: Bands) -> Dataset: ...


@dataclass(frozen=True)
class OnDisk:
    """A published data set below a folder that the user names. All but `open` is known without the folder."""

    open: Callable[[str | Path, str], Dataset]  # takes the folder and the split
    classes: ClassTable
    pictures: Mapping[str, int]  # the published number of pictures, by split
    holds: str  # the content of the folder, in words
    title: str
    judged: tuple[str, str] = ("train", "val")  # the splits to train on and to judge on, which share no picture


DATASETS: dict[str, Callable[[str], Dataset]] = {
    "scenes": Scenes,
    "things": Things,
}


def _context(view: str, title: str) -> OnDisk:
    holds = "VOCdevkit/VOC2010 and pascal-context"
    return OnDisk(partial(context.Context, view=view), context.VIEWS[view], context.PICTURES, holds, f"PASCAL-Context, {title}")


def _coco(view: str, title: str) -> OnDisk:
    return OnDisk(partial(coco.Coco, view=view), coco.VIEWS[view], coco.pictures(view), coco.HOLDS[view], f"COCO, {title}")


def _siftflow(view: str, title: str) -> OnDisk:
    opener = partial(siftflow.SiftFlow, view=view)
    holds = "sift-flow with Images, SemanticLabels, GeoLabels and the lists"
    return OnDisk(opener, siftflow.VIEWS[view], siftflow.PICTURES, holds, f"SIFT Flow, {title}", ("trainval", "test"))


def _cell_tracking(name: str, title: str) -> OnDisk:
    opener, folder = partial(cell_tracking.CellTracking, name=name), cell_tracking.FOLDERS[name]
    title = f"Cell Tracking Challenge, {title}"
    return OnDisk(opener, cell_tracking.CLASSES, cell_tracking.PICTURES[name], folder, title, cell_tracking.FILMS)


def _cityscapes(view: str, title: str) -> OnDisk:
    opener, holds = partial(cityscapes.Cityscapes, view=view), "leftImg8bit with gtFine or gtCoarse"
    return OnDisk(opener, cityscapes.VIEWS[view], cityscapes.PICTURES, holds, f"Cityscapes, {title}")


def _camvid(view: str, title: str) -> OnDisk:
    opener, holds = partial(camvid.Camvid, view=view), f"{camvid.PICTURE_FOLDER} and {camvid.LABEL_FOLDER}"
    return OnDisk(opener, camvid.VIEWS[view], camvid.PICTURES, holds, f"CamVid, {title}")


ON_DISK: dict[str, OnDisk] = {
    "voc2012": OnDisk(
        voc.Voc2012, voc.CLASSES, voc.PICTURES, "VOCdevkit/VOC2012 (and benchmark_RELEASE for SBD)", "PASCAL VOC 2012 and SBD"
    ),
    "context59": _context("context59", "59 classes"),
    "context60": _context("context60", "59 classes and background"),
    "context33": _context("context33", "33 classes"),
    "cityscapes": _cityscapes("cityscapes", "the 19 classes that are evaluated"),
    "cityscapes30": _cityscapes("cityscapes30", "30 labels"),
    "cityscapes8": _cityscapes("cityscapes8", "its 8 categories: 7 classes, and void"),
    "camvid32": _camvid("camvid32", "31 labels, and void"),
    "camvid11": _camvid("camvid11", "the 11 classes of SegNet"),
    "ade20k": OnDisk(
        ade20k.Ade20k, ade20k.CLASSES, ade20k.PICTURES, "ADEChallengeData2016", "ADE20K, scene parsing challenge of 2016"
    ),
    "coco": _coco("coco", "80 classes and background"),
    "coco_voc21": _coco("coco_voc21", "VOC's 20 classes and background"),
    "coco_stuff171": _coco("coco_stuff171", "80 things and 91 kinds of stuff"),
    "coco_stuff92": _coco("coco_stuff92", "91 kinds of stuff and other"),
    "coco_panoptic": _coco("coco_panoptic", "80 things and 53 kinds of stuff of the panoptic maps"),
    "siftflow": _siftflow("siftflow", "33 semantic classes"),
    "siftflow_geometric": _siftflow("siftflow_geometric", "3 geometric classes"),
    "nyud": OnDisk(
        nyud.Nyud, nyud.CLASSES, nyud.PICTURES, "nyud with data/images, segmentation and the lists", "NYU Depth V2, colour alone"
    ),
    "isbi2012": OnDisk(
        isbi2012.Isbi2012, isbi2012.CLASSES, isbi2012.PICTURES, "train-volume.tif and train-labels.tif",
        "ISBI 2012, membranes of neurons", ("rest1of5", "fold1of5"),
    ),
    "nuclei2018": OnDisk(
        nuclei2018.Nuclei2018, nuclei2018.CLASSES, nuclei2018.PICTURES, "stage1_train",
        "Data Science Bowl 2018, nuclei", ("rest1of5", "fold1of5"),
    ),
    "phc_u373": _cell_tracking("phc_u373", "glioblastoma cells"),
    "dic_hela": _cell_tracking("dic_hela", "HeLa cells"),
}


def open_dataset(name_or_folder: str | Path, *, root: str | Path | None = None, split: str = "val") -> Dataset:
    """The split of a named data set, or of a folder of pictures and masks (see `perpixel.datasets.folder`).

    A name with a slash, or of an existing folder, is a folder. Data sets of `ON_DISK` lie below the folder `root`; the others
    do not use it. Raises UnknownName for a name or split that does not exist. Raises DataError for a folder that is no data set,
    and where `root` is missing or does not hold the data set."""
    name = str(name_or_folder)
    if name in DATASETS:
        return DATASETS[name](split)
    if name in ON_DISK:
        if root is None:
            raise DataError(
                f"{name}: give the folder that holds {ON_DISK[name].holds}, with --root, PERPIXEL_ROOT or root=; "
                f"`perpixel download {name} --root FOLDER` puts it there."
            )
        if not Path(root).is_dir():
            raise DataError(f"{root}: there is no such folder; `perpixel download {name} --root {root}` makes and fills it.")
        return ON_DISK[name].open(root, split)
    if isinstance(name_or_folder, Path) or "/" in name or "\\" in name or os.path.exists(name):
        return Folder(name, split)
    raise did_you_mean("data set or folder", name, [*DATASETS, *ON_DISK])


def with_objects(dataset: Dataset) -> Dataset:
    """The data set with objects in every sample, if it has objects. It works for every data set."""
    return dataset.with_instances() if isinstance(dataset, HasInstances) else dataset


def picture_size(dataset: Dataset, index: int) -> tuple[int, int]:
    """Height and width of a picture: from the header of its file, where a data set has such files, else of the sample."""
    if not isinstance(dataset, HasPictures):
        height, width = dataset.sample(index).image.shape[:2]
        return height, width
    path = dataset.picture(index)
    return read_size(path) if bands_of(dataset) is None else read_size_of_bands(path)


def bands_of(dataset: Dataset) -> Bands | None:
    """The bands of the pictures of a data set. None where they are RGB."""
    return dataset.bands if isinstance(dataset, HasBands) else None


def of_bands(dataset: Dataset, words: Sequence[str] | None = None, ranges: Sequence[float] | None = None) -> Dataset:
    """The data set with the bands that `words` name, in their order, and with these ranges, low and high of each in turn.

    Raises UsageError where the data set has no such bands."""
    bands = bands_of(dataset)
    if bands is None or not isinstance(dataset, HasBands):
        if words is not None or ranges is not None:
            setting = "bands" if words is not None else "band_ranges"
            raise UsageError(f"{setting}: pictures are RGB, for no {FILE} names their bands; write it, or leave {setting} out.")
        return dataset
    chosen = bands.chosen(words)
    return dataset.with_bands(chosen if ranges is None else chosen.with_ranges(ranges))


# Of the tables that have no background: the names of the classes whose objects are told apart.
THINGS: dict[tuple[str, ...], Collection[str]] = {
    scenes.CLASSES.names: scenes.THINGS,
    isbi2012.CLASSES.names: ("inside",),
    **{table.names: cityscapes.things(table) for table in cityscapes.VIEWS.values()},
    **{coco.VIEWS[view].names: coco.THINGS.values() for view in ("coco_panoptic", "coco_stuff171")},
}


def things_in(classes: ClassTable) -> frozenset[int] | None:
    """The ids of the classes whose objects are told apart: all but background where a class is called so, else as the published
    set of this table has it. None for another table, which does not say."""
    if classes.background is not None:
        return frozenset(range(len(classes))) - {classes.background}
    names = THINGS.get(classes.names)
    return None if names is None else frozenset(map(classes.id_of, names))


def judged_splits(
    name_or_folder: str | Path, root: str | Path | None = None, splits: Sequence[str] | None = None
) -> dict[str, Dataset]:
    """The data sets of `splits`. By default they are the existing splits to train on and to judge on.

    Of a published set these are `OnDisk.judged`, because its other splits overlap, as trainval does, or have no public labels. Of
    another data set they are all its splits. Raises the errors of `open_dataset`; by default only where no split exists."""
    on_disk = ON_DISK.get(str(name_or_folder))
    if splits is None and on_disk is None:
        splits = open_dataset(name_or_folder, root=root).splits
    datasets, first_error = {}, None
    for split in splits or (on_disk.judged if on_disk else ()):
        try:
            datasets[split] = open_dataset(name_or_folder, root=root, split=split)
        except DataError as error:
            if splits is not None:
                raise
            first_error = first_error or error
    if first_error and not datasets:
        raise first_error
    return datasets


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 over the names, sizes and label bytes of all samples. Two sets with the same fingerprint judge in the same way."""
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        digest.update(label_digest(dataset.sample(index)))
    return digest.hexdigest()


def label_digest(sample: Sample) -> bytes:
    """The contribution of one sample to `fingerprint`. Raises DataError for a sample without labels."""
    labels = labels_of(sample)
    digest = hashlib.sha256(f"{sample.name}\0{labels.shape}\0{labels.dtype}\0".encode(errors="surrogateescape"))
    digest.update(labels.tobytes())
    return digest.digest()


def labels_of(sample: Sample) -> NDArray[Any]:
    """The labels of a sample. Raises DataError where it has none."""
    if sample.labels is None:
        raise DataError(f"{sample.name}: has no labels to judge by; add its mask or choose another split.")
    return sample.labels
