"""Label Studio: one JSON of tasks; brushes as run lengths, polygons, rectangles and ellipses, in the order of their making.

    OUT/tasks.json                  to import; the pictures are named /data/local-files/?d=images/SPLIT/NAME.jpg
    OUT/labels.xml                  the labelling interface that fits
    OUT/images/SPLIT/NAME.jpg       serve OUT with LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT

Later shapes lie on top. Written are brushes, which hold every pixel. Their run lengths are of bytes R, G, B, A along the rows; A
is 0 outside. In bits, from the highest down: 32 for the number of bytes, 5 for the bits of a byte - 1, four times 4 for the bits
of a length - 1; then for each run 1 bit whether one byte is repeated, 2 bits which of the four, the length - 1, and the byte or
bytes (thi.ng/rle-pack, which Label Studio's brush uses). A crowd has the word crowd in its texts of `meta`; void is a label."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from perpixel.annotations import read_json
from perpixel.classes import VOID_NAME, ClassTable
from perpixel.errors import DataError
from perpixel.exchange import (
    Content,
    Holds,
    Item,
    Shape,
    Source,
    Told,
    drawn,
    label_colours,
    shapes,
    table_of,
    text,
)
from perpixel.files import write_whole
from perpixel.formats.pictures import Pictures, bare, named, parts_of, put_picture, require_picture_size
from perpixel.images import read_size
from perpixel.polygons import ellipse, fill, turned
from perpixel.rle import shown

HOLDS = Holds(overlap=True, crowd=True, void=True, ordered=True)
KINDS = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels")
LENGTH_BITS = (3, 4, 8, 16)
LONGEST = 1 << LENGTH_BITS[-1]
CROWD = "crowd"
UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file


def is_label_studio(content: Any) -> bool:
    return isinstance(content, list) and bool(content) and isinstance(content[0], dict) and "annotations" in content[0]


def file_of(path: Path) -> Path | None:
    """The JSON of tasks that `path` is, or holds."""
    if path.is_file():
        return path
    return next((place for place in (path / "tasks.json", *sorted(path.glob("project-*.json"))) if place.is_file()), None)


def read(path: Path, pictures: Path | None) -> Source:
    """Raises DataError for a file that is no list of tasks with annotations."""
    file = file_of(path)
    content: Any = None if file is None else read_json(file)
    if file is None or not is_label_studio(content):
        raise DataError(f"{path}: holds no tasks with annotations; export them from Label Studio as JSON (not JSON-MIN).")
    told, below, labels = Told(), Pictures(pictures or file.parent), []
    references: list[list[str]] = []
    reads: list[Callable[..., Content]] = []
    for number, task in enumerate(content):
        where = f"{file}, task {number}"
        reference = _reference(task, where)
        found = _results(task, where, told, reference)
        labels += [_label(one, f"{where}, region {place}") for place, one in enumerate(found) if _kind(one) in KINDS]
        references.append(_name_of(parts_of(reference, where)))
        reads.append(partial(_content, found, reference, where, below))
    short = [[*parts[:-1], UPLOADED.sub("", parts[-1])] for parts in references]
    if len({"/".join(parts) for parts in short}) == len(short):  # else the prefixes tell uploads of one name apart
        references = short
    classes = table_of(sorted(set(labels)))
    items = []
    for parts, one in zip(references, reads, strict=True):
        name, split = named(bare(parts))
        items.append(Item(name, split, partial(one, split, classes, told)))
    return Source(classes, items, told)


def _name_of(parts: list[str]) -> list[str]:
    """What of a path names a picture: what is below images/, and of an upload the file alone."""
    if "images" in parts[:-1]:
        return parts[len(parts) - parts[::-1].index("images") :]
    return parts[-1:] if "upload" in parts else parts


def _reference(task: Any, where: str) -> str:
    """What a task calls its picture: an address, the path of an upload, or a file of a local store."""
    data = task.get("data") if isinstance(task, dict) else None
    values = {key: value for key, value in data.items() if isinstance(value, str)} if isinstance(data, dict) else {}
    if not values:
        raise DataError(f"{where}: has no data with the address of a picture.")
    named_so = values.get("image", next(iter(values.values())))
    try:
        address = urlsplit(named_so)
    except ValueError:
        raise DataError(f"{where}: {named_so[:80]!r} is no address of a picture; correct it.") from None
    local = parse_qs(address.query).get("d")
    return local[0] if local else unquote(address.path)


def _results(task: Mapping[str, Any], where: str, told: Told, name: str) -> list[Any]:
    """The regions of the first annotation that nobody cancelled."""
    listed = task.get("annotations")
    if not isinstance(listed, list) or not all(isinstance(one, dict) and isinstance(one.get("result"), list) for one in listed):
        raise DataError(f"{where}: annotations is {shown(listed)}, not a list of objects with result.")
    kept = [one for one in listed if not one.get("was_cancelled")]
    told.add("other annotator", name, max(0, len(kept) - 1))
    return kept[0]["result"] if kept else []


def _kind(result: Any) -> str:
    kind = result.get("type") if isinstance(result, dict) else None
    return kind if isinstance(kind, str) else ""


def _label(result: Mapping[str, Any], where: str) -> str:
    value = result.get("value")
    labels = value.get(_kind(result)) if isinstance(value, dict) else None
    if not isinstance(labels, list) or len(labels) != 1:
        raise DataError(f"{where}: has {len(labels) if isinstance(labels, list) else 'no'} labels; give it one.")
    return text(labels[0], "label", where)


def _content(
    results: list[Any], reference: str, where: str, below: Pictures, split: str, classes: ClassTable, told: Told
) -> Content:
    folders, name = reference.rpartition("/")[::2]
    try:
        picture = below.find(reference, where, split)
    except DataError:
        if not UPLOADED.match(name):
            raise
        picture = below.find(f"{folders}/{UPLOADED.sub('', name)}", where, split)
    size = read_size(picture)
    found = []
    for place, result in enumerate(results):
        if _kind(result) not in KINDS:
            told.add("no area", reference)
            continue
        one = f"{where}, region {place}"
        said = result.get("original_height"), result.get("original_width")
        if not all(type(side) is int for side in said):
            raise DataError(f"{one}: original_height and original_width are {shown(said[0])} and {shown(said[1])}.")
        require_picture_size(picture, said, one)
        if result.get("image_rotation", 0) != 0:
            raise DataError(f"{one}: was drawn on the picture turned by {shown(result['image_rotation'])} degrees; turn it back.")
        try:
            found.append(Shape.of(_label(result, one), _mask(_kind(result), result["value"], size), _is_crowd(result)))
        except ValueError as error:
            raise DataError(f"{one}: {error}") from None
    return Content(picture, *drawn(found, classes, size, HOLDS.ordered))


def _is_crowd(result: Mapping[str, Any]) -> bool:
    meta = result.get("meta")
    words = meta.get("text") if isinstance(meta, dict) else None
    return isinstance(words, list) and CROWD in words


def _mask(kind: str, value: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) of a region. Raises ValueError, one sentence, for one that cannot be drawn."""
    if kind == "brushlabels":
        return decode_brush(value.get("rle"), *size)
    if kind == "polygonlabels":
        points = value.get("points")
        if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
            raise ValueError(f"points is {shown(points)}, not a list of [x, y].")
        flat = [_number(part, "a point") / 100 * side for point in points for part, side in zip(point, size[::-1], strict=True)]
        return fill([flat], *size)
    sides = ("x", "y", "width", "height") if kind == "rectanglelabels" else ("x", "y", "radiusX", "radiusY")
    x, y, wide, high = (_number(value.get(key), key) for key in sides)
    corners = np.array([[x, y], [x + wide, y], [x + wide, y + high], [x, y + high]])
    if kind == "ellipselabels":
        corners = ellipse(x, y, wide, high)
    pixels = turned(
        corners / 100 * size[::-1], np.array([x, y]) / 100 * size[::-1], _number(value.get("rotation", 0), "rotation")
    )
    return fill([pixels.ravel().tolist()], *size)


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e6 <= value <= 1e6:
        raise ValueError(f"{what} is {shown(value)}; it is in hundredths of the picture.")
    return float(value)


def decode_brush(data: Any, height: int, width: int) -> NDArray[np.bool_]:
    """The mask, bool (H, W), of a brush's run lengths, bytes 0..255 in a list.

    Raises ValueError, one sentence, for what is no such list, is cut short, or is not of height * width pixels."""
    if not isinstance(data, list) or not all(type(one) is int and 0 <= one <= 255 for one in data):
        raise ValueError(f"rle is {shown(data)}, not a list of bytes 0..255.")
    raw, at = bytes(data), 0

    def take(count: int) -> int:
        nonlocal at
        first, last = at >> 3, (at + count + 7) >> 3
        if last > len(raw):
            raise ValueError("the run lengths of the brush end too early; they are cut short.")
        found = int.from_bytes(raw[first:last]) >> (8 * last - at - count)
        at += count
        return found & ((1 << count) - 1)

    total, bits = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    if total != 4 * height * width or bits != 8:
        raise ValueError(
            f"the brush is of {total} numbers of {bits} bits; {height}x{width} pixels have {4 * height * width} of 8."
        )
    values, lengths, place = [], [], 0
    while place < total:
        repeated, length = take(1), take(sizes[take(2)]) + 1
        if place + length > total:
            raise ValueError(f"the brush's runs are longer than its {total} numbers.")
        place += length
        if repeated:
            values.append(take(8))
            lengths.append(length)
        else:
            values += [take(8) for _ in range(length)]
            lengths += [1] * length
    flat = np.repeat(np.array(values, np.uint8), np.array(lengths, np.int64))
    mask: NDArray[np.bool_] = flat.reshape(height, width, 4)[..., 3] > 0
    return mask


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """The run lengths of a brush for a mask (H, W), as `decode_brush` reads them."""
    flat = mask.ravel()
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], turns])
    lengths = 4 * np.diff(np.concatenate([starts, [flat.size]]))
    bits = [f"{4 * flat.size:032b}{7:05b}", *(f"{size - 1:04b}" for size in LENGTH_BITS)]
    for inside, length in zip(flat[starts].tolist(), lengths.tolist(), strict=True):
        while length:
            part = min(length, LONGEST)
            which = next(n for n, size in enumerate(LENGTH_BITS) if part <= 1 << size)
            bits.append(f"1{which:02b}{part - 1:0{LENGTH_BITS[which]}b}{255 if inside else 0:08b}")
            length -= part
    ones = np.frombuffer("".join(bits).encode(), np.uint8) & 1
    packed: list[int] = np.packbits(ones).tolist()
    return packed


class Writer:
    def __init__(self, out: Path, classes: ClassTable, told: Told) -> None:
        self.out, self.classes, self.told = out, classes, told
        self.tasks: list[dict[str, Any]] = []
        self.void = False

    def add(self, name: str, split: str, content: Content) -> None:
        path = put_picture(content.picture, self.out / "images" / split, name, self.told)
        height, width = read_size(path)
        results = []
        for place, shape in enumerate(shapes(content, self.classes, HOLDS, self.told, name)):
            self.void |= shape.label == VOID_NAME
            results.append({
                "id": f"{len(self.tasks) + 1}-{place + 1}", "type": "brushlabels", "from_name": "label", "to_name": "image",
                "original_width": width, "original_height": height, "image_rotation": 0,
                "value": {"format": "rle", "rle": encode_brush(shape.mask), "brushlabels": [shape.label]},
                **({"meta": {"text": [CROWD]}} if shape.crowd else {}),
            })  # fmt: skip
        address = f"/data/local-files/?d={path.relative_to(self.out).as_posix()}"
        self.tasks.append({"id": len(self.tasks) + 1, "data": {"image": address}, "annotations": [{"result": results}]})

    def close(self) -> None:
        found = label_colours(self.classes, self.void)
        labels = "\n".join(f'    <Label value={quoteattr(name)} background="{colour}"/>' for name, colour in found)
        write_whole(self.out, "labels.xml", (
            f'<View>\n  <Image name="image" value="$image"/>\n  <BrushLabels name="label" toName="image">\n{labels}\n'
            "  </BrushLabels>\n</View>\n"
        ).encode())  # fmt: skip
        write_whole(self.out, "tasks.json", json.dumps(self.tasks, ensure_ascii=False).encode())
