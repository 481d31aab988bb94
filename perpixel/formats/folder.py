"""A folder of pictures, masks and instances, which `perpixel.datasets.folder` reads to train on. Also data sets with a name.

OUT/images/SPLIT/NAME.jpg
OUT/masks/SPLIT/NAME.png
OUT/instances/SPLIT/NAME.png    where there are objects
OUT/classes.csv"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.datasets import Dataset, HasPictures, with_objects
from perpixel.datasets.folder import SPLITS, Folder, list_folder
from perpixel.errors import DataError
from perpixel.files import write_whole
from perpixel.formats.exchange import AnnotatedSet, Content, Entry, Holds, Item, Notices, number_objects
from perpixel.formats.pictures import all_or_none, put_picture
from perpixel.images import encode_image, write_labels

HOLDS = Holds(overlap=False, crowd=False, void=True, maps=True)


def read(path: Path, pictures: Path | None) -> AnnotatedSet:
    """Reads a folder. Raises DataError where it is no data set."""
    splits = {pair.split for pair in list_folder(path).pairs}
    return of_datasets([Folder(path, split) for split in SPLITS if split in splits] or [Folder(path)])


def of_datasets(datasets: list[Dataset]) -> AnnotatedSet:
    """The splits of one data set as an annotated set, with their objects where they have any."""
    items = []
    for dataset in map(with_objects, datasets):
        for index in range(len(dataset)):
            items.append(Item(dataset.name(index), dataset.split, partial(_content, dataset, index)))
    return AnnotatedSet(datasets[0].classes, items)


def _content(dataset: Dataset, index: int) -> Content:
    sample = dataset.sample(index)
    if sample.labels is None:
        raise DataError(f"{sample.name}: has no labels; choose a split that does.")
    return Content(dataset.picture(index) if isinstance(dataset, HasPictures) else sample.image, sample.labels, sample.instances)


class Writer:
    def __init__(self, out: Path, classes: ClassTable, notices: Notices) -> None:
        self.out, self.classes, self.notices = out, classes, notices

    def add(self, name: str, split: str, content: Content, number: int) -> list[int] | None:
        """The size of a picture without objects."""
        path = f"{split}/{name}" if split else name
        numbered = number_objects(content, self.classes, self.notices, name)
        if numbered is not None and numbered[0].max(initial=0) > 65535:
            raise DataError(f"{name}: has more than 65535 objects; cut the picture into tiles.")
        with all_or_none() as written:
            put_picture(content.picture, self.out / "images", name, self.notices, written, path)
            written.append(write_labels(self.out / "masks", f"{path}.png", content.labels, self.classes))
            if numbered is not None:
                self._write_numbers(path, numbered[0])
        if content.instances is None or numbered is None:
            return list(content.labels.shape)
        self.notices.add("crowd", name, int(content.instances.crowd.sum()))
        return None

    def close(self, entries: Sequence[Entry]) -> None:
        self.classes.write_csv(self.out / "classes.csv")
        if any(entry.content is None for entry in entries):  # a folder has instances of all its pictures, or of no picture
            for entry in entries:
                if entry.content is not None:
                    path = f"{entry.split}/{entry.name}" if entry.split else entry.name
                    self._write_numbers(path, np.zeros(entry.content, np.int32))

    def _write_numbers(self, path: str, numbers: np.ndarray) -> None:
        stored = numbers.astype(np.uint8 if numbers.max(initial=0) <= 255 else np.uint16)
        write_whole(self.out / "instances", f"{path}.png", encode_image(Image.fromarray(stored), ".png"), durable=False)
