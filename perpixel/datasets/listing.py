"""The data sets that have a name: their classes and numbers of pictures."""

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
    """Every data set with a name; those of a folder that the user names with the published counts, wherever they lie."""
    rows = []
    for name, maker in DATASETS.items():
        dataset = maker("val")
        pictures = {split: len(maker(split)) for split in dataset.splits}
        what = (inspect.getdoc(maker) or "").split("\n\n")[0].replace("\n", " ")
        rows.append(DatasetRow(name, dataset.classes.names, pictures, what))
    for name, known in ON_DISK.items():
        what = f"{known.what}; needs --root, the folder that holds {known.holds}"
        rows.append(DatasetRow(name, known.classes.names, dict(known.pictures), what))
    return rows
