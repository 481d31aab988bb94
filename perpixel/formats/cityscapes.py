"""Cityscapes: PNGs of label ids and instance ids, for labels that Cityscapes has.

    OUT/leftImg8bit/SPLIT/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png
    OUT/gtFine/SPLIT/CITY/CITY_SEQUENCE_FRAME_gtFine_{labelIds,instanceIds}.png

An instance id is 1000 * label + the number of the object, from 0 on without gaps. Where there is no object, it is the label.
Pixels of a label with instances but without a number are a group: they become one crowd of this label in the picture. All labels
are read, also those that Cityscapes does not judge. Label 0, unlabeled, is void. To train and judge as the benchmark does, use
the data set cityscapes.

Names of another form than CITY_SEQUENCE_FRAME become own_000001_000019 and so on. OUT/names.csv maps them to the old names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.datasets.cityscapes import SPLITS, SUFFIX, Cityscapes
from perpixel.datasets.cityscapes_labels import DRAWN, PER_LABEL
from perpixel.errors import DataError, did_you_mean
from perpixel.files import write_whole
from perpixel.formats.exchange import AnnotatedSet, Content, Entry, Holds, Notices, number_objects
from perpixel.formats.folder import of_datasets
from perpixel.formats.pictures import all_or_none, put_picture
from perpixel.images import encode_image
from perpixel.sample import Instances
from perpixel.tables import to_csv

HOLDS = Holds(overlap=False, crowd=True, void=True, maps=True)
CLASSES = ClassTable(
    tuple(label.name for label in DRAWN[1:]), tuple(label.colour for label in DRAWN[1:]),
    tuple((label.id,) for label in DRAWN[1:]), (0,),
)  # fmt: skip
OFFICIAL = re.compile(r"^[a-zA-Z-]+_\d{6}_\d{6}$")
CITY = "own"


def read(path: Path, pictures: Path | None) -> AnnotatedSet:
    """Reads a folder of Cityscapes. Raises DataError without leftImg8bit/ and gtFine/, or where a split has no labels."""
    splits = Cityscapes(path, _first(path), "cityscapes30").splits
    fine_splits = [split for split in splits if split in ("train", "val")]
    chosen_splits = fine_splits or [split for split in splits if split not in ("test", "trainval")]
    datasets = [Cityscapes(path, split, "cityscapes30", instances=True) for split in chosen_splits]
    for dataset in datasets:
        dataset.classes = CLASSES
    return of_datasets([*datasets])


def _first(path: Path) -> str:
    for split in SPLITS:
        try:
            Cityscapes(path, split)
        except DataError as error:
            last = error
        else:
            return split
    raise last


class Writer:
    def __init__(self, out: Path, classes: ClassTable, notices: Notices) -> None:
        self.out, self.classes, self.notices = out, classes, notices
        ids = {label.name: label.id for label in DRAWN}
        unknown = [name for name in classes.names if name not in ids]
        if len(unknown) == len(classes):
            raise did_you_mean("label of Cityscapes", unknown[0], ids)
        self.ids = np.zeros(classes.void + 1, np.uint16)  # the label id of each class id; void stays 0, unlabeled
        self.ids[: len(classes)] = [ids.get(name, 0) for name in classes.names]
        self.unknown_ids = [id for id, name in enumerate(classes.names) if name in unknown]
        self.with_instances = [id for id, name in enumerate(classes.names) if name in ids and DRAWN[ids[name]].has_instances]

    def add(self, name: str, split: str, content: Content, number: int) -> list[str]:
        """The name that a picture got, and its former one behind its split."""
        short, split = name.rpartition("/")[2], split or "train"
        city = short.partition("_")[0]
        if not OFFICIAL.match(short):
            city, short = CITY, f"{CITY}_{number:06d}_000019"
            self.notices.add("names", name)
        labels = self.ids[content.labels]
        numbered_objects = number_objects(content, self.classes, self.notices, name, by_vote=False)
        instance_ids = labels if numbered_objects is None else self._numbered(labels, *numbered_objects, name)
        picture_name = f"{short}{SUFFIX}".removesuffix(".png")
        folder = self.out / "gtFine" / split / city
        with all_or_none() as written:
            put_picture(
                content.picture, self.out / "leftImg8bit" / split / city, name, self.notices, written, picture_name, png=True
            )
            for kind, values in (("labelIds", labels.astype(np.uint8)), ("instanceIds", instance_ids)):
                png = encode_image(Image.fromarray(values), ".png")
                written.append(write_whole(folder, f"{short}_gtFine_{kind}.png", png, durable=False))
        self.notices.add("unknown class", name, int(np.isin(content.labels, self.unknown_ids).sum()))
        self._note_groups(instance_ids, content.instances, name)
        return [short, f"{split}/{name}"]

    def _numbered(self, labels: NDArray[Any], numbers: NDArray[Any], objects: Instances, name: str) -> NDArray[np.uint16]:
        """The instance ids (H, W): label ids, and over them the ids of the numbered objects."""
        values = np.zeros(len(objects.class_ids) + 1, np.int64)
        for id in self.with_instances:
            places = np.flatnonzero(objects.class_ids == id)
            if len(places) > PER_LABEL:
                raise DataError(f"{name}: has {len(places)} objects {self.classes.names[id]}; instance ids hold {PER_LABEL}.")
            values[1 + places] = PER_LABEL * int(self.ids[id]) + np.arange(len(places))
        self.notices.add("no object", name, int((values[1:] == 0).sum()))
        return np.where(values[numbers] > 0, values[numbers], labels).astype(np.uint16)

    def _note_groups(self, numbered: NDArray[Any], objects: Instances | None, name: str) -> None:
        """Notes labels whose pixels without a number are not exactly one crowd. Reading makes one crowd of each label."""
        crowds = [] if objects is None else np.flatnonzero(objects.crowd).tolist()
        groups = 0
        for id in self.with_instances:
            crowds_of_label = (
                [objects.mask(index) for index in crowds if objects.class_ids[index] == id] if objects is not None else []
            )
            read_as_crowd = numbered == self.ids[id]
            groups += (read_as_crowd.any() or bool(crowds_of_label)) and not (
                len(crowds_of_label) == 1 and np.array_equal(crowds_of_label[0], read_as_crowd)
            )
        self.notices.add("group", name, int(groups))
        others = [] if objects is None else [index for index in crowds if objects.class_ids[index] not in self.with_instances]
        self.notices.add("no object", name, len(others))

    def close(self, entries: Sequence[Entry]) -> None:
        names = [(entry.content[0], entry.content[1]) for entry in entries]
        if any(short != name.rpartition("/")[2] for short, name in names):
            write_whole(self.out, "names.csv", to_csv(("name", "was"), names))
