"""YOLO's polygons, one object a line: the class, then x, y of its corners as parts of the picture's width and height.

    OUT/data.yaml                       path, train, val, test, names
    OUT/images/SPLIT/NAME.jpg
    OUT/labels/SPLIT/NAME.txt           an empty file, or none, where there is no object

The format does not define which pixels a polygon covers. Here COCO's rule (`polygons`) decides, so a mask that is written and
read again keeps every pixel. Trainers that draw with OpenCV make each object half a pixel larger on all sides. An object of
several pieces is one polygon: bridges of no width join its pieces, and its holes too.

Without data.yaml, classes.txt names the classes, one a line; without both they are class_0, class_1 ... A split is a folder, a
text file that lists pictures, or a list of these. The path of a label file has `labels` in place of the last `images` of the
picture's path. Where no label file lies there, the labels lie in the only other folder that has files with their names."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from perpixel.classes import ClassTable
from perpixel.datasets.folder import files_below
from perpixel.datasets.pairing_names import SPLIT_WORDS
from perpixel.errors import DataError, printable
from perpixel.files import files_in, in_either_form, read_text, walk, write_whole
from perpixel.formats.exchange import (
    BACKGROUND_NAMES,
    AnnotatedSet,
    Content,
    Entry,
    Holds,
    Item,
    Notices,
    Shape,
    draw_shapes,
    failing,
    required_text,
    shapes_of,
    table_of,
)
from perpixel.formats.pictures import PictureFinder, all_or_none, name_and_split, put_picture, split_of_folder, without_suffix
from perpixel.images import PICTURE_SUFFIXES, read_size
from perpixel.masks.polygons import draw, outlines
from perpixel.masks.rle import shown

HOLDS = Holds(overlap=True, crowd=False, void=False)
BEYOND = 1.0  # coordinates may lie outside of the picture by this part of its side
YAML = (".yaml", ".yml")
LOOKED_AT = 20  # text files that are opened to see whether they are labels
NOTHING = ("", "~", "null")
Keys = dict[str, list[Path]]


@dataclass(frozen=True)
class ListedPicture:
    """A picture of a split."""

    path: Path
    split: str
    parts: list[str]  # the names of its path below the folder of the split, without suffix
    labels: str  # the path of its labels below the root, without suffix


def table(path: Path) -> Path | None:
    """The file that names the classes of the data set: a YAML or text file in the folder `path`, or the YAML `path` itself.

    None where there is no such file."""
    if path.is_file():
        return path if path.suffix.lower() in YAML else None
    files = files_in(path, depth=2)
    yamls = [file for file in files if file.parent == path and file.suffix.lower() in YAML]
    yamls.sort(key=lambda file: (file.stem.lower() != "data", file.stem.lower() != "dataset"))
    texts = [file for file in files if file.name.lower() == "classes.txt"]
    texts = [file for file in texts if file.parent == path] + [file for file in texts if file.parent.name.lower() == "labels"]
    return next(iter([*yamls, *texts]), None)


def has_labels(folder: Path) -> bool:
    """Whether some text file below `folder` has a line of numbers as YOLO writes it, the class first. A few files are opened."""
    texts = [path for path in walk(folder) if path.suffix.lower() == ".txt"]
    texts.sort(key=lambda path: "labels" not in path.relative_to(folder).parts)
    for path in texts[:LOOKED_AT]:
        try:
            first = read_text(path).split("\n", 1)[0]
        except DataError:
            continue
        if re.fullmatch(r"\s*\d+(\s+-?\d*\.?\d+(e-?\d+)?){4,}\s*", first):
            return True
    return False


def has_labels_without_names(folder: Path) -> bool:
    """Whether folders called labels hold lines of YOLO, and there are pictures."""
    in_labels = any("labels" in path.relative_to(folder).parts for path in walk(folder) if path.suffix.lower() == ".txt")
    return in_labels and has_labels(folder) and bool(_pictures(folder))


def _numbered(root: Path) -> list[str]:
    """Names class_0, class_1 ... up to the greatest class that begins a line of the files in folders called labels."""
    greatest = -1
    for path in walk(root):
        if path.suffix.lower() == ".txt" and "labels" in path.relative_to(root).parts:
            try:
                lines = _lines(path)
            except DataError:  # its picture is reported when it is read
                continue
            firsts = [int(match[1]) for line in lines if (match := re.match(r"(\d{1,4})\s+\S+\s", line))]
            greatest = max([greatest, *firsts])
    return [f"class_{number}" for number in range(greatest + 1)]


def read(path: Path, pictures: Path | None) -> AnnotatedSet:
    """Reads a data set of YOLO. Raises DataError for a table without names, and where no split or no picture exists."""
    names_of = table(path)
    root, notices = path if path.is_dir() else path.parent, Notices()
    names: list[Any]
    places: dict[str, list[Path]] = {}
    if names_of is None:
        names = _numbered(root)
        if not names:
            raise DataError(f"{path}: has no data.yaml and no classes.txt; add one that names the classes.")
        notices.notes.append(f"no data.yaml and no classes.txt name the classes: they are {names[0]} to {names[-1]}.")
    elif names_of.suffix.lower() in YAML:
        names, places = _yaml(names_of, notices, pictures is None)
    else:
        names = list(_lines(names_of))
    names = [required_text(name, "a name", str(names_of)) for name in names]
    if len(set(names)) < len(names):
        raise DataError(f"{names_of}: two classes have one name; give each its own.")
    classes = table_of(names)
    listed, items = [], []
    for split, place in [(split, place) for split, paths in places.items() for place in paths] if not pictures else ():
        if place.is_dir():
            listed += [_listed(file, root, split, place) for file in _pictures(place)]
            continue
        finder = PictureFinder(root)
        for number, line in enumerate(_lines(place), start=1):
            try:
                listed.append(_listed(finder.find(line, f"{place}, line {number}", split), root, split))
            except DataError as error:
                items.append(Item(f"line {number} of {place.name}", split, failing(error)))
    if not places or pictures:
        listed = [_listed(file, pictures or root, "") for file in _pictures(pictures or root)]
        in_images = [
            picture for picture in listed if picture.labels != "/".join(without_suffix(_names(picture.path, pictures or root)))
        ]
        listed = in_images or listed
    texts: Keys = files_below(root, frozenset({".txt"}))
    label_files = {
        **{key.casefold(): files[0] for key, files in texts.items()},
        **{key: files[0] for key, files in texts.items()},
    }
    for split in dict.fromkeys(picture.split for picture in listed):
        pictures_of_split = [picture for picture in listed if picture.split == split]
        other_folder = _other_label_folder(pictures_of_split, label_files, texts, root, notices)
        for picture in pictures_of_split:
            key = other_folder + "/".join(picture.parts) if other_folder is not None else picture.labels
            labels = label_files.get(key) or label_files.get(key.casefold())
            name, own = name_and_split(picture.parts, split)
            items.append(Item(name, own, partial(_content, picture.path, name, labels, names, classes, notices)))
    if not items:
        missing_paths = ", ".join(str(place) for paths in places.values() for place in paths) or str(pictures or root)
        raise DataError(f"{path}: there is no picture in {missing_paths}; put them there, or name their folder with --pictures.")
    place = root / f"{listed[0].labels}.txt" if listed else root
    advice = f"put polygons, a line each of x and y of three corners or more, into files such as {place}"
    return AnnotatedSet(classes, items, notices, advice)


def _pictures(folder: Path) -> list[Path]:
    return [files[0] for files in files_below(folder, PICTURE_SUFFIXES).values()]


def _listed(picture: Path, root: Path, split: str, place: Path | None = None) -> ListedPicture:
    """A picture of a split, with the place of its labels: `labels` replaces the last folder `images` of its path, in any case.

    Without such a folder, the labels lie beside the picture."""
    parts = without_suffix(_names(picture, root) if picture.is_relative_to(root) else _names(picture, place or root))
    images_place = next(
        (images_place for images_place in range(len(parts) - 2, -1, -1) if parts[images_place].lower() == "images"), None
    )
    after = parts if images_place is None else parts[images_place + 1 :]
    before = next((split_of_folder(part) for part in parts[:images_place] if split_of_folder(part)), "") if images_place else ""
    labels = parts if images_place is None else [*parts[:images_place], "labels", *after]
    return ListedPicture(picture, split or before, without_suffix(_names(picture, place)) if place else after, "/".join(labels))


def _names(path: Path, folder: Path) -> list[str]:
    return unicodedata.normalize("NFC", path.relative_to(folder).as_posix()).split("/")


def _other_label_folder(
    listed: list[ListedPicture], label_files: dict[str, Path], texts: Keys, root: Path, notices: Notices
) -> str | None:
    """The only other folder, with a slash at its end, that has the labels of a split.

    None where labels lie at their usual place, or nowhere. Raises DataError where several folders fit."""
    if any(picture.labels in label_files or picture.labels.casefold() in label_files for picture in listed):
        return None
    ending: dict[str, list[str]] = {}
    for key in texts:
        ending.setdefault(key.rpartition("/")[2].casefold(), []).append(key)
    counts: Counter[str] = Counter()
    for picture in listed:
        own = "/".join(picture.parts)
        for key in ending.get(picture.parts[-1].casefold(), ()):
            if f"/{key}".casefold().endswith(f"/{own}".casefold()):
                counts[key[: len(key) - len(own)]] += 1
    if not counts:
        return None
    split = listed[0].split
    folders = [place for place in counts if split and split in map(split_of_folder, place.split("/"))] or list(counts)
    if len(folders) > 1:
        places = " or ".join(str(root / place) for place in sorted(folders)[:2])
        raise DataError(f"{root}: the labels of {split or 'the pictures'} may be those in {places}; keep one of the two.")
    note = f"Labels of {split or 'the pictures'} are read from {root / folders[0]}: there is no {listed[0].labels}.txt."
    notices.notes.append(note)
    return folders[0]


def _content(picture: Path, name: str, labels: Path | None, names: list[str], classes: ClassTable, notices: Notices) -> Content:
    height, width = read_size(picture)
    shapes = []
    notices.add("no file", name, int(labels is None))
    for number, line in enumerate(_lines(labels) if labels else (), start=1):
        where = f"{labels}, line {number}"
        words = line.split()
        if len(words) == 5:
            notices.add("no area", name)
            continue
        label, corners = _line(words, names, where)
        corners *= np.tile([width, height], len(corners) // 2)
        try:
            shapes.append(Shape.of_runs(label, draw([corners.tolist()], height, width), (height, width)))
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
    return Content(picture, *draw_shapes(shapes, classes, (height, width), HOLDS.ordered))


def _line(words: list[str], names: list[str], where: str) -> tuple[str, np.ndarray]:
    """The label and the corners x, y, x, y ... of a line."""
    if not words[0].isdecimal() or len(words[0]) > 9 or int(words[0]) >= len(names):
        raise DataError(f"{where}: begins with {words[0][:40]!r}; a class is a whole number 0..{len(names) - 1}.")
    if len(words) < 7 or len(words) % 2 == 0:
        raise DataError(f"{where}: has {len(words) - 1} coordinates; a polygon needs x and y of three corners or more.")
    try:
        corners = np.array([float(word) for word in words[1:]])
    except ValueError:
        wrong_word = next(word for word in words[1:] if not _is_number(word))
        raise DataError(f"{where}: holds {wrong_word[:40]!r}, not a number.") from None
    outside = ~((corners >= -BEYOND) & (corners <= 1 + BEYOND))  # true for nan too
    if outside.any():
        raise DataError(f"{where}: has the coordinate {corners[outside][0]}; they are parts of the picture's sides, 0 to 1.")
    return names[int(words[0])], corners


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, without blanks around them."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def _yaml(path: Path, notices: Notices, needed: bool) -> tuple[list[str], dict[str, list[Path]]]:
    """The class names, and for each split its existing folders and lists of pictures. Where `needed`, one of them must exist.

    Every word of the file stays text. YAML's types would turn the class `no` into False."""
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
        for entry in (value if isinstance(value, list) else [value]) if split else ():
            if not isinstance(entry, str) or not isinstance(content.get("path", ""), str):
                raise DataError(f"{path}: {key} is {shown(entry)}; it must be a folder of pictures, or a list of them.")
            if entry.strip().lower() not in NOTHING:
                place = _below(path.parent, content.get("path", ""), entry)
                if place is not None:
                    places.setdefault(split, []).append(place)
                    continue
                clause = f"{key} is {entry[:200]!r}, which is no folder and no list of pictures"
                missing.append(f"{path}: {clause} below {path.parent}")
    if missing and not places and needed:
        raise DataError(f"{missing[0]}; correct it, or name the folder of the pictures with --pictures.")
    notices.notes += [f"{sentence}: it is left out." for sentence in missing if needed]
    return names, places


def _below(root: Path, base: str, value: str) -> Path | None:
    """The folder or list of a split, below `root`. None where it does not exist.

    Parts of `value` that lead out of `root` are dropped, because exports write paths like `../train/images`."""
    parts, leading = ([part for part in re.split(r"[/\\]", text) if part not in ("", ".", "..")] for text in (value, base))
    for candidate in itertools.chain((root.joinpath(*leading[n:], *parts) for n in range(len(leading) + 1)),
                                (root.joinpath(*parts[n:]) for n in range(1, len(parts)))):  # fmt: skip
        try:
            place = in_either_form(candidate)
            if place.is_dir() or (place.suffix.lower() == ".txt" and place.is_file()):
                return place
        except (OSError, ValueError):  # a name that is too long, or holds a zero byte
            continue
    return None


class Writer:
    def __init__(self, out: Path, classes: ClassTable, notices: Notices) -> None:
        self.out, self.classes, self.notices = out, classes, notices
        self.names = [name for name in classes.names if name.lower() not in BACKGROUND_NAMES]

    def add(self, name: str, split: str, content: Content, number: int) -> None:
        with all_or_none() as written:
            path = put_picture(content.picture, self.out / "images" / split, name, self.notices, written)
            height, width = read_size(path)
            lines = []
            for shape in shapes_of(content, self.classes, HOLDS, self.notices, name):
                outline = _joined(outlines(shape.crop.pixels, shape.crop.left, shape.crop.top))
                corners = outline.reshape(-1, 2) / (width, height)
                lines.append(f"{self.names.index(shape.label)} {' '.join(map(repr, corners.ravel().tolist()))}\n")
            write_whole(self.out / "labels" / split, f"{name}.txt", "".join(lines).encode(), durable=False)

    def close(self, entries: Sequence[Entry]) -> None:
        splits = {entry.split for entry in entries}
        folders: dict[str, Any] = {split: f"images/{split}" for split in ("train", "val", "test") if split in splits}
        content = {"path": ".", **folders, "names": dict(enumerate(self.names))}
        write_whole(self.out, "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def _joined(polygons: list[list[float]]) -> np.ndarray:
    """Joins several polygons into one, x, y, x, y ...

    Its path starts at the first corner of the first polygon, and goes to each other polygon, round it, and back."""
    first, *others = [np.array(polygon).reshape(-1, 2) for polygon in polygons]
    bridges = [part for walk in others for part in (first[:1], walk, walk[:1])]
    return np.concatenate([first, *bridges]).ravel()
