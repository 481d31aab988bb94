"""Label Studio: one JSON of tasks, with brushes, bitmasks, polygons, rectangles and ellipses, in the order of their making.

    OUT/tasks.json                  to import; the pictures are named /data/local-files/?d=images/SPLIT/NAME.jpg
    OUT/labels.xml                  the labelling interface that fits
    OUT/images/SPLIT/NAME.jpg       serve OUT with LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT

Later shapes lie on top. A shape has its label in its own result (<PolygonLabels>), or in another result with the same id
(<Polygon> with <Labels>). Shapes without a label are left out and noted. A crowd has the word crowd in the texts of its `meta`.
Void is a label.

Every shape is written as a brush, which holds every pixel. A brush is run lengths of the bytes R, G, B, A along the rows, and A
is 0 outside of the shape. The bits, from the highest down, are:
- 32 bits: the number of bytes;
- 5 bits: the bits of a byte, minus 1;
- 4 times 4 bits: four bit widths of a length, minus 1 each;
- for each run: 1 bit, whether one byte is repeated; 2 bits, which of the four widths the length has; the length minus 1; then the
  repeated byte, or all bytes of the run.
This is thi.ng/rle-pack, which Label Studio uses for its brush."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
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
    AnnotatedSet,
    Content,
    Entry,
    Holds,
    Item,
    Notices,
    Shape,
    draw_shapes,
    failing,
    label_colours,
    label_of,
    shapes_of,
    table_of,
)
from perpixel.formats.pictures import (
    PictureFinder,
    all_or_none,
    name_and_split,
    path_parts,
    put_picture,
    read_json_or_none,
    require_picture_size,
    without_suffix,
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
UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # the prefix that Label Studio gives to the name of an uploaded file


@dataclass(frozen=True)
class Region:
    """A shape of an annotation."""

    kind: str  # one of KINDS
    result: Mapping[str, Any]  # as the file has it
    labels: Any  # as the file has them; a list of one label where the shape is right


def is_label_studio(content: Any) -> bool:
    return isinstance(content, list) and any(isinstance(task, dict) and "annotations" in task for task in content)


def file_of(path: Path) -> Path | None:
    """The JSON of tasks: `path` itself if it is a file, else a file in the folder with a name that Label Studio gives.

    None where there is no such file."""
    if path.is_file():
        return path
    task_files = [file for file in files_in(path) if re.fullmatch(r"tasks\.json|project-.*\.json", file.name.lower())]
    return next((file for file in task_files if file.name.lower() == "tasks.json"), next(iter(task_files), None))


def file_by_content(path: Path) -> Path | None:
    """The first JSON of tasks in a folder, by its content, whatever its name. None where there is none."""
    files = (file for file in files_in(path) if file.suffix.lower() == ".json")
    return next((file for file in files if is_label_studio(read_json_or_none(file))), None)


def read(path: Path, pictures: Path | None) -> AnnotatedSet:
    """Reads a JSON of tasks. A task that cannot be used is reported in its turn.

    Raises DataError for a file that is no list of tasks with annotations."""
    file = file_of(path) or file_by_content(path)
    content: Any = None if file is None else read_json(file)
    if file is None or not is_label_studio(content):
        raise DataError(f"{path}: holds no tasks with annotations; export them from Label Studio as JSON (not JSON-MIN).")
    notices, finder, labels = Notices(), PictureFinder(pictures or file.parent), []
    references: list[list[str]] = []
    short_names: list[list[str]] = []
    reads: list[Callable[..., Content]] = []
    for number, task in enumerate(content):
        where, parts, uploaded = f"{file}, task {number}", [f"task {number}"], False
        try:
            reference, uploaded = _reference(task, where)
            parts = _name_of(path_parts(reference, where))
            regions, others, without_shape = _regions(task, where)
            region_labels = [_label(region, f"{where}, region {place}") for place, region in enumerate(regions)]
            labels += region_labels
            labelled = [*zip(regions, region_labels, strict=True)]
            reads.append(partial(_content, labelled, others, without_shape, reference, where, finder))
        except DataError as error:
            reads.append(failing(error))
        references.append(parts)
        short_names.append([*parts[:-1], UPLOADED.sub("", parts[-1])] if uploaded else parts)
    if len({"/".join(parts) for parts in short_names}) < len(short_names):  # only the prefixes distinguish uploads of one name
        short_names = references
    classes = table_of(sorted({label for label in labels if label}))
    items = []
    for parts, read_content in zip(short_names, reads, strict=True):
        name, split = name_and_split(without_suffix(parts))
        items.append(Item(name, split, partial(read_content, split, classes, notices)))
    return AnnotatedSet(classes, items, notices)


def _name_of(parts: list[str]) -> list[str]:
    """The parts of a path that name a picture: the parts below images/. For an upload only the file."""
    if "images" in parts[:-1]:
        return parts[parts.index("images") + 1 :]
    return parts[-1:] if "upload" in parts else parts


def _reference(task: Any, where: str) -> tuple[str, bool]:
    """The name that a task gives to its picture, and whether it may have the prefix of an upload.

    The name is an address, the path of an upload, or a file of a local store. Raises DataError where a task has none."""
    data = task.get("data") if isinstance(task, dict) else None
    values = {key: value for key, value in data.items() if isinstance(value, str)} if isinstance(data, dict) else {}
    if not values:
        raise DataError(f"{where}: has no data with the address of a picture.")
    of_pictures = (value for value in values.values() if PurePosixPath(value).suffix.lower() in PICTURE_SUFFIXES)
    address_text = values.get("image", next(of_pictures, next(iter(values.values()))))
    try:
        address = urlsplit(address_text)
        local = parse_qs(address.query).get("d")
    except ValueError:
        raise DataError(f"{where}: {address_text[:80]!r} is no address of a picture; correct it.") from None
    if local:
        return local[0], False
    bare_name = not address.netloc and PurePosixPath(address.path).suffix.lower() not in PICTURE_SUFFIXES
    return (address_text if bare_name else unquote(address.path)), True


def _regions(task: Mapping[str, Any], where: str) -> tuple[list[Region], int, int]:
    """The shapes of the first annotation that is not cancelled, the number of further annotations, and the number of its results
    that are no shapes."""
    annotations = task.get("annotations")
    if not isinstance(annotations, list) or not all(
        isinstance(annotation, dict) and isinstance(annotation.get("result"), list) for annotation in annotations
    ):
        raise DataError(f"{where}: annotations is {shown(annotations)}, not a list of objects with result.")
    kept = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    results = [result if isinstance(result, dict) else {} for result in kept[0]["result"]] if kept else []
    ids_of_shapes = {_id(result) for result in results if _type(result).removesuffix(LABELS) in KINDS}
    # The tags <Labels> and <Polygon> make two results with one id: the first has the shape, the second the labels and the shape
    # again.
    labels_by_id = {_id(result): _value(result).get(LABELS) for result in results if _type(result) == LABELS}
    regions, without_shape = [], 0
    for result in results:
        type, value = _type(result), _value(result)
        if type == LABELS and _id(result) in ids_of_shapes:
            continue
        kind = _kind_of(value) if type == LABELS else type.removesuffix(LABELS)
        if kind in KINDS:
            own_labels = next((value[key] for key in (f"{kind}{LABELS}", LABELS) if value.get(key)), None)
            regions.append(Region(kind, result, own_labels or labels_by_id.get(_id(result))))
        else:
            without_shape += 1
    return regions, max(0, len(kept) - 1), without_shape


def _type(result: Mapping[str, Any]) -> str:
    type = result.get("type")
    return type if isinstance(type, str) else ""


def _value(result: Mapping[str, Any]) -> Mapping[str, Any]:
    value = result.get("value")
    return value if isinstance(value, dict) else {}


def _id(result: Mapping[str, Any]) -> str:
    return repr(result["id"]) if isinstance(result.get("id"), str | int) else f"without id {id(result)}"


def _kind_of(value: Mapping[str, Any]) -> str:
    """The kind of shape of a value, by its keys, for a result whose type names no shape. Empty where it is no shape."""
    keys = {"rle": "brush", "imageDataURL": "bitmask", "points": "polygon", "radiusX": "ellipse", "height": "rectangle"}
    return next((kind for key, kind in keys.items() if key in value), "")


def _label(region: Region, where: str) -> str:
    """The label of a region. Empty where it has none. Raises DataError where it has several."""
    if region.labels is None or region.labels == []:
        return ""
    if not isinstance(region.labels, list) or len(region.labels) != 1:
        count = len(region.labels) if isinstance(region.labels, list) else shown(region.labels)
        raise DataError(f"{where}: has {count} labels; give it one.")
    return label_of(region.labels[0], where)


def _content(
    regions: list[tuple[Region, str]],
    others: int,
    without_shape: int,
    reference: str,
    where: str,
    finder: PictureFinder,
    split: str,
    classes: ClassTable,
    notices: Notices,
) -> Content:
    folders, name = reference.rpartition("/")[::2]
    try:
        picture = finder.find(reference, where, split)
    except DataError:
        if not UPLOADED.match(name):
            raise
        picture = finder.find(f"{folders}/{UPLOADED.sub('', name)}", where, split)
    size = read_size(picture)
    notices.add("other annotator", reference, others)
    notices.add("no area", reference, without_shape)
    shapes = []
    for place, (region, label) in enumerate(regions):
        region_where, result = f"{where}, region {place}", region.result
        points = _value(result).get("points")
        flat = region.kind == "polygon" and isinstance(points, list) and len(points) < 3
        if flat or not label:
            notices.add("no area" if flat else "no label", reference)
            continue
        stated_size: Any = result.get("original_height"), result.get("original_width")
        if not all(type(side) is int for side in stated_size):
            raise DataError(
                f"{region_where}: original_height and original_width are {shown(stated_size[0])} and {shown(stated_size[1])}."
            )
        require_picture_size(picture, stated_size, region_where)
        if result.get("image_rotation", 0) != 0:
            raise DataError(
                f"{region_where}: was drawn on the picture turned by {shown(result['image_rotation'])} degrees; turn it back."
            )
        try:
            shapes.append(Shape.of(label, _mask(region.kind, _value(result), size), _is_crowd(result)))
        except ValueError as error:
            raise DataError(f"{region_where}: {error}") from None
    return Content(picture, *draw_shapes(shapes, classes, size, HOLDS.ordered))


def _is_crowd(result: Mapping[str, Any]) -> bool:
    meta = result.get("meta")
    words = meta.get("text") if isinstance(meta, dict) else None
    return isinstance(words, list) and CROWD in words


def _mask(kind: str, value: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) of a region. Raises ValueError, one sentence, for a region that cannot be drawn."""
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
    """The mask (H, W) of a PNG whose bytes are part of its address: the pixels that are not transparent.

    Where the PNG has no transparency, the pixels that are not black."""
    if not isinstance(address, str) or not address.startswith("data:image/png;base64,"):
        raise ValueError(f"imageDataURL is {shown(address)}, not a PNG as data:image/png;base64.")
    try:
        png = base64.b64decode(address.partition(",")[2], validate=True)
        mask = read_alpha(png) > 0 if read_header(png).transparent else read_image(png).any(2)
    except (ValueError, DataError) as error:
        raise ValueError(f"its PNG cannot be read ({str(error)[:120]}).") from None
    if mask.shape != size:
        raise ValueError(f"its PNG is {mask.shape[0]}x{mask.shape[1]}, the picture {size[0]}x{size[1]} (height x width).")
    return mask


def _number(value: Any, field_name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e6 <= value <= 1e6:
        raise ValueError(f"{field_name} is {shown(value)}; it is in hundredths of the picture.")
    return float(value)


def decode_brush(data: Any, height: int, width: int) -> NDArray[np.bool_]:
    """The mask, bool (H, W), of a brush's run lengths: a list of bytes 0..255.

    Raises ValueError, one sentence, for data of another type, data that is cut short, and another number of pixels."""
    if not isinstance(data, list) or not all(type(byte) is int and 0 <= byte <= 255 for byte in data):
        raise ValueError(f"rle is {shown(data)}, not a list of bytes 0..255.")
    raw, bit = bytes(data), 0

    def take(count: int) -> int:
        nonlocal bit
        first, last = bit >> 3, (bit + count + 7) >> 3
        if last > len(raw):
            raise ValueError("the run lengths of the brush end too early; they are cut short.")
        value = int.from_bytes(raw[first:last]) >> (8 * last - bit - count)
        bit += count
        return value & ((1 << count) - 1)

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
    """The run lengths of a brush for a mask (H, W), in the form that `decode_brush` reads."""
    flat = mask.ravel()
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], turns])
    lengths = 4 * np.diff(np.concatenate([starts, [flat.size]]))
    bits = [f"{4 * flat.size:032b}{7:05b}", *(f"{size - 1:04b}" for size in LENGTH_BITS)]
    for inside, length in zip(flat[starts].tolist(), lengths.tolist(), strict=True):
        while length:
            part = min(length, LONGEST)
            size_index = next(n for n, size in enumerate(LENGTH_BITS) if part <= 1 << size)
            bits.append(f"1{size_index:02b}{part - 1:0{LENGTH_BITS[size_index]}b}{255 if inside else 0:08b}")
            length -= part
    bit_values = np.frombuffer("".join(bits).encode(), np.uint8) & 1
    packed: list[int] = np.packbits(bit_values).tolist()
    return packed


class Writer:
    def __init__(self, out: Path, classes: ClassTable, notices: Notices) -> None:
        self.out, self.classes, self.notices = out, classes, notices

    def add(self, name: str, split: str, content: Content, number: int) -> dict[str, Any]:
        """The address of a picture, and its results without their ids."""
        with all_or_none() as written:
            path = put_picture(content.picture, self.out / "images" / split, name, self.notices, written)
            height, width = read_size(path)
            drawn_shapes = list(shapes_of(content, self.classes, HOLDS, self.notices, name))
        results = [
            {
                "type": "brushlabels", "from_name": "label", "to_name": "image",
                "original_width": width, "original_height": height, "image_rotation": 0,
                "value": {"format": "rle", "rle": encode_brush(shape.crop.mask), "brushlabels": [shape.label]},
                **({"meta": {"text": [CROWD]}} if shape.crowd else {}),
            }
            for shape in drawn_shapes
        ]  # fmt: skip
        address = f"/data/local-files/?d={quote(path.relative_to(self.out).as_posix())}"
        return {"image": address, "results": results, "void": any(shape.label == VOID_NAME for shape in drawn_shapes)}

    def close(self, entries: Sequence[Entry]) -> None:
        tasks = []
        for id, entry in enumerate(entries, start=1):
            results = [{"id": f"{id}-{place}", **result} for place, result in enumerate(entry.content["results"], start=1)]
            tasks.append({"id": id, "data": {"image": entry.content["image"]}, "annotations": [{"result": results}]})
        names_and_colours = label_colours(self.classes, any(entry.content["void"] for entry in entries))
        labels = "\n".join(f'    <Label value={quoteattr(name)} background="{colour}"/>' for name, colour in names_and_colours)
        write_whole(self.out, "labels.xml", (
            f'<View>\n  <Image name="image" value="$image"/>\n  <BrushLabels name="label" toName="image">\n{labels}\n'
            "  </BrushLabels>\n</View>\n"
        ).encode())  # fmt: skip
        write_whole(self.out, "tasks.json", json.dumps(tasks, ensure_ascii=False).encode())
