"""Nuclei of the Data Science Bowl 2018 (Caicedo et al., Nature Methods 2019; BBBC038), in fluorescence and in stained tissue.

    ROOT/stage1_train/ID/images/ID.png     grey, RGB or RGBA
    ROOT/stage1_train/ID/masks/*.png       one nucleus each: 0 outside, other values inside; at least one file
    ROOT/stage1_test/ID/images/ID.png      pictures only; may be missing

ROOT may be stage1_train/ too. The splits:

    train 670                all of stage1_train
    test 65                  stage1_test, without labels
    fold1of5, rest1of5 ...   a fold of train to judge on, the rest to train on (`datasets.folds`), for any number of folds

No pixel should belong to two nuclei. If one does, the nucleus with the later file name gets it. A nucleus without a pixel is no
object. The labels do not show where nuclei touch; the setting `separation_weights` reads it from the objects."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from perpixel.classes import ClassTable
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.folder import require_same_size
from perpixel.datasets.folds import split_folds
from perpixel.errors import DataError, did_you_mean
from perpixel.files import files_in, is_hidden
from perpixel.images import read_image, read_labels
from perpixel.sample import Instances, Sample

BACKGROUND, NUCLEUS = 0, 1
CLASSES = ClassTable(("background", "nucleus"), ((0, 0, 0), (255, 192, 0)), ((0,), (255,)), void_values=())
PICTURES = {"train": 670, "fold1of5": 134, "rest1of5": 536, "test": 65}
TRAIN, TEST = "stage1_train", "stage1_test"


class Nuclei2018(InNotebook):
    """One split of the bowl's first stage below `root`. `splits` lists one fold of five, but folds of any number can be opened.

    Raises DataError naming the folder that is missing or empty; UnknownName or UsageError for another split."""

    classes = CLASSES

    def __init__(self, root: Path | str, split: str = "train") -> None:
        self.folder, self.split = _find(root), split
        self._stage = self.folder.parent / TEST if split == "test" else self.folder
        all_names = sorted(folder.name for folder in self._stage.iterdir() if _is_shown(folder)) if self._stage.is_dir() else []
        if not all_names:
            raise DataError(f"{self._stage}: holds no folder ID/images/; unpack the archive of the bowl there.")
        places = list(range(len(all_names))) if split in ("train", "test") else split_folds(len(all_names), split)
        if places is None:
            raise did_you_mean("split of nuclei2018", split, PICTURES)
        self.names = [all_names[place] for place in places]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in PICTURES if split != "test" or (self.folder.parent / TEST).is_dir())

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file that is missing, damaged, or does not fit its picture."""
        picture = self.picture(index)
        image = read_image(picture)
        if self.split == "test":
            return Sample(self.names[index], image)
        numbers = np.zeros(image.shape[:2], np.int32)
        for number, path in enumerate(self._masks(index), start=1):
            mask = read_labels(path)
            require_same_size(image, mask, picture, path)
            numbers[mask > 0] = number
        present, ordered = np.unique(numbers, return_inverse=True)  # in the order of the files, without nuclei that have no pixel
        ordered = ordered.reshape(numbers.shape) + (present[0] > 0)
        count = int((present > 0).sum())
        labels = np.where(numbers > 0, NUCLEUS, BACKGROUND).astype(self.classes.dtype)
        return Sample(self.names[index], image, labels, Instances.of_numbers(ordered, np.full(count, NUCLEUS, np.int64)))

    def files(self) -> list[Path]:
        """The files that define the content of the split."""
        places = range(len(self))
        masks = [] if self.split == "test" else [path for index in places for path in self._masks(index)]
        return [*(self.picture(index) for index in places), *masks]

    def picture(self, index: int) -> Path:
        return self._stage / self.names[index] / "images" / f"{self.names[index]}.png"

    def _masks(self, index: int) -> list[Path]:
        folder = self._stage / self.names[index] / "masks"
        masks = [path for path in files_in(folder) if path.suffix == ".png"]
        if not masks:
            raise DataError(f"{folder}: holds no mask of a nucleus; unpack {TRAIN}.zip again.")
        return masks


def _is_shown(folder: Path) -> bool:
    return folder.is_dir() and not is_hidden(folder.name)


def _find(root: Path | str) -> Path:
    above = Path(os.path.abspath(root))
    for folder in (above / TRAIN, above):
        if folder.name == TRAIN and folder.is_dir():
            return folder
    raise DataError(f"{root}: holds no {TRAIN}/ with ID/images/ and ID/masks/; unpack {TRAIN}.zip there.")
