"""Run lengths of many objects from their polygons, by COCO's rule. The code is compiled, and no mask of pixels is made.

    draw([[[10, 10, 20, 10, 20, 30, 10, 30]]], heights, widths)     # `Runs` of one object of one polygon

These functions return the index of the first object that cannot be drawn. `polygons.checked` then raises the error for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.machines.compiled import compiled
from perpixel.masks.runs import Runs, ends_of, grown

FINE = 5  # steps for one pixel, in which outlines are drawn


def draw(
    polygons: Sequence[Sequence[Sequence[float] | NDArray[np.float64]]],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    farthest: float = np.inf,
    longest: float = np.inf,
) -> Runs | int:
    """The runs of N objects by COCO's rule. `polygons` has the polygons x, y, x, y ... of each object, which is their union.

    `heights` and `widths` (N,) are those of the object's picture. Returns instead the index of the first object that has a
    polygon of fewer than three corners or with an odd number of values, a coordinate beyond `farthest`, or outlines longer than
    `longest` pixels together."""
    object_ends = ends_of([len(object_polygons) for object_polygons in polygons])
    polygon_ends = ends_of([len(polygon) for object_polygons in polygons for polygon in object_polygons])
    corners = np.fromiter(chain.from_iterable(chain.from_iterable(polygons)), np.float64, int(polygon_ends[-1]))
    lengths, ends, first_wrong = _draw_objects(corners, polygon_ends, object_ends, heights, widths, farthest, longest)
    return Runs(lengths, ends) if first_wrong < 0 else int(first_wrong)


def draw_written(
    outlines: Sequence[bytes | memoryview],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    farthest: float = np.inf,
    longest: float = np.inf,
) -> Runs | int:
    """As `draw`, but each object's polygons are JSON: a list of lists of numbers.

    Returns instead the index of the first object that cannot be drawn or is no such JSON. Some text that is no valid JSON is
    accepted too."""
    text, bounds = b"".join(outlines), ends_of([len(outline) for outline in outlines])
    corners, polygon_ends, object_ends, long_numbers, first_wrong = _parse(np.frombuffer(text, np.uint8), bounds)
    if first_wrong >= 0:
        return int(first_wrong)
    for place, begin, end in long_numbers.tolist():
        corners[place] = float(text[begin:end])
    lengths, ends, first_wrong = _draw_objects(corners, polygon_ends, object_ends, heights, widths, farthest, longest)
    return Runs(lengths, ends) if first_wrong < 0 else int(first_wrong)


@compiled()
def _parse(text: Any, bounds: Any) -> Any:
    """Parses JSON lists of lists of numbers; object i lies in `text` from `bounds[i]` to `bounds[i + 1]`.

    Returns the numbers, the ends of the polygons among the numbers, the ends of the objects among the polygons, the numbers that
    Python must parse (their index, and their begin and end in `text`), and the index of the first object in error, or -1. A
    number of at most 15 digits is a whole number divided by a power of ten. Both are exact, so the result is correctly
    rounded."""
    capacity = len(text) // 2 + 1
    corners, polygons, objects = np.empty(capacity), np.zeros(capacity + 1, np.int64), np.zeros(len(bounds), np.int64)
    long_numbers, num_corners, num_polygons, num_long = np.empty((capacity, 3), np.int64), 0, 0, 0
    for object_index in range(len(bounds) - 1):
        depth, place = 0, bounds[object_index]
        while place < bounds[object_index + 1]:
            character = text[place]
            if character == 91:  # [
                depth += 1
            elif character == 93:  # ]
                if depth == 2:
                    num_polygons += 1
                    polygons[num_polygons] = num_corners
                depth -= 1
            elif depth == 2 and (character == 45 or 48 <= character <= 57):  # - or a digit
                begin, value, digits, scale, point, plain = place, 0, 0, 1.0, False, True
                while place < bounds[object_index + 1] and text[place] not in (44, 93, 32, 9, 10, 13):  # , ] and blanks
                    if 48 <= text[place] <= 57:
                        digits += 1
                        if digits <= 15:
                            value = 10 * value + (text[place] - 48)
                            scale *= 10.0 if point else 1.0
                    elif text[place] == 46:  # .
                        point = True
                    elif text[place] != 45 or place > begin:  # part of an exponent
                        plain = False
                    place += 1
                if not plain or digits > 15:
                    long_numbers[num_long] = (num_corners, begin, place)
                    num_long += 1
                corners[num_corners] = (-value if character == 45 else value) / scale
                num_corners += 1
                continue
            elif character not in (44, 32, 9, 10, 13):
                return corners, polygons, objects, long_numbers, object_index
            if depth > 2:
                return corners, polygons, objects, long_numbers, object_index
            place += 1
        objects[object_index + 1] = num_polygons
    return corners[:num_corners], polygons[: num_polygons + 1], objects, long_numbers[:num_long], -1


@compiled(error_model="numpy")
def _draw_objects(corners: Any, polygons: Any, objects: Any, heights: Any, widths: Any, farthest: float, longest: float) -> Any:
    lengths, ends, count = np.empty(64, np.int64), np.zeros(len(objects), np.int64), 0
    for object_index in range(len(objects) - 1):
        size, outline_length = heights[object_index] * widths[object_index], 0.0
        edges, num_edges = np.empty(0, np.int64), 0
        several = objects[object_index + 1] - objects[object_index] > 1
        for polygon in range(objects[object_index], objects[object_index + 1]):
            outline = corners[polygons[polygon] : polygons[polygon + 1]]
            if len(outline) < 6 or len(outline) % 2:
                return lengths, ends, object_index
            for place in range(0, len(outline), 2):
                x, y = outline[place], outline[place + 1]
                if not (abs(x) <= farthest and abs(y) <= farthest):  # also true for nan
                    return lengths, ends, object_index
                outline_length += max(abs(x - outline[place - 2]), abs(y - outline[place - 1]))
            if outline_length > longest:
                return lengths, ends, object_index
            turns = _turns(outline, heights[object_index], widths[object_index])
            if not several:
                edges, num_edges = turns, len(turns)
                continue
            edges = grown(edges, num_edges + len(turns) + 1)
            for place in range(len(turns)):  # a begin is sorted before an end at the same pixel, so touching runs are joined
                edges[num_edges + place] = 2 * turns[place] + place % 2
            num_edges += len(turns)
            if len(turns) % 2:
                edges[num_edges] = 2 * size + 1
                num_edges += 1
        if several:
            edges[:num_edges].sort()
            kept = depth = 0
            for place in range(num_edges):
                step = -1 if edges[place] % 2 else 1
                if depth == 0 or depth + step == 0:
                    edges[kept] = edges[place] // 2
                    kept += 1
                depth += step
            num_edges = kept
        lengths = grown(lengths, count + num_edges + 1)
        last_edge = 0
        for place in range(num_edges):
            if edges[place] < size:
                lengths[count], last_edge = edges[place] - last_edge, edges[place]
                count += 1
        lengths[count] = size - last_edge
        count += 1
        ends[object_index + 1] = count
    return lengths[:count].copy(), ends, -1


@compiled(error_model="numpy")
def _turns(outline: Any, height: int, width: int) -> Any:
    """The pixels, down the columns, before which a polygon turns from outside to inside or back, sorted.

    COCO's rule (maskApi.c, rleFrPoly) walks the outline in fifths of a pixel, and marks where it crosses the middle of a column,
    between the fifths 5 c + 2 and 5 c + 3. Only those steps are computed here, with the same arithmetic."""
    left, right, capacity = outline[0], outline[0], 0
    for place in range(0, len(outline), 2):
        left, right = min(left, outline[place]), max(right, outline[place])
        capacity += int(min(abs(outline[place] - outline[place - 2]), width)) + 2
    lowest, highest = int(min(max(left - 1, 0), width)), int(min(max(right + 1, 0), width))
    columns, pixels, count = np.empty(capacity, np.int64), np.empty(capacity, np.int64), 0
    begins = np.zeros(highest - lowest + 2, np.int64)  # where each column begins among the sorted pixels
    for place in range(0, len(outline), 2):
        after = (place + 2) % len(outline)
        x0, y0 = int(FINE * outline[place] + 0.5), int(FINE * outline[place + 1] + 0.5)
        x1, y1 = int(FINE * outline[after] + 0.5), int(FINE * outline[after + 1] + 0.5)
        columns_moved, rows_moved = abs(x1 - x0), abs(y1 - y0)
        if (columns_moved >= rows_moved and x0 > x1) or (columns_moved < rows_moved and y0 > y1):
            x0, y0, x1, y1 = x1, y1, x0, y0
        first, last = max((min(x0, x1) + 2) // FINE, 0), min((max(x0, x1) - 3) // FINE, width - 1)
        slope = (y1 - y0) / columns_moved if columns_moved >= rows_moved else (x1 - x0) / rows_moved
        for column in range(first, last + 1):
            middle = FINE * column + 2
            if columns_moved >= rows_moved:
                step = middle - x0
                y = min(int(y0 + slope * step + 0.5), int(y0 + slope * (step + 1) + 0.5))
            else:  # the first step on the other side of the middle. The computed step may be wrong by one, and is corrected
                step = int((middle + 0.5 - x0) / slope)
                while step > 1 and (int(x0 + slope * (step - 1) + 0.5) > middle) == (slope > 0):
                    step -= 1
                while (int(x0 + slope * step + 0.5) > middle) != (slope > 0):
                    step += 1
                y = y0 + step - 1
            columns[count], pixels[count] = column - lowest, column * height + min(max((y + 2) // FINE, 0), height)
            count += 1
            begins[column - lowest + 1] += 1
    for column in range(1, len(begins)):
        begins[column] += begins[column - 1]
    turns = np.empty(count, np.int64)
    for place in range(count):
        turns[begins[columns[place]]] = pixels[place]
        begins[columns[place]] += 1  # after the loop it is where the column ends
    for column in range(len(begins)):
        first, last = begins[column - 1] if column else 0, begins[column]
        if last - first == 2:
            turns[first], turns[first + 1] = min(turns[first], turns[first + 1]), max(turns[first], turns[first + 1])
        elif last - first > 2:
            turns[first:last].sort()
    kept = 0
    for place in range(count):  # two turns at the same pixel cancel each other
        if kept and turns[kept - 1] == turns[place]:
            kept -= 1
        else:
            turns[kept] = turns[place]
            kept += 1
    return turns[:kept]
