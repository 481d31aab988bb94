"""A folder of pictures, masks and instances, as `perpixel.datasets.folder` reads it to train on; and data sets with a name.

OUT/images/SPLIT/NAME.jpg, OUT/masks/SPLIT/NAME.png, OUT/instances/SPLIT/NAME.png where there are objects, OUT/classes.csv"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.datasets import Dataset, HasPictures, with_objects
from perpixel.datasets.folder import SPLITS, Folder, list_folder
from perpixel.errors import DataError
from perpixel.files import write_whole
from perpixel.formats.exchange import Content, Holds, Item, Source, Told, map_of
from perpixel.formats.pictures import put_picture, together
from perpixel.images import encode_image, write_labels

HOLDS = Holds(overlap=False, crowd=False, void=True, maps=True)


def read(path: Path, pictures: Path | None) -> Source:
    """Raises DataError where the folder is no data set."""
    there = {pair.split for pair in list_folder(path).pairs}
    return of_datasets([Folder(path, split) for split in SPLITS if split in there] or [Folder(path)])


def of_datasets(datasets: list[Dataset]) -> Source:
    """Splits of one data set as a source, with their objects where they have any."""
    items = []
    for dataset in map(with_objects, datasets):
        for index in range(len(dataset)):
            items.append(Item(dataset.name(index), dataset.split, partial(_content, dataset, index)))
    return Source(datasets[0].classes, items)


def _content(dataset: Dataset, index: int) -> Content:
    sample = dataset.sample(index)
    if sample.labels is None:
        raise DataError(f"{sample.name}: has no labels; choose a split that does.")
    return Content(dataset.picture(index) if isinstance(dataset, HasPictures) else sample.image, sample.labels, sample.instances)


class Writer:
    def __init__(self, out: Path, classes: ClassTable, told: Told) -> None:
        self.out, self.classes, self.told = out, classes, told
        self._without: list[tuple[str, tuple[int, ...]]] = []
        self._objects = False

    def add(self, name: str, split: str, content: Content) -> None:
        place = f"{split}/{name}" if split else name
        found = map_of(content, self.classes, self.told, name)
        if found is not None and found[0].max(initial=0) > 65535:
            raise DataError(f"{name}: has more than 65535 objects; cut the picture into tiles.")
        with together() as written:
            put_picture(content.picture, self.out / "images", name, self.told, written, place)
            written.append(write_labels(self.out / "masks", f"{place}.png", content.labels, self.classes))
            if found is not None:
                self._put(place, found[0])
        if content.instances is None or found is None:
            self._without.append((place, content.labels.shape))
            return
        self.told.add("crowd", name, int(content.instances.crowd.sum()))
        self._objects = True

    def close(self) -> None:
        self.classes.write_csv(self.out / "classes.csv")
        if self._objects:  # a folder has instances of all its pictures, or of none
            for place, size in self._without:
                self._put(place, np.zeros(size, np.int32))

    def _put(self, place: str, numbers: np.ndarray) -> None:
        stored = numbers.astype(np.uint8 if numbers.max(initial=0) <= 255 else np.uint16)
        write_whole(self.out / "instances", f"{place}.png", encode_image(Image.fromarray(stored), ".png"), durable=False)
