"""PASCAL-Context: the whole scene of the pictures of VOC 2010 (Mottaghi et al., CVPR 2014), in three views of its 459 labels.

    ROOT/VOCdevkit/VOC2010/JPEGImages/NAME.jpg
    ROOT/VOCdevkit/VOC2010/ImageSets/Main/{train,val}.txt     4,998 and 5,105 names
    ROOT/pascal-context/labels.txt                            `1: accordion` ... `459: wool`
    ROOT/pascal-context/trainval/NAME.mat                     MATLAB 5, LabelMap (H, W) of the numbers in labels.txt

ROOT may be VOCdevkit or VOC2010 too. labels.txt and trainval/ may lie beside VOCdevkit, in VOCdevkit, or in VOC2010, with or
without a folder pascal-context/. The views:

    context59    the 59 most frequent classes; all other labels are void
    context60    background as class 0, then the same 59 classes; background is all other labels. FCN trains and judges this view
    context33    VOC's 20 classes and 13 classes of stuff; all other labels are void

A class is the label with the same name, as in the FCN authors' pascalcontext_layers.py. There, too, three of the 59 names differ
from labels.txt (`OTHER_NAMES`). Names and order come from the authors' data/pascal-context/classes-59.txt, and from
33_labels.txt of the data set's site (its source is vietjtnguyen/pascal-regions-website)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perpixel.classes import ClassTable, distinct_colours
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.folder import require_same_size
from perpixel.datasets.voc import find_voc, read_list, read_mat
from perpixel.errors import DataError, did_you_mean
from perpixel.files import read_text
from perpixel.images import read_image
from perpixel.sample import Sample

NAMES_OF_VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")  # fmt: skip
NAMES_OF_59 = (
    *NAMES_OF_VOC,
    "bag", "bed", "bench", "book", "building", "cabinet", "ceiling", "clothes", "computer", "cup", "door", "fence", "floor",
    "flower", "food", "grass", "ground", "keyboard", "light", "mountain", "mouse", "curtain", "platform", "sign", "plate", "road",
    "rock", "shelves", "sidewalk", "sky", "snow", "bedcloth", "track", "tree", "truck", "wall", "water", "window",
    "wood")  # fmt: skip
NAMES_OF_33 = (
    *NAMES_OF_VOC,
    "sky", "grass", "ground", "road", "building", "tree", "water", "mountain", "wall", "floor", "track", "keyboard",
    "ceiling")  # fmt: skip
OTHER_NAMES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}  # class -> labels.txt
NUM_LABELS = 459
PICTURES = {"train": 4998, "val": 5105}


def _view(names: Sequence[str], background: bool = False) -> ClassTable:
    """The table of a view. Masks that we write have 1, 2, ... for the classes and 0 for the rest, as the site's own PNGs do."""
    values, colours = [(value,) for value in range(1, 1 + len(names))], distinct_colours(len(names))
    if background:
        return ClassTable(("background", *names), ((0, 0, 0), *colours), ((0,), *values))
    return ClassTable(tuple(names), tuple(colours), tuple(values), void_values=(0, 255))


VIEWS = {"context59": _view(NAMES_OF_59), "context60": _view(NAMES_OF_59, background=True), "context33": _view(NAMES_OF_33)}


class Context(InNotebook):
    """One split, `train` or `val`, of PASCAL-Context below `root`, in one of the `VIEWS`.

    Raises DataError naming the folder or file that is missing, UnknownName for another split or view."""

    splits = tuple(PICTURES)

    def __init__(self, root: Path | str, split: str = "train", view: str = "context60") -> None:
        if view not in VIEWS:
            raise did_you_mean("view of PASCAL-Context", view, VIEWS)
        if split not in PICTURES:
            raise did_you_mean(f"split of {view}", split, PICTURES)
        self.folder, self.split, self.classes = find_voc(root, 2010, "Main"), split, VIEWS[view]
        self.annotations = _find_annotations(root, self.folder)
        self.names = read_list(self._list)
        self._stored = _in_labels(self.classes, self.annotations / "labels.txt")

    @property
    def _list(self) -> Path:
        return self.folder / "ImageSets" / "Main" / f"{self.split}.txt"

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file that is missing, damaged, or does not fit its picture."""
        picture, mask = self._paths(self.names[index])
        image, labels = read_image(picture), self._stored.decode(read_mat(mask, "LabelMap"), str(mask))
        require_same_size(image, labels, picture, mask)
        return Sample(self.names[index], image, labels)

    def files(self) -> list[Path]:
        """The files that define the content of the split."""
        return [self._list, self.annotations / "labels.txt", *(path for name in self.names for path in self._paths(name))]

    def _paths(self, name: str) -> tuple[Path, Path]:
        return self.folder / "JPEGImages" / f"{name}.jpg", self.annotations / "trainval" / f"{name}.mat"


def read_numbers(path: Path) -> dict[str, int]:
    """The number of each label, by its name, from a file of lines `number: name`. Raises DataError naming the file and the
    line."""
    numbers: dict[str, int] = {}
    for count, line in enumerate(read_text(path).splitlines(), start=1):
        number, colon, name = line.partition(":")
        if not line.strip():
            continue
        if not colon or not number.strip().isdecimal():
            raise DataError(f"{path}, line {count}: expected `number: name`, found {line!r}.")
        numbers[name.strip()] = int(number)
    return numbers


def _find_annotations(root: Path | str, folder: Path) -> Path:
    devkit = folder.parent
    for place in (devkit.parent, devkit, folder):
        for folder_of_labels in (place / "pascal-context", place):
            if (folder_of_labels / "labels.txt").is_file() and (folder_of_labels / "trainval").is_dir():
                return folder_of_labels
    raise DataError(
        f"{root}: holds no pascal-context/ with labels.txt and trainval/; unpack PASCAL-Context's trainval.tar.gz there."
    )


def _in_labels(classes: ClassTable, path: Path) -> ClassTable:
    """`classes` with the numbers of `path`, a labels.txt, as values. All other numbers become background, or void without it."""
    numbers = read_numbers(path)
    names = [name for name in classes.names if name != "background"]
    missing = [name for name in (OTHER_NAMES.get(name, name) for name in names) if name not in numbers]
    if missing:
        raise DataError(f"{path}: has no label {missing[0]!r}; take labels.txt from PASCAL-Context's archive again.")
    values = [(numbers[OTHER_NAMES.get(name, name)],) for name in names]
    rest = tuple(sorted({*range(NUM_LABELS + 1)} - {value for (value,) in values}))
    if "background" in classes.names:
        return ClassTable(classes.names, classes.colours, (rest, *values), void_values=())
    return ClassTable(classes.names, classes.colours, tuple(values), void_values=rest)
