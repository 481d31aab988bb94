"""The regions of a label map of any height, each with its outline, from bands of rows: the map is never in memory as a whole.

    for region in regions(bands, void=255):     # bands: label maps (h, W), from top to bottom
        region.label, region.pixels, region.outer, region.holes

A region is a piece of one label whose pixels share edges. Each band is labelled and its outlines are traced by themselves; what
crosses the line between two bands is joined there. Memory holds a band, and the outlines of the regions that go on below it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.machines.compiled import compiled

Ring = NDArray[np.int32]  # corners (n, 2) as x, y in pixels, without a repetition of the first
RIGHT, DOWN, LEFT, UP = range(4)  # directions of edges; the inside lies to the right of each edge
_CLOSED, _TOP, _BOTTOM = range(3)  # where a chain of edges begins and ends: nowhere, or at a line between two bands
_BAND_PIXELS = 2**21


@dataclass(frozen=True)
class Region:
    """A piece of the pixels of one label that share edges.

    `outer` and the `holes` run along the edges of pixels and have corners where they turn. `outer` is clockwise where y points
    down, a hole is not. No ring meets itself; a hole may meet another ring in a corner. `pixels` is the area."""

    label: int
    pixels: int
    outer: Ring
    holes: tuple[Ring, ...]


def rows_of_band(width: int) -> int:
    """The number of rows that a band of a map of this width may have, so that a band needs about 100 MB at most."""
    return max(1, _BAND_PIXELS // max(1, width))


def regions(bands: Iterable[NDArray[Any]], void: int) -> Iterator[Region]:
    """The regions of the label map (H, W) that `bands` (h, W) are from top to bottom, but for those of the label `void`.

    A region is given as soon as a band has none of it, so their order depends on the bands; the regions do not."""
    joiner: _Joiner | None = None
    waiting: NDArray[Any] | None = None
    for band in bands:
        if waiting is not None:
            joiner = joiner or _Joiner(waiting.shape[1], waiting.dtype, void)
            yield from joiner.add(waiting, band[0])
        waiting = band
    if waiting is not None:
        joiner = joiner or _Joiner(waiting.shape[1], waiting.dtype, void)
        yield from joiner.add(waiting, np.full(waiting.shape[1], void, waiting.dtype))


@dataclass(frozen=True)
class _Closed:
    """A ring that may meet itself in corners, if `meets`. `area` is twice its area, positive where it is clockwise."""

    ring: Ring
    area: int
    meets: bool


@dataclass
class _Open:
    """A region that may go on in the next band. `key` is its own or that of the region that it became a part of."""

    key: int
    label: int
    pixels: int
    rings: list[_Closed] = field(default_factory=list)


@dataclass
class _Chain:
    """Edges from the corner `begin` to the corner `end` (both x) of a line between bands. `key` is its region's."""

    begin: int
    end: int
    key: int
    meets: bool
    parts: deque[Ring]


class _Joiner:
    """The regions and chains that reach the last row so far."""

    def __init__(self, width: int, dtype: Any, void: int) -> None:
        self._void, self._top, self._next_key = void, 0, 0
        self._above = np.full(width, void, dtype)  # the labels of that row
        self._keys = np.full(width, -1, np.int64)  # the keys of its regions
        self._open: dict[int, _Open] = {}
        self._chains: list[_Chain] = []

    def add(self, band: NDArray[Any], below: NDArray[Any]) -> Iterator[Region]:
        """The regions that end in this band, whose next row is `below`."""
        height, width = band.shape
        void = self._void
        padded = np.full((height + 2, width + 2), void, band.dtype)
        padded[0, 1:-1], padded[1:-1, 1:-1], padded[-1, 1:-1] = self._above, band, below
        runs = int((band[:, 1:] != band[:, :-1]).sum()) + height
        ids = np.empty((height, width), np.int32)
        count = _pieces(band, ids, np.empty(runs + 1, np.int32))
        areas = np.bincount(ids.ravel(), minlength=count)
        labels = np.empty(count, band.dtype)
        labels[ids.ravel()] = band.ravel()
        turns = _turns(padded, void)
        corners = np.empty((turns, 2), np.int32)
        table = np.empty((turns // 4 + 2 * (width + 1), 9), np.int64)
        chains = _trace(padded, void, ids, self._top, corners, table)
        yield from self._joined(ids, areas, labels, corners, table[:chains], band[-1] == below)
        self._above = band[-1].copy()
        self._top += height

    def _joined(
        self, ids: NDArray[np.int32], areas: NDArray[np.intp], labels: NDArray[Any], corners: Ring, table: NDArray[np.int64],
        goes_on: NDArray[np.bool_],
    ) -> Iterator[Region]:  # fmt: skip
        """The regions that end in a band of pieces, whose chains stand in `table`. `goes_on`: where the last row meets its label
        below."""
        key_of = self._opened(np.union1d(ids[0], ids[-1]), areas, labels)
        self._unite(ids[0], labels, key_of)
        inside: dict[int, list[_Closed]] = {}  # rings of pieces that no other band has a part of
        chains: list[tuple[int, int, _Chain]] = []
        keys = key_of[table[:, 2]].tolist()
        for (first, last, piece, begins, begin, ends, end, meets, area), key in zip(table.tolist(), keys, strict=True):
            part = corners[first:last]
            if begins != _CLOSED:
                chains.append((begins, ends, _Chain(begin, end, key, meets > 0, deque([part.copy()]))))
            elif key < 0:
                inside.setdefault(piece, []).append(_Closed(part, area, meets > 0))
            else:
                self._region(key).rings.append(_Closed(part.copy(), area, meets > 0))
        for piece, rings in inside.items():
            yield _region(int(labels[piece]), int(areas[piece]), rings)
        self._close(chains)
        yield from self._ended(np.where(goes_on, key_of[ids[-1]], -1))

    def _opened(self, pieces: NDArray[np.int32], areas: NDArray[np.intp], labels: NDArray[Any]) -> NDArray[np.int64]:
        """The key of each piece of a band. Those that reach its first or last row, `pieces`, become regions; the others have
        -1."""
        key_of = np.full(len(areas), -1, np.int64)
        for piece in pieces.tolist():
            if labels[piece] != self._void:
                key_of[piece] = self._next_key
                self._open[self._next_key] = _Open(self._next_key, int(labels[piece]), int(areas[piece]))
                self._next_key += 1
        return key_of

    def _ended(self, bottom: NDArray[np.int64]) -> Iterator[Region]:
        """The regions that are not at the `bottom`, the keys of the last row's pixels, -1 where none goes on. The others stay."""
        known = np.unique(bottom[bottom >= 0])
        roots = np.array([self._region(key).key for key in known.tolist()], np.int64)
        staying = set(roots.tolist())
        for key, region in self._open.items():
            if region.key == key and key not in staying:
                yield _region(region.label, region.pixels, region.rings)
        for chain in self._chains:
            chain.key = self._region(chain.key).key
        self._keys = np.full(len(bottom), -1, np.int64)
        self._keys[bottom >= 0] = roots[np.searchsorted(known, bottom[bottom >= 0])]
        self._open = {key: self._open[key] for key in sorted(staying)}

    def _unite(self, row: NDArray[np.int32], labels: NDArray[Any], key_of: NDArray[np.int64]) -> None:
        """Joins the regions above with the pieces of the band's first row that they touch."""
        touching = (labels[row] == self._above) & (self._above != self._void)
        for above, piece in np.unique(np.stack([self._keys[touching], row[touching]], 1), axis=0).tolist():
            one, other = self._region(above), self._region(int(key_of[piece]))
            if one is other:
                continue
            if len(one.rings) < len(other.rings):
                one, other = other, one
            one.pixels += other.pixels
            one.rings += other.rings
            other.rings = []
            other.key = one.key

    def _region(self, key: int) -> _Open:
        region = self._open[key]
        while region.key != key:
            key = region.key
            region = self._open[key]
        return region

    def _close(self, new: list[tuple[int, int, _Chain]]) -> None:
        """Joins the chains from above with those of the band. What closes is a ring; the rest reach the next line."""
        from_above = {chain.end: chain for chain in self._chains}  # they go down into the band at their ends,
        back = {chain.begin: chain for chain in self._chains}  # and came up from it where they begin
        from_top = {chain.begin: (ends, chain) for begins, ends, chain in new if begins == _TOP}
        waiting = []
        for begins, ends, chain in new:
            if begins != _BOTTOM:
                continue
            while ends == _TOP:
                above = back.pop(chain.end)
                del from_above[above.end]
                ends, following = from_top.pop(above.end)
                chain = _appended(_appended(chain, above), following)
            waiting.append(chain)
        while from_top:
            _, (ends, chain) = from_top.popitem()
            first = chain.begin
            while True:
                assert ends == _TOP, "a chain that leads down was followed from its begin"
                above = back.pop(chain.end)
                chain = _appended(chain, above)
                if above.end == first:
                    break
                ends, following = from_top.pop(above.end)
                chain = _appended(chain, following)
            ring = np.concatenate(list(chain.parts))
            self._region(chain.key).rings.append(_Closed(ring, _area(ring), chain.meets))
        self._chains = waiting


def _appended(chain: _Chain, other: _Chain) -> _Chain:
    """Both chains as one, in the memory of the longer."""
    if len(chain.parts) >= len(other.parts):
        chain.parts.extend(other.parts)
        parts = chain.parts
    else:
        other.parts.extendleft(reversed(chain.parts))
        parts = other.parts
    return _Chain(chain.begin, other.end, chain.key, chain.meets or other.meets, parts)


def _region(label: int, pixels: int, rings: list[_Closed]) -> Region:
    simple = [loop for ring in rings for loop in _simple(ring)]
    (outer,) = (loop.ring for loop in simple if loop.area > 0)
    return Region(label, pixels, outer, tuple(loop.ring for loop in simple if loop.area < 0))


def _area(ring: Ring) -> int:
    """Twice the area, positive where the ring is clockwise and y points down."""
    x, y = ring[:, 0].astype(np.int64), ring[:, 1].astype(np.int64)
    return int((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() + x[-1] * y[0] - x[0] * y[-1])


def _simple(closed: _Closed) -> list[_Closed]:
    """A ring that may meet itself in corners, as rings that do not."""
    places = [(x, y) for x, y in closed.ring.tolist()] if closed.meets and len(closed.ring) > 7 else []
    if len({*places}) == len(places):
        return [closed]
    loops, walk, at = list[list[tuple[int, int]]](), list[tuple[int, int]](), dict[tuple[int, int], int]()
    for x, y in places:
        begin = at.get((x, y))
        if begin is not None:
            loops.append(walk[begin:])
            for passed in walk[begin:]:
                del at[passed]
            del walk[begin:]
        at[x, y] = len(walk)
        walk.append((x, y))
    arrays = (np.array(loop, np.int32) for loop in (*loops, walk))
    return [_Closed(array, _area(array), False) for array in arrays]


@compiled()
def _pieces(band: Any, ids: Any, parents: Any) -> int:
    """Fills `ids` with the number of each pixel's piece, from 0 in the order of first pixels; gives their number.

    `parents` has room for a number for each run of a row."""
    height, width = band.shape
    count = 0
    for y in range(height):
        for x in range(width):
            value = band[y, x]
            left = ids[y, x - 1] if x and band[y, x - 1] == value else -1
            above = ids[y - 1, x] if y and band[y - 1, x] == value else -1
            if above >= 0:
                while parents[above] != above:
                    parents[above] = parents[parents[above]]
                    above = parents[above]
            if left < 0 and above < 0:
                parents[count] = count
                left = count
                count += 1
            elif left < 0:
                left = above
            elif above >= 0:
                root = left
                while parents[root] != root:
                    parents[root] = parents[parents[root]]
                    root = parents[root]
                left = min(root, above)
                parents[max(root, above)] = left
            ids[y, x] = left
    pieces = 0
    for number in range(count):  # a parent is not greater than its children
        if parents[number] == number:
            parents[number] = -1 - pieces
            pieces += 1
        else:
            root = parents[number]
            parents[number] = parents[root]
    for y in range(height):
        for x in range(width):
            ids[y, x] = -1 - parents[ids[y, x]]
    return pieces


@compiled()
def _turns(padded: Any, void: Any) -> int:
    """The number of corners of all outlines of a band, which `padded` surrounds with the rows and columns beside it."""
    steps = ((0, 1), (1, 0), (0, -1), (-1, 0))
    count = 0
    for y in range(1, padded.shape[0] - 1):
        for x in range(1, padded.shape[1] - 1):
            value = padded[y, x]
            if value == void:
                continue
            for side in range(4):
                beside, ahead = steps[(side + 3) % 4], steps[side]
                if padded[y + beside[0], x + beside[1]] == value:
                    continue
                straight = padded[y + ahead[0], x + ahead[1]] == value
                if not straight or padded[y + ahead[0] + beside[0], x + ahead[1] + beside[1]] == value:
                    count += 1
    return count


@compiled()
def _trace(padded: Any, void: Any, ids: Any, top: int, corners: Any, table: Any) -> int:
    """Walks along all edges of the band's pixels; gives the number of chains.

    Each is a row of `table`: its first and last place in `corners`, its piece, where it begins and the x of that, where it ends
    and the x of that, how often it may meet itself, and twice the area of a closed one. A walk turns right where it can, so
    pixels that share only a corner stay apart. `side` s of a pixel is the edge that is walked in the direction s."""
    height, width = ids.shape
    seen = np.zeros((height, width), np.uint8)
    chains = 0
    filled = 0
    for x in range(width + 1):  # chains that come down into the first row
        value = padded[1, x]
        if value == void or padded[0, x] != value:
            continue
        if padded[0, x + 1] != value and padded[1, x + 1] == value:
            filled = _walk(padded, ids, top, seen, corners, filled, table, chains, 0, x, RIGHT)
        elif padded[1, x + 1] != value:
            filled = _walk(padded, ids, top, seen, corners, filled, table, chains, 0, x - 1, DOWN)
        else:
            continue
        table[chains, 3], table[chains, 4] = _TOP, x
        chains += 1
    for x in range(width + 1):  # chains that come up into the last row
        value = padded[height + 1, x + 1]
        if value == void or padded[height, x + 1] != value:
            continue
        if padded[height + 1, x] != value and padded[height, x] == value:
            filled = _walk(padded, ids, top, seen, corners, filled, table, chains, height - 1, x - 1, LEFT)
        elif padded[height, x] != value:
            filled = _walk(padded, ids, top, seen, corners, filled, table, chains, height - 1, x, UP)
        else:
            continue
        table[chains, 3], table[chains, 4] = _BOTTOM, x
        chains += 1
    steps = ((0, 1), (1, 0), (0, -1), (-1, 0))
    for y in range(height):
        for x in range(width):
            value = padded[y + 1, x + 1]
            if value == void:
                continue
            for side in range(4):
                beside = steps[(side + 3) % 4]
                if seen[y, x] >> side & 1 or padded[y + 1 + beside[0], x + 1 + beside[1]] == value:
                    continue
                filled = _walk(padded, ids, top, seen, corners, filled, table, chains, y, x, side)
                table[chains, 3], table[chains, 4] = _CLOSED, 0
                chains += 1
    return chains


@compiled()
def _walk(
    padded: Any, ids: Any, top: int, seen: Any, corners: Any, filled: int, table: Any, chain: int, y: int, x: int, side: int
) -> int:
    """Walks from an edge until the walk closes or leaves the band; gives the number of corners that are filled then."""
    steps = ((0, 1), (1, 0), (0, -1), (-1, 0))
    ends = ((1, 0), (1, 1), (0, 1), (0, 0))  # the corner where an edge ends, as x and y from the pixel's upper left
    height = ids.shape[0]
    value = padded[y + 1, x + 1]
    table[chain, 0], table[chain, 2], table[chain, 5], table[chain, 6] = filled, ids[y, x], _CLOSED, 0
    first, meets, area = filled, 0, 0
    while not seen[y, x] >> side & 1:
        seen[y, x] |= 1 << side
        corner_x, corner_y = x + ends[side][0], y + ends[side][1]
        ahead, beside = steps[side], steps[(side + 3) % 4]
        following = side
        if padded[y + 1 + ahead[0], x + 1 + ahead[1]] != value:
            following = (side + 1) % 4
            meets += padded[y + 1 + ahead[0] + beside[0], x + 1 + ahead[1] + beside[1]] == value
        elif padded[y + 1 + ahead[0] + beside[0], x + 1 + ahead[1] + beside[1]] != value:
            y, x = y + ahead[0], x + ahead[1]
        else:
            following = (side + 3) % 4
            y, x = y + ahead[0] + beside[0], x + ahead[1] + beside[1]
        if following != side:
            corners[filled, 0], corners[filled, 1] = corner_x, top + corner_y
            if filled > first:
                area += corners[filled - 1, 0] * corner_y - corner_x * (corners[filled - 1, 1] - top)
            filled += 1
            side = following
        if y < 0 or y >= height:
            table[chain, 5], table[chain, 6] = (_TOP if y < 0 else _BOTTOM), corner_x
            break
    if filled > first:  # a chain that is cut has no area, and it is not read
        area += corners[filled - 1, 0] * (corners[first, 1] - top) - corners[first, 0] * (corners[filled - 1, 1] - top)
    table[chain, 1], table[chain, 7], table[chain, 8] = filled, meets, area
    return filled
