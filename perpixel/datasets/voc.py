"""PASCAL VOC 2012 segmentation, and the Semantic Boundaries Dataset (SBD; Hariharan et al., ICCV 2011), which labels more of its
pictures.

    ROOT/VOCdevkit/VOC2012/JPEGImages/NAME.jpg
    ROOT/VOCdevkit/VOC2012/SegmentationClass/NAME.png          palette indices: class ids; 255 on borders and other void pixels
    ROOT/VOCdevkit/VOC2012/SegmentationObject/NAME.png         palette indices: objects 1, 2, ...; 255 as above
    ROOT/VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val,trainval,test}.txt
    ROOT/VOCdevkit/VOC2011/ImageSets/Segmentation/{train,val}.txt    for seg11train and seg11valid; the only files of VOC 2011
    ROOT/benchmark_RELEASE/dataset/{img/NAME.jpg, cls/NAME.mat, inst/NAME.mat, train.txt, val.txt}    SBD: MATLAB 5, no border

ROOT may be VOCdevkit or VOC2012 too. The splits, with the published numbers of pictures:

    train 1,464, val 1,449, trainval 2,913    VOC's lists, VOC's masks
    test 1,456          VOC's list; the labels are not public
    trainaug 10,582     train, then SBD's train and val without VOC's train and val: DeepLab's train_aug (arXiv:1412.7062).
                        VOC's masks for VOC's pictures, SBD's for the others
    trainvalaug 12,031  trainval, then the same pictures of SBD: DeconvNet's training set (arXiv:1505.04366). It includes val
    sbd_train 8,498     SBD's train with SBD's labels: FCN's training set (data/pascal/README.md of the authors' repository).
                        545 of its pictures are in val
    seg11train 1,112    VOC 2011's train with VOC 2012's masks: the training set of FCN's table of classifiers
                        (arXiv:1411.4038v2, section 4.3, More Training Data)
    seg11valid 736      VOC 2011's val without sbd_train, with VOC 2012's masks: FCN's validation set (the same README)

seg11train and seg11valid need the lists of VOC 2011. VOC 2012's val without sbd_train has 904 pictures (pytorch-semseg has the
same figure). They are from 2007 to 2011, like the 736. So neither the lists of VOC 2012 nor the year in a name can give the
736."""

from __future__ import annotations

import copy
import io
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.folder import require_same_size
from perpixel.errors import DataError, did_you_mean
from perpixel.files import read_bytes, read_text, safe_name
from perpixel.images import read_image, read_labels
from perpixel.sample import Instances, Sample

LABELS = (  # class id, which is also the value in the mask, name, colour
    (0, "background", (0, 0, 0)),
    (1, "aeroplane", (128, 0, 0)),
    (2, "bicycle", (0, 128, 0)),
    (3, "bird", (128, 128, 0)),
    (4, "boat", (0, 0, 128)),
    (5, "bottle", (128, 0, 128)),
    (6, "bus", (0, 128, 128)),
    (7, "car", (128, 128, 128)),
    (8, "cat", (64, 0, 0)),
    (9, "chair", (192, 0, 0)),
    (10, "cow", (64, 128, 0)),
    (11, "diningtable", (192, 128, 0)),
    (12, "dog", (64, 0, 128)),
    (13, "horse", (192, 0, 128)),
    (14, "motorbike", (64, 128, 128)),
    (15, "person", (192, 128, 128)),
    (16, "pottedplant", (0, 64, 0)),
    (17, "sheep", (128, 64, 0)),
    (18, "sofa", (0, 192, 0)),
    (19, "train", (128, 192, 0)),
    (20, "tvmonitor", (0, 64, 128)),
)
VOID = 255
CLASSES = ClassTable(
    names=tuple(name for _, name, _ in LABELS),
    colours=tuple(colour for _, _, colour in LABELS),
    values=tuple((class_id,) for class_id, _, _ in LABELS),
    void_values=(VOID,),
    void_colour=(224, 224, 192),
)
PICTURES = {
    "train": 1464, "val": 1449, "trainval": 2913, "test": 1456, "trainaug": 10582, "trainvalaug": 12031, "sbd_train": 8498,
    "seg11train": 1112, "seg11valid": 736,
}  # fmt: skip


class Voc2012(InNotebook):
    """One split of VOC 2012 below `root`. `splits` are the splits whose lists exist. Pictures of `test` have no labels.

    With `instances` each sample has its objects too, and one more file is read. Raises DataError naming the folder or file that
    is missing, UnknownName for another split."""

    classes = CLASSES

    def __init__(self, root: Path | str, split: str = "train", instances: bool = False) -> None:
        self.folder, self.split, self.instances = find_voc(root, 2012, "Segmentation"), split, instances
        if split not in PICTURES:
            raise did_you_mean("split of voc2012", split, PICTURES)
        devkit = self.folder.parent
        self.sbd = _first_existing(above / "benchmark_RELEASE" / "dataset" for above in (devkit.parent, devkit))
        # The archive of VOC 2011 unpacks into TrainVal/.
        years = _first_existing((devkit / "VOC2011", devkit.parent / "TrainVal" / "VOCdevkit" / "VOC2011"))
        self._of_2011 = years / "ImageSets" / "Segmentation"
        lists = [read_list(path) for path in self._lists(split)]
        self.names, self._from_sbd = lists[0], frozenset[str]()
        if split in ("trainaug", "trainvalaug"):
            train, val, *sbd = lists
            own = {*train, *val}
            more = [name for names in sbd for name in names if name not in own]
            first = train if split == "trainaug" else [*train, *val]
            self.names, self._from_sbd = [*first, *more], frozenset(more)
        elif split == "sbd_train":
            self._from_sbd = frozenset(self.names)
        elif split == "seg11valid":
            self.names = [name for name in lists[0] if name not in set(lists[1])]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in PICTURES if all(path.is_file() for path in self._lists(split)))

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def picture(self, index: int) -> Path:
        return self._paths(self.names[index])[0]

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file that is missing, damaged, or does not fit its picture."""
        name = self.names[index]
        picture, mask = self._paths(name)
        image = read_image(picture)
        if self.split == "test":
            return Sample(name, image)
        labels = self.classes.decode(_read(mask, "GTcls"), str(mask))
        require_same_size(image, labels, picture, mask)
        return Sample(name, image, labels, self._objects(name, labels) if self.instances else None)

    def with_instances(self) -> Voc2012:
        """The same split, whose samples have their objects too."""
        other = copy.copy(self)
        other.instances = True
        return other

    def files(self) -> list[Path]:
        """The files that define the content of the split."""
        files = [path for name in self.names for path in self._paths(name)]
        objects = [self._objects_path(name) for name in self.names] if self.instances and self.split != "test" else []
        return [*self._lists(self.split), *(files[::2] if self.split == "test" else files), *objects]

    def _lists(self, split: str) -> tuple[Path, ...]:
        own, sbd = self.folder / "ImageSets" / "Segmentation", self.sbd
        other_lists: dict[str, tuple[Path, ...]] = {
            **dict.fromkeys(
                ("trainaug", "trainvalaug"), (own / "train.txt", own / "val.txt", sbd / "train.txt", sbd / "val.txt")
            ),
            "sbd_train": (sbd / "train.txt",),
            "seg11train": (self._of_2011 / "train.txt",),
            "seg11valid": (self._of_2011 / "val.txt", sbd / "train.txt"),
        }
        return other_lists.get(split, (own / f"{split}.txt",))

    def _paths(self, name: str) -> tuple[Path, Path]:
        if name in self._from_sbd:
            return self.sbd / "img" / f"{name}.jpg", self.sbd / "cls" / f"{name}.mat"
        return self.folder / "JPEGImages" / f"{name}.jpg", self.folder / "SegmentationClass" / f"{name}.png"

    def _objects_path(self, name: str) -> Path:
        ours = self.folder / "SegmentationObject" / f"{name}.png"
        return self.sbd / "inst" / f"{name}.mat" if name in self._from_sbd else ours

    def _objects(self, name: str, labels: NDArray[Any]) -> Instances:
        """The objects. Each has the class of most of its pixels, because masks of objects do not name classes."""
        mask, path = self._paths(name)[1], self._objects_path(name)
        numbers = _read(path, "GTinst")
        require_same_size(labels, numbers, mask, path)
        object_numbers = np.unique(numbers)
        object_numbers = object_numbers[(object_numbers != 0) & (object_numbers != VOID)]
        masks = numbers == object_numbers[:, None, None]
        class_ids = np.zeros(len(object_numbers), np.int64)
        for place, pixels in enumerate(masks):
            counts = np.bincount(labels[pixels], minlength=VOID + 1)[1 : len(self.classes)]
            if not counts.any():
                raise DataError(f"{path}: object {object_numbers[place]} lies where {mask} shows none; correct one of the two.")
            class_ids[place] = 1 + counts.argmax()
        return Instances(masks, class_ids)


def find_voc(root: Path | str, year: int, lists: str) -> Path:
    """The folder `VOC{year}` with JPEGImages/ and ImageSets/{lists}/. It lies in `root`, in its VOCdevkit, or is `root` itself.

    Raises DataError where it does not exist."""
    above, name = Path(os.path.abspath(root)), f"VOC{year}"  # absolute, because "." has neither a name nor a parent
    for folder in (above / "VOCdevkit" / name, above / name, above):
        if folder.name == name and (folder / "JPEGImages").is_dir() and (folder / "ImageSets" / lists).is_dir():
            return folder
    raise DataError(
        f"{root}: holds no VOCdevkit/{name} with JPEGImages/ and ImageSets/{lists}/; give the folder above VOCdevkit as the root."
    )


def read_list(path: Path) -> list[str]:
    """The names in a list of pictures, one a line. A name may hold blanks, and may stand in quotation marks.

    Raises DataError when the file does not exist, has no name, or has a name that leads out of a folder."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file; it is needed to list the pictures of this split.")
    names = listed_names(path)
    if not names:
        raise DataError(f"{path}: lists no picture; write one name per line.")
    for name in names:
        if not _leads_down(name):
            raise DataError(f"{path}: {name[:200]!r} is no name of a picture; write one name per line.")
    return names


def are_names_of_voc(names: Iterable[str]) -> bool:
    """Whether all pictures are called as VOC's, such as `2007_000032`. Then the numbers in masks are its classes."""
    return all(re.fullmatch(r"20(0[7-9]|1[0-2])_\d{6}", name, re.ASCII) for name in names)


def _leads_down(name: str) -> bool:
    try:
        return safe_name(name) == unicodedata.normalize("NFC", name)
    except DataError:
        return False


def listed_names(path: Path) -> list[str]:
    """The names in a list of pictures, unchecked: they may lead out of a folder."""
    return [_unquoted(line.strip()) for line in read_text(path).split("\n") if line.strip()]


def write_list(names: Iterable[str]) -> bytes:
    """The bytes of a list of pictures from which `read_list` reads these names."""
    quoted = (f'"{name}"' if name != name.strip() or name.startswith('"') else name for name in names)
    return "".join(f"{name}\n" for name in quoted).encode()


def _unquoted(name: str) -> str:
    return name[1:-1] if len(name) > 2 and name[0] == name[-1] == '"' else name


def read_mat(path: Path, variable: str, field: str | None = None, void: int = 0) -> NDArray[np.uint16]:
    """The label map (H, W) in a MATLAB file of version 5: its `variable`, or a field of this struct.

    The value `void`, which may be below 0, is read as 0. Raises DataError when the file is missing or damaged, or when the
    content is no map of whole numbers 0..65535."""
    from scipy.io import loadmat

    field_name = variable if field is None else f"{variable}.{field}"
    try:
        content = loadmat(io.BytesIO(read_bytes(path)), variable_names=[variable])[variable]
        values = np.asarray(content if field is None else content[field][0, 0])  # a struct is an array of records
    except DataError:
        raise
    except Exception as error:  # for damaged files scipy's parser raises nearly every kind of error
        raise DataError(f"{path}: {field_name} cannot be read ({error!r}); the file is damaged or no MATLAB 5 file.") from error
    if void and values.dtype.kind in "uif":
        values = np.where(values == void, 0, values)
    with np.errstate(invalid="ignore"):  # nan becomes a number, and the comparison below then fails
        whole = values.astype(np.uint16) if values.ndim == 2 and values.dtype.kind in "uif" else None
    if whole is None or not (values == whole).all():
        raise DataError(
            f"{path}: {field_name} is no label map (H, W) of whole numbers 0..65535; take the file from its archive again."
        )
    return whole


def _read(path: Path, variable: str) -> NDArray[Any]:
    return read_mat(path, variable, "Segmentation") if path.suffix == ".mat" else read_labels(path)


def _first_existing(places: Iterable[Path]) -> Path:
    candidates = list(places)
    return next((place for place in candidates if place.is_dir()), candidates[0])
