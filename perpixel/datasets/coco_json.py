"""COCO's JSON read quickly: a file that is sound in form becomes typed entries; segmentations of objects stay text until they are
asked for. Of any other file the answer is none: `annotations` then reads it with care, and says what is wrong, if anything is."""

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
LARGEST_NUMBER = 1e15  # of an area or box
CHUNK = 2**20  # bytes
MOST_DIGITS = 4300
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
    """The JSON `data` in a typed form; none where it is no sound JSON or not of this form."""
    try:
        if not data.isascii():  # what is skipped is not decoded
            decoder = codecs.getincrementaldecoder("utf-8")()
            for place in range(0, len(data), CHUNK):
                decoder.decode(data[place : place + CHUNK], place + CHUNK >= len(data))
        return msgspec.json.decode(data, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def plain(written: Written) -> Any:
    """What JSON that is not `overlong` holds: lists, dictionaries, texts and numbers."""
    return json.loads(bytes(written))


def overlong(written: Written) -> bool:
    """Whether JSON may hold a number of more digits than Python reads."""
    return len(memoryview(written)) > MOST_DIGITS and _DIGITS.search(written) is not None


def sound_objects(entries: Sequence[ObjectEntry]) -> bool:
    """Whether ids are single, areas and boxes numbers that may be, and segmentations lists or objects."""
    return (
        len({one.id for one in entries}) == len(entries)
        and all(-(2**63) < one.id < 2**63 and one.iscrowd in (0, 1) for one in entries)
        and all(view[0] in b"[{" and not overlong(view) for view in (memoryview(one.segmentation) for one in entries))
        and _sound_numbers([0.0 if one.area is None else one.area for one in entries], 0)
        and sound_boxes(entries)
    )


def sound_boxes(entries: Sequence[ObjectEntry] | Sequence[ResultEntry]) -> bool:
    boxes = box_array(one.bbox for one in entries if one.bbox is not None)
    return _sound_numbers(boxes[:, :2], -LARGEST_NUMBER) and _sound_numbers(boxes[:, 2:], 0)


def box_array(boxes: Iterable[Box]) -> NDArray[np.float64]:
    """Boxes as an array (N, 4)."""
    return np.fromiter(chain.from_iterable(boxes), np.float64).reshape(-1, 4)


def _sound_numbers(values: Any, least: float) -> bool:
    found = np.asarray(values, np.float64)
    return bool(((found >= least) & (np.abs(found) < LARGEST_NUMBER)).all())


_RLE = msgspec.json.Decoder(Rle)


def written_runs(written: Sequence[Written], sizes: NDArray[np.int64]) -> Runs | None:
    """The masks of polygons or RLEs in pictures of `sizes` (N, 2), heights and widths; none where one is not sound."""
    from perpixel.masks.polygon_runs import draw_written
    from perpixel.masks.runs import joined

    views = [memoryview(one) for one in written]
    drawn = np.array([one[0] == ord("[") for one in views], np.bool_)
    heights, widths = np.ascontiguousarray(sizes[drawn].T)
    polygons = [one for one, is_drawn in zip(views, drawn.tolist(), strict=True) if is_drawn]
    try:
        rles = [_RLE.decode(one) for one, is_drawn in zip(views, drawn.tolist(), strict=True) if not is_drawn]
    except (msgspec.MsgspecError, RecursionError):
        return None
    found = draw_written(polygons, heights, widths, MAX_COORDINATE, MAX_LENGTH)
    read = rle_runs(rles, sizes[~drawn])
    if isinstance(found, int) or read is None:
        return None
    of_polygons, of_rles = iter(found.each()), iter(read.each())
    return joined([next(of_polygons if is_drawn else of_rles) for is_drawn in drawn.tolist()]) if rles else found


def rle_runs(rles: Sequence[Rle], sizes: NDArray[np.int64]) -> Runs | None:
    """The masks of RLEs; none as of `written_runs`."""
    from perpixel.masks import runs

    try:
        if not np.array_equal(np.array([one.size for one in rles], np.int64).reshape(-1, 2), sizes):
            return None
        counts = [one.counts if isinstance(one.counts, str) else compress(read_runs(one.counts, *one.size)) for one in rles]
        found = runs.read(counts, sizes.prod(1))
    except (OverflowError, ValueError):
        return None
    return None if isinstance(found, int) else found
