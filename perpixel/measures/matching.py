"""Matching: finds the results that hit an object of the truth, by COCO's rule (cocoapi, cocoeval.py, evaluateImg).

In each picture and category, at each IoU and range of area, results take objects in the order of their scores. A result takes the
free object that it overlaps most. Objects outside the range of area, and crowds, are taken last. A result that takes one of these
counts nowhere, nor does a result outside the range that takes no object. A crowd may be taken many times; its IoU is the share of
the result that lies in it.

A cell is a category in a picture. Cells do not depend on each other, so the first results of all cells choose together, then
the second results, and so on. A lane is a range of area at an IoU. Lanes do not depend on each other, so a whole number holds a
bit for each lane, and a result chooses in all lanes together. All this is NumPy. Compiled code counts the pixels that two masks
share; it is loaded only where masks are judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perpixel.machines.compiled import compiled

if TYPE_CHECKING:
    from perpixel.masks.runs import Runs

IOUS = np.linspace(0.5, 0.95, 10)
AREAS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])  # all, small, medium, large; pixels
MOST = 100  # results of a category in a picture that count, by default
IGNORED, HIT, FALSE = 0, 1, 2
AT_ONCE = 2**18  # pairs of a result and an object that are in memory together
_LANES = len(AREAS) * len(IOUS)  # bit 10 a + i is range a at IoU i
_FIRST_IOU = 1 << np.arange(0, _LANES, len(IOUS))  # the lane of each range at the first IoU
_ALL_IOUS = _FIRST_IOU * ((1 << len(IOUS)) - 1)  # the lanes of each range


class Turns(NamedTuple):
    """Masks as the pixels at which their value turns from 0 to 1 or back: mask i has `turns[begins[i] : stops[i]]`.

    `areas` (N,) are in pixels."""

    turns: NDArray[np.int64]
    begins: NDArray[np.int64]
    stops: NDArray[np.int64]
    areas: NDArray[np.int64]

    def at(self, places: NDArray[np.int64]) -> Turns:
        """The masks at these places, in their order."""
        return Turns(self.turns, self.begins[places], self.stops[places], self.areas[places])


class Shapes(NamedTuple):
    """Boxes: `starts` are left and top, `stops` right and bottom (2, N). Where masks are judged, also the `masks` in these
    boxes, and where borders are judged the `bands` of the masks. `areas` (N,) in pixels are those of the masks, or else of the
    boxes."""

    starts: NDArray[np.float64]
    stops: NDArray[np.float64]
    areas: NDArray[np.float64]
    masks: Turns | None = None
    bands: Turns | None = None

    def at(self, places: NDArray[np.int64]) -> Shapes:
        """The shapes at these places, in their order."""
        masks, bands = (turns and turns.at(places) for turns in (self.masks, self.bands))
        return Shapes(self.starts.take(places, 1), self.stops.take(places, 1), self.areas[places], masks, bands)


@dataclass(frozen=True)
class Entries:
    """Objects or results: the places of their pictures and categories, their areas and shapes. `scores` (N,) are those of
    results; for objects they are 1 for a crowd and 0 otherwise."""

    pictures: NDArray[np.int64]
    categories: NDArray[np.int64]
    areas: NDArray[np.float64]
    shapes: Shapes
    scores: NDArray[np.float64]

    def at(self, places: NDArray[np.int64]) -> Entries:
        """The entries at these places, in their order."""
        return Entries(
            self.pictures[places], self.categories[places], self.areas[places], self.shapes.at(places), self.scores[places]
        )


@dataclass(frozen=True)
class Matches:
    """`outcomes` (ranges of area, IoUs, results): IGNORED, HIT or FALSE for each result, ordered by category, picture and score.
    `places` are the ranks of results in their cells.

    `objects` (ranges of area, cells) are the numbers of objects that count, in each cell that has objects."""

    outcomes: NDArray[np.uint8]
    categories: NDArray[np.int64]
    pictures: NDArray[np.int64]
    places: NDArray[np.int64]
    scores: NDArray[np.float64]
    objects: NDArray[np.int64]
    cell_categories: NDArray[np.int64]
    cell_pictures: NDArray[np.int64]


def by_boxes(boxes: NDArray[np.float64]) -> Shapes:
    """The shapes of boxes, left, top, width, height (N, 4)."""
    left, top, width, height = boxes.T
    return Shapes(np.array([left, top]), np.array([left + width, top + height]), width * height)


def by_masks(masks: Runs, heights: NDArray[np.int64], bands: Runs | None = None) -> Shapes:
    """The shapes of masks in pictures of these heights (N,)."""
    from perpixel.masks.runs import measure

    def measured(runs: Runs) -> tuple[Turns, NDArray[np.float64]]:
        turns, areas, boxes = measure(runs, heights)
        return Turns(turns, runs.ends[:-1], runs.ends[1:], areas), boxes

    of_masks, boxes = measured(masks)
    shapes = by_boxes(boxes)
    return Shapes(shapes.starts, shapes.stops, of_masks.areas.astype(np.float64), of_masks, bands and measured(bands)[0])


def match(objects: Entries, results: Entries, pictures: int, most: int = MOST) -> Matches:
    """The outcomes of the first `most` results of each category in each of `pictures` pictures. Equal scores keep their order."""
    cells, result_cells = (entries.categories * pictures + entries.pictures for entries in (objects, results))
    by_cell, ranked = np.argsort(cells, kind="stable"), np.lexsort((-results.scores, result_cells))
    cells, result_cells = cells[by_cell], result_cells[ranked]
    places = np.arange(len(ranked)) - np.searchsorted(result_cells, result_cells)
    kept = np.flatnonzero(places < most)
    result_cells, places = result_cells[kept], places[kept]
    objects, results = objects.at(by_cell), results.at(ranked[kept])

    counting = _in_ranges(objects.areas) & (objects.scores[:, None] == 0)
    of_results, of_objects, ious = map(np.concatenate, zip(*_near(objects, results, cells, result_cells), strict=True))
    hits, ignored = _taken(of_results, of_objects, ious, result_cells, counting @ _ALL_IOUS, objects.scores > 0)
    false = _in_ranges(results.areas) @ _ALL_IOUS & ~hits & ~ignored
    outcomes = np.ascontiguousarray((HIT * _bits(hits) + FALSE * _bits(false)).T)  # IGNORED is 0: neither bit is set
    first = np.flatnonzero(np.diff(cells, prepend=-1))  # the first object of each cell
    return Matches(
        outcomes.reshape(len(AREAS), len(IOUS), len(places)), results.categories, results.pictures, places, results.scores,
        np.add.reduceat(counting, first, 0, np.int64).T, objects.categories[first], objects.pictures[first],
    )  # fmt: skip


def _in_ranges(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether areas (N,) are in each range of area (N, ranges)."""
    return (areas[:, None] >= AREAS[:, 0]) & (areas[:, None] <= AREAS[:, 1])


def _bits(lanes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """1 or 0 for each lane (N, lanes) of whole numbers (N,)."""
    return np.unpackbits(lanes.astype("<i8")[:, None].view(np.uint8), 1, _LANES, "little")


def _near(
    objects: Entries, results: Entries, cells: NDArray[np.int64], result_cells: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Pairs of a result and an object of one cell that may match, part by part (P,): the places of results, in ascending order,
    the places of objects, and IoUs. Objects and results are in the order of their cells."""
    first = np.searchsorted(cells, result_cells)
    number = np.searchsorted(cells, result_cells, "right") - first  # number of objects in the cell of each result
    crowds = objects.scores > 0
    blocks = np.flatnonzero(np.diff(np.cumsum(number) // AT_ONCE, prepend=0, append=-1))
    for begin, end in pairwise([0, *blocks.tolist()]):
        times = number[begin:end]
        of_results = np.repeat(np.arange(begin, end), times)
        of_objects = np.arange(len(of_results)) + np.repeat(first[begin:end] - np.cumsum(times) + times, times)
        ious = _ious(results.shapes, of_results, objects.shapes, of_objects, crowds)
        near = np.flatnonzero(~(ious < IOUS[0]))  # as cocoapi compares: nan matches
        yield of_results[near], of_objects[near], ious[near]


def _ious(
    results: Shapes, of_results: NDArray[np.int64], objects: Shapes, of_objects: NDArray[np.int64], crowds: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The IoUs of pairs of a result and an object (P,), as rleIou and bbIou of cocoapi's maskApi.c."""
    wide, high = (
        np.minimum(results.stops[side][of_results], objects.stops[side][of_objects])
        - np.maximum(results.starts[side][of_results], objects.starts[side][of_objects])
        for side in range(2)
    )
    ious, meeting = np.zeros(len(wide)), np.flatnonzero((wide > 0) & (high > 0))
    of_results, of_objects = of_results[meeting], of_objects[meeting]
    crowds, areas, other_areas = crowds[of_objects], results.areas[of_results], objects.areas[of_objects]
    if results.masks is None or objects.masks is None:
        ious[meeting] = _shares(wide[meeting] * high[meeting], areas, other_areas, crowds)
        return ious
    ious[meeting] = _shares(_common(results.masks, of_results, objects.masks, of_objects), areas, other_areas, crowds)
    if results.bands is not None and objects.bands is not None:
        meeting, of_results, of_objects = meeting[~crowds], of_results[~crowds], of_objects[~crowds]
        common = _common(results.bands, of_results, objects.bands, of_objects)
        bands = _shares(common, results.bands.areas[of_results], objects.bands.areas[of_objects], np.False_)
        ious[meeting] = np.minimum(ious[meeting], bands)
    return ious


def _shares(common: NDArray[Any], areas: NDArray[Any], other_areas: NDArray[Any], crowds: Any) -> NDArray[np.float64]:
    """Common pixels / pixels of the union; where the object is a crowd, common pixels / pixels of the result."""
    with np.errstate(divide="ignore", invalid="ignore"):  # boxes may be so small that their areas are 0
        shares: NDArray[np.float64] = common / np.where(crowds, areas, areas + other_areas - common)
    return shares


def _common(masks: Turns, places: NDArray[np.int64], others: Turns, other_places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of pixels that the two masks of each pair have in common (P,)."""
    pairs, other_pairs = masks.at(places), others.at(other_places)
    common: NDArray[np.int64] = _common_pixels(
        pairs.turns, pairs.begins, pairs.stops, other_pairs.turns, other_pairs.begins, other_pairs.stops
    )
    return common


@compiled()
def _common_pixels(turns: Any, begins: Any, stops: Any, other_turns: Any, other_begins: Any, other_stops: Any) -> Any:
    common = np.zeros(len(begins), np.int64)
    for pair in range(len(begins)):
        i, last, j, other_last = begins[pair], stops[pair] - 1, other_begins[pair], other_stops[pair] - 1
        while i < last and j < other_last:
            stop, other_stop = turns[i + 1], other_turns[j + 1]
            common[pair] += max(min(stop, other_stop) - max(turns[i], other_turns[j]), 0)
            if stop < other_stop:
                i += 2
            else:
                j += 2
    return common


def _taken(
    of_results: NDArray[np.int64], of_objects: NDArray[np.int64], ious: NDArray[np.float64],
    result_cells: NDArray[np.int64], counting: NDArray[np.int64], crowds: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """For each result, the lanes in which it takes an object that counts, and the lanes in which it takes another object.

    Pairs (P,) are those of `_near`; `counting` are the lanes in which each object counts."""
    starts = np.flatnonzero(np.diff(of_results, prepend=-1))  # the first pair of each result that has pairs, a taker
    number = np.diff(starts, append=len(ious))
    takers, stops = of_results[starts], starts + number

    # Each taker's pairs by IoU, the greatest first. Of equal IoUs the last object comes first, because cocoapi's loop ends with
    # it.
    several = np.flatnonzero(np.repeat(number > 1, number))[::-1]
    order = np.arange(len(ious))
    order[several[::-1]] = several[np.lexsort((-ious[several], of_results[several]))]
    of_objects = of_objects[order]
    enough = ((1 << np.searchsorted(IOUS, ious[order], "right")) - 1) * _FIRST_IOU.sum()  # lanes whose IoU each pair reaches

    cells = result_cells[takers]
    turns = np.arange(len(takers)) - np.searchsorted(cells, cells)
    by_turn = np.argsort(turns, kind="stable")
    rounds = np.searchsorted(turns[by_turn], np.arange(turns.max(initial=-1) + 2))

    hits, ignored = np.zeros((2, len(result_cells)), np.int64)
    # First the objects that count, then the others: the array of lanes taken, the lanes of each pair, and of all pairs of a
    # taker.
    passes = []
    for noted, of_object in ((hits, counting), (ignored, ~counting)):
        lanes = enough & of_object[of_objects]
        passes.append((noted, lanes, np.bitwise_or.reduceat(lanes, starts)))
    taken = np.zeros(len(crowds), np.int64)
    for begin, end in pairwise(rounds.tolist()):
        turn = by_turn[begin:end]
        for noted, lanes, of_all in passes:
            choosing, pairs, last = takers[turn], starts[turn], stops[turn]
            wanted = of_all[turn] & ~hits[choosing]
            while len(choosing):  # each taker looks at its next object
                objects = of_objects[pairs]
                gained = lanes[pairs] & wanted & ~taken[objects]
                noted[choosing] |= gained
                taken[objects] |= np.where(crowds[objects], 0, gained)
                wanted, pairs = wanted & ~gained, pairs + 1
                more = np.flatnonzero((wanted != 0) & (pairs < last))
                choosing, pairs, last, wanted = choosing[more], pairs[more], last[more], wanted[more]
    return hits, ignored
