"""What every format of `perpixel.formats` is read into and written from, and what each can hold.

    source = FORMATS["labelme"].read(Path("labelled"), None)    # a Source: classes, items, and what was left out in reading
    content = source.items[0].read()                            # a Content: the picture, its labels, its objects
    for shape in shapes(content, source.classes, HOLDS, told, name): ...

A format of outlines has objects alone: its labels are drawn of them. Where shapes have an order, as in annotation tools, the
later one lies on top; where they have none, pixels of objects of several classes are void, since the truth contradicts itself."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import VOID_NAME, ClassTable, distinct_colours
from perpixel.datasets import voc
from perpixel.datasets.folder import SPLITS, objects_by_vote
from perpixel.errors import DataError, printable
from perpixel.masks.rle import columns, shown
from perpixel.sample import Crop, Instances

BACKGROUND_NAMES = frozenset({"background", "_background_", "__background__"})
VOID_NAMES = frozenset({VOID_NAME, "__ignore__", "_ignore_"})


@dataclass(frozen=True)
class Holds:
    """What a format can hold. `maps`: it has labels of its own, beside its objects; else they are drawn of its objects."""

    overlap: bool
    crowd: bool
    void: bool
    maps: bool = False
    ordered: bool = False


@dataclass(frozen=True)
class Content:
    """One picture with its truth: `picture` a file, the bytes of one, or uint8 RGB (H, W, 3); `labels` class ids (H, W) with
    void; its objects, or none."""

    picture: Path | bytes | NDArray[np.uint8]
    labels: NDArray[Any]
    instances: Instances | None = None


@dataclass(frozen=True)
class Item:
    """A picture of a source by its name, a path without suffix, and its split; empty where the source has none."""

    name: str
    split: str
    read: Callable[[], Content]


def failing(error: DataError) -> Callable[..., Content]:
    """The `read` of a picture of which is known already why it cannot be used: it is told when its turn comes."""

    def read(*_: object) -> Content:
        raise error

    return read


@dataclass(frozen=True)
class Shape:
    """An object, or a piece of pixels of a class or of void: its label, its pixels, and whether it is a crowd."""

    label: str
    at: Crop
    crowd: bool = False

    @classmethod
    def of(cls, label: str, mask: NDArray[np.bool_], crowd: bool = False) -> Shape:
        """The shape of a mask (H, W)."""
        return cls(label, Crop.of(mask), crowd)

    @classmethod
    def of_runs(cls, label: str, lengths: NDArray[np.int64], size: tuple[int, int], crowd: bool = False) -> Shape:
        """The shape of a mask of this size by its run lengths, which is never drawn whole."""
        mask, left = columns(lengths, size[0])
        return cls(label, Crop.of(mask, 0, left, size), crowd)


LOSSES = {  # kind: what is lost or changed; {} is the format
    "void": "pixels of void come back as background: {} has no void",
    "crowd": "crowds keep their class and are no objects: {} cannot say that an object stands for many",
    "crowd left out": "crowds are left out, and come back as background: {} cannot say that an object stands for many",
    "overlap": "pixels of several objects belong to the last of them alone: {} has one object a pixel",
    "hidden": "objects that lie wholly below others are left out: {} has one object a pixel",
    "empty": "objects without a pixel are left out",
    "pieces": "pieces of pixels of a class that belong to no object are objects of their own in {}",
    "class": "pixels of another class than their object take the object's: {} has no labels beside its objects",
    "vote": "objects take the class that most of their pixels have, as {} is read",
    "turned": "pictures with a camera's rotation tag are written upright, as PNG",
    "png": "pictures of another format are written as PNG, the pixels as they are",
    "names": "pictures got names as {} wants them; names.csv says which",
    "no object": "objects of labels without instances are pixels of their label alone in {}",
    "group": "labels with instances have pixels of no object, or of several crowds, which are one crowd of each label in {}",
    "unknown class": "pixels of classes that {} does not have are unlabeled in it",
    "no area": "points, lines, boxes or other shapes without a mask are left out in reading",
    "no label": "shapes without a label are left out in reading",
    "no file": "pictures have no file of labels: nothing is marked on them",
    "flat": "outlines without outer brackets are read as one polygon x, y, x, y ...",
    "other annotator": "further annotations of one picture are left out: the first is read",
}


@dataclass
class Told:
    """What is lost or changed, by kinds of `LOSSES`: how many in all, in how many pictures, and the first picture; and `notes`,
    sentences about the whole set."""

    kinds: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _last: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, name: str, count: int = 1) -> None:
        """Counts so many more of a kind in the picture `name`; pictures come one after the other."""
        if count:
            total, pictures, first = self.kinds.get(kind, (0, 0, name))
            self.kinds[kind] = total + count, pictures + (self._last.get(kind) != name), first
            self._last[kind] = name

    def sentences(self, format: str) -> list[str]:
        return self.notes + [
            f"{count} {LOSSES[kind].format(format)} ({pictures} pictures, the first is {printable(first)})."
            for kind, (count, pictures, first) in self.kinds.items()
        ]


@dataclass(frozen=True)
class Source:
    """A data set in some format: its classes, its pictures, what reading leaves out, as it is met, and what to do where nothing
    else was there."""

    classes: ClassTable
    items: list[Item]
    told: Told = field(default_factory=Told)
    advice: str = ""


class Writer(Protocol):
    """Writes a data set below an empty folder, picture by picture; what is not known before the end is written by `close`."""

    def __init__(self, out: Path, classes: ClassTable, told: Told) -> None: ...
    def add(self, name: str, split: str, content: Content) -> None: ...
    def close(self) -> None: ...


def background_of(classes: ClassTable) -> int | None:
    """The id of the class that stands for no object, by its name."""
    return next((id for id, name in enumerate(classes.names) if name.lower() in BACKGROUND_NAMES), None)


def table_of(labels: Iterable[str]) -> ClassTable:
    """A table of the labels of objects, each once, in their order; 0 is background, and the labels of void are none."""
    names = [name for name in dict.fromkeys(labels) if name.lower() not in BACKGROUND_NAMES | VOID_NAMES]
    values = tuple((id,) for id in range(len(names) + 1))
    void = 255 if len(names) < 255 else 65535
    return ClassTable(
        ("background", *names), ((0, 0, 0), *distinct_colours(len(names))), values, (void,), voc.CLASSES.void_colour
    )


def drawn(found: Sequence[Shape], classes: ClassTable, size: tuple[int, int], ordered: bool) -> tuple[NDArray[Any], Instances]:
    """The labels (H, W) that shapes make, and their objects. `size` is (height, width).

    Shapes called background, or void or __ignore__, draw labels and are no objects."""
    canvas = Canvas(classes, size, ordered)
    objects = [shape for shape in found if canvas.draw(shape)]
    ids = np.array([classes.id_of(shape.label) for shape in objects], np.int64)
    crowd = np.array([shape.crowd for shape in objects], np.bool_)
    return canvas.labels, Instances.of_crops([shape.at for shape in objects], size, ids, crowd)


class Canvas:
    """Labels (H, W) that shapes are drawn on, one after the other."""

    def __init__(self, classes: ClassTable, size: tuple[int, int], ordered: bool) -> None:
        none = background_of(classes)
        self.none = classes.void if none is None else none
        self.labels = np.full(size, self.none, classes.dtype)
        self.classes, self.ordered = classes, ordered

    def draw(self, shape: Shape) -> bool:
        """Draws a shape; whether it is an object."""
        label, there, pixels = shape.label.lower(), self.labels[shape.at.box], shape.at.pixels
        if label in VOID_NAMES or label in BACKGROUND_NAMES:
            there[pixels] = self.classes.void if label in VOID_NAMES else self.none
            return False
        id = self.classes.id_of(shape.label)
        if self.ordered:
            there[pixels] = id
        else:
            before = there[pixels]
            there[pixels] = np.where((before == self.none) | (before == id), id, self.classes.void)
        return True


def shapes(content: Content, classes: ClassTable, holds: Holds, told: Told, name: str) -> Iterator[Shape]:
    """The objects of a picture, the pieces of its labels that belong to none, and its void, in the order to draw them in.

    What the format does not hold is left out and told."""
    labels, objects = content.labels, content.instances
    if objects is None:
        objects = Instances(np.zeros((0, *labels.shape), np.bool_), np.zeros(0, np.int64))
    canvas = Canvas(classes, labels.shape, holds.ordered)
    covered, lost = np.zeros(labels.shape, np.bool_), np.zeros(labels.shape, np.bool_)
    for index, id in enumerate(objects.class_ids.tolist()):
        crop, crowd = objects.crop(index), bool(objects.crowd[index])
        covered[crop.box] |= crop.pixels
        if not crop.bits.size:
            told.add("empty", name)
        elif crowd and not holds.crowd:
            told.add("crowd left out", name)
            lost[crop.box] |= crop.pixels
        else:
            shape = Shape(classes.names[id], crop, crowd)
            canvas.draw(shape)
            yield shape
    rest = np.where(covered, classes.void, labels)
    pieces = 0
    for id in np.flatnonzero(np.bincount(rest.ravel(), minlength=classes.void + 1)).tolist():
        if id in (classes.void, background_of(classes)):
            continue
        from scipy import ndimage  # only now: it takes a quarter of a second to load

        from perpixel.masks.components import components

        numbers = components(rest, id)
        for number, box in enumerate(ndimage.find_objects(numbers), start=1):
            size = (labels.shape[0], labels.shape[1])
            shape = Shape(classes.names[id], Crop.of(numbers[box] == number, box[0].start, box[1].start, size))
            canvas.draw(shape)
            pieces += 1
            yield shape
    told.add("pieces", name, pieces)
    void = labels == classes.void
    if holds.void:
        if void.any():
            shape = Shape.of(VOID_NAME, void)
            canvas.draw(shape)
            yield shape
    else:
        contradicted = covered & (canvas.labels == classes.void)  # void again, whoever reads the objects
        told.add("void", name, int((void & ~contradicted).sum()))
    told.add("class", name, int(((canvas.labels != labels) & ~void & ~lost).sum()))


def joined(found: Iterable[tuple[Shape, Hashable]]) -> list[Shape]:
    """Shapes in their order; those of one label and one group, where it is not none, are one, in the place of the first."""
    shapes: list[Shape] = []
    places: dict[tuple[str, Hashable], int] = {}
    for shape, group in found:
        place = places.setdefault((shape.label, group), len(shapes))
        if group is None or place == len(shapes):
            shapes.append(shape)
        else:
            before = shapes[place]
            shapes[place] = Shape(shape.label, before.at.joined(shape.at), before.crowd or shape.crowd)
    return shapes


def label_colours(classes: ClassTable, void: bool) -> list[tuple[str, str]]:
    """The names that objects may have, and void where it is one of them, with their colours as #rrggbb."""
    named = [*zip(classes.names, classes.colours, strict=True), *([(VOID_NAME, classes.void_colour)] if void else [])]
    return [(name, f"#{bytes(colour).hex()}") for name, colour in named if name.lower() not in BACKGROUND_NAMES]


def map_of(
    content: Content, classes: ClassTable, told: Told, name: str, by_vote: bool = True
) -> tuple[NDArray[Any], Instances] | None:
    """Numbers (H, W) of the objects that can be seen, from 1 on, 0 elsewhere, and those objects; none where there are none.

    The last of objects that overlap is seen, and crowds are none of them. `by_vote`: whoever reads the map takes the class
    that most labels of an object's pixels have. What is lost is told."""
    objects = content.instances
    if objects is None:
        return None
    numbers = np.zeros(content.labels.shape, np.int32)
    shared = np.zeros(content.labels.shape, np.bool_)
    chosen = []
    for index in np.flatnonzero(~objects.crowd).tolist():
        crop = objects.crop(index)
        if not crop.bits.size:
            told.add("empty", name)
            continue
        there, pixels = numbers[crop.box], crop.pixels
        shared[crop.box] |= pixels & (there > 0)
        chosen.append(index)
        there[pixels] = len(chosen)
    told.add("overlap", name, int(shared.sum()))
    seen = np.bincount(numbers.ravel(), minlength=len(chosen) + 1)[1:] > 0
    told.add("hidden", name, int((~seen).sum()))
    renumbered = np.concatenate([[0], np.where(seen, np.cumsum(seen), 0)]).astype(np.int32)[numbers]
    ids = objects.class_ids[np.array(chosen, np.int64)][seen]
    if by_vote:
        voted = objects_by_vote(renumbered, content.labels, classes).class_ids
        told.add("vote", name, int((voted != ids).sum()))
    return renumbered, Instances.of_numbers(renumbered, ids)


def split_order(item: Item) -> tuple[int, str]:
    return (SPLITS.index(item.split) if item.split in SPLITS else len(SPLITS)), item.name


def label_of(value: Any, where: str) -> str:
    """The label of a shape, without the blanks around it; empty where nobody gave it one. Raises DataError for what is no text,
    or a text that not every format can hold."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    return text(value, "label", where)


def text(value: Any, what: str, where: str) -> str:
    """`value` without the blanks around it, which must be a text that is not empty and every format can hold; else DataError."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {what} is {shown(value)}, not a text.")
    if reason := unkept(value.strip()):
        raise DataError(f"{where}: {what} is {value[:80]!r}, which {reason}; correct it.")
    return value.strip()


def unkept(text: str) -> str:
    """Why not every format can hold a text; nothing where each can."""
    if any(unicodedata.category(mark) in ("Cc", "Zl", "Zp") for mark in text):
        return "holds a control character or a line break"
    if any(unicodedata.category(mark) == "Cs" or mark in "\ufffe\uffff" for mark in text):
        return "is no UTF-8 text"
    return ""
