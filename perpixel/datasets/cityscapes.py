"""Cityscapes: street scenes of 50 cities, 1024x2048 (Cordts et al., CVPR 2016), in three views of its 35 labels.

    ROOT/leftImg8bit/{train,val,test,train_extra}/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png
    ROOT/gtFine/{train,val}/CITY/CITY_SEQUENCE_FRAME_gtFine_labelIds.png        the ids of `LABELS`
    ROOT/gtFine/{train,val}/CITY/CITY_SEQUENCE_FRAME_gtFine_instanceIds.png     16 bits: 1000 * id + number of the object, or id
    ROOT/gtFine/{train,val}/CITY/CITY_SEQUENCE_FRAME_gtFine_polygons.json       drawn where labelIds or instanceIds is missing
    ROOT/gtCoarse/{train,val,train_extra}/...                                   the same, named ..._gtCoarse_...

ROOT may lie below the given folder, as cityscapes/. The splits, with the published numbers of pictures:

    train 2,975, val 500, trainval 3,475       fine labels
    test 1,525                                 its labels are not public; gtFine/test holds placeholders, which are not read
    train_extra 19,998                         coarse labels
    train_and_extra 22,973                     train with fine, train_extra with coarse labels
    train_coarse 2,975, val_coarse 500         the pictures of train and val with coarse labels

The views:

    cityscapes      the 19 classes that are evaluated, in the order of their trainId
    cityscapes30    the 30 labels from 4 to 33, which the paper's figure 1 shows; 0..3 are void
    cityscapes8     the table's 8 categories: 7 classes, and the category void as void. Unlike the benchmark's categories
                    (`cityscapes_iou`) they include labels that are not evaluated: parking in flat, caravan in vehicle ...

An object has a number of 1000 or more in instanceIds. A lower number is the id of a label. If that label has instances, its
pixels are a group whose members could not be separated: one object for each label, behind the others, whose `Instances.crowd` is
True. A licence plate has the id -1 and is never drawn, so the vehicle is visible there."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.datasets.cityscapes_labels import CATEGORIES, DRAWN, PER_LABEL, Label
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.folder import require_same_size
from perpixel.errors import DataError, did_you_mean
from perpixel.files import files_in
from perpixel.images import read_image, read_labels_fast
from perpixel.sample import Instances, Sample

VOID_TRAIN_ID = 255
TRAIN_IDS = "trainIds (0..18), not the label ids of labelIds.png; write road as 7, not 0, sidewalk as 8, not 1, and so on"


def _view_of_labels(shown: tuple[Label, ...]) -> ClassTable:
    void = tuple(label.id for label in DRAWN if label not in shown)
    names, colours = tuple(label.name for label in shown), tuple(label.colour for label in shown)
    return ClassTable(names, colours, tuple((label.id,) for label in shown), void)


def _view_of_categories() -> ClassTable:
    """The table of the categories. Each has the colour of its first label."""
    void, *names = CATEGORIES
    members = {name: [label for label in DRAWN if label.category == name] for name in CATEGORIES}
    return ClassTable(
        tuple(names),
        tuple(members[name][0].colour for name in names),
        tuple(tuple(label.id for label in members[name]) for name in names),
        tuple(label.id for label in members[void]),
    )


VIEWS = {
    "cityscapes": _view_of_labels(tuple(label for label in DRAWN if not label.ignored)),
    "cityscapes30": _view_of_labels(DRAWN[4:]),
    "cityscapes8": _view_of_categories(),
}
SPLITS = {  # split: its folders in leftImg8bit, each with the folder of its labels
    "train": (("train", "gtFine"),),
    "val": (("val", "gtFine"),),
    "trainval": (("train", "gtFine"), ("val", "gtFine")),
    "test": (("test", ""),),
    "train_extra": (("train_extra", "gtCoarse"),),
    "train_and_extra": (("train", "gtFine"), ("train_extra", "gtCoarse")),
    "train_coarse": (("train", "gtCoarse"),),
    "val_coarse": (("val", "gtCoarse"),),
}
PICTURES = {
    "train": 2975, "val": 500, "trainval": 3475, "test": 1525, "train_extra": 19998, "train_and_extra": 22973,
    "train_coarse": 2975, "val_coarse": 500,
}  # fmt: skip
SUFFIX = "_leftImg8bit.png"


class Cityscapes(InNotebook):
    """One split of Cityscapes below `root`, in one of the `VIEWS`. `splits` are the splits whose folders exist.

    With `instances` each sample has its objects too, and one more file is read. Raises DataError naming the folder that is
    missing, UnknownName for another split or view."""

    def __init__(self, root: Path | str, split: str = "train", view: str = "cityscapes", instances: bool = False) -> None:
        if view not in VIEWS:
            raise did_you_mean("view of Cityscapes", view, VIEWS)
        if split not in SPLITS:
            raise did_you_mean(f"split of {view}", split, SPLITS)
        self.folder, self.split, self.classes, self.instances = _find(root), split, VIEWS[view], instances
        self.pictures: list[Path] = []
        self._truths: list[str] = []  # CITY_SEQUENCE_FRAME_gtFine with its folder, for each picture
        for folder, kind in SPLITS[split]:
            pictures, truths = self.folder / "leftImg8bit" / folder, self.folder / kind / folder
            split_pictures = _pictures(pictures)
            if not self._is_there(folder, kind):
                missing = truths if split_pictures else f"{pictures}/CITY/*{SUFFIX}"
                raise DataError(f"{missing}: is not there; unpack the archive of Cityscapes that holds {split}.")
            self.pictures += split_pictures
            self._truths += [
                f"{truths / path.parent.name / path.name.removesuffix(SUFFIX)}_{kind}" if kind else "" for path in split_pictures
            ]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split, parts in SPLITS.items() if all(self._is_there(*part) for part in parts))

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        return self.pictures[index].name.removesuffix(SUFFIX)

    def picture(self, index: int) -> Path:
        return self.pictures[index]

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file that is missing, damaged, or does not fit its picture."""
        picture = self.pictures[index]
        image = read_image(picture)
        if self.split == "test":
            return Sample(self.name(index), image)
        ids, path = self.label_ids(index), self._truth(index, "labelIds")
        require_same_size(image, ids, picture, path)
        try:
            labels = self.classes.decode(ids, str(path))
        except DataError as error:
            raise train_ids(ids, path) or error from None
        objects = self._objects(index, picture, image) if self.instances else None
        return Sample(self.name(index), image, labels, objects)

    def with_instances(self) -> Cityscapes:
        """The same split, whose samples have their objects too."""
        other = copy.copy(self)
        other.instances = True
        return other

    def label_ids(self, index: int) -> NDArray[Any]:
        """The ids of `LABELS` (H, W), from the file or drawn from its polygons. Raises the errors of `sample`."""
        path = self._truth(index, "labelIds")
        if path.suffix == ".json":
            from perpixel.datasets.cityscapes_polygons import draw_label_ids

            return draw_label_ids(path)
        return read_labels_fast(path)

    def instance_ids(self, index: int) -> NDArray[Any]:
        """1000 * id + number of the object (H, W), or the id where no object is numbered. Raises the errors of `sample`."""
        path = self._truth(index, "instanceIds")
        if path.suffix == ".json":
            from perpixel.datasets.cityscapes_polygons import draw_instance_ids

            return draw_instance_ids(path)
        return read_labels_fast(path)

    def files(self) -> list[Path]:
        """The files that define the content of the split."""
        kinds = [] if self.split == "test" else ["labelIds", "instanceIds"] if self.instances else ["labelIds"]
        return [*self.pictures, *(self._truth(index, kind) for index in range(len(self)) for kind in kinds)]

    def _is_there(self, folder: str, kind: str) -> bool:
        return bool(_pictures(self.folder / "leftImg8bit" / folder)) and (not kind or (self.folder / kind / folder).is_dir())

    def _truth(self, index: int, kind: str) -> Path:
        """The PNG of this kind, or the polygons where only they exist."""
        if self.split == "test":
            raise DataError(f"{self.name(index)}: has no public labels; judge on val, or send predictions to the server.")
        path, polygons = (Path(f"{self._truths[index]}_{end}") for end in (f"{kind}.png", "polygons.json"))
        return polygons if not path.is_file() and polygons.is_file() else path

    def _objects(self, index: int, picture: Path, image: NDArray[np.uint8]) -> Instances:
        ids, path = self.instance_ids(index), self._truth(index, "instanceIds")
        require_same_size(image, ids, picture, path)
        counts = np.bincount(ids.ravel(), minlength=PER_LABEL)
        object_ids = np.flatnonzero(counts)
        refuse_other_objects(object_ids[object_ids >= PER_LABEL], str(path))
        groups = np.array([label.id for label in DRAWN if label.has_instances])
        object_ids = np.concatenate([object_ids[object_ids >= PER_LABEL], groups[counts[groups] > 0]])
        labels = np.where(object_ids < PER_LABEL, object_ids, object_ids // PER_LABEL)
        class_ids = self.classes.decode(labels[None], str(path))[0].astype(np.int64)
        judged = class_ids != self.classes.void  # a caravan is void among the 19 classes
        number_of = np.zeros(len(counts), np.int32)
        number_of[object_ids[judged]] = np.arange(1, 1 + judged.sum())
        return Instances.of_numbers(number_of[ids], class_ids[judged], object_ids[judged] < PER_LABEL)


def things(classes: ClassTable) -> tuple[str, ...]:
    """The names of the classes of a view that have labels with instances."""
    counted = {label.id for label in DRAWN if label.has_instances}
    return tuple(name for name, values in zip(classes.names, classes.values, strict=True) if counted & {*values})


def are_train_ids(counts: NDArray[Any]) -> bool:
    """Whether a mask seems to hold trainIds in place of label ids. `counts` has the number of pixels of each value.

    All values must be trainIds: 0..18, or 255 beside others. And a quarter or more of the pixels must be 255, or labels that are
    not evaluated, such as 0, 1 and 2. As trainIds these are road, sidewalk and building."""
    table_train_ids = {label.train_id for label in DRAWN}
    unlikely = {label.id for label in DRAWN if label.ignored} | {VOID_TRAIN_ID}
    present = np.flatnonzero(counts).tolist()
    unlikely_pixels = sum(int(counts[value]) for value in present if value in unlikely)
    return bool({*present} - {VOID_TRAIN_ID}) and {*present} <= table_train_ids and 4 * unlikely_pixels >= int(np.sum(counts))


def train_ids(mask: NDArray[Any], where: Path | str) -> DataError | None:
    """The error for a mask (H, W) that holds trainIds in place of label ids. None for another mask."""
    if mask.dtype.kind != "u" or not are_train_ids(np.bincount(mask.ravel())):
        return None
    return DataError(f"{where}: holds {TRAIN_IDS}.")


def refuse_other_objects(instance_ids: NDArray[Any], where: str) -> None:
    """Raises DataError for an instance id >= 1000 whose label does not exist or has no instances."""
    for number in instance_ids:
        label = DRAWN[number // PER_LABEL] if number // PER_LABEL < len(DRAWN) else None
        if label is None or not label.has_instances:
            label_text = f"the label {number // PER_LABEL}" + (
                f", {label.name}, which has no instances" if label else ", unknown"
            )
            raise DataError(
                f"{where}: the instance id {number} is of {label_text}; take the file from Cityscapes' archive again."
            )


def _pictures(folder: Path) -> list[Path]:
    """The pictures of all cities of a split, by city and name."""
    return [path for path in files_in(folder, depth=2) if path.parent != folder and path.name.endswith(SUFFIX)]


def _find(root: Path | str) -> Path:
    above = Path(os.path.abspath(root))
    for folder in (above / "cityscapes", above):
        if (folder / "leftImg8bit").is_dir() and any((folder / kind).is_dir() for kind in ("gtFine", "gtCoarse")):
            return folder
    raise DataError(f"{root}: holds no leftImg8bit/ and gtFine/ or gtCoarse/ side by side; unpack Cityscapes' archives there.")
