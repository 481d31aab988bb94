"""Cityscapes: PNGs of label ids and instance ids, for labels that Cityscapes has.

    OUT/leftImg8bit/SPLIT/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png
    OUT/gtFine/SPLIT/CITY/CITY_SEQUENCE_FRAME_gtFine_{labelIds,instanceIds}.png

An instance id is 1000 * label + the number of the object, from 0 on without gaps, or the label where there is no object. What
has instances but no number is a group, which is a crowd here: one of each label in a picture. Read are all labels, those that
Cityscapes does not judge too; 0, unlabeled, is void. To train and judge as the benchmark does, use the data set cityscapes.

Names of another form than CITY_SEQUENCE_FRAME become own_000001_000019 and so on; OUT/names.csv says which is which."""

from __future__ import annotations

import re
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
from perpixel.formats.exchange import Content, Holds, Source, Told, map_of
from perpixel.formats.folder import of_datasets
from perpixel.formats.pictures import put_picture, together
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


def read(path: Path, pictures: Path | None) -> Source:
    """Raises DataError for a folder without leftImg8bit/ and gtFine/, or where a split has no labels."""
    there = Cityscapes(path, _first(path), "cityscapes30").splits
    fine = [split for split in there if split in ("train", "val")]
    chosen = fine or [split for split in there if split not in ("test", "trainval")]
    datasets = [Cityscapes(path, split, "cityscapes30", instances=True) for split in chosen]
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
    def __init__(self, out: Path, classes: ClassTable, told: Told) -> None:
        self.out, self.classes, self.told = out, classes, told
        ids = {label.name: label.id for label in DRAWN}
        unknown = [name for name in classes.names if name not in ids]
        if len(unknown) == len(classes):
            raise did_you_mean("label of Cityscapes", unknown[0], ids)
        self.ids = np.zeros(classes.void + 1, np.uint16)  # void is unlabeled
        self.ids[: len(classes)] = [ids.get(name, 0) for name in classes.names]
        self.unknown = [id for id, name in enumerate(classes.names) if name in unknown]
        self.with_instances = [id for id, name in enumerate(classes.names) if name in ids and DRAWN[ids[name]].has_instances]
        self.names: list[tuple[str, str]] = []

    def add(self, name: str, split: str, content: Content) -> None:
        short, split = name.rpartition("/")[2], split or "train"
        city = short.partition("_")[0]
        if not OFFICIAL.match(short):
            city, short = CITY, f"{CITY}_{len(self.names) + 1:06d}_000019"
            self.told.add("names", name)
        labels = self.ids[content.labels]
        found = map_of(content, self.classes, self.told, name, by_vote=False)
        numbered = labels if found is None else self._numbered(labels, *found, name)
        place = f"{short}{SUFFIX}".removesuffix(".png")
        folder = self.out / "gtFine" / split / city
        with together() as written:
            put_picture(content.picture, self.out / "leftImg8bit" / split / city, name, self.told, written, place, png=True)
            for kind, values in (("labelIds", labels.astype(np.uint8)), ("instanceIds", numbered)):
                png = encode_image(Image.fromarray(values), ".png")
                written.append(write_whole(folder, f"{short}_gtFine_{kind}.png", png, durable=False))
        self.names.append((short, f"{split}/{name}"))
        self.told.add("unknown class", name, int(np.isin(content.labels, self.unknown).sum()))
        self._tell_groups(numbered, content.instances, name)

    def _numbered(self, labels: NDArray[Any], numbers: NDArray[Any], objects: Instances, name: str) -> NDArray[np.uint16]:
        """The instance ids (H, W): label ids, and those of the numbered objects over them."""
        values = np.zeros(len(objects.class_ids) + 1, np.int64)
        for id in self.with_instances:
            places = np.flatnonzero(objects.class_ids == id)
            if len(places) > PER_LABEL:
                raise DataError(f"{name}: has {len(places)} objects {self.classes.names[id]}; instance ids hold {PER_LABEL}.")
            values[1 + places] = PER_LABEL * int(self.ids[id]) + np.arange(len(places))
        self.told.add("no object", name, int((values[1:] == 0).sum()))
        return np.where(values[numbers] > 0, values[numbers], labels).astype(np.uint16)

    def _tell_groups(self, numbered: NDArray[Any], objects: Instances | None, name: str) -> None:
        """Tells where the pixels without a number, which are read as a crowd of each label, are not just one crowd."""
        crowds = [] if objects is None else np.flatnonzero(objects.crowd).tolist()
        groups = 0
        for id in self.with_instances:
            own = [objects.mask(index) for index in crowds if objects.class_ids[index] == id] if objects is not None else []
            read = numbered == self.ids[id]
            groups += (read.any() or bool(own)) and not (len(own) == 1 and np.array_equal(own[0], read))
        self.told.add("group", name, int(groups))
        others = [] if objects is None else [index for index in crowds if objects.class_ids[index] not in self.with_instances]
        self.told.add("no object", name, len(others))

    def close(self) -> None:
        if any(short != name.rpartition("/")[2] for short, name in self.names):
            write_whole(self.out, "names.csv", to_csv(("name", "was"), self.names))
