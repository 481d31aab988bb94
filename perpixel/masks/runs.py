"""Run lengths of the masks of many objects: reading, writing, measuring, and bands along borders. The code is compiled, and no
mask of pixels is made.

The masks lie one after the other in a `Runs`. A function that meets a wrong mask returns its index. `rle` and `polygons` then
raise the error for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perpixel.machines.compiled import compiled
from perpixel.masks.rle import GROUPS


class Runs(NamedTuple):
    """The run lengths of N masks. `lengths` int64 holds all; mask i has those from `ends[i]` to `ends[i + 1]`, `ends` (N +
    1,)."""

    lengths: NDArray[np.int64]
    ends: NDArray[np.int64]

    def each(self) -> list[NDArray[np.int64]]:
        """The run lengths of each mask."""
        return [self.lengths[begin:end] for begin, end in pairwise(self.ends.tolist())]


def joined(masks: Sequence[NDArray[np.int64]]) -> Runs:
    """The run lengths of several masks, each int64, as one `Runs`."""
    return Runs(np.concatenate(masks) if masks else np.zeros(0, np.int64), ends_of([len(lengths) for lengths in masks]))


def one_after_the_other(parts: Sequence[Runs]) -> Runs:
    """The masks of all parts, in their order."""
    offsets = ends_of([len(part.lengths) for part in parts])
    lengths = [np.zeros(0, np.int64), *(part.lengths for part in parts)]
    ends = [np.zeros(1, np.int64), *(part.ends[1:] + start for part, start in zip(parts, offsets, strict=False))]
    return Runs(np.concatenate(lengths), np.concatenate(ends))


def read(strings: Sequence[str], pixels: NDArray[np.int64]) -> Runs | int:
    """The runs of N compressed strings. Mask i has `pixels[i]` pixels. Only the first run of a mask may be 0 pixels long.

    Returns instead the index of the first string that is wrong."""
    try:
        text = "".join(strings).encode("ascii")
    except UnicodeEncodeError:
        return next(place for place, string in enumerate(strings) if not string.isascii())
    lengths, ends, first_wrong = _read(np.frombuffer(text, np.uint8), ends_of([len(string) for string in strings]), pixels)
    return Runs(lengths, ends) if first_wrong < 0 else int(first_wrong)


def write(runs: Runs) -> list[str]:
    """The compressed string of each mask."""
    characters, ends = _write(*runs)
    text = characters.tobytes().decode("ascii")
    return [text[begin:end] for begin, end in pairwise(ends.tolist())]


def measure(runs: Runs, heights: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The ends of all runs, int64 as long as `runs.lengths`; the area of each mask (N,) in pixels; and the box of each mask (N,
    4): left, top, width, height. A run's end counts pixels from the begin of its mask."""
    edges, areas, boxes = _measure(*runs, heights)
    return edges, areas, boxes


def bands(runs: Runs, heights: NDArray[np.int64], widths: NDArray[np.int64], depths: NDArray[np.int64]) -> Runs:
    """The band along the border of each mask: its pixels within `depths` (N,) pixels of a pixel outside of the mask or
    picture."""
    edges, _, boxes = measure(runs, heights)
    return Runs(*_bands(edges, runs.ends, boxes, heights, widths, depths))


def ends_of(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Where lists of these sizes end, if they lie one after the other: int64 (N + 1,), with 0 first."""
    ends = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=ends[1:])
    return ends


@compiled()
def _read(text: Any, bounds: Any, pixels: Any) -> Any:
    capacity = 0
    for character in text:
        capacity += character < 80  # the last character of a number
    lengths, ends, count = np.empty(capacity, np.int64), np.zeros(len(bounds), np.int64), 0
    for mask in range(len(pixels)):
        total, value, bits, number, before_last, last, join_next = 0, 0, 0, 0, 0, 0, False
        for place in range(bounds[mask], bounds[mask + 1]):
            group = int(text[place]) - 48
            if group < 0 or group > 63 or bits == 5 * GROUPS:
                return lengths, ends, mask
            value |= (group & 31) << bits
            bits += 5
            if group & 32:
                continue
            if group & 16:
                value -= 1 << bits
            if number > 2:
                value += before_last
            total += value
            if value < 0 or total > pixels[mask]:
                return lengths, ends, mask
            if join_next:  # the run before has no length, so this run continues the run before that
                lengths[count - 1] += value
                join_next = False
            elif value == 0 and number:
                join_next = True
            else:
                lengths[count] = value
                count += 1
            number, before_last, last, value, bits = number + 1, last, value, 0, 0
        if bits or total != pixels[mask]:
            return lengths, ends, mask
        ends[mask + 1] = count
    return lengths[:count], ends, -1


@compiled()
def _write(lengths: Any, ends: Any) -> Any:
    characters, bounds, count = np.empty(len(lengths) * GROUPS, np.uint8), np.zeros(len(ends), np.int64), 0
    for mask in range(len(ends) - 1):
        for place in range(ends[mask], ends[mask + 1]):
            remaining = lengths[place]
            if place > ends[mask] + 2:
                remaining -= lengths[place - 2]
            unfinished = True
            while unfinished:
                group = remaining & 31
                remaining >>= 5
                unfinished = remaining != (-1 if group & 16 else 0)
                characters[count] = 48 + group + (32 if unfinished else 0)
                count += 1
        bounds[mask + 1] = count
    return characters[:count].copy(), bounds


@compiled()
def _measure(lengths: Any, ends: Any, heights: Any) -> Any:
    masks = len(ends) - 1
    edges, areas, boxes = np.empty(len(lengths), np.int64), np.zeros(masks, np.int64), np.zeros((masks, 4))
    for mask in range(masks):
        height, end = heights[mask], 0
        left, top, right, bottom = -1, height, 0, 0
        for place in range(ends[mask], ends[mask + 1]):
            start, end = end, end + lengths[place]
            edges[place] = end
            if (place - ends[mask]) % 2 == 0 or end == start:
                continue
            areas[mask] += end - start
            if left < 0:
                left = start // height
            right = (end - 1) // height
            if start // height != right:
                top, bottom = 0, height
            else:
                top, bottom = min(top, start % height), max(bottom, (end - 1) % height + 1)
        if left >= 0:
            boxes[mask] = (left, top, right + 1 - left, bottom - top)
    return edges, areas, boxes


@compiled()
def grown(array: Any, size: int) -> Any:
    """An array of at least this size that begins with the values of `array`."""
    if size <= len(array):
        return array
    grown = np.empty(2 * size, array.dtype)
    grown[: len(array)] = array
    return grown


@compiled()
def _bands(edges: Any, ends: Any, boxes: Any, heights: Any, widths: Any, depths: Any) -> Any:
    lengths, bounds, count = np.empty(64, np.int64), np.zeros(len(ends), np.int64), 0
    for mask in range(len(ends) - 1):
        height, width, side = heights[mask], widths[mask], 2 * depths[mask] + 1
        left, top, wide, high = boxes[mask].astype(np.int64)
        inside = np.zeros((wide, high), np.uint8)  # the mask in its box, column by column
        for place in range(ends[mask], ends[mask + 1] - 1, 2):
            column, row = edges[place] // height - left, edges[place] % height - top
            for _ in range(edges[place], edges[place + 1]):
                inside[column, row] = 1
                row += 1
                if row == high:  # the run goes on in the next column, so the box has the height of the picture
                    column, row = column + 1, 0
        core = _eroded(_eroded(inside, side).T.copy(), side).T
        lengths = grown(lengths, count + 2 * wide * high + 2)
        last_edge, last_value, pixel = 0, 0, 0
        for column in range(wide):
            for row in range(high):
                value = inside[column, row] - core[column, row]
                pixel = (left + column) * height + top + row
                if high < height and row == 0 and last_value:  # the rows outside of the box lie between two columns
                    lengths[count], last_edge, last_value = pixel - height + high - last_edge, pixel - height + high, 0
                    count += 1
                if value != last_value:
                    lengths[count], last_edge, last_value = pixel - last_edge, pixel, value
                    count += 1
        if last_value and pixel + 1 < height * width:
            lengths[count], last_edge = pixel + 1 - last_edge, pixel + 1
            count += 1
        lengths[count] = height * width - last_edge
        count += 1
        bounds[mask + 1] = count
    return lengths[:count].copy(), bounds


@compiled()
def _eroded(inside: Any, side: int) -> Any:
    """1 where all `side` values around a value, along its row, are 1. Values beyond the ends of a row are 0."""
    core = np.zeros_like(inside)
    for row in range(inside.shape[0]):
        number = 0
        for place in range(inside.shape[1]):
            number = number + 1 if inside[row, place] else 0
            if number >= side:
                core[row, place - side // 2] = 1
    return core
