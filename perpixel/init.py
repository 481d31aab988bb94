"""init: turns a folder of pictures and masks of any shape into a data set that `perpixel.datasets.folder` opens.

    proposal = init(Path("street"))     # writes street/classes.csv, and street/pairs.csv where the shape is not the standard one
    proposal.undecided                  # what a person should look at

`propose` only looks, `write` only writes. The person's files are never moved or changed."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from perpixel.classes import VOID_NAME, ClassTable, Colour, distinct_colours
from perpixel.datasets.folder import SPLITS, Pair, chosen_for_val, files_below, list_folder
from perpixel.errors import DataError, ResourceError
from perpixel.files import write_whole
from perpixel.images import PICTURE_SUFFIXES, read_image, read_labels, read_palette, read_size

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
NAME_FILES = ("classes.txt", "labels.txt", "class_names.txt", "names.txt")
FEW = 64  # a mask holds at most so many different values, where names do not tell
MANY = 256  # values; more are numbers of objects
VOID_COLOUR: Colour = (224, 224, 192)  # of PASCAL VOC
THREADS = 2


@dataclass(frozen=True)
class Proposal:
    """What `write` would write: `classes` to classes.csv and, if `listed`, `pairs` to pairs.csv.

    `decided` says what was found, `undecided` what a person should look at, one sentence each."""

    folder: Path
    classes: ClassTable
    pairs: tuple[Pair, ...]
    listed: bool
    decided: tuple[str, ...]
    undecided: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    """`key` is the path without split and role folders, `bare` the key without words such as `_mask`."""

    path: Path
    role: str  # picture, mask, other; empty where folder names do not tell
    split: str
    key: str
    bare: str


@dataclass(frozen=True)
class _Mask:
    """What a mask holds: pixels by value; or why it `cannot` be read, with its `colours` if it is coloured and has few."""

    values: Counter[int]
    size: tuple[int, int] | None = None
    cannot: str = ""
    colours: tuple[Colour, ...] = ()


def init(folder: Path) -> Proposal:
    """Proposes and writes. Raises DataError where there is nothing to pair or a table exists already."""
    proposal = propose(folder)
    write(proposal)
    return proposal


def write(proposal: Proposal) -> None:
    """Writes pairs.csv, if needed, then classes.csv; neither is ever overwritten."""
    table, listing = proposal.folder / "classes.csv", proposal.folder / "pairs.csv"
    for path in (table, listing) if proposal.listed else (table,):
        _refuse_existing(path)
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(("image", "mask", "split"))
    writer.writerows((_within(proposal.folder, p.image), _within(proposal.folder, p.mask), p.split) for p in proposal.pairs)
    try:
        if proposal.listed:
            write_whole(listing, rows.getvalue().encode())
        proposal.classes.write_csv(table)
    except OSError as error:
        raise ResourceError(f"{proposal.folder}: cannot be written to ({error.strerror}); allow it or use a copy.") from error


def propose(folder: Path) -> Proposal:
    """Looks at every file name and every mask of `folder`; writes nothing."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; name the folder that holds your pictures and masks.")
    _refuse_existing(folder / "classes.csv")
    decided: list[str] = []
    undecided: list[str] = []
    if (folder / "pairs.csv").is_file():
        pairs, listed = list(list_folder(folder).pairs), False
        if not pairs:
            raise DataError(f"{folder / 'pairs.csv'}: lists no pair; add rows or delete it and run init again.")
        decided.append(f"{len(pairs)} pairs and their splits are taken from pairs.csv.")
    else:
        pairs, listed = _pairs(folder, decided, undecided)
    counts = Counter(pair.split for pair in pairs)
    decided.append(", ".join(f"{split}: {counts[split]}" for split in SPLITS if counts[split]) + " pictures.")
    for split in ("train", "val"):
        if not counts[split]:
            undecided.append(f"there is no {split} split; training needs one, so move pictures and masks into a folder {split}.")
    values, first_mask = _values(folder, pairs, undecided)
    classes = _classes(folder, first_mask, values, decided, undecided)
    return Proposal(folder, classes, tuple(pairs), listed, tuple(decided), tuple(undecided))


# --- which file belongs to which


def _pairs(folder: Path, decided: list[str], undecided: list[str]) -> tuple[list[Pair], bool]:
    """All pairs with their splits, and whether pairs.csv is needed to say so."""
    files = _with_roles([_file(folder, path) for paths in files_below(folder, PICTURE_SUFFIXES).values() for path in paths])
    pictures, masks, others = ([file for file in files if file.role == role] for role in ("picture", "mask", "other"))
    aside = f"{len(others)} files that seem to be instances or overlays are left aside: "
    aside += f"{_some([_within(folder, file.path) for file in others])}."
    if not pictures or not masks:
        missing = "pictures and no masks" if pictures else "masks and no pictures" if masks else "pictures or masks"
        found = f"found {len(pictures) or len(masks)} {missing}" if pictures or masks else f"found no {missing}"
        advice = "put pictures into images/ and masks of the same names into masks/."
        raise DataError(f"{folder}: {found}; {advice}{' ' + aside if others else ''}")
    matches, pictures, masks = _match(pictures, masks)
    if not matches:
        names = f"{_within(folder, pictures[0].path)} and {_within(folder, masks[0].path)}"
        raise DataError(f"{folder}: no picture and mask share a name (such as {names}); give a mask its picture's name.")
    if others:
        undecided.append(aside)
    places = Counter((_within(folder, a.path.parent), _within(folder, b.path.parent)) for a, b in matches)
    for (images, truths), count in places.most_common(6):
        decided.append(f"{count} pictures in {images}/ have their masks in {truths}/.")
    for left, kind in ((pictures, "pictures without a mask"), (masks, "masks without a picture")):
        if left:
            undecided.append(f"{len(left)} {kind} are left out: {_some([_within(folder, file.path) for file in left])}.")
    pairs = [Pair(_within(folder, a.path.with_suffix("")), a.path, b.path, a.split or b.split) for a, b in matches]
    split_given = any(pair.split for pair in pairs)
    standard = list_folder(folder).pairs
    if {(p.image, p.mask, p.split if split_given else "") for p in standard} == {(p.image, p.mask, p.split) for p in pairs}:
        decided.append("images/ and masks/ have the standard shape, so no pairs.csv is needed.")
        return list(standard), False
    if any(pair.split == "" for pair in pairs) and split_given:
        undecided.append("some pictures lie in no split folder; they are taken for train.")
    pairs = [Pair(p.name, p.image, p.mask, p.split or "train") for p in pairs]
    if all(pair.split != "val" for pair in pairs):
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
    bare = _bare(path.stem, MASK_WORDS if role == "mask" else PICTURE_WORDS)
    return _File(path, role, split, "/".join((*kept, path.stem)), "/".join((*kept, bare)))


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
    bare = file.key.removesuffix(file.path.stem) + _bare(file.path.stem, MASK_WORDS)
    return replace(file, role="mask", bare=bare)


def _mask_words(file: _File) -> bool:
    return _bare(file.path.stem, MASK_WORDS) != _bare(file.path.stem, frozenset())


def _looks_like_a_mask(path: Path) -> bool:
    """Few different values or colours, and not a JPEG, whose compression would have made more of them."""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return False
    try:
        return len(np.unique(read_labels(path))) <= FEW
    except DataError:
        return bool(_look_at_mask(path).colours)


def _match(pictures: list[_File], masks: list[_File]) -> tuple[list[tuple[_File, _File]], list[_File], list[_File]]:
    """The pairs, and what is left: equal names first, then without words such as `_mask`, then names unique in all folders."""
    keys: list[tuple[Callable[[_File], str], Callable[[_File], str]]] = [
        (lambda file: file.key, lambda file: file.key),
        (lambda file: file.key, lambda file: file.bare),
        (lambda file: file.bare, lambda file: file.key),
        (lambda file: file.bare, lambda file: file.bare),
        (lambda file: Path(file.bare).name, lambda file: Path(file.bare).name),
    ]
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
            if unique or (fitting and number < len(keys) - 1):
                matches.append((picture, fitting[0]))
                same.remove(fitting[0])
            else:
                left.append(picture)
        pictures, masks = left, [mask for found in by_key.values() for mask in found]
    return sorted(matches, key=lambda match: match[0].path), pictures, sorted(masks, key=lambda file: file.path)


# --- which value is which class


def _look_at_mask(path: Path) -> _Mask:
    try:
        mask = read_labels(path)
    except DataError as error:
        try:
            packed = read_image(path).astype(np.int32) @ np.array((65536, 256, 1), np.int32)
        except DataError:
            return _Mask(Counter(), cannot=str(error))
        found = np.unique(packed).tolist()
        colours = tuple((one >> 16, one >> 8 & 255, one & 255) for one in found) if len(found) <= FEW else ()
        return _Mask(Counter(), cannot=str(error), colours=colours)
    counts = np.bincount(mask.ravel())
    return _Mask(Counter({int(value): int(counts[value]) for value in np.flatnonzero(counts)}), (mask.shape[0], mask.shape[1]))


def _values(folder: Path, pairs: Sequence[Pair], undecided: list[str]) -> tuple[Counter[int], Path]:
    """Pixels by value over all masks that can be read, and the first of these masks; says what is wrong with others."""
    values: Counter[int] = Counter()
    readable: list[Path] = []
    broken: list[str] = []
    broken_pictures: list[str] = []
    other_size: list[str] = []
    colours: Counter[Colour] = Counter()
    with ThreadPoolExecutor(THREADS) as pool:
        for pair, mask in zip(pairs, pool.map(_look_at_mask, [pair.mask for pair in pairs]), strict=True):
            values += mask.values
            colours.update(mask.colours)
            if mask.cannot:
                broken.append(mask.cannot)
                continue
            readable.append(pair.mask)
            try:
                if read_size(pair.image) != mask.size:
                    other_size.append(_within(folder, pair.mask))
            except DataError as error:
                broken_pictures.append(str(error))
    found = ", ".join(str(colour) for colour, _ in colours.most_common(12))
    coloured = f" Colours found: {found}; convert each colour to one value." if colours else ""
    if not readable:
        raise DataError(f"{folder}: no mask can be read; the first: {broken[0]}{coloured}")
    if broken:
        undecided.append(f"{len(broken)} masks cannot be read; the first: {broken[0]}{coloured}")
    if broken_pictures:
        undecided.append(f"{len(broken_pictures)} pictures cannot be read; the first: {broken_pictures[0]}")
    if other_size:
        undecided.append(f"{len(other_size)} masks differ from their picture in size: {_some(other_size)}; correct them.")
    return values, readable[0]


def _classes(
    folder: Path, first_mask: Path, values: Counter[int], decided: list[str], undecided: list[str]
) -> ClassTable:
    """A class for each value, with the names of a file beside the pictures where there is one."""
    pixels = values.total()
    shares = ", ".join(f"{value} ({100 * values[value] / pixels:.3g} %)" for value in sorted(values)[:30])
    decided.append(f"the masks hold {len(values)} values: {shares}{', ...' if len(values) > 30 else ''}.")
    if len(values) > MANY:
        undecided.append(f"{len(values)} values look like numbers of objects, not classes; give all rows of one class one name.")
    if len(values) == 1:
        undecided.append("all masks hold one single value, so there is nothing to tell apart; look at them.")
    names = _names(sorted(values), undecided) | _names_from_file(folder, values, decided, undecided)
    placeholders = [name for name in names.values() if name.startswith("class_")]
    if placeholders:
        undecided.append(f"the names {_some(placeholders)} are placeholders; write the true ones into classes.csv.")
    by_name: dict[str, list[int]] = defaultdict(list)
    for value in sorted(names):
        by_name[names[value]].append(value)
    void_values = tuple(by_name.pop(VOID_NAME, ()))
    if not by_name:
        raise DataError(f"{folder}: every value in the masks is void; name at least one class.")
    drawn = iter(distinct_colours(len(by_name)))
    colours = [(0, 0, 0) if name == "background" else next(drawn) for name in by_name]
    void_colour = VOID_COLOUR
    palette = read_palette(first_mask)
    if palette is not None and max(values) < len(palette):
        entries = [tuple(int(c) for c in palette[found[0]]) for found in by_name.values()]
        is_grey = all(red == green == blue for red, green, blue in entries)
        if len(set(entries)) == len(entries) and not is_grey:
            colours = [(red, green, blue) for red, green, blue in entries]
            void_colour = tuple(int(c) for c in palette[void_values[0]]) if void_values else VOID_COLOUR  # type: ignore[assignment]
            decided.append("the colours are those of the masks' palette.")
    return ClassTable(tuple(by_name), tuple(colours), tuple(tuple(v) for v in by_name.values()), void_values, void_colour)


def _names(values: list[int], undecided: list[str]) -> dict[int, str]:
    names = {value: f"class_{value}" for value in values}
    others = [value for value in values if value != 255]
    if 0 in names and len(names) > 1:
        names[0] = "background"
        undecided.append("value 0 is taken for background, a class like any other; rename it if it is something else.")
    if 255 in names and len(others) == 1:
        names[255] = "foreground"
        undecided.append(f"255 is taken for the class foreground, because the only other value is {others[0]}; rename it.")
    elif 255 in names and len(others) > 1 and 255 - others[-1] > max(b - a for a, b in pairwise(others)):
        names[255] = VOID_NAME
        undecided.append("255 is taken for void (not judged), far from all other values; rename it if it is a class.")
    return names


def _names_from_file(folder: Path, values: Counter[int], decided: list[str], undecided: list[str]) -> dict[int, str]:
    """One name in each line: for the values in their order (255 may be left to void), or the line number is the value."""
    path = next((folder / name for name in NAME_FILES if (folder / name).is_file()), None)
    if path is None:
        return {}
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        lines = []
    without_void = sorted(value for value in values if value != 255)
    for found in (sorted(values), without_void):
        if len(lines) == len(found):
            decided.append(f"the names come from {path.name}, in the order of the values.")
            return dict(zip(found, lines, strict=True))
    if without_void and without_void[-1] < len(lines):
        absent = [lines[i] for i in range(len(lines)) if i not in values]
        decided.append(f"the names come from {path.name}, where the line number, from 0, is the value.")
        undecided.append(f"{_some(absent)} of {path.name} occur in no mask and are left out of classes.csv.")
        return {value: lines[value] for value in without_void}
    undecided.append(f"{path.name} has {len(lines)} names for {len(values)} values and was not used; write one name per value.")
    return {}


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise DataError(f"{path}: is there already; edit it, or delete it first and run init again.")


def _within(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
