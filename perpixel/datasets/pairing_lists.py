"""Lists in a folder that say which pictures belong to which split, for `init`.

    train.txt, val.txt, test.txt           a name or path of a picture a line, in any folder, such as ImageSets/Segmentation/
                                           or splits/; a second path on the line is its mask
    NAME.csv                               a column of pictures, and a column of splits, of masks, or both

Lists belong together when they lie in one folder and differ in the word for the split. Of several such groups the one that names
the most pictures is used, ImageSets/Segmentation before all. Where groups disagree, a person decides."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from perpixel.datasets.folder import SPLITS
from perpixel.datasets.pairing_names import SPLIT_WORDS, RawPair, first_names, is_named, within
from perpixel.errors import DataError
from perpixel.files import read_text

TEXTS, TABLES = frozenset({".txt", ".lst"}), frozenset({".csv", ".tsv"})
OWN_TABLES = frozenset({"pairs.csv", "classes.csv", "plan.csv"})
ALL = {"trainval": ("train", "val"), "trainvaltest": SPLITS, "all": SPLITS}  # lists that hold those of others
ENOUGH = 0.5  # a file is a list of pictures when this share of its lines names some
PREFERRED = "ImageSets/Segmentation"


@dataclass
class Lists:
    """The splits of pictures by the lists of a folder."""

    names: list[str]  # of the files, within the folder
    split_of: dict[Path, str] = field(default_factory=dict)  # of each file that a line may mean
    lines: list[tuple[Path, ...]] = field(default_factory=list)  # for each line, the files that it may mean: one is the picture
    masks: dict[Path, Path] = field(default_factory=dict)  # of pictures whose line names a mask
    unknown: list[str] = field(default_factory=list)  # lines that name no picture
    several: list[str] = field(default_factory=list)  # pictures in lists of several splits

    def split(self, folder: Path, pairs: Sequence[RawPair], decided: list[str], undecided: list[str]) -> list[RawPair]:
        """The pairs with the splits of the lists.

        Pairs that no list names are left out; where there is no list of train, they are train."""
        listed = {split for split in self.split_of.values() if split}
        rest = "" if not listed else "train" if "train" not in listed else None
        chosen, left_out = [], []
        for pair in pairs:
            split = self.split_of.get(pair.image, rest)
            if split is None:
                left_out.append(within(folder, pair.image))
            else:
                chosen.append(replace(pair, split=split or pair.split))
        counts = Counter(pair.split for pair in chosen)
        numbers = ", ".join(f"{split} {counts[split]}" for split in SPLITS if counts[split])
        if listed:
            decided.append(f"the splits are those of {first_names(self.names)}: {numbers}.")
        if left_out:
            undecided.append(f"{len(left_out)} pictures with a mask are in no list and are left out: {first_names(left_out)}.")
        paired = {pair.image for pair in chosen}
        unpaired = [within(folder, files[0]) for files in self.lines if not paired.intersection(files)]
        if unpaired:
            undecided.append(f"{len(unpaired)} listed pictures have no mask and are left out: {first_names(unpaired)}.")
        if self.unknown:
            undecided.append(
                f"{len(self.unknown)} lines of the lists name no picture that is there: {first_names(self.unknown)}."
            )
        if self.several:
            clause = "pictures are in the lists of several splits, and count for the first of test, val, train"
            undecided.append(f"{len(self.several)} {clause}: {first_names(self.several)}.")
        return chosen


def find_lists(folder: Path, paths: Sequence[Path], pictures: Sequence[Path], chosen: str | None = None) -> Lists | None:
    """The lists of the folder; none where there are none. `paths` are all its files, `pictures` those of pictures and masks.

    `chosen` is a part of the paths of the lists to use, or a pattern. Raises DataError where groups of lists disagree, and where
    nothing is called as `chosen`."""
    finder = _Finder(folder, pictures)
    groups: dict[tuple[Path, str], dict[str, list[tuple[Path, list[list[str]]]]]] = defaultdict(lambda: defaultdict(list))
    tables = []
    for path in paths:
        name = within(folder, path)
        if path.suffix.lower() not in TEXTS | TABLES or (chosen is not None and not is_named(name, chosen)):
            continue
        if path.parent == folder and path.name in OWN_TABLES:
            continue
        split, rest = _split_of(path.stem)
        if split:
            groups[path.parent, rest][split].append((path, _rows(path)))
        elif path.suffix.lower() in TABLES:
            tables.append((path, _rows(path)))
    candidates = [lists for parts in groups.values() if (lists := _of_texts(finder, parts)) is not None]
    candidates += [lists for path, rows in tables if (lists := _of_table(finder, path, rows)) is not None]
    if not candidates:
        if chosen is not None:
            raise DataError(f"{folder}: no list of pictures is called {chosen!r}; give a part of the path of one.")
        return None
    candidates.sort(key=lambda lists: (not lists.names[0].startswith(PREFERRED), -len(lists.split_of), lists.names))
    best = candidates[0]
    for other in candidates[1:]:
        if best.names[0].startswith(PREFERRED):
            break
        splits = {files[0]: (best.split_of.get(files[0]), other.split_of[files[0]]) for files in other.lines}
        differing = [path for path, (mine, theirs) in splits.items() if mine and theirs and mine != theirs]
        if differing:
            clause = (
                f"{first_names(best.names)} and {first_names(other.names)} put {len(differing)} pictures into different splits"
            )
            parts = " or ".join(f"`--lists {_part_of(lists, rest)}`" for lists, rest in ((best, other), (other, best)))
            raise DataError(f"{folder}: {clause}, such as {within(folder, differing[0])}; choose with {parts}.")
    return best


class _Finder:
    """Finds the picture or mask that a line of a list names."""

    def __init__(self, folder: Path, paths: Iterable[Path]) -> None:
        self.folder = folder
        self._by_end: dict[str, list[Path]] = defaultdict(list)
        for path in paths:
            parts = unicodedata.normalize("NFC", within(folder, path)).split("/")
            for start in range(len(parts)):
                end = "/".join(parts[start:])
                self._by_end[end].append(path)
                self._by_end[end.rsplit(".", 1)[0]].append(path)

    def find(self, text: str, whole: bool = False) -> list[Path]:
        """The files whose path ends as `text` does, with its suffix or without: by as many of its folders as are there, or with
        `whole` by all of them."""
        parts = [part for part in re.split(r"[/\\]", unicodedata.normalize("NFC", text)) if part not in ("", ".", "..")]
        for start in range(min(1, len(parts)) if whole else len(parts)):
            end = "/".join(parts[start:])
            found = self._by_end.get(end) or self._by_end.get(re.sub(r"\.[A-Za-z]{3,4}$", "", end))
            if found:
                return found
        return []


def _of_texts(finder: _Finder, parts: Mapping[str, list[tuple[Path, list[list[str]]]]]) -> Lists | None:
    """The lists of one group, by their splits. None where most of their lines name no picture."""
    names = [within(finder.folder, path) for files in parts.values() for path, _ in files]
    lists = Lists(sorted(names, key=lambda name: (*(split not in name for split in SPLITS), name)))
    lines = 0
    order = [split for split in ("test", "val", "train") if split in parts]
    if "train" not in parts and "val" not in parts and "trainval" in parts:
        order.append("trainval")
    lists.names = [name for name in lists.names if _split_of(Path(name).stem)[0] in order]
    for split in order:
        for path, rows in parts[split]:
            has_header = path.suffix.lower() in TABLES and rows and not any(finder.find(text) for text in rows[0])
            for row in rows[1:] if has_header else rows:
                lines += 1
                _add(finder, lists, row, "train" if split == "trainval" else split)
    return lists if order and len(lists.split_of) >= ENOUGH * lines > 0 else None


def _add(finder: _Finder, lists: Lists, row: Sequence[str], split: str) -> None:
    name = " ".join(row)
    whole = finder.find(name, whole=len(row) > 1)  # a name may hold blanks
    columns = [whole] if whole else [finder.find(text) for text in row]
    if not columns or not columns[0]:
        lists.unknown.append(name[:80])
        return
    lists.lines.append(tuple(columns[0]))
    mask = next((found[0] for found in columns[1:] if len(found) == 1 and found != columns[0]), None)
    befores = [lists.split_of.setdefault(path, split) for path in columns[0]]  # of one name: the picture and its mask
    if any(before != split for before in befores):
        lists.several.append(within(finder.folder, columns[0][0]))
    if mask is not None and len(columns[0]) == 1:
        lists.masks[columns[0][0]] = mask


def _of_table(finder: _Finder, path: Path, rows: list[list[str]]) -> Lists | None:
    """The lists by the columns of a table. None where no column names pictures."""
    if len(rows) < 2:
        return None
    width = max(map(len, rows))
    columns = [[row[place] if place < len(row) else "" for row in rows] for place in range(width)]
    found = [[finder.find(text) if text else [] for text in column] for column in columns]
    shares = [sum(map(bool, files[1:])) / (len(rows) - 1) for files in found]
    picture = max(range(width), key=lambda place: (shares[place], -place))
    if shares[picture] < ENOUGH:
        return None
    others = [place for place in range(width) if place != picture]
    splits = [place for place in others if all(_word(text) for text in columns[place][1:])]
    masks = [
        place
        for place in others
        if shares[place] >= ENOUGH and found[place] != found[picture] and max(map(len, found[place])) == 1
    ]  # fmt: skip
    if not splits and not masks:
        return None
    lists = Lists([within(finder.folder, path)])
    for number in range(0 if found[picture][0] else 1, len(rows)):
        split = _word(columns[splits[0]][number]) if splits else ""
        row = [columns[picture][number], *([columns[masks[0]][number]] if masks else [])]
        _add(finder, lists, row, split)
    return lists


def _word(text: str) -> str:
    return SPLIT_WORDS.get(text.strip().lower(), "")


def _split_of(stem: str) -> tuple[str, str]:
    """The split that the name of a list says, with its other words: `my_train_files` -> train, my_files."""
    words = re.split(r"[_\-. ]+", stem.lower())
    split = next((SPLIT_WORDS.get(word, word) for word in words if word in SPLIT_WORDS or word == "trainval"), "")
    return split, "_".join(word for word in words if word not in SPLIT_WORDS and word != "trainval")


def _rows(path: Path) -> list[list[str]]:
    """The lines of a list, each as its columns, without quotation marks. Empty where the file cannot be read."""
    try:
        text = read_text(path)
    except DataError:
        return []
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if path.suffix.lower() == ".csv" or all("," in line for line in lines):
        delimiter = ";" if lines and ";" in lines[0] and "," not in lines[0] else ","
    elif all("\t" in line for line in lines):
        delimiter = "\t"
    else:
        delimiter = " "
    try:
        return [
            [part.strip() for part in row if part.strip()]
            for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter)
        ]
    except csv.Error:
        return []


def _part_of(lists: Lists, other: Lists) -> str:
    """A part of the names of lists that those of the others do not have."""
    first, second = Path(lists.names[0]), Path(other.names[0])
    if first.parent != second.parent and first.parent.name and first.parent.as_posix() not in second.as_posix():
        return first.parent.as_posix()
    return first.name
