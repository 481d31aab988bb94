"""Data sets that need no `init`: those with a reader of their own. And several in one folder, of which a person must choose."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perpixel.datasets import ON_DISK, judged_splits
from perpixel.datasets.pairing_masks import look_at_mask
from perpixel.datasets.pairing_names import MASK_WORDS, OTHER_WORDS, PICTURE_WORDS, folder_words, is_split, within
from perpixel.errors import DataError, PerpixelError
from perpixel.files import files_in, read_text, walk
from perpixel.formats import FORMATS, annotations_of
from perpixel.images import PICTURE_SUFFIXES, read_size

PARTS = 12  # more folders of one shape are parts of one data set: patients, cities
LOOKED_AT = 2  # masks of each folder whose values are compared
# Files that a published set has, beside what its reader asks for: other sets have the same folders.
SIGNS: dict[str, str] = {"ade20k": "ADE_"}  # how the names of its pictures begin


@dataclass(frozen=True)
class Ready:
    """A published data set that lies in a folder, with its reader."""

    name: str  # the first of `views`
    views: tuple[str, ...]  # all names under which it can be opened
    pictures: dict[str, int]  # by split
    folder: Path

    def sentence(self) -> str:
        title = ON_DISK[self.name].title.split(", ")[0]
        counts = ", ".join(f"{split} {count}" for split, count in self.pictures.items())
        return f"{self.folder}: is {title} ({counts}). Its reader is ready, so nothing is written."

    def command(self) -> str:
        others = f" (or --data {', '.join(self.views[1:])})" if len(self.views) > 1 else ""
        return f"perpixel train --data {self.name} --root {self.folder}{others}"


def ready_set(folder: Path) -> Ready | None:
    """The published data set of which the folder has files that its reader reads; none where there is none."""
    views: list[str] = []
    pictures: dict[str, int] = {}
    for name, known in ON_DISK.items():
        if views and known.title.split(", ")[0] != ON_DISK[views[0]].title.split(", ")[0]:
            continue
        try:
            splits = judged_splits(name, folder)
            first = next(dataset for dataset in splits.values() if len(dataset))
            if not Path(first.name(0)).name.startswith(SIGNS.get(name, "")):
                continue
            first.sample(0)
        except (PerpixelError, OSError, StopIteration):
            continue
        views.append(name)
        pictures = pictures or {split: len(dataset) for split, dataset in splits.items()}
    return Ready(views[0], tuple(views), pictures, folder) if views else None


def unread_annotations(folder: Path) -> DataError | None:
    """The error for annotations of a tool that are not read, with what to do. None where there are none."""
    files = [path for path in walk(folder) if path.suffix.lower() == ".json" and path.parent.name == "ann"]
    if not any('"classTitle"' in read_text(path) for path in files[:LOOKED_AT]):
        return None
    name = within(folder, files[0])
    return DataError(
        f"{folder}: {len(files)} files are JSON of Supervisely ({name}), which is not read; export it there as masks "
        f"(masks_machine/) or as COCO."
    )


@dataclass(frozen=True)
class SetBelow:
    """A folder that is a data set by itself."""

    folder: Path
    holds: str  # in words


def refuse_panoptic(folder: Path) -> None:
    """Raises DataError where a JSON file says what the colours of masks mean, as COCO's panoptic maps have it."""
    for path in files_in(folder, depth=2):
        if path.suffix.lower() == ".json" and "panoptic" in path.name.lower():
            raise DataError(
                f"{path}: says what the colours of panoptic maps mean; where the pictures lie in train2017/, and the maps in "
                f"annotations/panoptic_train2017/, `perpixel train --data coco_panoptic --root {folder}` reads them."
            )


def refuse_several(folder: Path) -> None:
    """Raises DataError where the folder holds several data sets, and names them."""
    sets = sets_below(folder, [path for path in walk(folder) if path.suffix.lower() in PICTURE_SUFFIXES])
    if len(sets) > 1:
        listed = "; ".join(f"{within(folder, below.folder)}: {below.holds}" for below in sets[:8])
        more = f"; and {len(sets) - 8} more" if len(sets) > 8 else ""
        raise DataError(
            f"{folder}: holds {len(sets)} data sets ({listed}{more}); name one, such as `perpixel init {sets[0].folder}`, or "
            f"take all as one with --together."
        )


def sets_below(folder: Path, pictures: Sequence[Path]) -> list[SetBelow]:
    """The folders below `folder` that are each a data set: with a reader or a format of their own, or with folders of
    pictures and of masks. One or none where `folder` is one data set, whose parts may have folders of their own.

    `pictures` are all files of pictures and masks below `folder`."""
    by_child: dict[str, list[Path]] = defaultdict(list)
    own: list[Path] = []
    for path in pictures:
        parts = path.relative_to(folder).parts
        words = set(folder_words(parts[0])) if len(parts) > 1 else set()
        if len(parts) == 1 or words & (PICTURE_WORDS | MASK_WORDS | OTHER_WORDS) or is_split(parts[0]):
            own.append(path)
        else:
            by_child[parts[0]].append(path)
    sets: list[SetBelow] = []
    shapes: list[list[Path]] = []
    for name, paths in sorted(by_child.items()):
        child = folder / name
        inside = sets_below(child, paths) if len(paths) > 1 and len(by_child) <= PARTS else []
        if len(inside) > 1:
            sets += inside
            shapes += [[], []]
        elif holds := _holds(child, paths, len(by_child)):
            sets.append(SetBelow(child, holds))
            shapes.append(paths)
    if own and sets and (holds := _pairs_in_words(folder, own)):
        sets.insert(0, SetBelow(folder, f"{holds} beside the others"))
        shapes.insert(0, [])
    if len(sets) > 1 and all(shapes) and _are_parts([below.folder for below in sets], shapes):
        return []
    return sets


def _holds(folder: Path, paths: Sequence[Path], beside: int) -> str:
    """What a data set in a folder is, in words; empty where it is none."""
    if beside <= PARTS:
        ready = ready_set(folder)
        if ready is not None:
            return ON_DISK[ready.name].title
        name = annotations_of(folder)
        if name is not None:
            return FORMATS[name].title
    return _pairs_in_words(folder, paths)


def _pairs_in_words(folder: Path, paths: Sequence[Path]) -> str:
    """The number of pictures, where folder names tell pictures and masks apart. Empty where they do not."""
    counts = {"picture": 0, "mask": 0}
    for path in paths:
        role = _role(folder, path)
        if role:
            counts[role] += 1
    return f"{counts['picture']} pictures, {counts['mask']} masks" if all(counts.values()) else ""


def _role(folder: Path, path: Path) -> str:
    role = ""
    for part in path.relative_to(folder).parts[:-1]:
        words = set(folder_words(part)) - {"instances"} | ({"masks"} if part.lower() == "instances" else set())
        role = "picture" if words & PICTURE_WORDS else "mask" if words & MASK_WORDS else "" if words & OTHER_WORDS else role
    return role


def _are_parts(folders: Sequence[Path], paths: Sequence[Sequence[Path]]) -> bool:
    """Whether folders are parts of one data set: of the same inner shape, and many, of one picture each, numbered, or
    of masks that write the same values in pictures of one size."""
    shapes = {frozenset(_shape(folder, path) for path in of_folder) for folder, of_folder in zip(folders, paths, strict=True)}
    if len(shapes) > 1:
        return False
    pictures = [sum(_role(folder, path) == "picture" for path in files) for folder, files in zip(folders, paths, strict=True)]
    if len(folders) > PARTS or max(pictures) == 1:
        return True
    if len({re.sub(r"\d+", "#", folder.name) for folder in folders}) == 1:
        return True
    values: list[frozenset[int]] = []
    sizes = set()
    for folder, files in zip(folders, paths, strict=True):
        masks = [path for path in files if _role(folder, path) == "mask"][:LOOKED_AT]
        looks = [look_at_mask(path) for path in masks]
        values.append(frozenset(value for look in looks for value in (look.values or look.colours)))
        try:
            sizes.add(read_size(next(path for path in files if _role(folder, path) == "picture")))
        except DataError:
            return False
    most = max(values, key=len)
    return all(one <= most for one in values) and (len(most) > 2 or len(sizes) == 1)


def _shape(folder: Path, path: Path) -> tuple[str, str]:
    """The folders and the suffix of a file, without splits, numbers and names of its own."""
    role = _role(folder, path)
    parts = [part for part in path.relative_to(folder).parts[:-1] if set(folder_words(part)) & (PICTURE_WORDS | MASK_WORDS)]
    return f"{role}:{'/'.join(parts).lower()}", path.suffix.lower()
