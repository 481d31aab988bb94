"""A user's own pictures and masks.

    DATA/classes.csv                            id,name,r,g,b: value in the mask, class; rows named void are not judged
    DATA/images/{train,val,test}/NAME.jpg       any of PNG, JPEG, WEBP, TIFF, BMP, GIF
    DATA/masks/{train,val,test}/NAME.png        one value per pixel: grey, palette or 16-bit; NAME.jpg.png belongs to NAME too
    DATA/instances/{train,val,test}/NAME.png    the number of the object at each pixel, or 0; beside masks/ or instead of masks/
    DATA/bands.csv                              name,low,high,nodata: a row for each band of pictures that are no RGB (`bands`)

Without masks/ the labels are made from the instances: value 1 on objects, 0 elsewhere. `classes.csv` may give other names than
background and object. Where objects touch, the border between them is drawn as background: every pixel of an object that has a
pixel of another object among its 8 neighbours. (U-Net, section 3, draws borders by morphological operations, which the paper
does not define.) Drawn borders are truth, in training and in judging. `Sample.instances` keeps the whole objects. With masks/ no
border is drawn, and an object has the class of most of its pixels.

Two other shapes are accepted. In a flat folder, with `images/NAME.jpg` and `masks/NAME.png`, a fifth of the pictures is `val`,
chosen by the digest of their names; `fold1of5`, `rest1of5` and so on are splits too (see `folds`). In a listed folder,
`DATA/pairs.csv` has the columns image,mask,split, with paths relative to DATA. `perpixel init` writes it for folders of any other
shape. In every shape the split `all` is that of all pictures, to judge on or to predict."""

from __future__ import annotations

import copy
import hashlib
import os
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.bands import FILE, Bands
from perpixel.classes import ClassTable
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.folds import split_folds
from perpixel.errors import DataError, did_you_mean
from perpixel.files import in_either_form, require_folder, safe_name, walk
from perpixel.images import PICTURE_SUFFIXES, read_bands, read_image, read_labels
from perpixel.sample import Instances, Sample
from perpixel.tables import read_csv

SPLITS = ("train", "val", "test")
ALL = "all"  # the split of all pictures
OBJECTS = ClassTable(("background", "object"), ((0, 0, 0), (230, 110, 40)), ((0,), (1,)))  # for instances without a classes.csv


@dataclass(frozen=True)
class Pair:
    """A picture with its mask, its instances, or both."""

    name: str  # the picture's path below its folder, without suffix
    image: Path
    mask: Path | None
    split: str
    instances: Path | None = None

    @property
    def truths(self) -> tuple[Path, ...]:
        """The mask and the instances, as far as the pair has them."""
        return tuple(path for path in (self.mask, self.instances) if path is not None)


@dataclass(frozen=True)
class Listing:
    """The files of a folder, by pairs."""

    pairs: tuple[Pair, ...]  # of all splits
    lonely_images: tuple[Path, ...]  # without a partner
    lonely_masks: tuple[Path, ...]  # without a partner, from masks/ and instances/
    doubles: tuple[tuple[Path, ...], ...]  # groups of files with several partners
    flat: bool = False  # the folder has no splits of its own

    def of(self, split: str) -> list[Pair]:
        """The pairs of a split; in a flat folder also of a fold or its rest.

        Of `all`, a name that occurs in several splits has its split before it.

        Raises UsageError for a fold that does not exist."""
        if split == ALL:
            times = Counter(pair.name for pair in self.pairs)
            return [replace(pair, name=f"{pair.split}/{pair.name}") if times[pair.name] > 1 else pair for pair in self.pairs]
        pairs_by_name = sorted(self.pairs, key=lambda pair: pair.name)
        indices = split_folds(len(pairs_by_name), split) if self.flat else None
        if indices is None:
            return [pair for pair in self.pairs if pair.split == split]
        return [replace(pairs_by_name[index], split=split) for index in indices]


class Folder(InNotebook):
    """The pictures of one split of the folder `root`, with their masks or instances decoded by `root/classes.csv`.

    Raises DataError when the folder, its class table or the split is missing."""

    def __init__(self, root: Path | str, split: str = "train") -> None:
        self.root, self.split = Path(root), split
        require_folder(self.root, "name the folder that holds images/ and masks/")
        self.classes, self.bands = folder_classes(self.root), folder_bands(self.root)
        all_pairs = self.listing.pairs
        if not all_pairs:
            raise DataError(f"{self.root}: no picture has a mask of the same name; put them into images/ and masks/.")
        self.splits = tuple(name for name in SPLITS if any(pair.split == name for pair in all_pairs))
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

    def truth_file(self, index: int) -> Path:
        return self.pairs[index].truths[0]

    def with_bands(self, bands: Bands) -> Folder:
        """The same pictures, with these of their bands."""
        other = copy.copy(self)
        other.bands = bands
        return other

    def image(self, index: int) -> NDArray[Any]:
        """A picture as a sample has it: RGB, or its bands as they are stored."""
        path = self.pairs[index].image
        return read_image(path) if self.bands is None else self.bands.taken(read_bands(path), str(path))

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file when picture, mask and instances cannot be read or do not fit each other."""
        pair = self.pairs[index]
        image = self.image(index)
        truth = read_labels(pair.truths[0])
        labels = self.classes.decode(values_of(truth) if pair.mask is None else truth, str(pair.truths[0]))
        require_same_size(image, labels, pair.image, pair.truths[0])
        if pair.instances is None:
            return Sample(pair.name, image, labels, bands=self.bands)
        numbers = truth if pair.mask is None else read_labels(pair.instances)
        require_same_size(image, numbers, pair.image, pair.instances)
        objects = objects_of(numbers, labels, self.classes, drawn=pair.mask is None)
        return Sample(pair.name, image, labels, objects, bands=self.bands)

    def files(self) -> list[Path]:
        """The files that define the content of the split."""
        tables = [path for path in (self.root / "classes.csv", self.root / FILE) if path.is_file()]
        return [*tables, *(path for pair in self.pairs for path in (pair.image, *pair.truths))]


def folder_classes(root: Path) -> ClassTable:
    """The table `root/classes.csv`. Without it, background and object for a folder with instances/ only, else DataError."""
    if os.path.lexists(root / "classes.csv"):  # if it is a folder or a pipe, reading it raises the error
        return ClassTable.read_csv(root / "classes.csv")
    if (root / "instances").is_dir() and not (root / "masks").is_dir() and not is_listed(root):
        return OBJECTS
    raise DataError(f"{root}: has no classes.csv; `perpixel init {root}` proposes one.")


def folder_bands(root: Path) -> Bands | None:
    """The bands that `root/bands.csv` names. None without it: then pictures are RGB."""
    return Bands.read_csv(root / FILE) if os.path.lexists(root / FILE) else None


def values_of(numbers: NDArray[Any]) -> NDArray[np.uint8]:
    """The mask (H, W) made from instances: 1 on objects, 0 elsewhere and on the borders between touching objects."""
    from perpixel.masks.touching import touching  # imported here, because scipy and numba take half a second to load

    mask: NDArray[np.uint8] = ((numbers != 0) & ~touching(numbers)).astype(np.uint8)
    return mask


def objects_of(numbers: NDArray[Any], labels: NDArray[Any], classes: ClassTable, drawn: bool) -> Instances:
    """The objects, in the order of their numbers. Where labels were `drawn` from them they have the class of value 1.

    Else `objects_by_vote` gives their classes."""
    if not drawn:
        return objects_by_vote(numbers, labels, classes)
    ordered, count = _in_order(numbers)
    return Instances.of_numbers(ordered, np.full(count, classes.decode(np.ones((1, 1), np.uint8)).item(), np.int64))


def objects_by_vote(numbers: NDArray[Any], labels: NDArray[Any], classes: ClassTable) -> Instances:
    """The objects of `numbers` (H, W), in the order of their numbers; 0 is no object.

    Each has the class of most of its pixels, without void pixels."""
    ordered, count = _in_order(numbers)
    values = classes.void + 1
    votes = np.bincount(ordered.ravel() * values + labels.ravel(), minlength=(count + 1) * values).reshape(count + 1, values)
    return Instances.of_numbers(ordered, votes[1:, : len(classes)].argmax(1))


def _in_order(numbers: NDArray[Any]) -> tuple[NDArray[np.intp], int]:
    """The map with its existing numbers replaced by 1, 2 ... in their order, and the count of these numbers."""
    present = np.bincount(numbers.ravel()) > 0
    present[0] = False
    return np.where(present, np.cumsum(present), 0)[numbers], int(present.sum())


def require_same_size(image: NDArray[Any], labels: NDArray[Any], picture: Path, mask: Path) -> None:
    """Raises DataError unless `labels`, read from `mask`, have the height and width of `image`, read from `picture`."""
    if labels.shape != image.shape[:2]:
        raise DataError(
            f"{mask}: is {labels.shape[0]}x{labels.shape[1]}, its picture {picture.name} is "
            f"{image.shape[0]}x{image.shape[1]} (height x width); give both the same size."
        )


def list_folder(root: Path) -> Listing:
    """The pairs of pictures and masks below `root`, in any of the three shapes of this module's docstring, by split and name."""
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
    """Whether pairs.csv exists, readable or not."""
    return os.path.lexists(root / "pairs.csv")


def truth_folders(root: Path) -> tuple[str, ...]:
    """The names of the folders `masks` and `instances` that exist below `root`. `masks` if neither does."""
    return tuple(kind for kind in ("masks", "instances") if (root / kind).is_dir()) or ("masks",)


def chosen_for_val(names: list[str]) -> set[str]:
    """A fifth of `names`, and at least one of two or more: the names with the lowest SHA-256.

    So a new name changes the choice of few others."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest())
    return set(ranked[: max(1, len(names) // 5)]) if len(names) > 1 else set()


def files_below(folder: Path, suffixes: frozenset[str]) -> dict[str, list[Path]]:
    """The files of `folder` and its subfolders with one of `suffixes`, by their relative path without suffix.

    They are sorted as `files.walk` sorts them. The two Unicode forms of a name are the same name."""
    files = defaultdict(list)
    for path in walk(folder):
        if path.suffix.lower() in suffixes and os.path.exists(path):
            files[unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())].append(path)
    return dict(files)


def _pair_up(images: Path, folders: dict[str, Path], split: str) -> Listing:
    """Pairs each picture with the files of the same name in `folders`, which are masks, instances or both.

    A pair needs a file in each folder."""
    pictures = files_below(images, PICTURE_SUFFIXES)
    truths = {kind: _of_pictures(files_below(folder, PICTURE_SUFFIXES), pictures) for kind, folder in folders.items()}
    complete = sorted(pictures.keys() & set.intersection(*(set(by_name) for by_name in truths.values())))
    files_of = {name: {kind: by_name[name][0] for kind, by_name in truths.items()} for name in complete}
    return Listing(
        tuple(
            Pair(name, pictures[name][0], files_of[name].get("masks"), split, files_of[name].get("instances"))
            for name in complete
        ),
        tuple(path for name in sorted(pictures.keys() - files_of.keys()) for path in pictures[name]),
        tuple(path for by_name in truths.values() for name in sorted(by_name.keys() - pictures.keys()) for path in by_name[name]),
        tuple(tuple(by_name[name]) for by_name in (pictures, *truths.values()) for name in complete if len(by_name[name]) > 1),
    )


def _of_pictures(truths: dict[str, list[Path]], pictures: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """The same masks by the names of their pictures: a mask called NAME.jpg belongs to the picture NAME."""
    by_picture: dict[str, list[Path]] = defaultdict(list)
    for name, paths in truths.items():
        stem, suffix = os.path.splitext(name)
        picture_name = stem if name not in pictures and stem in pictures and suffix.lower() in PICTURE_SUFFIXES else name
        by_picture[picture_name] += paths
    return dict(by_picture)


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
    doubles = [(file, *partners) for groups in (by_image, by_mask) for file, partners in groups.items() if len(partners) > 1]
    doubles += [(file, *partners) for file, *partners in map(dict.fromkeys, by_name.values()) if partners]
    return Listing(tuple(pairs), (), (), tuple(doubles))
