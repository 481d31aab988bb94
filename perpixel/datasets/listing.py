"""The data sets with a name: their classes and numbers of pictures."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from perpixel.datasets import DATASETS, ON_DISK


@dataclass(frozen=True)
class DatasetRow:
    name: str
    classes: tuple[str, ...]
    pictures: dict[str, int]
    what: str


def datasets() -> list[DatasetRow]:
    """A row for every data set with a name. Data sets of `ON_DISK` have their published counts, whether they are on this disk or
    not."""
    rows = []
    for name, maker in DATASETS.items():
        dataset = maker("val")
        pictures = {split: len(maker(split)) for split in dataset.splits}
        description = (inspect.getdoc(maker) or "").split("\n\n")[0].replace("\n", " ")
        rows.append(DatasetRow(name, dataset.classes.names, pictures, description))
    for name, known in ON_DISK.items():
        description = f"{known.title}; needs --root, the folder that holds {known.holds}"
        rows.append(DatasetRow(name, known.classes.names, dict(known.pictures), description))
    return rows
