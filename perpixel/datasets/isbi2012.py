"""ISBI 2012 challenge: membranes of neurons in a stack of electron micrographs (Cardona et al., 2010; Arganda-Carreras et al.,
2015). U-Net's first data set.

    ROOT/train-volume.tif    30 slices of 512x512, grey, pages of one file
    ROOT/train-labels.tif    their truth: 0 membrane, 255 inside of a cell
    ROOT/test-volume.tif     30 more slices; their labels are not public

ROOT may be isbi2012/ in the given folder. The name of a picture is the number of its page, from 00. The splits:

    train, test              whole stacks; test has no labels
    fold1of5, rest1of5 ...   a fold of train to judge on, the rest to train on (`datasets.folds`), for any number of folds

The challenge judges the segments between the membranes. So each piece of the inside whose pixels share edges is an object of a
sample."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.folder import require_same_size
from perpixel.datasets.folds import split_folds
from perpixel.errors import DataError, did_you_mean
from perpixel.images import count_pages, read_image, read_labels
from perpixel.sample import Instances, Sample

MEMBRANE, INSIDE = 0, 1
CLASSES = ClassTable(("membrane", "inside"), ((0, 0, 0), (255, 255, 255)), ((0,), (255,)), void_values=())
PICTURES = {"train": 30, "fold1of5": 6, "rest1of5": 24, "test": 30}
TRAIN, LABELS, TEST = "train-volume.tif", "train-labels.tif", "test-volume.tif"


class Isbi2012(InNotebook):
    """One split of the challenge's data below `root`. `splits` lists one fold of five, but folds of any number can be opened.

    Raises DataError naming the file that is missing, or stacks of different lengths; UnknownName or UsageError for another
    split."""

    classes = CLASSES

    def __init__(self, root: Path | str, split: str = "train") -> None:
        self.folder, self.split = _find(root), split
        self._volume = self.folder / (TEST if split == "test" else TRAIN)
        count = count_pages(self._volume)
        pages = list(range(count)) if split in ("train", "test") else split_folds(count, split)
        if pages is None:
            raise did_you_mean("split of isbi2012", split, PICTURES)
        if split != "test" and (labelled := count_pages(self.folder / LABELS)) != count:
            raise DataError(f"{self.folder / LABELS}: has {labelled} pages, {TRAIN} has {count}; take both from the challenge.")
        self.pages = pages

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in PICTURES if split != "test" or (self.folder / TEST).is_file())

    def __len__(self) -> int:
        return len(self.pages)

    def name(self, index: int) -> str:
        return f"{self.pages[index]:02}"

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file whose page is damaged or does not fit its picture."""
        page = self.pages[index]
        image = read_image(self._volume, page)
        if self.split == "test":
            return Sample(self.name(index), image)
        labels = self.classes.decode(read_labels(self.folder / LABELS, page), f"{self.folder / LABELS}, page {page}")
        require_same_size(image, labels, self._volume, self.folder / LABELS)
        return Sample(self.name(index), image, labels, segments(labels))

    def files(self) -> list[Path]:
        """The files that define the content of the split."""
        return [self._volume] if self.split == "test" else [self._volume, self.folder / LABELS]


def segments(labels: NDArray[Any]) -> Instances:
    """The pieces of the inside in class ids (H, W). They are 4-connected: pixels that share only a corner are separate."""
    from scipy.ndimage import label

    numbers, count = label(labels == INSIDE)
    masks = numbers == np.arange(1, 1 + count)[:, None, None]
    return Instances(masks, np.full(count, INSIDE, np.int64))


def _find(root: Path | str) -> Path:
    above = Path(os.path.abspath(root))
    for folder in (above / "isbi2012", above):
        if (folder / TRAIN).is_file() and (folder / LABELS).is_file():
            return folder
    raise DataError(f"{root}: holds no {TRAIN} and {LABELS}; put the stacks of the challenge there.")
