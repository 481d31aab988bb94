"""NYU Depth V2: 1,449 indoor scenes (Silberman et al., ECCV 2012) with the 40 classes of Gupta et al., CVPR 2013. Only the colour
pictures are read, not depth or HHA, which codes depth as a picture.

    ROOT/data/images/img_NAME.png
    ROOT/segmentation/img_NAME.mat    `segmentation`: 1..40 as in `NAMES`, 0 void
    ROOT/{train,val,test}.txt         one NAME a line, such as 5001

This is the folder of the FCN authors' nyud_layers.py. It consists of their nyud.tar.gz, made from Gupta's data.tgz, and of the
lists in data/nyud of their repository. It may lie below the given folder, as nyud/. Names and order come from
data/nyud/classes.txt.

The splits, with the published numbers of pictures: train 381, val 414, test 654, and trainval 795, which is train, then val. FCN
trains on trainval."""

from __future__ import annotations

import os
from pathlib import Path

from perpixel.classes import ClassTable, distinct_colours
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.folder import require_same_size
from perpixel.datasets.voc import read_list, read_mat
from perpixel.errors import DataError, did_you_mean
from perpixel.images import read_image
from perpixel.sample import Sample

NAMES = (  # the values 1, 2, ... of the files; spelt as in classes.txt
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter", "blinds",
    "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books", "refridgerator",
    "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp",
    "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop")  # fmt: skip
CLASSES = ClassTable(
    NAMES, tuple(distinct_colours(len(NAMES))), tuple((value,) for value in range(1, 1 + len(NAMES))), void_values=(0,)
)
PICTURES = {"train": 381, "val": 414, "trainval": 795, "test": 654}


class Nyud(InNotebook):
    """One split of NYU Depth V2 below `root`.

    Raises DataError naming the folder or file that is missing, UnknownName for another split."""

    classes, splits = CLASSES, tuple(PICTURES)

    def __init__(self, root: Path | str, split: str = "train") -> None:
        if split not in PICTURES:
            raise did_you_mean("split of nyud", split, PICTURES)
        self.folder, self.split = _find(root), split
        self.names = [name for path in self._lists for name in read_list(path)]

    @property
    def _lists(self) -> list[Path]:
        return [self.folder / f"{name}.txt" for name in (("train", "val") if self.split == "trainval" else (self.split,))]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file that is missing, damaged, or does not fit its picture."""
        picture, mask = self._paths(self.names[index])
        image, labels = read_image(picture), self.classes.decode(read_mat(mask, "segmentation"), str(mask))
        require_same_size(image, labels, picture, mask)
        return Sample(self.names[index], image, labels)

    def files(self) -> list[Path]:
        """The files that define the content of the split."""
        return [*self._lists, *(path for name in self.names for path in self._paths(name))]

    def _paths(self, name: str) -> tuple[Path, Path]:
        return self.folder / "data" / "images" / f"img_{name}.png", self.folder / "segmentation" / f"img_{name}.mat"


def _find(root: Path | str) -> Path:
    above = Path(os.path.abspath(root))
    for folder in (above / "nyud", above):
        if (folder / "data" / "images").is_dir() and (folder / "segmentation").is_dir():
            return folder
    raise DataError(f"{root}: holds no data/images/ and segmentation/; unpack the FCN authors' nyud.tar.gz there.")
