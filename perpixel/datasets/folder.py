"""A person's own pictures and masks.

    DATA/classes.csv                            id,name,r,g,b: value in the mask, class; rows named void are not judged
    DATA/images/{train,val,test}/NAME.jpg       any of PNG, JPEG, WEBP, TIFF, BMP
    DATA/masks/{train,val,test}/NAME.png        one value per pixel: grey, palette or 16-bit; NAME.jpg.png is one of NAME too
    DATA/instances/{train,val,test}/NAME.png    one number per object, 0 where there is none; beside masks/ or instead of them

Without masks/ the labels are made of the instances: value 0 where there is no object, 1 on objects; `classes.csv` may give other
names than background and object. Where objects touch, the border between them is drawn as background (U-Net, section 3: by
morphological operations, which the paper does not define): every pixel that has one of another object among its 8 neighbours.
Drawn borders are truth, in training and in judging; `Sample.instances` keeps the whole objects. With masks/ nothing is drawn, and
an object's class is the one that most of its pixels have.

Two other shapes are understood. Flat: `images/NAME.jpg` and `masks/NAME.png`, where a fifth of the pictures, chosen by the
digest of their names, is `val`; `fold1of5`, `rest1of5` and the like are splits too (see `folds`). Listed: `DATA/pairs.csv` with
the columns image,mask,split and paths relative to DATA, as `perpixel init` writes it for folders of any other shape."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.datasets.folds import split_folds
from perpixel.errors import DataError, did_you_mean
from perpixel.files import in_either_form, require_folder, safe_name, walk
from perpixel.images import PICTURE_SUFFIXES, read_image, read_labels
from perpixel.sample import Instances, Sample
from perpixel.tables import read_csv

SPLITS = ("train", "val", "test")
OBJECTS = ClassTable(("background", "object"), ((0, 0, 0), (230, 110, 40)), ((0,), (1,)))  # of instances without a classes.csv


@dataclass(frozen=True)
class Pair:
    """A picture, its mask, its instances or both, and the split they belong to.

    `name` is the picture's path below its folder, without suffix."""

    name: str
    image: Path
    mask: Path | None
    split: str
    instances: Path | None = None

    @property
    def truths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.mask, self.instances) if path is not None)


@dataclass(frozen=True)
class Listing:
    """What lies in a folder: the pairs of all splits, and the files that found no partner or more than one.

    `lonely_masks` are of masks/ and instances/. A `flat` folder has no splits of its own."""

    pairs: tuple[Pair, ...]
    lonely_images: tuple[Path, ...]
    lonely_masks: tuple[Path, ...]
    doubles: tuple[tuple[Path, ...], ...]
    flat: bool = False

    def of(self, split: str) -> list[Pair]:
        """The pairs of a split, or, of a flat folder, of a fold or its rest. Raises UsageError for a fold that there is not."""
        every = sorted(self.pairs, key=lambda pair: pair.name)
        chosen = split_folds(len(every), split) if self.flat else None
        if chosen is None:
            return [pair for pair in self.pairs if pair.split == split]
        return [replace(every[index], split=split) for index in chosen]


class Folder:
    """The pictures of one split of the folder `root`, with their masks or instances decoded by `root/classes.csv`.

    Raises DataError when the folder, its class table or the split is missing."""

    def __init__(self, root: Path | str, split: str = "train") -> None:
        self.root, self.split = Path(root), split
        require_folder(self.root, "name the folder that holds images/ and masks/")
        self.classes = folder_classes(self.root)
        every = self.listing.pairs
        if not every:
            raise DataError(f"{self.root}: no picture has a mask of the same name; put them into images/ and masks/.")
        self.splits = tuple(name for name in SPLITS if any(pair.split == name for pair in every))
        self.pairs = self.listing.of(split)
        if not self.pairs:
            raise did_you_mean(f"split of {self.root}", split, self.splits)

    @cached_property
    def listing(self) -> Listing:
        return list_folder(self.root)

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        return self.pairs[index].name

    def picture(self, index: int) -> Path:
        return self.pairs[index].image

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file when picture, mask and instances cannot be read or do not fit each other."""
        pair = self.pairs[index]
        image = read_image(pair.image)
        truth = read_labels(pair.truths[0])
        labels = self.classes.decode(values_of(truth) if pair.mask is None else truth, str(pair.truths[0]))
        require_same_size(image, labels, pair.image, pair.truths[0])
        if pair.instances is None:
            return Sample(pair.name, image, labels)
        numbers = truth if pair.mask is None else read_labels(pair.instances)
        require_same_size(image, numbers, pair.image, pair.instances)
        return Sample(pair.name, image, labels, _objects(numbers, labels, self.classes, drawn=pair.mask is None))

    def files(self) -> list[Path]:
        """Every file that decides what the split holds."""
        table = [path for path in (self.root / "classes.csv",) if path.is_file()]
        return [*table, *(path for pair in self.pairs for path in (pair.image, *pair.truths))]


def folder_classes(root: Path) -> ClassTable:
    """The table `root/classes.csv`; without it background and object where instances/ stand alone. Raises DataError otherwise."""
    if os.path.lexists(root / "classes.csv"):  # a folder or a pipe of this name is told by reading it
        return ClassTable.read_csv(root / "classes.csv")
    if (root / "instances").is_dir() and not (root / "masks").is_dir() and not is_listed(root):
        return OBJECTS
    raise DataError(f"{root}: has no classes.csv; `perpixel init {root}` proposes one.")


def values_of(numbers: NDArray[Any]) -> NDArray[np.uint8]:
    """The mask (H, W) that is made of instances: 1 on objects, 0 elsewhere and on the borders between objects that touch."""
    from perpixel.masks.touching import touching  # only now: scipy and numba take that time to load

    mask: NDArray[np.uint8] = ((numbers != 0) & ~touching(numbers)).astype(np.uint8)
    return mask


def _objects(numbers: NDArray[Any], labels: NDArray[Any], classes: ClassTable, drawn: bool) -> Instances:
    """The objects in the order of their numbers. Their class is that of value 1 where labels were `drawn` from them, else as
    `objects_by_vote` says."""
    if not drawn:
        return objects_by_vote(numbers, labels, classes)
    ordered, count = _in_order(numbers)
    return Instances.of_numbers(ordered, np.full(count, classes.decode(np.ones((1, 1), np.uint8)).item(), np.int64))


def objects_by_vote(numbers: NDArray[Any], labels: NDArray[Any], classes: ClassTable) -> Instances:
    """The objects of `numbers` (H, W), in their order; 0 is none. Their class is the one that most of their pixels have, void
    aside."""
    ordered, count = _in_order(numbers)
    values = classes.void + 1
    votes = np.bincount(ordered.ravel() * values + labels.ravel(), minlength=(count + 1) * values).reshape(count + 1, values)
    return Instances.of_numbers(ordered, votes[1:, : len(classes)].argmax(1))


def _in_order(numbers: NDArray[Any]) -> tuple[NDArray[np.intp], int]:
    """The numbers that are there as 1, 2 ... in their order, and how many they are."""
    present = np.bincount(numbers.ravel()) > 0
    present[0] = False
    return np.where(present, np.cumsum(present), 0)[numbers], int(present.sum())


def require_same_size(image: NDArray[Any], labels: NDArray[Any], picture: Path, mask: Path) -> None:
    """Raises DataError when `labels`, read from `mask`, have not the height and width of `image`, read from `picture`."""
    if labels.shape != image.shape[:2]:
        raise DataError(
            f"{mask}: is {labels.shape[0]}x{labels.shape[1]}, its picture {picture.name} is "
            f"{image.shape[0]}x{image.shape[1]} (height x width); give both the same size."
        )


def list_folder(root: Path) -> Listing:
    """Pairs pictures and masks below `root` by the three shapes of this module's docstring, sorted by split and name."""
    if is_listed(root):
        return _read_pairs(root)
    kinds = truth_folders(root)
    places = [root / "images", *(root / kind for kind in kinds)]
    if any((root / "images" / split).is_dir() for split in SPLITS):
        splits = [split for split in SPLITS if any((place / split).is_dir() for place in places)]
        listings = [_pair_up(root / "images" / split, {kind: root / kind / split for kind in kinds}, split) for split in splits]
        return Listing(
            tuple(pair for listing in listings for pair in listing.pairs),
            tuple(path for listing in listings for path in listing.lonely_images),
            tuple(path for listing in listings for path in listing.lonely_masks),
            tuple(paths for listing in listings for paths in listing.doubles),
        )
    flat = _pair_up(root / "images", {kind: root / kind for kind in kinds}, "train")
    val = chosen_for_val([pair.name for pair in flat.pairs])
    pairs = [replace(pair, split="val") if pair.name in val else pair for pair in flat.pairs]
    return replace(flat, pairs=tuple(sorted(pairs, key=lambda p: (SPLITS.index(p.split), p.name))), flat=True)


def is_listed(root: Path) -> bool:
    """Whether pairs.csv is there, readable or not."""
    return os.path.lexists(root / "pairs.csv")


def truth_folders(root: Path) -> tuple[str, ...]:
    """Which of `masks` and `instances` are below `root`; `masks` if neither is."""
    return tuple(kind for kind in ("masks", "instances") if (root / kind).is_dir()) or ("masks",)


def chosen_for_val(names: list[str]) -> set[str]:
    """A fifth of `names` (at least one of two): those whose SHA-256 sorts first, so that a new name moves few others."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest())
    return set(ranked[: max(1, len(names) // 5)]) if len(names) > 1 else set()


def files_below(folder: Path, suffixes: frozenset[str]) -> dict[str, list[Path]]:
    """The files of `folder` and its subfolders, found by `files.walk`, by relative path without suffix, sorted.

    The two Unicode forms of a name are one name."""
    found = defaultdict(list)
    for path in walk(folder):
        if path.suffix.lower() in suffixes and os.path.exists(path):
            found[unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())].append(path)
    return dict(found)


def _pair_up(images: Path, folders: dict[str, Path], split: str) -> Listing:
    """A pair has a picture and a file of the same name in each of `folders`, which are of masks, instances or both."""
    pictures = files_below(images, PICTURE_SUFFIXES)
    truths = {kind: _of_pictures(files_below(folder, PICTURE_SUFFIXES), pictures) for kind, folder in folders.items()}
    whole = sorted(pictures.keys() & set.intersection(*(set(found) for found in truths.values())))
    of = {name: {kind: found[name][0] for kind, found in truths.items()} for name in whole}
    return Listing(
        tuple(Pair(name, pictures[name][0], of[name].get("masks"), split, of[name].get("instances")) for name in whole),
        tuple(path for name in sorted(pictures.keys() - of.keys()) for path in pictures[name]),
        tuple(path for found in truths.values() for name in sorted(found.keys() - pictures.keys()) for path in found[name]),
        tuple(tuple(found[name]) for found in (pictures, *truths.values()) for name in whole if len(found[name]) > 1),
    )


def _of_pictures(truths: dict[str, list[Path]], pictures: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """The same masks, where those called NAME.jpg have the name of the picture NAME."""
    found: dict[str, list[Path]] = defaultdict(list)
    for name, paths in truths.items():
        bare, suffix = os.path.splitext(name)
        after = bare if name not in pictures and bare in pictures and suffix.lower() in PICTURE_SUFFIXES else name
        found[after] += paths
    return dict(found)


def _read_pairs(root: Path) -> Listing:
    path = root / "pairs.csv"
    pairs = []
    for line, row in read_csv(path, ("image", "mask", "split")):
        if row["split"] not in SPLITS:
            raise DataError(f"{path}, line {line}: split {row['split']!r} is none of {', '.join(SPLITS)}.")
        if not row["image"] or not row["mask"]:
            raise DataError(f"{path}, line {line}: image or mask is empty; give both paths.")
        try:
            name = Path(safe_name(row["image"])).with_suffix("").as_posix()
            image, mask = (in_either_form(root / row[column]) for column in ("image", "mask"))
        except DataError as error:
            raise DataError(f"{path}, line {line}: {error}") from None
        pairs.append(Pair(name, image, mask, row["split"]))
    pairs.sort(key=lambda pair: (SPLITS.index(pair.split), pair.name))
    by_image, by_mask, by_name = defaultdict(list), defaultdict(list), defaultdict(list)
    for pair in pairs:
        (mask,) = pair.truths
        by_image[pair.image].append(mask)
        by_mask[mask].append(pair.image)
        by_name[pair.split, pair.name].append(pair.image)
    doubles = [(one, *many) for found in (by_image, by_mask) for one, many in found.items() if len(many) > 1]
    doubles += [(one, *many) for one, *many in map(dict.fromkeys, by_name.values()) if many]
    return Listing(tuple(pairs), (), (), tuple(doubles))
