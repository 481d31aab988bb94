"""Label Studio: one JSON of tasks; brushes, bitmasks, polygons, rectangles and ellipses, in the order of their making.

    OUT/tasks.json                  to import; the pictures are named /data/local-files/?d=images/SPLIT/NAME.jpg
    OUT/labels.xml                  the labelling interface that fits
    OUT/images/SPLIT/NAME.jpg       serve OUT with LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT

Later shapes lie on top. A shape has its label in its own result (<PolygonLabels>), or in another one of the same id (<Polygon>
with <Labels>); shapes without a label are left out, and told. Written are brushes, which hold every pixel. Their run lengths are
of bytes R, G, B, A along the rows; A is 0 outside. In bits, from the highest down: 32 for the number of bytes, 5 for the bits of
a byte - 1, four times 4 for the bits of a length - 1; then for each run 1 bit whether one byte is repeated, 2 bits which of the
four, the length - 1, and the byte or bytes (thi.ng/rle-pack, which Label Studio's brush uses). A crowd has the word crowd in its
texts of `meta`; void is a label."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import VOID_NAME, ClassTable
from perpixel.datasets.coco_annotations import read_json
from perpixel.errors import DataError
from perpixel.files import files_in, write_whole
from perpixel.formats.exchange import (
    Content,
    Holds,
    Item,
    Shape,
    Source,
    Told,
    drawn,
    failing,
    label_colours,
    label_of,
    shapes,
    table_of,
)
from perpixel.formats.pictures import (
    Pictures,
    bare,
    json_or_none,
    named,
    parts_of,
    put_picture,
    require_picture_size,
    together,
)
from perpixel.images import PICTURE_SUFFIXES, read_alpha, read_header, read_image, read_size
from perpixel.masks.polygons import ellipse, fill, turned
from perpixel.masks.rle import shown

HOLDS = Holds(overlap=True, crowd=True, void=True, ordered=True)
KINDS = ("brush", "bitmask", "polygon", "rectangle", "ellipse")
LENGTH_BITS = (3, 4, 8, 16)
LONGEST = 1 << LENGTH_BITS[-1]
CROWD = "crowd"
LABELS = "labels"
UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file


@dataclass(frozen=True)
class Region:
    """A shape of an annotation: which of KINDS it is, its result as it stands, and its labels."""

    kind: str
    result: Mapping[str, Any]
    labels: Any


def is_label_studio(content: Any) -> bool:
    return isinstance(content, list) and any(isinstance(one, dict) and "annotations" in one for one in content)


def file_of(path: Path) -> Path | None:
    """The JSON of tasks that `path` is, or holds under a name that Label Studio gives."""
    if path.is_file():
        return path
    named = [file for file in files_in(path) if re.fullmatch(r"tasks\.json|project-.*\.json", file.name.lower())]
    return next((file for file in named if file.name.lower() == "tasks.json"), next(iter(named), None))


def file_by_content(path: Path) -> Path | None:
    """The JSON of tasks that a folder holds, whatever its name."""
    found = (file for file in files_in(path) if file.suffix.lower() == ".json")
    return next((file for file in found if is_label_studio(json_or_none(file))), None)


def read(path: Path, pictures: Path | None) -> Source:
    """Raises DataError for a file that is no list of tasks with annotations. A task that cannot be used is told in its turn."""
    file = file_of(path) or file_by_content(path)
    content: Any = None if file is None else read_json(file)
    if file is None or not is_label_studio(content):
        raise DataError(f"{path}: holds no tasks with annotations; export them from Label Studio as JSON (not JSON-MIN).")
    told, below, labels = Told(), Pictures(pictures or file.parent), []
    references: list[list[str]] = []
    short: list[list[str]] = []
    reads: list[Callable[..., Content]] = []
    for number, task in enumerate(content):
        where, parts, uploaded = f"{file}, task {number}", [f"task {number}"], False
        try:
            reference, uploaded = _reference(task, where)
            parts = _name_of(parts_of(reference, where))
            regions, others, left = _regions(task, where)
            found = [_label(one, f"{where}, region {place}") for place, one in enumerate(regions)]
            labels += found
            reads.append(partial(_content, [*zip(regions, found, strict=True)], others, left, reference, where, below))
        except DataError as error:
            reads.append(failing(error))
        references.append(parts)
        short.append([*parts[:-1], UPLOADED.sub("", parts[-1])] if uploaded else parts)
    if len({"/".join(parts) for parts in short}) < len(short):  # the prefixes tell uploads of one name apart
        short = references
    classes = table_of(sorted({label for label in labels if label}))
    items = []
    for parts, one in zip(short, reads, strict=True):
        name, split = named(bare(parts))
        items.append(Item(name, split, partial(one, split, classes, told)))
    return Source(classes, items, told)


def _name_of(parts: list[str]) -> list[str]:
    """What of a path names a picture: what is below images/, and of an upload the file alone."""
    if "images" in parts[:-1]:
        return parts[parts.index("images") + 1 :]
    return parts[-1:] if "upload" in parts else parts


def _reference(task: Any, where: str) -> tuple[str, bool]:
    """What a task calls its picture: an address, the path of an upload, or a file of a local store; and whether its name may
    begin with what Label Studio puts before uploads."""
    data = task.get("data") if isinstance(task, dict) else None
    values = {key: value for key, value in data.items() if isinstance(value, str)} if isinstance(data, dict) else {}
    if not values:
        raise DataError(f"{where}: has no data with the address of a picture.")
    of_pictures = (value for value in values.values() if PurePosixPath(value).suffix.lower() in PICTURE_SUFFIXES)
    named_so = values.get("image", next(of_pictures, next(iter(values.values()))))
    try:
        address = urlsplit(named_so)
        local = parse_qs(address.query).get("d")
    except ValueError:
        raise DataError(f"{where}: {named_so[:80]!r} is no address of a picture; correct it.") from None
    if local:
        return local[0], False
    bare_name = not address.netloc and PurePosixPath(address.path).suffix.lower() not in PICTURE_SUFFIXES
    return (named_so if bare_name else unquote(address.path)), True


def _regions(task: Mapping[str, Any], where: str) -> tuple[list[Region], int, int]:
    """The shapes of the first annotation that nobody cancelled, how many more annotations there are, and how many of its results
    are no shapes."""
    listed = task.get("annotations")
    if not isinstance(listed, list) or not all(isinstance(one, dict) and isinstance(one.get("result"), list) for one in listed):
        raise DataError(f"{where}: annotations is {shown(listed)}, not a list of objects with result.")
    kept = [one for one in listed if not one.get("was_cancelled")]
    results = [one if isinstance(one, dict) else {} for one in kept[0]["result"]] if kept else []
    drawn = {_id(one) for one in results if _type(one).removesuffix(LABELS) in KINDS}
    # What the tags <Labels> and <Polygon> make: two results of one id, one with the shape, the other with the labels, and again
    # with the shape.
    given = {_id(one): _value(one).get(LABELS) for one in results if _type(one) == LABELS}
    regions, left = [], 0
    for one in results:
        type, value = _type(one), _value(one)
        if type == LABELS and _id(one) in drawn:
            continue
        kind = _kind_of(value) if type == LABELS else type.removesuffix(LABELS)
        if kind in KINDS:
            own = next((value[key] for key in (f"{kind}{LABELS}", LABELS) if value.get(key)), None)
            regions.append(Region(kind, one, own or given.get(_id(one))))
        else:
            left += 1
    return regions, max(0, len(kept) - 1), left


def _type(result: Mapping[str, Any]) -> str:
    type = result.get("type")
    return type if isinstance(type, str) else ""


def _value(result: Mapping[str, Any]) -> Mapping[str, Any]:
    value = result.get("value")
    return value if isinstance(value, dict) else {}


def _id(result: Mapping[str, Any]) -> str:
    return repr(result["id"]) if isinstance(result.get("id"), str | int) else f"without id {id(result)}"


def _kind_of(value: Mapping[str, Any]) -> str:
    """Which shape the value of a result without a shape's name is of."""
    keys = {"rle": "brush", "imageDataURL": "bitmask", "points": "polygon", "radiusX": "ellipse", "height": "rectangle"}
    return next((kind for key, kind in keys.items() if key in value), "")


def _label(region: Region, where: str) -> str:
    """The label of a region, empty where it has none. Raises DataError for several."""
    if region.labels is None or region.labels == []:
        return ""
    if not isinstance(region.labels, list) or len(region.labels) != 1:
        said = len(region.labels) if isinstance(region.labels, list) else shown(region.labels)
        raise DataError(f"{where}: has {said} labels; give it one.")
    return label_of(region.labels[0], where)


def _content(
    regions: list[tuple[Region, str]],
    others: int,
    left: int,
    reference: str,
    where: str,
    below: Pictures,
    split: str,
    classes: ClassTable,
    told: Told,
) -> Content:
    folders, name = reference.rpartition("/")[::2]
    try:
        picture = below.find(reference, where, split)
    except DataError:
        if not UPLOADED.match(name):
            raise
        picture = below.find(f"{folders}/{UPLOADED.sub('', name)}", where, split)
    size = read_size(picture)
    told.add("other annotator", reference, others)
    told.add("no area", reference, left)
    found = []
    for place, (region, label) in enumerate(regions):
        one, result = f"{where}, region {place}", region.result
        points = _value(result).get("points")
        flat = region.kind == "polygon" and isinstance(points, list) and len(points) < 3
        if flat or not label:
            told.add("no area" if flat else "no label", reference)
            continue
        said: Any = result.get("original_height"), result.get("original_width")
        if not all(type(side) is int for side in said):
            raise DataError(f"{one}: original_height and original_width are {shown(said[0])} and {shown(said[1])}.")
        require_picture_size(picture, said, one)
        if result.get("image_rotation", 0) != 0:
            raise DataError(f"{one}: was drawn on the picture turned by {shown(result['image_rotation'])} degrees; turn it back.")
        try:
            found.append(Shape.of(label, _mask(region.kind, _value(result), size), _is_crowd(result)))
        except ValueError as error:
            raise DataError(f"{one}: {error}") from None
    return Content(picture, *drawn(found, classes, size, HOLDS.ordered))


def _is_crowd(result: Mapping[str, Any]) -> bool:
    meta = result.get("meta")
    words = meta.get("text") if isinstance(meta, dict) else None
    return isinstance(words, list) and CROWD in words


def _mask(kind: str, value: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) of a region. Raises ValueError, one sentence, for one that cannot be drawn."""
    if kind == "brush":
        return decode_brush(value.get("rle"), *size)
    if kind == "bitmask":
        return _of_png(value.get("imageDataURL"), size)
    if kind == "polygon":
        points = value.get("points")
        if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
            raise ValueError(f"points is {shown(points)}, not a list of [x, y].")
        flat = [_number(part, "a point") / 100 * side for point in points for part, side in zip(point, size[::-1], strict=True)]
        return fill([flat], *size)
    sides = ("x", "y", "width", "height") if kind == "rectangle" else ("x", "y", "radiusX", "radiusY")
    x, y, wide, high = (_number(value.get(key), key) for key in sides)
    corners = np.array([[x, y], [x + wide, y], [x + wide, y + high], [x, y + high]])
    if kind == "ellipse":
        corners = ellipse(x, y, wide, high)
    pixels = turned(
        corners / 100 * size[::-1], np.array([x, y]) / 100 * size[::-1], _number(value.get("rotation", 0), "rotation")
    )
    return fill([pixels.ravel().tolist()], *size)


def _of_png(address: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask of a PNG in the address itself: what is not transparent, or, without transparency, not black."""
    if not isinstance(address, str) or not address.startswith("data:image/png;base64,"):
        raise ValueError(f"imageDataURL is {shown(address)}, not a PNG as data:image/png;base64.")
    try:
        png = base64.b64decode(address.partition(",")[2], validate=True)
        found = read_alpha(png) > 0 if read_header(png).transparent else read_image(png).any(2)
    except (ValueError, DataError) as error:
        raise ValueError(f"its PNG cannot be read ({str(error)[:120]}).") from None
    if found.shape != size:
        raise ValueError(f"its PNG is {found.shape[0]}x{found.shape[1]}, the picture {size[0]}x{size[1]} (height x width).")
    return found


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
        with together() as written:
            path = put_picture(content.picture, self.out / "images" / split, name, self.told, written)
            height, width = read_size(path)
            found = list(shapes(content, self.classes, HOLDS, self.told, name))
        results = []
        for place, shape in enumerate(found):
            self.void |= shape.label == VOID_NAME
            results.append({
                "id": f"{len(self.tasks) + 1}-{place + 1}", "type": "brushlabels", "from_name": "label", "to_name": "image",
                "original_width": width, "original_height": height, "image_rotation": 0,
                "value": {"format": "rle", "rle": encode_brush(shape.at.mask), "brushlabels": [shape.label]},
                **({"meta": {"text": [CROWD]}} if shape.crowd else {}),
            })  # fmt: skip
        address = f"/data/local-files/?d={quote(path.relative_to(self.out).as_posix())}"
        self.tasks.append({"id": len(self.tasks) + 1, "data": {"image": address}, "annotations": [{"result": results}]})

    def close(self) -> None:
        found = label_colours(self.classes, self.void)
        labels = "\n".join(f'    <Label value={quoteattr(name)} background="{colour}"/>' for name, colour in found)
        write_whole(self.out, "labels.xml", (
            f'<View>\n  <Image name="image" value="$image"/>\n  <BrushLabels name="label" toName="image">\n{labels}\n'
            "  </BrushLabels>\n</View>\n"
        ).encode())  # fmt: skip
        write_whole(self.out, "tasks.json", json.dumps(self.tasks, ensure_ascii=False).encode())
