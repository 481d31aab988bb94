"""CVAT for images 1.1: one XML for all pictures, with masks, polygons, boxes and ellipses in the order of z_order.

    OUT/annotations.xml
    OUT/images/SPLIT/NAME.jpg

Polygons are drawn by COCO's rule, as CVAT's own exports draw them, the later on top; shapes of one label and one group are one
object. Written are masks: run lengths of 0 and 1 in turn along the rows of a box. A crowd has the attribute `crowd`, and void is
the label of that name, as CVAT has neither. An XML with a document type is refused, since that is where entities come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import VOID_NAME, ClassTable
from perpixel.errors import DataError, printable
from perpixel.files import files_in, read_bytes, write_whole
from perpixel.formats.exchange import (
    Content,
    Holds,
    Item,
    Shape,
    Source,
    Told,
    drawn,
    failing,
    joined,
    label_colours,
    label_of,
    shapes,
    table_of,
    text,
)
from perpixel.formats.pictures import Pictures, bare, named, parts_of, put_picture, require_picture_size, split_in, together
from perpixel.images import read_size
from perpixel.masks.polygons import ellipse, fill, turned
from perpixel.masks.rle import decode, runs

HOLDS = Holds(overlap=True, crowd=True, void=True, ordered=True)
CROWD = "crowd"
WITH_AREA = ("polygon", "box", "mask", "ellipse")
WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")


@dataclass
class Marked:
    """An element of a picture: its kind, its attributes as they stand, and whether it is a crowd."""

    kind: str
    given: dict[str, str]
    crowd: bool = False


@dataclass
class Page:
    """A picture of the file, and what is marked on it."""

    given: dict[str, str]
    marked: list[Marked] = field(default_factory=list)


def file_of(path: Path) -> Path:
    """The XML that `path` is, or holds."""
    if not path.is_dir():
        return path
    found = [file for file in files_in(path) if file.name.lower() == "annotations.xml"]
    return found[0] if found else path / "annotations.xml"


def read(path: Path, pictures: Path | None) -> Source:
    """Raises DataError for a file that is no XML of CVAT for images."""
    file = file_of(path)
    labels, pages = _parsed(file)
    below, told, used = Pictures(pictures or file.parent), Told(), []
    pictures_read: list[tuple[str, str, Callable[..., Content]]] = []
    for number, page in enumerate(pages):
        where = f"{file}, picture {number}"
        split = split_in(page.given.get("subset", ""))
        try:
            parts = parts_of(page.given.get("name"), where)
            reference = page.given["name"]
            where = f"{file}, picture {printable(reference)}"
            kept = bare(parts[1:] if parts[0] == "images" and len(parts) > 1 else parts)
            name, split = named(kept, split)
            used += [_label(one, where) for one in page.marked if one.kind in WITH_AREA]
            pictures_read.append((name, split, partial(_content, page, reference, where, below, split)))
        except DataError as error:
            pictures_read.append((f"picture {number}", split, failing(error)))
    classes = table_of(label for label in [*labels, *used] if label)
    items = [Item(name, split, partial(one, classes, told)) for name, split, one in pictures_read]
    return Source(classes, items, told)


def _label(one: Marked, where: str) -> str:
    return label_of(one.given.get("label"), where)


def _parsed(file: Path) -> tuple[list[str], list[Page]]:
    """The labels that the file declares, and its pictures."""
    labels: list[str] = []
    pages: list[Page] = []
    stack: list[str] = []
    words: list[str] = []
    attribute = ""

    def start(tag: str, given: dict[str, str]) -> None:
        nonlocal attribute
        if len(stack) > 20:
            raise DataError(f"{file}: is nested too deep to be of CVAT.")
        if not stack and tag != "annotations":
            raise DataError(f"{file}: begins with <{tag[:40]}>, not <annotations>; export it as CVAT for images 1.1.")
        if tag == "track":
            raise DataError(f"{file}: is of a video; export it as CVAT for images 1.1.")
        if tag == "image" and stack[-1] == "annotations":
            pages.append(Page(given))
        elif stack and stack[-1] == "image" and pages:
            pages[-1].marked.append(Marked(tag, given))
        attribute = given.get("name", "") if tag == "attribute" else attribute
        stack.append(tag)
        words.clear()

    def end(tag: str) -> None:
        stack.pop()
        said = "".join(words).strip()
        if tag == "name" and stack[-2:] == ["labels", "label"]:
            labels.append(text(said, "a label's name", str(file)))
        if tag == "attribute" and attribute == CROWD and len(stack) > 1 and stack[-2] == "image" and pages and pages[-1].marked:
            pages[-1].marked[-1].crowd = said.lower() in ("true", "1")
        words.clear()

    def refuse(*_: object) -> None:
        raise DataError(f"{file}: has a document type, from which entities come; CVAT writes none, take it out.")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, words.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(read_bytes(file), True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # LookupError: an encoding that nobody knows
        reason = printable(str(error))[:120]
        raise DataError(f"{file}: is no XML ({reason}); it is damaged, cut short, or not in UTF-8.") from None
    return labels, pages


def _content(page: Page, reference: str, where: str, below: Pictures, split: str, classes: ClassTable, told: Told) -> Content:
    picture = below.find(reference, where, split)
    size = _whole(page.given, "height", where), _whole(page.given, "width", where)
    require_picture_size(picture, size, where)
    found: list[tuple[Shape, str | None]] = []
    for number, one in sorted(enumerate(page.marked), key=lambda pair: (_order(pair[1], f"{where}, shape {pair[0]}"), pair[0])):
        label = _label(one, where)
        flat = one.kind not in WITH_AREA or (one.kind == "polygon" and one.given.get("points", "").count(";") < 2)
        if flat or not label:
            told.add("no area" if flat else "no label", reference)
            continue
        try:
            mask = _mask(one, size)
        except ValueError as error:
            raise DataError(f"{where}, shape {number}: {error}") from None
        group = one.given.get("group_id") or "0"
        found.append((Shape.of(label, mask, one.crowd), group if group != "0" else None))
    return Content(picture, *drawn(joined(found), classes, size, HOLDS.ordered))


def _order(one: Marked, where: str) -> int:
    return _whole(one.given, "z_order", where) if "z_order" in one.given else 0


def _whole(given: dict[str, str], key: str, where: str) -> int:
    try:
        return _integer(given, key)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None


def _integer(given: dict[str, str], key: str) -> int:
    value = given.get(key, "")
    if len(value) > 9 or not value.removeprefix("-").isdecimal():
        raise ValueError(f"{key} is {value[:40]!r}, not a whole number.")
    return int(value)


def _number(given: dict[str, str], key: str) -> float:
    try:
        return float(given.get(key, ""))
    except ValueError:
        raise ValueError(f"{key} is {given.get(key, '')[:40]!r}, not a number.") from None


def _mask(one: Marked, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) of a shape. Raises ValueError, one sentence, for one that cannot be drawn."""
    if one.kind == "mask":
        return _of_runs(one.given, size)
    if one.kind == "polygon":
        try:
            flat = [float(value) for point in one.given.get("points", "").split(";") for value in point.split(",")]
        except ValueError:
            raise ValueError(f"points is {one.given.get('points', '')[:40]!r}, not x,y;x,y;...") from None
        return fill([flat], *size)
    angle = _number(one.given, "rotation") if "rotation" in one.given else 0.0
    if one.kind == "ellipse":
        x, y, wide, high = (_number(one.given, key) for key in ("cx", "cy", "rx", "ry"))
        corners = turned(ellipse(x, y, wide, high), (x, y), angle)
    else:
        left, top, right, bottom = (_number(one.given, key) for key in ("xtl", "ytl", "xbr", "ybr"))
        box = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        corners = turned(box, ((left + right) / 2, (top + bottom) / 2), angle)
    return fill([corners.ravel().tolist()], *size)


def _of_runs(given: dict[str, str], size: tuple[int, int]) -> NDArray[np.bool_]:
    left, top, width, height = (_integer(given, key) for key in ("left", "top", "width", "height"))
    if left < 0 or top < 0 or width < 1 or height < 1 or left + width > size[1] or top + height > size[0]:
        box = f"{width}x{height} at {left}, {top}"
        raise ValueError(f"its mask of {box} (width x height) reaches outside of the picture, {size[1]}x{size[0]}.")
    listed = [word.strip() for word in given.get("rle", "").split(",")]
    strange = next((word for word in listed if len(word) > 9 or not word.isdecimal()), None)
    if strange is not None:
        raise ValueError(f"its run lengths hold {strange[:40]!r}; they are whole numbers, parted by commas.")
    mask = np.zeros(size, np.bool_)
    mask[top : top + height, left : left + width] = decode([int(word) for word in listed], width, height).T
    return mask


class Writer:
    def __init__(self, out: Path, classes: ClassTable, told: Told) -> None:
        self.out, self.classes, self.told = out, classes, told
        self.pages: list[str] = []
        self.void = self.crowd = False

    def add(self, name: str, split: str, content: Content) -> None:
        images = self.out / "images"
        with together() as written:
            path = put_picture(content.picture, images / split, name, self.told, written)
            height, width = read_size(path)
            found = list(shapes(content, self.classes, HOLDS, self.told, name))
        subset = f" subset={quoteattr(split)}" if split else ""
        lines = [f'  <image id="{len(self.pages)}" name={quoteattr(path.relative_to(images).as_posix())}{subset} '
                 f'width="{width}" height="{height}">']  # fmt: skip
        for order, shape in enumerate(found):
            self.void |= shape.label == VOID_NAME
            self.crowd |= shape.crowd
            lines.append(_written(shape, order))
        self.pages.append("\n".join([*lines, "  </image>"]))

    def close(self) -> None:
        attribute = ("<attribute><name>crowd</name><mutable>False</mutable><input_type>checkbox</input_type>"
                     "<default_value>false</default_value><values></values></attribute>") if self.crowd else ""  # fmt: skip
        labels = "\n".join(
            f"    <label><name>{quoteattr(name)[1:-1]}</name><color>{colour}</color><attributes>{attribute}</attributes></label>"
            for name, colour in label_colours(self.classes, self.void)
        )
        write_whole(self.out, "annotations.xml", (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
            f"  <meta><task><size>{len(self.pages)}</size><mode>annotation</mode><labels>\n{labels}\n  </labels></task></meta>\n"
            + "\n".join([*self.pages, "</annotations>\n"])
        ).encode())  # fmt: skip


def _written(shape: Shape, order: int) -> str:
    said = f'<attribute name="{CROWD}">true</attribute>' if shape.crowd else ""
    at, (height, width) = shape.at, shape.at.shape
    return (
        f'    <mask label={quoteattr(shape.label)} source="manual" occluded="0" rle="{", ".join(map(str, runs(at.pixels.T)))}" '
        f'left="{at.left}" top="{at.top}" width="{width}" height="{height}" z_order="{order}">{said}</mask>'
    )
