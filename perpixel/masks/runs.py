"""Masks of many objects as run lengths: read, written, measured and cut to bands without pictures of pixels, compiled.

Masks lie one after the other in a `Runs`. What `rle` and `polygons` refuse is found here, and told there: a function that meets
it names the place of that mask alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perpixel.machines.compiled import compiled
from perpixel.masks.rle import GROUPS


class Runs(NamedTuple):
    """`lengths` int64 of all masks; mask i has those from `ends[i]` to `ends[i + 1]` (N + 1,)."""

    lengths: NDArray[np.int64]
    ends: NDArray[np.int64]

    def each(self) -> list[NDArray[np.int64]]:
        """The run lengths of each mask."""
        return [self.lengths[begin:end] for begin, end in pairwise(self.ends.tolist())]


def joined(masks: Sequence[NDArray[np.int64]]) -> Runs:
    """The runs of masks, each int64 (N,), as one."""
    return Runs(np.concatenate(masks) if masks else np.zeros(0, np.int64), ends_of([len(one) for one in masks]))


def one_after_the_other(parts: Sequence[Runs]) -> Runs:
    before = ends_of([len(one.lengths) for one in parts])
    lengths = [np.zeros(0, np.int64), *(one.lengths for one in parts)]
    ends = [np.zeros(1, np.int64), *(one.ends[1:] + start for one, start in zip(parts, before, strict=False))]
    return Runs(np.concatenate(lengths), np.concatenate(ends))


def read(strings: Sequence[str], pixels: NDArray[np.int64]) -> Runs | int:
    """The runs of compressed strings of masks of so many `pixels` (N,) each, only the first of a mask 0; or the place of the
    first string that is wrong."""
    try:
        text = "".join(strings).encode("ascii")
    except UnicodeEncodeError:
        return next(place for place, one in enumerate(strings) if not one.isascii())
    lengths, ends, wrong = _read(np.frombuffer(text, np.uint8), ends_of([len(one) for one in strings]), pixels)
    return Runs(lengths, ends) if wrong < 0 else int(wrong)


def write(runs: Runs) -> list[str]:
    """The compressed string of each mask."""
    characters, ends = _write(*runs)
    text = characters.tobytes().decode("ascii")
    return [text[begin:end] for begin, end in pairwise(ends.tolist())]


def measure(runs: Runs, heights: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Of each mask where its runs end, int64 as `runs.lengths`; its area (N,); and its box (N, 4): left, top, width, height."""
    edges, areas, boxes = _measure(*runs, heights)
    return edges, areas, boxes


def bands(runs: Runs, heights: NDArray[np.int64], widths: NDArray[np.int64], depths: NDArray[np.int64]) -> Runs:
    """The band of each mask: its pixels that have a pixel outside of it or of the picture within that depth (N,)."""
    edges, _, boxes = measure(runs, heights)
    return Runs(*_bands(edges, runs.ends, boxes, heights, widths, depths))


def ends_of(sizes: Sequence[int]) -> NDArray[np.int64]:
    ends = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=ends[1:])
    return ends


@compiled()
def _read(text: Any, bounds: Any, pixels: Any) -> Any:
    most = 0
    for character in text:
        most += character < 80  # the last of a number
    lengths, ends, count = np.empty(most, np.int64), np.zeros(len(bounds), np.int64), 0
    for mask in range(len(pixels)):
        total, value, bits, number, before, last, joins = 0, 0, 0, 0, 0, 0, False
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
                value += before
            total += value
            if value < 0 or total > pixels[mask]:
                return lengths, ends, mask
            if joins:  # with the run before the one of no length
                lengths[count - 1] += value
                joins = False
            elif value == 0 and number:
                joins = True
            else:
                lengths[count] = value
                count += 1
            number, before, last, value, bits = number + 1, last, value, 0, 0
        if bits or total != pixels[mask]:
            return lengths, ends, mask
        ends[mask + 1] = count
    return lengths[:count], ends, -1


@compiled()
def _write(lengths: Any, ends: Any) -> Any:
    characters, bounds, count = np.empty(len(lengths) * GROUPS, np.uint8), np.zeros(len(ends), np.int64), 0
    for mask in range(len(ends) - 1):
        for place in range(ends[mask], ends[mask + 1]):
            rest = lengths[place]
            if place > ends[mask] + 2:
                rest -= lengths[place - 2]
            more = True
            while more:
                group = rest & 31
                rest >>= 5
                more = rest != (-1 if group & 16 else 0)
                characters[count] = 48 + group + (32 if more else 0)
                count += 1
        bounds[mask + 1] = count
    return characters[:count].copy(), bounds


@compiled()
def _measure(lengths: Any, ends: Any, heights: Any) -> Any:
    masks = len(ends) - 1
    edges, areas, boxes = np.empty(len(lengths), np.int64), np.zeros(masks, np.int64), np.zeros((masks, 4))
    for mask in range(masks):
        height, at = heights[mask], 0
        left, top, right, bottom = -1, height, 0, 0
        for place in range(ends[mask], ends[mask + 1]):
            start, at = at, at + lengths[place]
            edges[place] = at
            if (place - ends[mask]) % 2 == 0 or at == start:
                continue
            areas[mask] += at - start
            if left < 0:
                left = start // height
            right = (at - 1) // height
            if start // height != right:
                top, bottom = 0, height
            else:
                top, bottom = min(top, start % height), max(bottom, (at - 1) % height + 1)
        if left >= 0:
            boxes[mask] = (left, top, right + 1 - left, bottom - top)
    return edges, areas, boxes


@compiled()
def grown(array: Any, size: int) -> Any:
    """An array of at least this size that begins as `array` does."""
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
        inside = np.zeros((wide, high), np.uint8)  # column by column
        for place in range(ends[mask], ends[mask + 1] - 1, 2):
            column, row = edges[place] // height - left, edges[place] % height - top
            for _ in range(edges[place], edges[place + 1]):
                inside[column, row] = 1
                row += 1
                if row == high:  # a run that goes on in the next column fills both
                    column, row = column + 1, 0
        core = _eroded(_eroded(inside, side).T.copy(), side).T
        lengths = grown(lengths, count + 2 * wide * high + 2)
        at, before, pixel = 0, 0, 0
        for column in range(wide):
            for row in range(high):
                value = inside[column, row] - core[column, row]
                pixel = (left + column) * height + top + row
                if high < height and row == 0 and before:  # nothing between this column's part and the last one's
                    lengths[count], at, before = pixel - height + high - at, pixel - height + high, 0
                    count += 1
                if value != before:
                    lengths[count], at, before = pixel - at, pixel, value
                    count += 1
        if before and pixel + 1 < height * width:
            lengths[count], at = pixel + 1 - at, pixel + 1
            count += 1
        lengths[count] = height * width - at
        count += 1
        bounds[mask + 1] = count
    return lengths[:count].copy(), bounds


@compiled()
def _eroded(inside: Any, side: int) -> Any:
    """Where the `side` values around, along each row, are 1; beyond the ends all are 0."""
    core = np.zeros_like(inside)
    for row in range(inside.shape[0]):
        number = 0
        for place in range(inside.shape[1]):
            number = number + 1 if inside[row, place] else 0
            if number >= side:
                core[row, place - side // 2] = 1
    return core
