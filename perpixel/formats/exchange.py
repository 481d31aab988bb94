"""The common form of annotated pictures: every format of `perpixel.formats` is read into it and written from it.

    annotated = FORMATS["labelme"].read(Path("labelled"), None)    # an AnnotatedSet: classes, items, notices of reading
    content = annotated.items[0].read()                            # a Content: the picture, its labels, its objects
    for shape in shapes_of(content, annotated.classes, HOLDS, notices, name): ...

A format of outlines has objects only, and its labels are drawn from them. Annotation tools keep their shapes in an order, and a
later shape lies on top of an earlier one. In formats without an order, a pixel of objects of several classes becomes void,
because the truth contradicts itself there."""

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
    """The things that a format can hold."""

    overlap: bool  # objects that share pixels
    crowd: bool  # objects that stand for many
    void: bool
    maps: bool = False  # label maps beside the objects; else labels are drawn from the objects
    ordered: bool = False  # shapes have an order, and later shapes lie on top


@dataclass(frozen=True)
class Content:
    """One picture with its labels and objects."""

    picture: Path | bytes | NDArray[np.uint8]  # a file, the bytes of a file, or uint8 RGB (H, W, 3)
    labels: NDArray[Any]  # class ids (H, W), void included
    instances: Instances | None = None  # None where objects are unknown


@dataclass(frozen=True)
class Item:
    """A picture of an annotated set, not read yet."""

    name: str  # a path without suffix
    split: str  # empty where the set has no splits
    read: Callable[[], Content]


def failing(error: DataError) -> Callable[..., Content]:
    """A `read` for a picture that is known to be unusable. It raises `error`, so the picture is reported in its turn."""

    def read(*_: object) -> Content:
        raise error

    return read


@dataclass(frozen=True)
class Shape:
    """An object, or a piece of pixels of a class or of void."""

    label: str
    crop: Crop  # its pixels
    crowd: bool = False

    @classmethod
    def of(cls, label: str, mask: NDArray[np.bool_], crowd: bool = False) -> Shape:
        """The shape of a mask (H, W)."""
        return cls(label, Crop.of(mask), crowd)

    @classmethod
    def of_runs(cls, label: str, lengths: NDArray[np.int64], size: tuple[int, int], crowd: bool = False) -> Shape:
        """The shape of a mask by its run lengths. The mask has `size` (height, width), and only its columns in use are drawn."""
        mask, left = columns(lengths, size[0])
        return cls(label, Crop.of(mask, 0, left, size), crowd)


NOTICES = {  # kind of notice: the sentence about lost or changed content, where {} is the name of the format
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
class Notices:
    """Counts of lost or changed content, by the kinds of `NOTICES`."""

    kinds: dict[str, tuple[int, int, str]] = field(default_factory=dict)  # count, number of pictures, the first picture
    notes: list[str] = field(default_factory=list)  # sentences about the whole set
    _last: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, name: str, count: int = 1) -> None:
        """Adds `count` to a kind, for the picture `name`. The calls for one picture must follow each other."""
        if count:
            total, pictures, first = self.kinds.get(kind, (0, 0, name))
            self.kinds[kind] = total + count, pictures + (self._last.get(kind) != name), first
            self._last[kind] = name

    def sentences(self, format: str) -> list[str]:
        """The notes, and a sentence for each kind, for people."""
        return self.notes + [
            f"{count} {NOTICES[kind].format(format)} ({pictures} pictures, the first is {printable(first)})."
            for kind, (count, pictures, first) in self.kinds.items()
        ]


@dataclass(frozen=True)
class AnnotatedSet:
    """A data set as a format holds it: its classes and its pictures, which are read one by one."""

    classes: ClassTable
    items: list[Item]
    notices: Notices = field(default_factory=Notices)  # grows while the items are read
    advice: str = ""  # for a person whose set has no usable shape


@dataclass(frozen=True)
class Entry:
    """A picture that is written, by name and split; and `content`, the JSON that its format's `close` needs of it."""

    name: str
    split: str
    content: Any


class Writer(Protocol):
    """Writes a data set below a folder, picture by picture. `number` is the place of a picture in the set, from 1.

    `add` returns what `close` needs of a picture. `close` writes the files that need all pictures, which other processes may have
    added: it looks at nothing but their entries, in the order of the set."""

    def __init__(self, out: Path, classes: ClassTable, notices: Notices) -> None: ...
    def add(self, name: str, split: str, content: Content, number: int) -> Any: ...
    def close(self, entries: Sequence[Entry]) -> None: ...


def background_of(classes: ClassTable) -> int | None:
    """The id of the class that is called background. None where there is no such class."""
    return next((id for id, name in enumerate(classes.names) if name.lower() in BACKGROUND_NAMES), None)


def table_of(labels: Iterable[str]) -> ClassTable:
    """A class table of the labels of objects, each once, in their order. Class 0 is background; labels of void are left out."""
    names = [name for name in dict.fromkeys(labels) if name.lower() not in BACKGROUND_NAMES | VOID_NAMES]
    values = tuple((id,) for id in range(len(names) + 1))
    void = 255 if len(names) < 255 else 65535
    return ClassTable(
        ("background", *names), ((0, 0, 0), *distinct_colours(len(names))), values, (void,), voc.CLASSES.void_colour
    )


def draw_shapes(
    shapes: Sequence[Shape], classes: ClassTable, size: tuple[int, int], ordered: bool
) -> tuple[NDArray[Any], Instances]:
    """The labels (H, W) drawn from shapes, and the objects among the shapes. `size` is (height, width).

    Shapes with a label of background or void change the labels, but are no objects."""
    canvas = Canvas(classes, size, ordered)
    objects = [shape for shape in shapes if canvas.draw(shape)]
    ids = np.array([classes.id_of(shape.label) for shape in objects], np.int64)
    crowd = np.array([shape.crowd for shape in objects], np.bool_)
    return canvas.labels, Instances.of_crops([shape.crop for shape in objects], size, ids, crowd)


class Canvas:
    """A label map (H, W) on which shapes are drawn, one after the other."""

    def __init__(self, classes: ClassTable, size: tuple[int, int], ordered: bool) -> None:
        background = background_of(classes)
        self.background = classes.void if background is None else background
        self.labels = np.full(size, self.background, classes.dtype)
        self.classes, self.ordered = classes, ordered

    def draw(self, shape: Shape) -> bool:
        """Draws a shape. Returns whether it is an object."""
        label, region, pixels = shape.label.lower(), self.labels[shape.crop.box], shape.crop.pixels
        if label in VOID_NAMES or label in BACKGROUND_NAMES:
            region[pixels] = self.classes.void if label in VOID_NAMES else self.background
            return False
        id = self.classes.id_of(shape.label)
        if self.ordered:
            region[pixels] = id
        else:
            old_labels = region[pixels]
            region[pixels] = np.where((old_labels == self.background) | (old_labels == id), id, self.classes.void)
        return True


def shapes_of(content: Content, classes: ClassTable, holds: Holds, notices: Notices, name: str) -> Iterator[Shape]:
    """The shapes to write for a picture: its objects, the pieces of its labels outside of objects, and its void, in this order.

    Content that the format does not hold is left out and noted."""
    labels, objects = content.labels, content.instances
    if objects is None:
        objects = Instances(np.zeros((0, *labels.shape), np.bool_), np.zeros(0, np.int64))
    canvas = Canvas(classes, labels.shape, holds.ordered)
    covered, lost = np.zeros(labels.shape, np.bool_), np.zeros(labels.shape, np.bool_)
    for index, id in enumerate(objects.class_ids.tolist()):
        crop, crowd = objects.crop(index), bool(objects.crowd[index])
        covered[crop.box] |= crop.pixels
        if not crop.bits.size:
            notices.add("empty", name)
        elif crowd and not holds.crowd:
            notices.add("crowd left out", name)
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
        from scipy import ndimage  # imported here, because it takes a quarter of a second to load

        from perpixel.masks.components import components

        numbers = components(rest, id)
        for number, box in enumerate(ndimage.find_objects(numbers), start=1):
            size = (labels.shape[0], labels.shape[1])
            shape = Shape(classes.names[id], Crop.of(numbers[box] == number, box[0].start, box[1].start, size))
            canvas.draw(shape)
            pieces += 1
            yield shape
    notices.add("pieces", name, pieces)
    void = labels == classes.void
    if holds.void:
        if void.any():
            shape = Shape.of(VOID_NAME, void)
            canvas.draw(shape)
            yield shape
    else:
        contradicted = covered & (canvas.labels == classes.void)  # these pixels become void again when the objects are read
        notices.add("void", name, int((void & ~contradicted).sum()))
    notices.add("class", name, int(((canvas.labels != labels) & ~void & ~lost).sum()))


def join_groups(grouped_shapes: Iterable[tuple[Shape, Hashable]]) -> list[Shape]:
    """Joins shapes that have the same label and the same group into one shape, at the place of the first.

    A group of None joins nothing. The order is kept."""
    objects: list[Shape] = []
    places: dict[tuple[str, Hashable], int] = {}
    for shape, group in grouped_shapes:
        place = places.setdefault((shape.label, group), len(objects))
        if group is None or place == len(objects):
            objects.append(shape)
        else:
            earlier = objects[place]
            objects[place] = Shape(shape.label, earlier.crop.joined(shape.crop), earlier.crowd or shape.crowd)
    return objects


def label_colours(classes: ClassTable, void: bool) -> list[tuple[str, str]]:
    """The labels that objects may have, with their colours as #rrggbb. `void` adds the label void."""
    names_and_colours = [*zip(classes.names, classes.colours, strict=True), *([(VOID_NAME, classes.void_colour)] if void else [])]
    return [(name, f"#{bytes(colour).hex()}") for name, colour in names_and_colours if name.lower() not in BACKGROUND_NAMES]


def number_objects(
    content: Content, classes: ClassTable, notices: Notices, name: str, by_vote: bool = True
) -> tuple[NDArray[Any], Instances] | None:
    """The visible objects, and a map (H, W) of their numbers from 1 on; 0 is no object. None where objects are unknown.

    Where objects overlap, the last is visible. Crowds are left out. `by_vote`: the reader of the map gives an object the class
    of most of its pixels. Lost content is noted."""
    objects = content.instances
    if objects is None:
        return None
    numbers = np.zeros(content.labels.shape, np.int32)
    shared = np.zeros(content.labels.shape, np.bool_)
    visible = []
    for index in np.flatnonzero(~objects.crowd).tolist():
        crop = objects.crop(index)
        if not crop.bits.size:
            notices.add("empty", name)
            continue
        region, pixels = numbers[crop.box], crop.pixels
        shared[crop.box] |= pixels & (region > 0)
        visible.append(index)
        region[pixels] = len(visible)
    notices.add("overlap", name, int(shared.sum()))
    seen = np.bincount(numbers.ravel(), minlength=len(visible) + 1)[1:] > 0
    notices.add("hidden", name, int((~seen).sum()))
    renumbered = np.concatenate([[0], np.where(seen, np.cumsum(seen), 0)]).astype(np.int32)[numbers]
    ids = objects.class_ids[np.array(visible, np.int64)][seen]
    if by_vote:
        voted = objects_by_vote(renumbered, content.labels, classes).class_ids
        notices.add("vote", name, int((voted != ids).sum()))
    return renumbered, Instances.of_numbers(renumbered, ids)


def split_order(item: Item) -> tuple[int, str]:
    """A key to sort items: by split, in the order of `SPLITS`, then by name."""
    return (SPLITS.index(item.split) if item.split in SPLITS else len(SPLITS)), item.name


def label_of(value: Any, where: str) -> str:
    """The label of a shape, without blanks around it. Empty where the shape has no label.

    Raises DataError for a value that is no text, or that not every format can hold."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    return required_text(value, "label", where)


def required_text(value: Any, field_name: str, where: str) -> str:
    """The text `value` without blanks around it.

    Raises DataError for a value that is no text, is empty, or that not every format can hold."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {field_name} is {shown(value)}, not a text.")
    if reason := reason_refused(value.strip()):
        raise DataError(f"{where}: {field_name} is {value[:80]!r}, which {reason}; correct it.")
    return value.strip()


def reason_refused(text: str) -> str:
    """The reason why some format cannot hold a text. Empty where all can."""
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text):
        return "holds a control character or a line break"
    if any(unicodedata.category(character) == "Cs" or character in "\ufffe\uffff" for character in text):
        return "is no UTF-8 text"
    return ""
