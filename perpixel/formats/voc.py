"""PASCAL VOC: two palette PNGs for each picture, of classes and of objects, with lists of splits and a table of own classes.

    OUT/JPEGImages/NAME.jpg
    OUT/SegmentationClass/NAME.png          class numbers, void 255, in VOC's colours
    OUT/SegmentationObject/NAME.png         object numbers, 0 none, void 255; where there are objects
    OUT/ImageSets/Segmentation/{train,val,test}.txt
    OUT/labelmap.txt                        name:r,g,b:: a line, as CVAT and Datumaro write it

Masks may hold class numbers, or the colours of the table, as CVAT exports them. Without labelmap.txt, class_names.txt (of
labelme's converter) names the numbers. Without both, the numbers are VOC's 21 classes where the pictures are called as VOC's are
(2007_000032), else each value is a class, as `init` has it. An object has the class of most of its
pixels. The published set itself, with its devkit around it, is the data set voc2012."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.classes import ClassTable, Colour, distinct_colours
from perpixel.datasets import voc
from perpixel.datasets.folder import files_below, objects_by_vote, require_same_size
from perpixel.datasets.pairing_classes import classes_of_values
from perpixel.datasets.pairing_masks import look_at_mask, write_colours
from perpixel.errors import DataError, printable
from perpixel.files import files_in, read_text, write_whole
from perpixel.formats.exchange import (
    AnnotatedSet,
    Content,
    Entry,
    Holds,
    Item,
    Notices,
    background_of,
    failing,
    number_objects,
    required_text,
    split_order,
)
from perpixel.formats.pictures import all_or_none, name_and_split, put_picture, split_of_name
from perpixel.images import MASK_SUFFIXES, PICTURE_SUFFIXES, encode_image, read_header, read_image, read_labels, write_labels

HOLDS = Holds(overlap=False, crowd=False, void=True, maps=True)
MASKS, OBJECTS = "SegmentationClass", "SegmentationObject"
NO_CLASS = ("void", "ignored", "__ignore__")
VOID, VOID_COLOUR = voc.VOID, voc.CLASSES.void_colour


def read(path: Path, pictures: Path | None) -> AnnotatedSet:
    """Reads a folder of VOC. Raises DataError for a folder without masks, or with a table that cannot be read."""
    images = _by_name(pictures or path / "JPEGImages", PICTURE_SUFFIXES)
    masks, objects = (_by_name(path / kind, MASK_SUFFIXES) for kind in (MASKS, OBJECTS))
    classes = _table(path, masks)
    splits: dict[str, str] = {}
    lists = [file for file in files_in(path / "ImageSets" / "Segmentation") if file.suffix.lower() == ".txt"]
    for file in sorted(lists, key=lambda file: split_of_name(file.stem) == ""):
        for line in voc.listed_names(file):
            name = unicodedata.normalize("NFC", line)
            first = name.split()[0]  # lists of one class have lines like `NAME 1`
            splits.setdefault(first if images.get(first) and not images.get(name) else name, split_of_name(file.stem))
    items = []
    for key in splits or dict.fromkeys(sorted({images.key_of(key) for key in masks.paths}), ""):
        name, split = name_and_split(key.split("/"), splits.get(key, ""))
        picture, mask = images.get(key), masks.get(key)
        if picture and mask:
            items.append(Item(name, split, partial(_content, picture, mask, objects.get(key), classes)))
            continue
        place = path / MASKS if picture else pictures or path / "JPEGImages"
        message = f"{path}: {printable(key)} has no {'mask' if picture else 'picture'} in {place}; put it there."
        items.append(Item(name, split, failing(DataError(message))))
    if not items:
        raise DataError(f"{path / MASKS}: holds no mask NAME.png; put them there.")
    return AnnotatedSet(classes, sorted(items, key=split_order))


@dataclass(frozen=True)
class _Files:
    """The files below a folder, by their paths without suffix."""

    paths: dict[str, list[Path]]

    def get(self, key: str) -> Path | None:
        """The file for the picture `key`: NAME.png, or NAME.jpg.png as some programs write it. None where neither exists."""
        names = (key, *(f"{key}{suffix}" for suffix in sorted(PICTURE_SUFFIXES)))
        return next((self.paths[name][0] for name in names if name in self.paths), None)

    def key_of(self, mask: str) -> str:
        """The name of the picture that belongs to the mask of this name."""
        stem = str(PurePosixPath(mask).with_suffix(""))
        return stem if mask not in self.paths and stem in self.paths else mask


def _by_name(folder: Path, suffixes: frozenset[str]) -> _Files:
    return _Files(files_below(folder, suffixes))


def _table(path: Path, masks: _Files) -> ClassTable:
    """The classes by labelmap.txt, else by class_names.txt. Without both they are VOC's where masks have the names of its
    pictures, else those of the values in the masks, as `init` proposes them."""
    file = next((place for place in (path / "labelmap.txt", path / "class_names.txt") if place.is_file()), None)
    if file is None and voc.are_names_of_voc([masks.key_of(name) for name in masks.paths]):
        return voc.CLASSES
    if file is None:
        return _of_values(path, [paths[0] for paths in masks.paths.values()])
    lines = [line.strip() for line in read_text(file).split("\n")]
    lines = [line for line in lines if line and not line.startswith("#") and line != "__ignore__"]
    default_colours = [(0, 0, 0), *distinct_colours(len(lines))]
    names: list[str] = []
    colours: list[Colour] = []
    values: list[tuple[int, ...]] = []
    for value, line in enumerate(lines):
        name, _, rest = line.partition(":")
        name = required_text(name, "a name", str(file))
        if name.lower() in NO_CLASS:
            continue
        try:
            colour = _colour(rest) if rest.strip(":") else default_colours[value]
        except ValueError:
            raise DataError(f"{file}: {line[:80]!r} is not `name:r,g,b::`; correct it.") from None
        if not all(0 <= part <= 255 for part in colour):
            raise DataError(f"{file}: {line[:80]!r} has a colour outside 0..255; correct it.")
        names.append(name)
        colours.append(colour)
        values.append((value,))
    if len(lines) > VOID:
        raise DataError(f"{file}: names {len(lines)} classes; masks of VOC hold {VOID}.")
    try:
        return ClassTable(tuple(names), tuple(colours), tuple(values), (VOID,), VOID_COLOUR)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None


def _of_values(path: Path, masks: Sequence[Path]) -> ClassTable:
    looks = {mask: look for mask in masks if not (look := look_at_mask(mask)).cannot and not look.lossy}
    if not looks or write_colours(looks.values()):  # colours are VOC's, as tools write them
        return voc.CLASSES
    return classes_of_values(path, [mask.stem for mask in masks], looks, [], [])


def _colour(text: str) -> Colour:
    red, green, blue = map(int, text.split(":")[0].split(","))
    return red, green, blue


def _content(picture: Path, mask: Path, objects: Path | None, classes: ClassTable) -> Content:
    image = read_image(picture)
    if read_header(mask, turn=False).mode in ("RGB", "RGBA"):
        labels = _of_colours(mask, classes)
    else:
        labels = classes.decode(read_labels(mask), str(mask))
    require_same_size(image, labels, picture, mask)
    if objects is None:
        return Content(picture, labels)
    if read_header(objects, turn=False).mode in ("RGB", "RGBA"):
        packed = _packed(read_image(objects))
        numbers = np.where(packed == _packed(np.array(VOID_COLOUR, np.uint8)), 0, packed)
        numbers = np.unique(numbers, return_inverse=True)[1].reshape(labels.shape) + int((numbers != 0).all())
    else:
        numbers = read_labels(objects)
        numbers = np.where(numbers == VOID, 0, numbers)
    require_same_size(image, numbers, picture, objects)
    return Content(picture, labels, objects_by_vote(numbers, labels, classes))


def _packed(image: NDArray[np.uint8]) -> NDArray[np.int32]:
    packed: NDArray[np.int32] = image.astype(np.int32) @ np.array((65536, 256, 1), np.int32)
    return packed


def _of_colours(mask: Path, classes: ClassTable) -> NDArray[Any]:
    """Class ids (H, W) of a mask of colours. Raises DataError, which names the first unknown colour and its pixel."""
    packed = _packed(read_image(mask))
    labels: NDArray[np.int32] = np.full(packed.shape, -1, np.int32)
    labels[packed == _packed(classes.palette[-1])] = classes.void
    for id, colour in enumerate(classes.palette[:-1]):
        labels[packed == _packed(colour)] = id
    if labels.min() < 0:
        row, column = divmod(int((labels < 0).argmax()), labels.shape[1])
        value = int(packed[row, column])
        colour = (value >> 16, value >> 8 & 255, value & 255)
        raise DataError(f"{mask}: colour {colour} at row {row}, column {column} is in no class; add it to labelmap.txt.")
    return labels.astype(classes.dtype)


class Writer:
    def __init__(self, out: Path, classes: ClassTable, notices: Notices) -> None:
        if len(classes) > VOID:
            raise DataError(f"there are {len(classes)} classes; masks of VOC hold {VOID}.")
        unwritable = next((name for name in classes.names if ":" in name or name[0] == "#" or name.lower() in NO_CLASS), None)
        if unwritable is not None:
            raise DataError(f"the class {unwritable!r} cannot stand in a line of labelmap.txt; rename it.")
        self.out, self.notices, self.classes = out, notices, classes
        background = background_of(classes)
        order = sorted(range(len(classes)), key=lambda id: id != background)
        colours = [classes.colours[id] for id in order]
        if len({*colours, VOID_COLOUR}) <= len(colours):  # colours that cannot be told apart
            colours = [(0, 0, 0), *distinct_colours(len(order) - 1)]
        values = tuple((value,) for value in range(len(order)))
        self.table = ClassTable(tuple(classes.names[id] for id in order), tuple(colours), values, (VOID,), VOID_COLOUR)
        self.written_value = np.full(classes.void + 1, VOID, np.uint8)
        self.written_value[order] = np.arange(len(order))
        self.taken: set[str] = set()

    def add(self, name: str, split: str, content: Content, number: int) -> str:
        """The name in the lists. Of pictures of one name in several splits the later have their split before it."""
        key = f"{split}/{name}" if name in self.taken else name
        numbered = number_objects(content, self.classes, self.notices, name)
        if numbered is not None and numbered[0].max(initial=0) >= VOID:
            raise DataError(f"{name}: has {numbered[0].max()} objects; a mask of VOC holds {VOID - 1}.")
        labels = self.written_value[content.labels]
        with all_or_none() as written:
            put_picture(content.picture, self.out / "JPEGImages", name, self.notices, written, key)
            written.append(write_labels(self.out / MASKS, f"{key}.png", labels, self.table))
            if numbered is not None:
                stored = Image.fromarray(np.where((numbered[0] == 0) & (labels == VOID), VOID, numbered[0]).astype(np.uint8))
                palette = np.array([(0, 0, 0), *distinct_colours(255)], np.uint8)
                palette[VOID] = VOID_COLOUR
                stored.putpalette(palette.tobytes())
                write_whole(self.out / OBJECTS, f"{key}.png", encode_image(stored, ".png"), durable=False)
        self.taken.add(key)
        self.notices.add("crowd", name, 0 if content.instances is None else int(content.instances.crowd.sum()))
        return key

    def close(self, entries: Sequence[Entry]) -> None:
        lists = self.out / "ImageSets" / "Segmentation"
        by_split: dict[str, list[str]] = {}
        for entry in entries:
            by_split.setdefault(entry.split or "train", []).append(entry.content)
        for split, names in by_split.items():
            write_whole(lists, f"{split}.txt", voc.write_list(names))
        rows = zip(self.table.names, self.table.colours, strict=True)
        lines = "".join(f"{name}:{','.join(map(str, colour))}::\n" for name, colour in rows)
        write_whole(self.out, "labelmap.txt", lines.encode())
