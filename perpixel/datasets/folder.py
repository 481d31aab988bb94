"""A person's own pictures and masks.

    DATA/classes.csv                            id,name,r,g,b: value in the mask, class; rows named void are not judged
    DATA/images/{train,val,test}/NAME.jpg       any of PNG, JPEG, WEBP, TIFF, BMP
    DATA/masks/{train,val,test}/NAME.png        one value per pixel: grey, palette or 16-bit

Two other shapes are understood. Flat: `images/NAME.jpg` and `masks/NAME.png`, where a fifth of the pictures, chosen by the
digest of their names, is `val`. Listed: `DATA/pairs.csv` with the columns image,mask,split and paths relative to DATA, as
`perpixel init` writes it for folders of any other shape."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.errors import DataError, did_you_mean
from perpixel.images import MASK_SUFFIXES, PICTURE_SUFFIXES, read_image, read_labels
from perpixel.sample import Sample

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Pair:
    """A picture, its mask and the split they belong to. `name` is the picture's path below its folder, without suffix."""

    name: str
    image: Path
    mask: Path
    split: str


@dataclass(frozen=True)
class Listing:
    """What lies in a folder: the pairs of all splits, and the files that found no partner or more than one."""

    pairs: tuple[Pair, ...]
    lonely_images: tuple[Path, ...]
    lonely_masks: tuple[Path, ...]
    doubles: tuple[tuple[Path, ...], ...]


class Folder:
    """The pictures of one split of the folder `root`, with their masks decoded by `root/classes.csv`.

    Raises DataError when the folder, its class table or the split is missing."""

    def __init__(self, root: Path | str, split: str = "train") -> None:
        self.root, self.split = Path(root), split
        if not self.root.is_dir():
            raise DataError(f"{self.root}: there is no such folder; name the folder that holds images/ and masks/.")
        if not (self.root / "classes.csv").is_file():
            raise DataError(f"{self.root}: has no classes.csv; `perpixel init {self.root}` proposes one.")
        self.classes = ClassTable.read_csv(self.root / "classes.csv")
        every = self.listing.pairs
        if not every:
            raise DataError(f"{self.root}: no picture has a mask of the same name; put them into images/ and masks/.")
        self.splits = tuple(name for name in SPLITS if any(pair.split == name for pair in every))
        if split not in self.splits:
            raise did_you_mean(f"split of {self.root}", split, self.splits)
        self.pairs = [pair for pair in every if pair.split == split]

    @cached_property
    def listing(self) -> Listing:
        return list_folder(self.root)

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        return self.pairs[index].name

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file when picture and mask cannot be read or do not fit each other."""
        pair = self.pairs[index]
        image = read_image(pair.image)
        labels = self.classes.decode(read_labels(pair.mask), str(pair.mask))
        require_same_size(image, labels, pair.image, pair.mask)
        return Sample(pair.name, image, labels)

    def files(self) -> list[Path]:
        """Every file that decides what the split holds."""
        return [self.root / "classes.csv", *(path for pair in self.pairs for path in (pair.image, pair.mask))]


def require_same_size(image: NDArray[Any], labels: NDArray[Any], picture: Path, mask: Path) -> None:
    """Raises DataError when `labels`, read from `mask`, have not the height and width of `image`, read from `picture`."""
    if labels.shape != image.shape[:2]:
        raise DataError(
            f"{mask}: is {labels.shape[0]}x{labels.shape[1]}, its picture {picture.name} is "
            f"{image.shape[0]}x{image.shape[1]} (height x width); give both the same size."
        )


def list_folder(root: Path) -> Listing:
    """Pairs pictures and masks below `root` by the three shapes of this module's docstring, sorted by split and name."""
    if (root / "pairs.csv").is_file():
        return _read_pairs(root)
    images, masks = root / "images", root / "masks"
    if any((images / split).is_dir() for split in SPLITS):
        listings = [_pair_up(images / split, masks / split, split) for split in SPLITS if (images / split).is_dir()]
        listings += [_pair_up(images / split, masks / split, split) for split in SPLITS
                     if (masks / split).is_dir() and not (images / split).is_dir()]
        return Listing(
            tuple(pair for listing in listings for pair in listing.pairs),
            tuple(path for listing in listings for path in listing.lonely_images),
            tuple(path for listing in listings for path in listing.lonely_masks),
            tuple(paths for listing in listings for paths in listing.doubles),
        )
    flat = _pair_up(images, masks, "train")
    val = chosen_for_val([pair.name for pair in flat.pairs])
    pairs = [Pair(p.name, p.image, p.mask, "val" if p.name in val else "train") for p in flat.pairs]
    return Listing(tuple(sorted(pairs, key=lambda p: (SPLITS.index(p.split), p.name))),
                   flat.lonely_images, flat.lonely_masks, flat.doubles)


def chosen_for_val(names: list[str]) -> set[str]:
    """A fifth of `names` (at least one of two): those whose SHA-256 sorts first, so that a new name moves few others."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return set(ranked[: max(1, len(names) // 5)]) if len(names) > 1 else set()


def files_below(folder: Path, suffixes: frozenset[str]) -> dict[str, list[Path]]:
    """The files of `folder` and its subfolders by relative path without suffix, sorted; hidden files are left out.

    Links to folders are followed; a folder that is reached twice counts once."""
    paths, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if os.path.realpath(place) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        paths += [Path(place, name) for name in names if not name.startswith(".")]
    found = defaultdict(list)
    for path in sorted(path for path in paths if path.suffix.lower() in suffixes and path.is_file()):
        found[path.relative_to(folder).with_suffix("").as_posix()].append(path)
    return dict(found)


def _pair_up(images: Path, masks: Path, split: str) -> Listing:
    pictures, truths = files_below(images, PICTURE_SUFFIXES), files_below(masks, MASK_SUFFIXES | PICTURE_SUFFIXES)
    both = sorted(pictures.keys() & truths.keys())
    return Listing(
        tuple(Pair(name, pictures[name][0], truths[name][0], split) for name in both),
        tuple(path for name in sorted(pictures.keys() - truths.keys()) for path in pictures[name]),
        tuple(path for name in sorted(truths.keys() - pictures.keys()) for path in truths[name]),
        tuple(tuple(found[name]) for found in (pictures, truths) for name in both if len(found[name]) > 1),
    )


def _read_pairs(root: Path) -> Listing:
    path = root / "pairs.csv"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text; save it as UTF-8.") from error
    reader = csv.DictReader(io.StringIO(text))
    if not {"image", "mask", "split"} <= set(reader.fieldnames or ()):
        raise DataError(f"{path}: the first line must be `image,mask,split`, found {reader.fieldnames}.")
    pairs = []
    for row in reader:
        if row["split"] not in SPLITS:
            raise DataError(f"{path}, line {reader.line_num}: split {row['split']!r} is none of {', '.join(SPLITS)}.")
        if not row["image"] or not row["mask"]:
            raise DataError(f"{path}, line {reader.line_num}: image or mask is empty; give both paths.")
        name = Path(row["image"]).with_suffix("").as_posix()
        pairs.append(Pair(name, root / row["image"], root / row["mask"], row["split"]))
    pairs.sort(key=lambda pair: (SPLITS.index(pair.split), pair.name))
    by_image, by_mask = defaultdict(list), defaultdict(list)
    for pair in pairs:
        by_image[pair.image].append(pair.mask)
        by_mask[pair.mask].append(pair.image)
    doubles = [(one, *many) for found in (by_image, by_mask) for one, many in found.items() if len(many) > 1]
    return Listing(tuple(pairs), (), (), tuple(doubles))
