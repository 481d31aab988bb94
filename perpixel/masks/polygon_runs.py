"""Run lengths of many objects from their polygons, by COCO's rule, without pictures of pixels, compiled.

    draw([[[10, 10, 20, 10, 20, 30, 10, 30]]], heights, widths)     # `Runs` of one object of one polygon

What `polygons.checked` refuses is found here, and told there: the answer is the place of the first object that has it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.machines.compiled import compiled
from perpixel.masks.runs import Runs, ends_of, grown

FINE = 5  # steps of a pixel that outlines are drawn in


def draw(
    polygons: Sequence[Sequence[Sequence[float] | NDArray[np.float64]]],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    farthest: float = np.inf,
    longest: float = np.inf,
) -> Runs | int:
    """The runs of objects, each the union of its polygons x, y, x, y ..., in pictures of these sizes (N,), by COCO's rule; or the
    place of the first that has a polygon of fewer than three corners or an odd number of values, a coordinate beyond `farthest`,
    or outlines longer than `longest` pixels."""
    of_objects = ends_of([len(one) for one in polygons])
    of_polygons = ends_of([len(polygon) for one in polygons for polygon in one])
    corners = np.fromiter(chain.from_iterable(chain.from_iterable(polygons)), np.float64, int(of_polygons[-1]))
    lengths, ends, wrong = _draw(corners, of_polygons, of_objects, heights, widths, farthest, longest)
    return Runs(lengths, ends) if wrong < 0 else int(wrong)


def draw_written(
    outlines: Sequence[bytes | memoryview],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    farthest: float = np.inf,
    longest: float = np.inf,
) -> Runs | int:
    """As `draw`, of polygons that are JSON, lists of lists of numbers; the place of the first that is not drawn or no such JSON.
    What is no JSON at all may be taken for some."""
    text, bounds = b"".join(outlines), ends_of([len(one) for one in outlines])
    corners, of_polygons, of_objects, long, wrong = _parse(np.frombuffer(text, np.uint8), bounds)
    if wrong >= 0:
        return int(wrong)
    for place, begin, end in long.tolist():
        corners[place] = float(text[begin:end])
    lengths, ends, wrong = _draw(corners, of_polygons, of_objects, heights, widths, farthest, longest)
    return Runs(lengths, ends) if wrong < 0 else int(wrong)


@compiled()
def _parse(text: Any, bounds: Any) -> Any:
    """Numbers, the ends of their lists and of the lists of lists; the place, begin and end in `text` of numbers that are left to
    Python; and the first list of lists that is none, or -1.

    A number of 15 digits or fewer is a whole number, which is exact, divided by a power of ten, which is exact too."""
    most = len(text) // 2 + 1
    corners, polygons, objects = np.empty(most), np.zeros(most + 1, np.int64), np.zeros(len(bounds), np.int64)
    long, count, number, left = np.empty((most, 3), np.int64), 0, 0, 0
    for one in range(len(bounds) - 1):
        depth, place = 0, bounds[one]
        while place < bounds[one + 1]:
            character = text[place]
            if character == 91:  # [
                depth += 1
            elif character == 93:  # ]
                if depth == 2:
                    number += 1
                    polygons[number] = count
                depth -= 1
            elif depth == 2 and (character == 45 or 48 <= character <= 57):  # - or a digit
                begin, value, digits, scale, point, plain = place, 0, 0, 1.0, False, True
                while place < bounds[one + 1] and text[place] not in (44, 93, 32, 9, 10, 13):  # , ] and blanks
                    if 48 <= text[place] <= 57:
                        digits += 1
                        if digits <= 15:
                            value = 10 * value + (text[place] - 48)
                            scale *= 10.0 if point else 1.0
                    elif text[place] == 46:  # .
                        point = True
                    elif text[place] != 45 or place > begin:  # of an exponent
                        plain = False
                    place += 1
                if not plain or digits > 15:
                    long[left] = (count, begin, place)
                    left += 1
                corners[count] = (-value if character == 45 else value) / scale
                count += 1
                continue
            elif character not in (44, 32, 9, 10, 13):
                return corners, polygons, objects, long, one
            if depth > 2:
                return corners, polygons, objects, long, one
            place += 1
        objects[one + 1] = number
    return corners[:count], polygons[: number + 1], objects, long[:left], -1


@compiled(error_model="numpy")
def _draw(corners: Any, polygons: Any, objects: Any, heights: Any, widths: Any, farthest: float, longest: float) -> Any:
    lengths, ends, count = np.empty(64, np.int64), np.zeros(len(objects), np.int64), 0
    for one in range(len(objects) - 1):
        size, walked = heights[one] * widths[one], 0.0
        edges, number = np.empty(0, np.int64), 0
        several = objects[one + 1] - objects[one] > 1
        for polygon in range(objects[one], objects[one + 1]):
            outline = corners[polygons[polygon] : polygons[polygon + 1]]
            if len(outline) < 6 or len(outline) % 2:
                return lengths, ends, one
            for place in range(0, len(outline), 2):
                x, y = outline[place], outline[place + 1]
                if not (abs(x) <= farthest and abs(y) <= farthest):  # nor nan
                    return lengths, ends, one
                walked += max(abs(x - outline[place - 2]), abs(y - outline[place - 1]))
            if walked > longest:
                return lengths, ends, one
            turns = _turns(outline, heights[one], widths[one])
            if not several:
                edges, number = turns, len(turns)
                continue
            edges = grown(edges, number + len(turns) + 1)
            for place in range(len(turns)):  # where it begins before where it ends, so that those which touch are one
                edges[number + place] = 2 * turns[place] + place % 2
            number += len(turns)
            if len(turns) % 2:
                edges[number] = 2 * size + 1
                number += 1
        if several:
            edges[:number].sort()
            kept = depth = 0
            for place in range(number):
                step = -1 if edges[place] % 2 else 1
                if depth == 0 or depth + step == 0:
                    edges[kept] = edges[place] // 2
                    kept += 1
                depth += step
            number = kept
        lengths = grown(lengths, count + number + 1)
        at = 0
        for place in range(number):
            if edges[place] < size:
                lengths[count], at = edges[place] - at, edges[place]
                count += 1
        lengths[count] = size - at
        count += 1
        ends[one + 1] = count
    return lengths[:count].copy(), ends, -1


@compiled(error_model="numpy")
def _turns(outline: Any, height: int, width: int) -> Any:
    """The pixels, down the columns, before which a polygon turns from outside to inside or back, sorted.

    COCO's rule (maskApi.c, rleFrPoly) walks the outline in fifths of a pixel and marks where it crosses the middle of a column,
    between the fifths 5 c + 2 and 5 c + 3. Those steps alone are taken here, with the same arithmetic."""
    left, right, room = outline[0], outline[0], 0
    for place in range(0, len(outline), 2):
        left, right = min(left, outline[place]), max(right, outline[place])
        room += int(min(abs(outline[place] - outline[place - 2]), width)) + 2
    lowest, highest = int(min(max(left - 1, 0), width)), int(min(max(right + 1, 0), width))
    columns, pixels, count = np.empty(room, np.int64), np.empty(room, np.int64), 0
    begins = np.zeros(highest - lowest + 2, np.int64)  # of each column among the sorted
    for place in range(0, len(outline), 2):
        after = (place + 2) % len(outline)
        x0, y0 = int(FINE * outline[place] + 0.5), int(FINE * outline[place + 1] + 0.5)
        x1, y1 = int(FINE * outline[after] + 0.5), int(FINE * outline[after + 1] + 0.5)
        across, down = abs(x1 - x0), abs(y1 - y0)
        if (across >= down and x0 > x1) or (across < down and y0 > y1):
            x0, y0, x1, y1 = x1, y1, x0, y0
        first, last = max((min(x0, x1) + 2) // FINE, 0), min((max(x0, x1) - 3) // FINE, width - 1)
        slope = (y1 - y0) / across if across >= down else (x1 - x0) / down
        for column in range(first, last + 1):
            middle = FINE * column + 2
            if across >= down:
                step = middle - x0
                y = min(int(y0 + slope * step + 0.5), int(y0 + slope * (step + 1) + 0.5))
            else:  # the first step that is on the other side; what is computed of it may be one off
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
        begins[columns[place]] += 1  # and so at last it is where the column ends
    for column in range(len(begins)):
        first, last = begins[column - 1] if column else 0, begins[column]
        if last - first == 2:
            turns[first], turns[first + 1] = min(turns[first], turns[first + 1]), max(turns[first], turns[first + 1])
        elif last - first > 2:
            turns[first:last].sort()
    kept = 0
    for place in range(count):  # two turns at one pixel are none
        if kept and turns[kept - 1] == turns[place]:
            kept -= 1
        else:
            turns[kept] = turns[place]
            kept += 1
    return turns[:kept]
