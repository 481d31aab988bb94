"""YOLO's polygons, one object a line: the class, then x, y of its corners as parts of the picture's width and height.

    OUT/data.yaml                       path, train, val, test, names
    OUT/images/SPLIT/NAME.jpg
    OUT/labels/SPLIT/NAME.txt           an empty file, or none, where there is no object

The format does not say which pixels a polygon means; here it is COCO's rule (`polygons`), which takes no pixel away from masks
that are written and read again. Trainers that draw with OpenCV make each object half a pixel larger all round. An object of
several pieces is one polygon, its pieces joined by bridges of no width, as holes are. Without data.yaml, classes.txt names the
classes, one a line. A split is a folder, a text file that lists pictures, or a list of these; labels lie where `labels` stands in
place of the last `images` of a picture's path, else in the one other folder that has files of their names."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from perpixel.classes import ClassTable
from perpixel.datasets.folder import files_below
from perpixel.datasets.pairing import SPLIT_WORDS
from perpixel.errors import DataError, printable
from perpixel.files import files_in, in_either_form, read_text, write_whole
from perpixel.formats.exchange import (
    BACKGROUND_NAMES,
    Content,
    Holds,
    Item,
    Shape,
    Source,
    Told,
    drawn,
    failing,
    shapes,
    table_of,
    text,
)
from perpixel.formats.pictures import Pictures, bare, named, put_picture, split_of_folder, together
from perpixel.images import PICTURE_SUFFIXES, read_size
from perpixel.masks.polygons import draw, outlines
from perpixel.masks.rle import shown

HOLDS = Holds(overlap=True, crowd=False, void=False)
BEYOND = 1.0  # coordinates may lie outside of the picture by so much of it
YAML = (".yaml", ".yml")
NOTHING = ("", "~", "null")
Keys = dict[str, list[Path]]


@dataclass(frozen=True)
class Listed:
    """A picture of a split, the names of its path below the folder of that split, and where its labels are looked for: a path
    below the root without suffix."""

    path: Path
    split: str
    parts: list[str]
    labels: str


def table(path: Path) -> Path | None:
    """The file that names the classes of the data set that `path` is, or holds."""
    if path.is_file():
        return path if path.suffix.lower() in YAML else None
    found = files_in(path, depth=2)
    yamls = [file for file in found if file.parent == path and file.suffix.lower() in YAML]
    yamls.sort(key=lambda file: (file.stem.lower() != "data", file.stem.lower() != "dataset"))
    texts = [file for file in found if file.name.lower() == "classes.txt"]
    texts = [file for file in texts if file.parent == path] + [file for file in texts if file.parent.name.lower() == "labels"]
    return next(iter([*yamls, *texts]), None)


def read(path: Path, pictures: Path | None) -> Source:
    """Raises DataError for a table without names, no split of which is there, or no pictures at all."""
    names_of = table(path)
    if names_of is None:
        raise DataError(f"{path}: has no data.yaml and no classes.txt; add one that names the classes.")
    root, told = path if path.is_dir() else path.parent, Told()
    names, places = _yaml(names_of, told, pictures is None) if names_of.suffix.lower() in YAML else (_lines(names_of), {})
    names = [text(name, "a name", str(names_of)) for name in names]
    if len(set(names)) < len(names):
        raise DataError(f"{names_of}: two classes have one name; give each its own.")
    classes = table_of(names)
    listed, items = [], []
    for split, place in [(split, place) for split, found in places.items() for place in found] if not pictures else ():
        if place.is_dir():
            listed += [_listed(file, root, split, place) for file in _pictures(place)]
            continue
        below = Pictures(root)
        for number, line in enumerate(_lines(place), start=1):
            try:
                listed.append(_listed(below.find(line, f"{place}, line {number}", split), root, split))
            except DataError as error:
                items.append(Item(f"line {number} of {place.name}", split, failing(error)))
    if not places or pictures:
        listed = [_listed(file, pictures or root, "") for file in _pictures(pictures or root)]
        in_images = [one for one in listed if one.labels != "/".join(bare(_names(one.path, pictures or root)))]
        listed = in_images or listed
    texts: Keys = files_below(root, frozenset({".txt"}))
    exact = {**{key.casefold(): files[0] for key, files in texts.items()}, **{key: files[0] for key, files in texts.items()}}
    for split in dict.fromkeys(one.split for one in listed):
        of_split = [one for one in listed if one.split == split]
        move = _elsewhere(of_split, exact, texts, root, told)
        for one in of_split:
            key = move + "/".join(one.parts) if move is not None else one.labels
            labels = exact.get(key) or exact.get(key.casefold())
            name, own = named(one.parts, split)
            items.append(Item(name, own, partial(_content, one.path, name, labels, names, classes, told)))
    if not items:
        said = ", ".join(str(place) for found in places.values() for place in found) or str(pictures or root)
        raise DataError(f"{path}: there is no picture in {said}; put them there, or name their folder with --pictures.")
    place = root / f"{listed[0].labels}.txt" if listed else root
    advice = f"put polygons, a line each of x and y of three corners or more, into files such as {place}"
    return Source(classes, items, told, advice)


def _pictures(folder: Path) -> list[Path]:
    return [files[0] for files in files_below(folder, PICTURE_SUFFIXES).values()]


def _listed(picture: Path, root: Path, split: str, place: Path | None = None) -> Listed:
    """`labels` stands in place of the last `images` of the path below the root, in whatever case; else labels lie beside."""
    parts = bare(_names(picture, root) if picture.is_relative_to(root) else _names(picture, place or root))
    at = next((at for at in range(len(parts) - 2, -1, -1) if parts[at].lower() == "images"), None)
    after = parts if at is None else parts[at + 1 :]
    before = next((split_of_folder(part) for part in parts[:at] if split_of_folder(part)), "") if at else ""
    labels = parts if at is None else [*parts[:at], "labels", *after]
    return Listed(picture, split or before, bare(_names(picture, place)) if place else after, "/".join(labels))


def _names(path: Path, folder: Path) -> list[str]:
    return unicodedata.normalize("NFC", path.relative_to(folder).as_posix()).split("/")


def _elsewhere(listed: list[Listed], exact: dict[str, Path], texts: Keys, root: Path, told: Told) -> str | None:
    """The one other folder, with its slash, where the labels of a split lie; none where some lie at their place, or nowhere.

    Raises DataError where several folders may be it."""
    if any(one.labels in exact or one.labels.casefold() in exact for one in listed):
        return None
    ending: dict[str, list[str]] = {}
    for key in texts:
        ending.setdefault(key.rpartition("/")[2].casefold(), []).append(key)
    found: Counter[str] = Counter()
    for one in listed:
        own = "/".join(one.parts)
        for key in ending.get(one.parts[-1].casefold(), ()):
            if f"/{key}".casefold().endswith(f"/{own}".casefold()):
                found[key[: len(key) - len(own)]] += 1
    if not found:
        return None
    split = listed[0].split
    of_split = [place for place in found if split and split in map(split_of_folder, place.split("/"))] or list(found)
    if len(of_split) > 1:
        places = " or ".join(str(root / place) for place in sorted(of_split)[:2])
        raise DataError(f"{root}: the labels of {split or 'the pictures'} may be those in {places}; keep one of the two.")
    note = f"Labels of {split or 'the pictures'} are read from {root / of_split[0]}: there is no {listed[0].labels}.txt."
    told.notes.append(note)
    return of_split[0]


def _content(picture: Path, name: str, labels: Path | None, names: list[str], classes: ClassTable, told: Told) -> Content:
    height, width = read_size(picture)
    found = []
    told.add("no file", name, int(labels is None))
    for number, line in enumerate(_lines(labels) if labels else (), start=1):
        where = f"{labels}, line {number}"
        words = line.split()
        if len(words) == 5:
            told.add("no area", name)
            continue
        label, corners = _line(words, names, where)
        corners *= np.tile([width, height], len(corners) // 2)
        try:
            found.append(Shape.of_runs(label, draw([corners.tolist()], height, width), (height, width)))
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
    return Content(picture, *drawn(found, classes, (height, width), HOLDS.ordered))


def _line(words: list[str], names: list[str], where: str) -> tuple[str, np.ndarray]:
    """The label and the corners x, y, x, y ... of a line."""
    if not words[0].isdecimal() or len(words[0]) > 9 or int(words[0]) >= len(names):
        raise DataError(f"{where}: begins with {words[0][:40]!r}; a class is a whole number 0..{len(names) - 1}.")
    if len(words) < 7 or len(words) % 2 == 0:
        raise DataError(f"{where}: has {len(words) - 1} coordinates; a polygon needs x and y of three corners or more.")
    try:
        corners = np.array([float(word) for word in words[1:]])
    except ValueError:
        strange = next(word for word in words[1:] if not _is_number(word))
        raise DataError(f"{where}: holds {strange[:40]!r}, not a number.") from None
    wrong = ~((corners >= -BEYOND) & (corners <= 1 + BEYOND))  # nor nan
    if wrong.any():
        raise DataError(f"{where}: has the coordinate {corners[wrong][0]}; they are parts of the picture's sides, 0 to 1.")
    return names[int(words[0])], corners


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _lines(path: Path) -> list[str]:
    """The lines that are not empty."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def _yaml(path: Path, told: Told, needed: bool) -> tuple[list[str], dict[str, list[Path]]]:
    """The names, and the folders and lists of pictures of each split that is there; one must be, where they are `needed`.

    Every word of the file stays the text that was written: YAML would read the class `no` as False, and dates as dates."""
    try:
        content: Any = yaml.load(read_text(path), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no YAML ({printable(' '.join(str(error).split()))[:120]}); correct it.") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds {shown(content)}, not names and folders.")
    names = content.get("names")
    if isinstance(names, dict) and all(isinstance(key, str) and key.isdecimal() and len(key) < 10 for key in names):
        numbered = {int(key): name for key, name in names.items()}
        names = [numbered[key] for key in range(len(names))] if sorted(numbered) == list(range(len(names))) else names
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: names is {shown(names)}; it must be a list of names, or one by the numbers 0, 1, 2 ...")
    places: dict[str, list[Path]] = {}
    missing = []
    for key, value in content.items():
        split = SPLIT_WORDS.get(key.lower(), "") if isinstance(key, str) else ""
        for one in (value if isinstance(value, list) else [value]) if split else ():
            if not isinstance(one, str) or not isinstance(content.get("path", ""), str):
                raise DataError(f"{path}: {key} is {shown(one)}; it must be a folder of pictures, or a list of them.")
            if one.strip().lower() not in NOTHING:
                place = _below(path.parent, content.get("path", ""), one)
                if place is not None:
                    places.setdefault(split, []).append(place)
                    continue
                said = f"{key} is {one[:200]!r}, which is no folder and no list of pictures"
                missing.append(f"{path}: {said} below {path.parent}")
    if missing and not places and needed:
        raise DataError(f"{missing[0]}; correct it, or name the folder of the pictures with --pictures.")
    told.notes += [f"{sentence}: it is left out." for sentence in missing if needed]
    return names, places


def _below(root: Path, base: str, value: str) -> Path | None:
    """The folder or list of a split: below the file's own folder, whatever leads out of it left away, as exports write
    `../train/images`."""
    parts, leading = ([part for part in re.split(r"[/\\]", one) if part not in ("", ".", "..")] for one in (value, base))
    for kept in itertools.chain((root.joinpath(*leading[n:], *parts) for n in range(len(leading) + 1)),
                                (root.joinpath(*parts[n:]) for n in range(1, len(parts)))):  # fmt: skip
        try:
            place = in_either_form(kept)
            if place.is_dir() or (place.suffix.lower() == ".txt" and place.is_file()):
                return place
        except (OSError, ValueError):  # a name that is too long, or holds a zero byte
            continue
    return None


class Writer:
    def __init__(self, out: Path, classes: ClassTable, told: Told) -> None:
        self.out, self.classes, self.told = out, classes, told
        self.names = [name for name in classes.names if name.lower() not in BACKGROUND_NAMES]
        self.splits: set[str] = set()

    def add(self, name: str, split: str, content: Content) -> None:
        with together() as written:
            path = put_picture(content.picture, self.out / "images" / split, name, self.told, written)
            height, width = read_size(path)
            lines = []
            for shape in shapes(content, self.classes, HOLDS, self.told, name):
                outline = _joined(outlines(shape.at.pixels, shape.at.left, shape.at.top))
                corners = outline.reshape(-1, 2) / (width, height)
                lines.append(f"{self.names.index(shape.label)} {' '.join(map(repr, corners.ravel().tolist()))}\n")
            write_whole(self.out / "labels" / split, f"{name}.txt", "".join(lines).encode(), durable=False)
        self.splits.add(split)

    def close(self) -> None:
        folders: dict[str, Any] = {split: f"images/{split}" for split in ("train", "val", "test") if split in self.splits}
        content = {"path": ".", **folders, "names": dict(enumerate(self.names))}
        write_whole(self.out, "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def _joined(polygons: list[list[float]]) -> np.ndarray:
    """One polygon x, y, x, y ... of several: from the first corner of the first to each other, round it, and back."""
    first, *others = [np.array(polygon).reshape(-1, 2) for polygon in polygons]
    bridges = [part for walk in others for part in (first[:1], walk, walk[:1])]
    return np.concatenate([first, *bridges]).ravel()
