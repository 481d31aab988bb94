"""Reads COCO's JSON quickly. A file of the right form becomes typed entries; segmentations of objects stay text until a mask is
asked for. For any other file these functions return None. Then `coco_annotations` reads it value by value, and its errors name
the first wrong value."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from perpixel.masks.polygons import MAX_COORDINATE, MAX_LENGTH
from perpixel.masks.rle import compress, read_runs

if TYPE_CHECKING:
    from perpixel.masks.runs import Runs

Box = tuple[float, float, float, float]  # left, top, width, height in pixels
Written = bytes | memoryview | msgspec.Raw  # JSON as it stands in the file
LARGEST_NUMBER = 1e15  # the numbers of areas and boxes are below this
CHUNK = 2**20  # bytes that are checked for UTF-8 at a time
MOST_DIGITS = 4300  # Python reads no whole number with more digits
_DIGITS = re.compile(rb"[0-9]{%d}" % MOST_DIGITS)
T = TypeVar("T")


class Rle(msgspec.Struct, gc=False):
    size: tuple[int, int]
    counts: str | list[int]


class ObjectEntry(msgspec.Struct, gc=False):
    id: int
    image_id: int
    category_id: int
    segmentation: msgspec.Raw
    area: float | None = None
    bbox: Box | None = None
    iscrowd: int = 0


class InstancesFile(msgspec.Struct):
    images: list[dict[str, Any]]
    categories: list[dict[str, Any]] = []
    annotations: list[ObjectEntry] = []


class ResultEntry(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    score: float
    bbox: Box | None = None
    segmentation: Rle | None = None


def quick(data: bytes, form: type[T]) -> T | None:
    """The JSON `data` in a typed form; None where it is no valid JSON or has another form."""
    try:
        if not data.isascii():  # msgspec does not check the text that it skips
            decoder = codecs.getincrementaldecoder("utf-8")()
            for place in range(0, len(data), CHUNK):
                decoder.decode(data[place : place + CHUNK], place + CHUNK >= len(data))
        return msgspec.json.decode(data, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def plain(written: Written) -> Any:
    """The lists, dictionaries, texts and numbers of JSON that is not `overlong`."""
    return json.loads(bytes(written))


def overlong(written: Written) -> bool:
    """Whether JSON may hold a number with more digits than Python reads."""
    return len(memoryview(written)) > MOST_DIGITS and _DIGITS.search(written) is not None


def sound_objects(entries: Sequence[ObjectEntry]) -> bool:
    """Whether no id occurs twice, areas and boxes are in range, and segmentations are lists or objects."""
    return (
        len({entry.id for entry in entries}) == len(entries)
        and all(-(2**63) < entry.id < 2**63 and entry.iscrowd in (0, 1) for entry in entries)
        and all(view[0] in b"[{" and not overlong(view) for view in (memoryview(entry.segmentation) for entry in entries))
        and _sound_numbers([0.0 if entry.area is None else entry.area for entry in entries], 0)
        and sound_boxes(entries)
    )


def sound_boxes(entries: Sequence[ObjectEntry] | Sequence[ResultEntry]) -> bool:
    boxes = box_array(entry.bbox for entry in entries if entry.bbox is not None)
    return _sound_numbers(boxes[:, :2], -LARGEST_NUMBER) and _sound_numbers(boxes[:, 2:], 0)


def box_array(boxes: Iterable[Box]) -> NDArray[np.float64]:
    """Boxes as an array (N, 4)."""
    return np.fromiter(chain.from_iterable(boxes), np.float64).reshape(-1, 4)


def _sound_numbers(values: Any, least: float) -> bool:
    numbers = np.asarray(values, np.float64)
    return bool(((numbers >= least) & (np.abs(numbers) < LARGEST_NUMBER)).all())


_RLE = msgspec.json.Decoder(Rle)


def written_runs(written: Sequence[Written], sizes: NDArray[np.int64]) -> Runs | None:
    """The masks of polygons or RLEs in pictures of `sizes` (N, 2), heights and widths; None where one cannot be read."""
    from perpixel.masks.polygon_runs import draw_written
    from perpixel.masks.runs import joined

    views = [memoryview(text) for text in written]
    drawn = np.array([view[0] == ord("[") for view in views], np.bool_)
    heights, widths = np.ascontiguousarray(sizes[drawn].T)
    polygons = [view for view, is_drawn in zip(views, drawn.tolist(), strict=True) if is_drawn]
    try:
        rles = [_RLE.decode(view) for view, is_drawn in zip(views, drawn.tolist(), strict=True) if not is_drawn]
    except (msgspec.MsgspecError, RecursionError):
        return None
    drawn_runs = draw_written(polygons, heights, widths, MAX_COORDINATE, MAX_LENGTH)
    rle_masks = rle_runs(rles, sizes[~drawn])
    if isinstance(drawn_runs, int) or rle_masks is None:
        return None
    of_polygons, of_rles = iter(drawn_runs.each()), iter(rle_masks.each())
    return joined([next(of_polygons if is_drawn else of_rles) for is_drawn in drawn.tolist()]) if rles else drawn_runs


def rle_runs(rles: Sequence[Rle], sizes: NDArray[np.int64]) -> Runs | None:
    """The masks of RLEs; None where one cannot be read."""
    from perpixel.masks import runs

    try:
        if not np.array_equal(np.array([rle.size for rle in rles], np.int64).reshape(-1, 2), sizes):
            return None
        counts = [rle.counts if isinstance(rle.counts, str) else compress(read_runs(rle.counts, *rle.size)) for rle in rles]
        masks = runs.read(counts, sizes.prod(1))
    except (OverflowError, ValueError):
        return None
    return None if isinstance(masks, int) else masks
