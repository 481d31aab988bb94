"""Which file is a picture, which a mask, and which belongs to which: read from the names of files and folders, and where names
do not tell, from what the files hold. `init` proposes a data set of it."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from perpixel.classes import Colour
from perpixel.codecs import unread
from perpixel.datasets.folder import SPLITS, Pair, chosen_for_val, list_folder
from perpixel.errors import DataError, failure_of
from perpixel.files import walk
from perpixel.images import PICTURE_SUFFIXES, read_header, read_image, read_labels

PICTURE_WORDS = frozenset({
    "image", "images", "img", "imgs", "jpegimages", "photo", "photos", "pic", "pics", "picture", "pictures", "rgb", "raw",
    "input", "inputs", "leftimg8bit",
})  # fmt: skip
MASK_WORDS = frozenset({
    "mask", "masks", "label", "labels", "lbl", "gt", "groundtruth", "truth", "target", "targets", "annotation", "annotations",
    "annot", "seg", "segs", "segmentation", "segmentations", "segmentationclass", "matte", "trimap", "l", "labelids",
    "labeltrainids", "gtfine", "gtcoarse",
})  # fmt: skip
OTHER_WORDS = frozenset({"segmentationobject", "instance", "instances", "overlay", "overlays", "preview", "previews", "depth"})
SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
FEW = 64  # a mask holds at most so many different values, where names do not tell


@dataclass(frozen=True)
class _File:
    """`key` is the path without split and role folders, `bare` the key without words such as `_mask`, `full` and `full_bare` are
    the same with the suffix of the file."""

    path: Path
    role: str  # picture, mask, other; empty where folder names do not tell
    split: str
    key: str
    bare: str
    full: str = ""
    full_bare: str = ""


@dataclass(frozen=True)
class MaskValues:
    """What a mask holds: pixels by value; or why it `cannot` be read, with its `colours` if it is coloured and has few."""

    values: Counter[int]
    size: tuple[int, int] | None = None
    cannot: str = ""
    colours: tuple[Colour, ...] = ()


def find_pairs(folder: Path, decided: list[str], undecided: list[str]) -> tuple[list[Pair], bool]:
    """All pairs with their splits, and whether pairs.csv is needed to say so."""
    found = walk(folder)
    left_out = _left_out(folder, found)
    undecided += left_out
    suffixed = [path for path in found if path.suffix.lower() in PICTURE_SUFFIXES and os.path.exists(path)]
    files = _with_roles([_file(folder, path) for path in suffixed if _is_utf8(within(folder, path))])
    pictures, masks, others = ([file for file in files if file.role == role] for role in ("picture", "mask", "other"))
    aside = f"{len(others)} files that seem to be instances or overlays are left aside: "
    aside += f"{some([within(folder, file.path) for file in others])}."
    if not pictures or not masks:
        missing = "pictures and no masks" if pictures else "masks and no pictures" if masks else "pictures or masks"
        said = f"found {len(pictures) or len(masks)} {missing}" if pictures or masks else f"found no {missing}"
        advice = "put pictures into images/ and masks of the same names into masks/."
        raise DataError(" ".join([f"{folder}: {said}; {advice}", *([aside] if others else []), *left_out]))
    matches, pictures, masks = _match(pictures, masks)
    if not matches:
        names = f"{within(folder, pictures[0].path)} and {within(folder, masks[0].path)}"
        said = f"{folder}: no picture and mask share a name (such as {names}); give a mask its picture's name."
        raise DataError(" ".join([said, *left_out]))
    if others:
        undecided.append(aside)
    places = Counter((within(folder, a.path.parent), within(folder, b.path.parent)) for a, b in matches)
    for (images, truths), count in places.most_common(6):
        decided.append(f"{count} pictures in {images}/ have their masks in {truths}/.")
    for left, kind in ((pictures, "pictures without a mask"), (masks, "masks without a picture")):
        if left:
            undecided.append(f"{len(left)} {kind} are left out: {some([within(folder, file.path) for file in left])}.")
    pairs = [Pair(within(folder, a.path.with_suffix("")), a.path, b.path, a.split or b.split) for a, b in matches]
    split_given = any(pair.split for pair in pairs)
    standard = list_folder(folder).pairs
    if {(p.image, p.mask, p.split if split_given else "") for p in standard} == {(p.image, p.mask, p.split) for p in pairs}:
        decided.append("images/ and masks/ have the standard shape, so no pairs.csv is needed.")
        return list(standard), False
    if any(pair.split == "" for pair in pairs) and split_given:
        undecided.append("some pictures lie in no split folder; they are taken for train.")
    pairs = [Pair(p.name, p.image, p.mask, p.split or "train") for p in pairs]
    if any(pair.split == "train" for pair in pairs) and all(pair.split != "val" for pair in pairs):
        val = chosen_for_val([pair.name for pair in pairs if pair.split == "train"])
        pairs = [Pair(p.name, p.image, p.mask, "val" if p.split == "train" and p.name in val else p.split) for p in pairs]
        decided.append("val is a fifth of the pictures, chosen by the digest of their names; edit pairs.csv to change it.")
    return sorted(pairs, key=lambda pair: (SPLITS.index(pair.split), pair.name)), True


def _file(folder: Path, path: Path) -> _File:
    """Reads role and split from folder names such as `masks`, `train_images`, `valannot`; all other words stay in the key."""
    role = split = ""
    kept = []
    for part in path.relative_to(folder).parts[:-1]:
        words = _folder_words(part)
        other = [word for word in words if word not in PICTURE_WORDS | MASK_WORDS | OTHER_WORDS | SPLIT_WORDS.keys()]
        for name, known in (("picture", PICTURE_WORDS), ("mask", MASK_WORDS), ("other", OTHER_WORDS)):  # the last one holds
            role = name if known & set(words) else role
        if other:
            kept.append("_".join(word for word in words if word in other or word in SPLIT_WORDS))
        else:
            split = next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), split)
    roles = MASK_WORDS if role == "mask" else PICTURE_WORDS
    names = (path.stem, _bare(path.stem, roles), path.name, _bare(path.name, roles))
    return _File(path, role, split, *(unicodedata.normalize("NFC", "/".join((*kept, name))) for name in names))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _left_out(folder: Path, paths: Sequence[Path]) -> list[str]:
    """A sentence for each kind of file that is not looked at, with the number of its files."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        format_name = unread.by_name(path)
        if os.path.isdir(path):
            kinds["folders cannot be read ({}); allow it"].append(within(folder, path))
        elif os.path.islink(path) and not os.path.exists(path):
            kinds["links lead nowhere ({}); take them out, or put their files there"].append(within(folder, path))
        elif not _is_utf8(within(folder, path)):  # pairs.csv is text, and could not name them
            kinds["files have names that are not UTF-8 and are left out ({}); rename them"].append(within(folder, path))
        elif format_name is not None:
            kinds[f"{format_name} files are not read ({{}}); save them as PNG"].append(within(folder, path))
    return [f"{len(names)} {said.format(some(names))}." for said, names in kinds.items()]


def _folder_words(name: str) -> list[str]:
    """`Train-Images` and `trainimages` -> train, images; `Ground Truth` -> groundtruth."""
    name = re.sub(r"ground[_\-. ]truth", "groundtruth", name.lower())
    name = re.sub(rf"^({'|'.join(SPLIT_WORDS)})(?=annot|mask|label|gt|image|img)", r"\1_", name)
    return [word for word in re.split(r"[_\-. ]+", name) if word]


def _bare(stem: str, words: frozenset[str]) -> str:
    """`cat_mask`, `mask_cat` and `cat` are all `cat`; `mask12` is `12`."""
    parts = re.split(r"[_\-. ]+", re.sub(r"^([A-Za-z]+)(?=\d)", r"\1_", stem))
    while parts and parts[-1].lower() in words:
        parts.pop()
    while parts and parts[0].lower() in words:
        parts.pop(0)
    return "_".join(parts)


def _with_roles(files: list[_File]) -> list[_File]:
    """Gives a role to the files that folder names leave without: by words in their names, else by what they hold."""
    if all(file.role != "mask" for file in files):  # all in one folder, even if that is called images
        files = [file if file.role == "other" else replace(file, role="") for file in files]
    told = [file for file in files if file.role]
    unsure = [file for file in files if not file.role]
    bare_masks = {_as_mask(file).bare for file in unsure if _mask_words(file)}
    bare_pictures = {file.bare for file in unsure if not _mask_words(file)}
    groups: dict[tuple[Path, str], list[_File]] = defaultdict(list)
    for file in unsure:
        if _mask_words(file) and _as_mask(file).bare in bare_pictures:
            told.append(_as_mask(file))
        elif not _mask_words(file) and file.bare in bare_masks:
            told.append(replace(file, role="picture"))
        else:
            groups[file.path.parent, file.path.suffix.lower()].append(file)
    for group in groups.values():
        first = [_looks_like_a_mask(file.path) for file in group[:8]]
        for i, file in enumerate(group):
            is_mask = first[i] if i < len(first) else first[0] if len(set(first)) == 1 else _looks_like_a_mask(file.path)
            told.append(_as_mask(file) if is_mask else replace(file, role="picture"))
    return sorted(told, key=lambda file: file.path)


def _as_mask(file: _File) -> _File:
    above, _, name = file.key.rpartition("/")
    return replace(file, role="mask", bare="/".join([*([above] if above else []), _bare(name, MASK_WORDS)]))


def _mask_words(file: _File) -> bool:
    return _bare(file.path.stem, MASK_WORDS) != _bare(file.path.stem, frozenset())


def _looks_like_a_mask(path: Path) -> bool:
    """Few different values or colours, and not a JPEG, whose compression would have made more of them."""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return False
    try:
        return len(np.unique(read_labels(path))) <= FEW
    except DataError:
        return bool(look_at_mask(path).colours)


def _match(pictures: list[_File], masks: list[_File]) -> tuple[list[tuple[_File, _File]], list[_File], list[_File]]:
    """The pairs, and what is left: equal names first, with the picture's suffix or without; then without words such as `_mask`,
    then names unique in all folders."""
    keys: list[tuple[Callable[[_File], str], Callable[[_File], str]]] = [
        (lambda file: file.full, lambda file: file.key),  # NAME.jpg and NAME.jpg.png
        (lambda file: file.key, lambda file: file.key),
        (lambda file: file.full_bare, lambda file: file.bare),
        (lambda file: file.key, lambda file: file.bare),
        (lambda file: file.bare, lambda file: file.key),
        (lambda file: file.bare, lambda file: file.bare),
        (lambda file: Path(file.full_bare).name, lambda file: Path(file.bare).name),
        (lambda file: Path(file.bare).name, lambda file: Path(file.bare).name),
    ]
    anywhere = len(keys) - 2  # from here on folders do not tell, and a name must be the only one
    matches: list[tuple[_File, _File]] = []
    for number, (key_of_picture, key_of_mask) in enumerate(keys):
        by_key: dict[str, list[_File]] = defaultdict(list)
        for mask in masks:
            by_key[key_of_mask(mask)].append(mask)
        times = Counter((file.split, key_of_picture(file)) for file in pictures)
        left = []
        for picture in pictures:
            same = by_key.get(key_of_picture(picture), [])
            fitting = [mask for mask in same if mask.split == picture.split] or [
                mask for mask in same if not (mask.split and picture.split)
            ]
            unique = len(fitting) == 1 and times[picture.split, key_of_picture(picture)] == 1
            if unique or (fitting and number < anywhere):
                matches.append((picture, fitting[0]))
                same.remove(fitting[0])
            else:
                left.append(picture)
        pictures, masks = left, [mask for found in by_key.values() for mask in found]
    return sorted(matches, key=lambda match: match[0].path), pictures, sorted(masks, key=lambda file: file.path)


def look_at_mask(path: Path) -> MaskValues:
    """What a mask holds; whatever reading it raises is told in `cannot`."""
    try:
        mask = read_labels(path)
        counts = np.bincount(mask.ravel())
        values = Counter({int(value): int(counts[value]) for value in np.flatnonzero(counts)})
        return MaskValues(values, (mask.shape[0], mask.shape[1]))
    except Exception as error:
        cannot = failure_of(path, error)
        if cannot is None:
            raise
    try:
        if read_header(path, turn=False).lossy:  # whose colours are not those that were written
            return MaskValues(Counter(), cannot=cannot)
        packed = read_image(path).astype(np.int32) @ np.array((65536, 256, 1), np.int32)
    except (DataError, MemoryError):
        return MaskValues(Counter(), cannot=cannot)
    found = np.unique(packed).tolist()
    colours = tuple((one >> 16, one >> 8 & 255, one & 255) for one in found) if len(found) <= FEW else ()
    return MaskValues(Counter(), cannot=cannot, colours=colours)


def within(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
