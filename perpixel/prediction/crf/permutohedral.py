"""The permutohedral lattice (Adams, Baek and Davis, Eurographics 2010): Gaussian filtering among points of 5 dimensions.

    values of pixels --splat--> lattice points --blur along 6 axes--> lattice points --slice--> values of pixels

The lattice fills 5-space with permutohedra. Its points have 6 coordinates that sum to 0 (section 3). Each pixel lies in a
simplex of 6 lattice points, its corners, and its value is shared among them by its barycentric coordinates. Only the corners of
pixels are kept, and, while these are few, also the points between them (`_bridge`). The blur loses the values that it would
carry to other points.

A point of the lattice has the coordinates 6 q_i + k, with one remainder k in 0..5 for all i. So q_0..q_4 and k fit into one
whole number, the code of the point, and the codes of neighbours along an axis differ by a constant. The blur has the weights
1/2 1 1/2 and runs along one axis after the other. It runs in place over chains: a chain is a row of neighbours along the axis,
as long as it can be. A point without neighbours on an axis needs no work there; a fine lattice has many of them. Points are
numbered in the order in which pixels reach them, so pixels should be visited in small tiles.

Sums have the same order for any number of threads, so results are the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perpixel.machines.compiled import compiled
from perpixel.prediction.crf.vectors import add, add_rows, add_scaled, fetch, load, spread, store

D = 5  # dimensions of the features: blue, green, red, y, x
CORNERS = D + 1
FEW = 2**14  # lattice points; where there are no more, the points between them are added
AHEAD = 24  # points ahead, whose memory is fetched into the cache
FINEST = 1e6  # the most standard deviations that a feature may range over

Parallel = Callable[..., None]  # (function(start, stop, *arguments), count, *arguments): calls it on parts of 0..count


class Lattice(NamedTuple):
    """Which lattice points are the corners of which pixels. N pixels, M lattice points; `corners[6 i + k]` belongs to the i-th
    pixel of `order`."""

    corners: NDArray[np.uint32]  # (6 N) lattice points
    shares: NDArray[np.float32]  # (6 N) barycentric coordinates of the pixel: the share of each corner
    first: NDArray[np.int32]  # (M + 1): the pixels of lattice point m are pixels[first[m] : first[m + 1]]
    pixels: NDArray[np.uint32]  # (6 N)
    splats: NDArray[np.float32]  # (6 N) the shares again, in the order of `pixels`
    chains: list[tuple[NDArray[np.int32], NDArray[np.uint32]]]  # for each axis (starts, points), indexed as `first` and `pixels`

    @property
    def points(self) -> int:
        return len(self.first) - 1


def build(features: NDArray[np.float64], order: NDArray[np.uint32], parallel: Parallel) -> Lattice:
    """The lattice of `features` (N, 5), in standard deviations. Raises OverflowError if their range is too large for codes of
    64 bits.

    `order` (N) is the order in which pixels are visited, and so that of the lattice points."""
    count = len(features)
    if np.ptp(features, axis=0).max() > FINEST:
        raise OverflowError
    places, ranks = np.empty((count, D), np.int64), np.empty((count, CORNERS), np.uint8)
    shares = np.empty(count * CORNERS, np.float32)
    parallel(_embed, count, features, order, places, ranks, shares)
    places -= places.min(0) - 4  # leaves a border, so that no neighbour has the code of a distant point
    steps, size = np.zeros(CORNERS, np.int64), CORNERS
    for i, side in enumerate(places.max(0) + 5):
        steps[i], size = size, size * int(side)
        if size >= 2**62:
            raise OverflowError
    table_bits = max(count * CORNERS, 16 * FEW).bit_length()
    table, numbers = np.zeros(2**table_bits, np.int64), np.empty(2**table_bits, np.uint32)
    corners, codes = np.empty(count * CORNERS, np.uint32), np.empty(count * CORNERS + 6 * FEW, np.int64)
    points = _number(places, ranks, steps, table, numbers, corners, codes)
    if points <= FEW:
        points = _bridge(points, steps, table, numbers, codes)
    codes = codes[:points]
    following = np.empty((CORNERS, points), np.int32)
    parallel(_neighbours, points, codes, steps, table, numbers, following)
    first, pixels, splats = np.zeros(points + 1, np.int32), np.empty(count * CORNERS, np.uint32), np.empty_like(shares)
    parallel(_sort_by_point, 1, corners, shares, order, first, pixels, splats)
    chains: list[Any] = [None] * CORNERS
    parallel(_all_chains, CORNERS, following, chains)
    return Lattice(corners, shares, first, pixels, splats, chains)


def splat_and_blur(lattice: Lattice, source: NDArray[np.float32], target: NDArray[np.float32], parallel: Parallel) -> None:
    """Computes the values of lattice points `target` (M, width) from values of pixels `source` (N, width), in `target`; both
    arrays are flat, and width is a multiple of 8.

    Axes are blurred from the last to the first: with features in the order of `mean_field` the result is nearer to the exact
    kernel."""
    width = len(target) // lattice.points
    parallel(_splat, lattice.points, lattice.first, lattice.pixels, lattice.splats, source, target, width)
    for starts, points in reversed(lattice.chains):
        parallel(_blur, len(starts) - 1, starts, points, target, width)


@compiled()
def _embed(start: Any, stop: Any, features: Any, order: Any, places: Any, ranks: Any, shares: Any) -> None:
    """The simplex of each pixel: q of its corner with remainder 0, the ranks that give the other corners, and its coordinates.

    Section 3.2 of the paper and its figure 4."""
    height, nearest = np.empty(CORNERS), np.empty(CORNERS)
    rank, weight = np.empty(CORNERS, np.int64), np.empty(CORNERS + 1)
    for i in range(start, stop):
        feature = features[order[i]]
        total = 0.0  # elevate into the plane, and scale so that splat, blur and slice have a standard deviation of 1
        for j in range(D, 0, -1):
            scaled = feature[j - 1] * (np.sqrt(2 / 3) * CORNERS / np.sqrt(j * (j + 1.0)))
            height[j] = total - j * scaled
            total += scaled
        height[0] = total
        excess = 0
        for j in range(CORNERS):
            nearest[j] = np.rint(height[j] / CORNERS)
            excess += int(nearest[j])
            rank[j] = 0
        for j in range(D):
            for k in range(j + 1, CORNERS):
                if height[j] - CORNERS * nearest[j] < height[k] - CORNERS * nearest[k]:
                    rank[j] += 1
                else:
                    rank[k] += 1
        weight[:] = 0
        for j in range(CORNERS):
            rank[j] += excess
            if rank[j] < 0:
                rank[j] += CORNERS
                nearest[j] += 1
            elif rank[j] > D:
                rank[j] -= CORNERS
                nearest[j] -= 1
            rest = height[j] / CORNERS - nearest[j]
            weight[D - rank[j]] += rest
            weight[D - rank[j] + 1] -= rest
            ranks[i, j] = rank[j]
            if j < D:
                places[i, j] = int(nearest[j])
        weight[0] += 1 + weight[CORNERS]
        for k in range(CORNERS):
            shares[i * CORNERS + k] = weight[k]


@compiled()
def _hash(code: Any) -> Any:
    mixed = code * 0x9E3779B97F4A7C1
    return mixed ^ mixed >> 32


@compiled()
def _slot(code: Any, table: Any) -> Any:
    """The slot of `code` in the hash table, or the empty slot where it would go; 0 marks an empty slot."""
    mask = len(table) - 1
    slot = _hash(code) & mask
    while table[slot] != 0 and table[slot] != code:
        slot = (slot + 1) & mask
    return slot


@compiled()
def _number(places: Any, ranks: Any, steps: Any, table: Any, numbers: Any, corners: Any, codes: Any) -> Any:
    """Numbers the lattice points in the order of the pixels; returns the number of points."""
    points = 0
    for i in range(len(places)):
        base = 0
        for j in range(D):
            base += places[i, j] * steps[j]
        for k in range(CORNERS):
            code = base + k
            for j in range(D):
                if ranks[i, j] > D - k:
                    code -= steps[j]
            slot = _slot(code, table)
            if table[slot] == 0:
                table[slot] = code
                numbers[slot] = points
                codes[points] = code
                points += 1
            corners[i * CORNERS + k] = numbers[slot]
    return points


@compiled()
def _step(code: Any, axis: Any, sign: Any, steps: Any) -> Any:
    """The code of the neighbour along an axis: after it (`sign` 1: +1 in all coordinates, but -5 in that of the axis), or
    before it."""
    remainder = code % CORNERS
    ahead = code + sign * (1 - steps[axis])
    if remainder == (D if sign == 1 else 0):  # the remainder wraps around, and q of all coordinates changes
        ahead += sign * (steps.sum() - CORNERS)
    return ahead


@compiled()
def _bridge(points: Any, steps: Any, table: Any, numbers: Any, codes: Any) -> Any:
    """Adds the points that have kept neighbours along two axes or more, so that the blur can carry values between these.
    Returns the new number of points, two or three times the old. The error is then about half, measured on pictures of
    48x40."""
    before = points
    for m in range(before):
        for direction in range(2 * CORNERS):
            code = _step(codes[m], direction // 2, 1 - direction % 2 * 2, steps)
            slot = _slot(code, table)
            if table[slot] != 0:
                continue
            axes = 0
            for axis in range(CORNERS):
                for sign in (1, -1):
                    other = _step(code, axis, sign, steps)
                    at = _slot(other, table)
                    if table[at] == other and numbers[at] < before:
                        axes += 1
                        break
            if axes >= 2:
                table[slot] = code
                numbers[slot] = points
                codes[points] = code
                points += 1
    return points


@compiled()
def _neighbours(start: Any, stop: Any, codes: Any, steps: Any, table: Any, numbers: Any, following: Any) -> None:
    """`following`: the number of the next lattice point along each axis, or -1."""
    mask = len(table) - 1
    for m in range(start, stop):
        ahead = _step(codes[min(m + AHEAD, stop - 1)], D, 1, steps)  # along the last axis, whose step is 0
        for axis in range(CORNERS):
            fetch(table, _hash(ahead - steps[axis]) & mask)
        ahead = _step(codes[m], D, 1, steps)
        for axis in range(CORNERS):
            code = ahead - steps[axis]
            slot = _slot(code, table)
            following[axis, m] = numbers[slot] if table[slot] == code else -1


@compiled()
def _sort_by_point(start: Any, stop: Any, corners: Any, shares: Any, order: Any, first: Any, pixels: Any, splats: Any) -> None:
    for corner in corners:
        first[corner + 1] += 1
    for m in range(1, len(first)):
        first[m] += first[m - 1]
    place = first[:-1].copy()
    for i in range(len(corners)):
        at = place[corners[i]]
        pixels[at], splats[at] = order[i // CORNERS], shares[i]
        place[corners[i]] = at + 1


def _all_chains(start: int, stop: int, following: NDArray[np.int32], chains: list[Any]) -> None:
    for axis in range(start, stop):
        chains[axis] = _chains(following[axis])


@compiled()
def _chains(following: Any) -> Any:
    """(starts, points) of the chains of two and more points."""
    begins = np.ones(len(following), np.bool_)
    inside = 0
    for m in range(len(following)):
        if following[m] >= 0:
            begins[following[m]] = False
            inside += 1
    chains = 0
    for m in range(len(following)):
        chains += begins[m] and following[m] >= 0
    starts, points = np.empty(chains + 1, np.int32), np.empty(inside + chains, np.uint32)
    chain, at = 0, 0
    for m in range(len(following)):
        if begins[m] and following[m] >= 0:
            starts[chain] = at
            chain += 1
            point = m
            while point >= 0:
                points[at] = point
                at += 1
                point = following[point]
    starts[chain] = at
    return starts, points


@compiled()
def _splat(start: Any, stop: Any, first: Any, pixels: Any, splats: Any, source: Any, target: Any, width: Any) -> None:
    for m in range(start, stop):
        for column in range(0, width, 8):
            store(target, m * width + column, spread(0))
        add_rows(target, m * width, source, pixels, splats, first[m], first[m + 1], width)


@compiled()
def _blur(start: Any, stop: Any, starts: Any, points: Any, values: Any, width: Any) -> None:
    half = np.float32(0.5)
    for chain in range(start, stop):
        last = starts[chain + 1] - 1
        for i in range(starts[chain] + AHEAD, min(last + AHEAD + 1, len(points))):
            for column in range(0, width, 16):
                fetch(values, points[i] * width + column)
        for column in range(0, width, 8):
            before, here = spread(0), load(values, points[starts[chain]] * width + column)
            for i in range(starts[chain], last):
                after = load(values, points[i + 1] * width + column)
                store(values, points[i] * width + column, add_scaled(here, half, add(before, after)))
                before, here = here, after
            store(values, points[last] * width + column, add_scaled(here, half, before))
