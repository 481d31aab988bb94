"""Finds the pictures and the masks in a folder of any shape, and pairs them, for `init`.

The names of files and folders decide. Where names do not suffice, the content of the files decides."""

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
FEW = 64  # most different values of a mask, where names do not decide


@dataclass(frozen=True)
class _File:
    """A file with the names by which it is paired."""

    path: Path
    role: str  # picture, mask, other; empty where folder names do not decide
    split: str
    key: str  # the path without suffix, and without folders that name a split or a role
    bare: str  # the key without words such as `_mask`
    full: str = ""  # the key with the suffix of the file
    full_bare: str = ""  # `bare` with the suffix of the file


@dataclass(frozen=True)
class MaskValues:
    """The values of a mask, or the reason why it cannot be read."""

    values: Counter[int]  # number of pixels of each value
    size: tuple[int, int] | None = None  # (height, width)
    cannot: str = ""  # the reason, a sentence; empty where the mask can be read
    colours: tuple[Colour, ...] = ()  # of a coloured mask with few colours


def find_pairs(folder: Path, decided: list[str], undecided: list[str]) -> tuple[list[Pair], bool]:
    """All pairs of the folder with their splits, and whether pairs.csv is needed to list them.

    Adds sentences to `decided`, and sentences that a person should look at to `undecided`. Raises DataError where there is no
    pair."""
    paths = walk(folder)
    left_out = _ignored_files(folder, paths)
    undecided += left_out
    picture_files = [path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES and os.path.exists(path)]
    files = _with_roles([_read_name(folder, path) for path in picture_files if _is_utf8(within(folder, path))])
    pictures, masks, others = ([file for file in files if file.role == role] for role in ("picture", "mask", "other"))
    aside_sentence = f"{len(others)} files that seem to be instances or overlays are left aside: "
    aside_sentence += f"{first_names([within(folder, file.path) for file in others])}."
    if not pictures or not masks:
        missing = "pictures and no masks" if pictures else "masks and no pictures" if masks else "pictures or masks"
        message = f"found {len(pictures) or len(masks)} {missing}" if pictures or masks else f"found no {missing}"
        advice = "put pictures into images/ and masks of the same names into masks/."
        raise DataError(" ".join([f"{folder}: {message}; {advice}", *([aside_sentence] if others else []), *left_out]))
    matches, pictures, masks = _match(pictures, masks)
    if not matches:
        names = f"{within(folder, pictures[0].path)} and {within(folder, masks[0].path)}"
        message = f"{folder}: no picture and mask share a name (such as {names}); give a mask its picture's name."
        raise DataError(" ".join([message, *left_out]))
    if others:
        undecided.append(aside_sentence)
    places = Counter((within(folder, a.path.parent), within(folder, b.path.parent)) for a, b in matches)
    for (images, truths), count in places.most_common(6):
        decided.append(f"{count} pictures in {images}/ have their masks in {truths}/.")
    for unpaired, kind in ((pictures, "pictures without a mask"), (masks, "masks without a picture")):
        if unpaired:
            undecided.append(
                f"{len(unpaired)} {kind} are left out: {first_names([within(folder, file.path) for file in unpaired])}."
            )
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


def _read_name(folder: Path, path: Path) -> _File:
    """A file with its role and split, by folder names such as `masks`, `train_images`, `valannot`. Other words stay in the
    key."""
    role = split = ""
    kept = []
    for part in path.relative_to(folder).parts[:-1]:
        words = _folder_words(part)
        other_words = [word for word in words if word not in PICTURE_WORDS | MASK_WORDS | OTHER_WORDS | SPLIT_WORDS.keys()]
        for name, role_words in (
            ("picture", PICTURE_WORDS),
            ("mask", MASK_WORDS),
            ("other", OTHER_WORDS),
        ):  # the last match decides
            role = name if role_words & set(words) else role
        if other_words:
            kept.append("_".join(word for word in words if word in other_words or word in SPLIT_WORDS))
        else:
            split = next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), split)
    roles = MASK_WORDS if role == "mask" else PICTURE_WORDS
    names = (path.stem, _without_words(path.stem, roles), path.name, _without_words(path.name, roles))
    return _File(path, role, split, *(unicodedata.normalize("NFC", "/".join((*kept, name))) for name in names))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _ignored_files(folder: Path, paths: Sequence[Path]) -> list[str]:
    """A sentence for each kind of file that is ignored, with the number of its files."""
    names_by_sentence: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        format_name = unread.by_name(path)
        if os.path.isdir(path):
            names_by_sentence["folders cannot be read ({}); allow it"].append(within(folder, path))
        elif os.path.islink(path) and not os.path.exists(path):
            names_by_sentence["links lead nowhere ({}); take them out, or put their files there"].append(within(folder, path))
        elif not _is_utf8(within(folder, path)):  # pairs.csv is text, and cannot hold such names
            names_by_sentence["files have names that are not UTF-8 and are left out ({}); rename them"].append(
                within(folder, path)
            )
        elif format_name is not None:
            names_by_sentence[f"{format_name} files are not read ({{}}); save them as PNG"].append(within(folder, path))
    return [f"{len(names)} {sentence.format(first_names(names))}." for sentence, names in names_by_sentence.items()]


def _folder_words(name: str) -> list[str]:
    """`Train-Images` and `trainimages` -> train, images; `Ground Truth` -> groundtruth."""
    name = re.sub(r"ground[_\-. ]truth", "groundtruth", name.lower())
    name = re.sub(rf"^({'|'.join(SPLIT_WORDS)})(?=annot|mask|label|gt|image|img)", r"\1_", name)
    return [word for word in re.split(r"[_\-. ]+", name) if word]


def _without_words(stem: str, words: frozenset[str]) -> str:
    """`cat_mask`, `mask_cat` and `cat` are all `cat`; `mask12` is `12`."""
    parts = re.split(r"[_\-. ]+", re.sub(r"^([A-Za-z]+)(?=\d)", r"\1_", stem))
    while parts and parts[-1].lower() in words:
        parts.pop()
    while parts and parts[0].lower() in words:
        parts.pop(0)
    return "_".join(parts)


def _with_roles(files: list[_File]) -> list[_File]:
    """The files, each with a role. Where folder names give none, words in the file's name decide, else its content."""
    if all(file.role != "mask" for file in files):  # pictures and masks lie in one folder, even if it is called images
        files = [file if file.role == "other" else replace(file, role="") for file in files]
    with_role = [file for file in files if file.role]
    without_role = [file for file in files if not file.role]
    bare_masks = {_with_mask_role(file).bare for file in without_role if _has_mask_words(file)}
    bare_pictures = {file.bare for file in without_role if not _has_mask_words(file)}
    groups: dict[tuple[Path, str], list[_File]] = defaultdict(list)
    for file in without_role:
        if _has_mask_words(file) and _with_mask_role(file).bare in bare_pictures:
            with_role.append(_with_mask_role(file))
        elif not _has_mask_words(file) and file.bare in bare_masks:
            with_role.append(replace(file, role="picture"))
        else:
            groups[file.path.parent, file.path.suffix.lower()].append(file)
    for group in groups.values():
        first_are_masks = [_looks_like_a_mask(file.path) for file in group[:8]]
        for i, file in enumerate(group):
            if i < len(first_are_masks):
                is_mask = first_are_masks[i]
            else:  # if the first files agree, the others need not be read
                is_mask = first_are_masks[0] if len(set(first_are_masks)) == 1 else _looks_like_a_mask(file.path)
            with_role.append(_with_mask_role(file) if is_mask else replace(file, role="picture"))
    return sorted(with_role, key=lambda file: file.path)


def _with_mask_role(file: _File) -> _File:
    above, _, name = file.key.rpartition("/")
    return replace(file, role="mask", bare="/".join([*([above] if above else []), _without_words(name, MASK_WORDS)]))


def _has_mask_words(file: _File) -> bool:
    return _without_words(file.path.stem, MASK_WORDS) != _without_words(file.path.stem, frozenset())


def _looks_like_a_mask(path: Path) -> bool:
    """Whether a file has few different values or colours. A JPEG never has, because compression adds values."""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return False
    try:
        return len(np.unique(read_labels(path))) <= FEW
    except DataError:
        return bool(look_at_mask(path).colours)


def _match(pictures: list[_File], masks: list[_File]) -> tuple[list[tuple[_File, _File]], list[_File], list[_File]]:
    """The pairs, and the pictures and masks without a partner.

    First equal names are paired, with the picture's suffix or without. Then words such as `_mask` are ignored. Last, folders are
    ignored too, and the name must be unique in all folders."""
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
    anywhere = len(keys) - 2  # from this key on folders are ignored, and a name must be unique
    matches: list[tuple[_File, _File]] = []
    for number, (key_of_picture, key_of_mask) in enumerate(keys):
        by_key: dict[str, list[_File]] = defaultdict(list)
        for mask in masks:
            by_key[key_of_mask(mask)].append(mask)
        times = Counter((file.split, key_of_picture(file)) for file in pictures)
        unmatched = []
        for picture in pictures:
            same_name = by_key.get(key_of_picture(picture), [])
            candidates = [mask for mask in same_name if mask.split == picture.split] or [
                mask for mask in same_name if not (mask.split and picture.split)
            ]
            unique = len(candidates) == 1 and times[picture.split, key_of_picture(picture)] == 1
            if unique or (candidates and number < anywhere):
                matches.append((picture, candidates[0]))
                same_name.remove(candidates[0])
            else:
                unmatched.append(picture)
        pictures, masks = unmatched, [mask for rest in by_key.values() for mask in rest]
    return sorted(matches, key=lambda match: match[0].path), pictures, sorted(masks, key=lambda file: file.path)


def look_at_mask(path: Path) -> MaskValues:
    """The values of a mask. An error of reading becomes the reason in `cannot`."""
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
        if read_header(path, turn=False).lossy:  # compression has changed the colours
            return MaskValues(Counter(), cannot=cannot)
        packed = read_image(path).astype(np.int32) @ np.array((65536, 256, 1), np.int32)
    except (DataError, MemoryError):
        return MaskValues(Counter(), cannot=cannot)
    packed_colours = np.unique(packed).tolist()
    if len(packed_colours) > FEW:
        return MaskValues(Counter(), cannot=cannot)
    colours = tuple((colour >> 16, colour >> 8 & 255, colour & 255) for colour in packed_colours)
    return MaskValues(Counter(), cannot=cannot, colours=colours)


def within(folder: Path, path: Path) -> str:
    """The path relative to `folder`, if it lies in it, with slashes."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def first_names(names: Sequence[str]) -> str:
    """The first three names, and the number of the others, for a sentence."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
