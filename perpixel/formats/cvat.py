"""CVAT for images 1.1: one XML for all pictures, with masks, polygons, boxes and ellipses in the order of z_order.

    OUT/annotations.xml
    OUT/images/SPLIT/NAME.jpg

Polygons are drawn by COCO's rule, as CVAT's own exports draw them, and later shapes lie on top. Shapes of the same label and
group are one object. Every shape is written as a mask: run lengths of 0 and 1 in turn, along the rows of a box. CVAT has no
crowds and no void: a crowd has the attribute `crowd`, and void is a label called void. An XML with a document type is refused,
because entities are defined there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import VOID_NAME, ClassTable
from perpixel.errors import DataError, printable
from perpixel.files import files_in, read_bytes, write_whole
from perpixel.formats.exchange import (
    AnnotatedSet,
    Content,
    Entry,
    Holds,
    Item,
    Notices,
    Shape,
    draw_shapes,
    failing,
    join_groups,
    label_colours,
    label_of,
    required_text,
    shapes_of,
    table_of,
)
from perpixel.formats.pictures import (
    PictureFinder,
    all_or_none,
    name_and_split,
    path_parts,
    put_picture,
    require_picture_size,
    split_of_name,
    without_suffix,
)
from perpixel.images import read_size
from perpixel.masks.polygons import ellipse, fill, turned
from perpixel.masks.rle import decode, runs

HOLDS = Holds(overlap=True, crowd=True, void=True, ordered=True)
CROWD = "crowd"
WITH_AREA = ("polygon", "box", "mask", "ellipse")
WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")


@dataclass
class Element:
    """An XML element of a picture, such as a polygon."""

    kind: str  # its tag
    attributes: dict[str, str]
    crowd: bool = False


@dataclass
class Page:
    """A picture of the file: its XML attributes, and the elements in it."""

    attributes: dict[str, str]
    elements: list[Element] = field(default_factory=list)


def file_of(path: Path) -> Path:
    """The XML file in the folder `path`, or `path` itself if it is no folder."""
    if not path.is_dir():
        return path
    files = [file for file in files_in(path) if file.name.lower() == "annotations.xml"]
    return files[0] if files else path / "annotations.xml"


def read(path: Path, pictures: Path | None) -> AnnotatedSet:
    """Reads an XML of CVAT for images. Raises DataError for any other file."""
    file = file_of(path)
    labels, pages = _parsed(file)
    finder, notices, used = PictureFinder(pictures or file.parent), Notices(), []
    pictures_read: list[tuple[str, str, Callable[..., Content]]] = []
    for number, page in enumerate(pages):
        where = f"{file}, picture {number}"
        split = split_of_name(page.attributes.get("subset", ""))
        try:
            parts = path_parts(page.attributes.get("name"), where)
            reference = page.attributes["name"]
            where = f"{file}, picture {printable(reference)}"
            kept = without_suffix(parts[1:] if parts[0] == "images" and len(parts) > 1 else parts)
            name, split = name_and_split(kept, split)
            used += [_label(element, where) for element in page.elements if element.kind in WITH_AREA]
            pictures_read.append((name, split, partial(_content, page, reference, where, finder, split)))
        except DataError as error:
            pictures_read.append((f"picture {number}", split, failing(error)))
    classes = table_of(label for label in [*labels, *used] if label)
    items = [Item(name, split, partial(content, classes, notices)) for name, split, content in pictures_read]
    return AnnotatedSet(classes, items, notices)


def _label(element: Element, where: str) -> str:
    return label_of(element.attributes.get("label"), where)


def _parsed(file: Path) -> tuple[list[str], list[Page]]:
    """The labels that the file declares, and its pictures. Raises DataError for a file that is no XML of CVAT for images."""
    labels: list[str] = []
    pages: list[Page] = []
    stack: list[str] = []
    words: list[str] = []
    attribute = ""

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal attribute
        if len(stack) > 20:
            raise DataError(f"{file}: is nested too deep to be of CVAT.")
        if not stack and tag != "annotations":
            raise DataError(f"{file}: begins with <{tag[:40]}>, not <annotations>; export it as CVAT for images 1.1.")
        if tag == "track":
            raise DataError(f"{file}: is of a video; export it as CVAT for images 1.1.")
        if tag == "image" and stack[-1] == "annotations":
            pages.append(Page(attributes))
        elif stack and stack[-1] == "image" and pages:
            pages[-1].elements.append(Element(tag, attributes))
        attribute = attributes.get("name", "") if tag == "attribute" else attribute
        stack.append(tag)
        words.clear()

    def end(tag: str) -> None:
        stack.pop()
        content = "".join(words).strip()
        if tag == "name" and stack[-2:] == ["labels", "label"]:
            labels.append(required_text(content, "a label's name", str(file)))
        if tag == "attribute" and attribute == CROWD and len(stack) > 1 and stack[-2] == "image" and pages and pages[-1].elements:
            pages[-1].elements[-1].crowd = content.lower() in ("true", "1")
        words.clear()

    def refuse(*_: object) -> None:
        raise DataError(f"{file}: has a document type, from which entities come; CVAT writes none, take it out.")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, words.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(read_bytes(file), True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        reason = printable(str(error))[:120]
        raise DataError(f"{file}: is no XML ({reason}); it is damaged, cut short, or not in UTF-8.") from None
    return labels, pages


def _content(
    page: Page, reference: str, where: str, finder: PictureFinder, split: str, classes: ClassTable, notices: Notices
) -> Content:
    picture = finder.find(reference, where, split)
    size = _whole(page.attributes, "height", where), _whole(page.attributes, "width", where)
    require_picture_size(picture, size, where)
    shapes: list[tuple[Shape, str | None]] = []
    for number, element in sorted(
        enumerate(page.elements), key=lambda pair: (_order(pair[1], f"{where}, shape {pair[0]}"), pair[0])
    ):
        label = _label(element, where)
        flat = element.kind not in WITH_AREA or (
            element.kind == "polygon" and element.attributes.get("points", "").count(";") < 2
        )
        if flat or not label:
            notices.add("no area" if flat else "no label", reference)
            continue
        try:
            mask = _mask(element, size)
        except ValueError as error:
            raise DataError(f"{where}, shape {number}: {error}") from None
        group = element.attributes.get("group_id") or "0"
        shapes.append((Shape.of(label, mask, element.crowd), group if group != "0" else None))
    return Content(picture, *draw_shapes(join_groups(shapes), classes, size, HOLDS.ordered))


def _order(element: Element, where: str) -> int:
    return _whole(element.attributes, "z_order", where) if "z_order" in element.attributes else 0


def _whole(attributes: dict[str, str], key: str, where: str) -> int:
    try:
        return _integer(attributes, key)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None


def _integer(attributes: dict[str, str], key: str) -> int:
    value = attributes.get(key, "")
    if len(value) > 9 or not value.removeprefix("-").isdecimal():
        raise ValueError(f"{key} is {value[:40]!r}, not a whole number.")
    return int(value)


def _number(attributes: dict[str, str], key: str) -> float:
    try:
        return float(attributes.get(key, ""))
    except ValueError:
        raise ValueError(f"{key} is {attributes.get(key, '')[:40]!r}, not a number.") from None


def _mask(element: Element, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) of a shape. Raises ValueError, one sentence, for a shape that cannot be drawn."""
    if element.kind == "mask":
        return _of_runs(element.attributes, size)
    if element.kind == "polygon":
        try:
            flat = [float(value) for point in element.attributes.get("points", "").split(";") for value in point.split(",")]
        except ValueError:
            raise ValueError(f"points is {element.attributes.get('points', '')[:40]!r}, not x,y;x,y;...") from None
        return fill([flat], *size)
    angle = _number(element.attributes, "rotation") if "rotation" in element.attributes else 0.0
    if element.kind == "ellipse":
        x, y, wide, high = (_number(element.attributes, key) for key in ("cx", "cy", "rx", "ry"))
        corners = turned(ellipse(x, y, wide, high), (x, y), angle)
    else:
        left, top, right, bottom = (_number(element.attributes, key) for key in ("xtl", "ytl", "xbr", "ybr"))
        box = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        corners = turned(box, ((left + right) / 2, (top + bottom) / 2), angle)
    return fill([corners.ravel().tolist()], *size)


def _of_runs(attributes: dict[str, str], size: tuple[int, int]) -> NDArray[np.bool_]:
    left, top, width, height = (_integer(attributes, key) for key in ("left", "top", "width", "height"))
    if left < 0 or top < 0 or width < 1 or height < 1 or left + width > size[1] or top + height > size[0]:
        box = f"{width}x{height} at {left}, {top}"
        raise ValueError(f"its mask of {box} (width x height) reaches outside of the picture, {size[1]}x{size[0]}.")
    words = [word.strip() for word in attributes.get("rle", "").split(",")]
    wrong = next((word for word in words if len(word) > 9 or not word.isdecimal()), None)
    if wrong is not None:
        raise ValueError(f"its run lengths hold {wrong[:40]!r}; they are whole numbers, parted by commas.")
    mask = np.zeros(size, np.bool_)
    mask[top : top + height, left : left + width] = decode([int(word) for word in words], width, height).T
    return mask


class Writer:
    def __init__(self, out: Path, classes: ClassTable, notices: Notices) -> None:
        self.out, self.classes, self.notices = out, classes, notices

    def add(self, name: str, split: str, content: Content, number: int) -> dict[str, Any]:
        """The element of a picture behind its id, and whether it has void and crowds."""
        images = self.out / "images"
        with all_or_none() as written:
            path = put_picture(content.picture, images / split, name, self.notices, written)
            height, width = read_size(path)
            drawn_shapes = list(shapes_of(content, self.classes, HOLDS, self.notices, name))
        subset = f" subset={quoteattr(split)}" if split else ""
        lines = [f'name={quoteattr(path.relative_to(images).as_posix())}{subset} width="{width}" height="{height}">']
        lines += [_written(shape, order) for order, shape in enumerate(drawn_shapes)]
        return {
            "element": "\n".join([*lines, "  </image>"]), "void": any(shape.label == VOID_NAME for shape in drawn_shapes),
            "crowd": any(shape.crowd for shape in drawn_shapes),
        }  # fmt: skip

    def close(self, entries: Sequence[Entry]) -> None:
        pages = [f'  <image id="{id}" {entry.content["element"]}' for id, entry in enumerate(entries)]
        void, crowd = (any(entry.content[key] for entry in entries) for key in ("void", "crowd"))
        attribute = ("<attribute><name>crowd</name><mutable>False</mutable><input_type>checkbox</input_type>"
                     "<default_value>false</default_value><values></values></attribute>") if crowd else ""  # fmt: skip
        labels = "\n".join(
            f"    <label><name>{quoteattr(name)[1:-1]}</name><color>{colour}</color><attributes>{attribute}</attributes></label>"
            for name, colour in label_colours(self.classes, void)
        )
        write_whole(self.out, "annotations.xml", (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
            f"  <meta><task><size>{len(pages)}</size><mode>annotation</mode><labels>\n{labels}\n  </labels></task></meta>\n"
            + "\n".join([*pages, "</annotations>\n"])
        ).encode())  # fmt: skip


def _written(shape: Shape, order: int) -> str:
    crowd_attribute = f'<attribute name="{CROWD}">true</attribute>' if shape.crowd else ""
    crop, (height, width) = shape.crop, shape.crop.shape
    return (
        f'    <mask label={quoteattr(shape.label)} source="manual" occluded="0" rle="{", ".join(map(str, runs(crop.pixels.T)))}" '
        f'left="{crop.left}" top="{crop.top}" width="{width}" height="{height}" z_order="{order}">{crowd_attribute}</mask>'
    )
