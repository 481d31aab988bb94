"""The data sets of the review and a person's own. Adding one costs a file here and a line in `DATASETS`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from perpixel.classes import ClassTable
from perpixel.datasets.folder import Folder
from perpixel.datasets.scenes import Scenes
from perpixel.errors import DataError, did_you_mean
from perpixel.sample import Sample


class Dataset(Protocol):
    """Pictures of one split with their truth; `classes` decodes and names the labels, `splits` are those that exist."""

    @property
    def classes(self) -> ClassTable: ...
    @property
    def split(self) -> str: ...
    @property
    def splits(self) -> tuple[str, ...]: ...
    def __len__(self) -> int: ...
    def name(self, index: int) -> str: ...
    def sample(self, index: int) -> Sample: ...


DATASETS: dict[str, Callable[[str], Dataset]] = {
    "scenes": Scenes,
}


def open_dataset(name_or_folder: str | Path, *, split: str = "val") -> Dataset:
    """The split of a named data set, or of a folder of pictures and masks (see `perpixel.datasets.folder`).

    A name with a slash, or of an existing folder, is a folder. Raises UnknownName for a name or split that does not exist,
    DataError for a folder that is no data set."""
    name = str(name_or_folder)
    if name in DATASETS:
        return DATASETS[name](split)
    if isinstance(name_or_folder, Path) or "/" in name or "\\" in name or Path(name).exists():
        return Folder(name, split)
    raise did_you_mean("data set or folder", name, DATASETS)


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 over names, sizes and label bytes of every sample: two sets with one fingerprint judge alike."""
    total = hashlib.sha256()
    for index in range(len(dataset)):
        total.update(label_digest(dataset.sample(index)))
    return total.hexdigest()


def label_digest(sample: Sample) -> bytes:
    """The contribution of one sample to `fingerprint`."""
    if sample.labels is None:
        raise DataError(f"{sample.name}: has no labels to judge by; add its mask.")
    one = hashlib.sha256(f"{sample.name}\0{sample.labels.shape}\0{sample.labels.dtype}\0".encode())
    one.update(sample.labels.tobytes())
    return one.digest()
