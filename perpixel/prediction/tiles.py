"""Tiles: a picture of any size by passes over parts of it, in the memory of one part, with the scores of one pass over the whole.

A network with valid convolutions (U-Net, section 2 and figure 2: overlap-tile) gives no scores for a border on each side of its
input. So inputs overlap by this border, and at the edges of the picture the border shows the picture mirrored.

The parts of any other network overlap by the reach of its scores, which follows from its layers (`reach`). Each part begins on
the grid of the network's strides and leaves the same rest on it as the whole picture. So each score is computed from the same
pixels, on the same pooling grid, as in one pass over the whole picture. The edges of a part are those of the picture, or lie out
of reach. Scores differ by the rounding of sums in another order alone. A network whose scores cannot be followed is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from itertools import product
from typing import Any, Protocol
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from perpixel.errors import UsageError
from perpixel.layers.score_map import ScoreMap
from perpixel.limits import seen_size
from perpixel.networks import BorderedNetwork, PixelNetwork, has_border, pixel_network
from perpixel.prediction.reach import NoReach, Reach, Side, equal_maps, reach
from perpixel.prediction.score_maps import Scores, Window, places_of, scores_of, to_tensor
from perpixel.prediction.symmetries import Symmetry, turned, turned_window
from perpixel.prediction.tile_passes import Parts, results_over, run_part
from perpixel.weights.model_file import Model

GRID = 16  # pixels: four pools of 2, so U-Net's tiles begin at multiples of 16
REST = 4  # an output of valid convolutions has 16 n + 4 pixels, because every pool needs an even side
MULTIPLES = (1, 2, 4, 8)  # of the grid of strides, for networks that pad pictures to a multiple of it
BITS = 22  # of the shares by which Pillow resizes
LARGE = 30241  # side of a very large picture: 1 more than a multiple of all strides
MOST_SIZES = 64  # of pictures whose cuts are kept
Show = Callable[[Window], NDArray[Any]]  # a window of a picture -> its pixels, uint8 RGB (h, w, 3), or bands of a model


def labels_by_tiles(
    model: Model, read: Show, size: tuple[int, int], side: int
) -> Iterator[tuple[Window, NDArray[Any]]]:
    """Disjoint windows that cover a picture of `size` (height, width), row by row, each with its labels.

    `read` gives the pixels of a window, uint8 RGB (h, w, 3), or the bands of the model as `Model.seen` has them. It is asked for
    windows inside the picture alone, one a pass: the window whose labels come next, and the pixels around it that its scores
    reach, at most `side` x `side` pixels as the network sees them (U-Net with valid convolutions: that many with the mirrored
    border). Memory holds one such pass.

    The labels are those of one pass over the whole picture at the model's scale, pixel by pixel, but for ties: pixels whose two
    largest scores differ by rounding alone. Raises UsageError before the first window for a network or a side by which this
    cannot be kept."""
    network = pixel_network(model.ready(), "tile")
    seen = seen_size(size, model.scale_for(size))
    cut = tiling_of(network, side).cut(seen)
    show = read if seen == size else partial(resized_part, read, size, seen)
    return _labelled(cut, show, size, model.classes.dtype)


def _labelled(cut: Cut, show: Show, size: tuple[int, int], dtype: Any) -> Iterator[tuple[Window, NDArray[Any]]]:
    scores = cut.scorer(show, size)
    for window in cut.windows(size):
        yield window, scores(window).labels(size, window).astype(dtype, copy=False)


def tiles(
    network: PixelNetwork, image: NDArray[Any], size: tuple[int, int], side: int, symmetries: Sequence[Symmetry]
) -> Iterator[tuple[Window, list[Scores]]]:
    """Windows that cover a picture of `size`, each with its scores in the picture turned by each of `symmetries`, for
    `symmetries.read_back`; `image` is the picture as the network sees it.

    In turned pictures a window may not begin on the grid of strides, so windows are smaller where there are several."""
    seen, tiling = (image.shape[0], image.shape[1]), tiling_of(network, side)
    cuts = {symmetry: tiling.cut(_swapped(seen, symmetry)) for symmetry in symmetries}
    scorers = {
        symmetry: cut.scorer(partial(_window_of, turned(image, symmetry)), _swapped(size, symmetry))
        for symmetry, cut in cuts.items()
    }
    if len(symmetries) == 1 and not any(symmetries[0]):
        windows = cuts[symmetries[0]].windows(size)
    else:
        steps = [_swapped(cut.step(_swapped(size, symmetry)), symmetry) for symmetry, cut in cuts.items()]
        windows = _grid_of(size, (min(step[0] for step in steps), min(step[1] for step in steps)))
    for window in windows:
        yield window, [scores(turned_window(window, size, symmetry)) for symmetry, scores in scorers.items()]


def _swapped(size: tuple[int, int], symmetry: Symmetry) -> tuple[int, int]:
    """The size of a turned picture; of its size that of the picture."""
    return size[::-1] if symmetry[0] else size


class Cut(Protocol):
    """How the pictures that a network sees at one size are cut into tiles."""

    def windows(self, size: tuple[int, int]) -> Iterator[Window]:
        """The largest windows that cover a picture of `size` by one pass each, row by row."""

    def step(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of windows that one pass covers, wherever they begin."""

    def scorer(self, show: Show, size: tuple[int, int]) -> Callable[[Window], Scores]:
        """The scores of a picture of `size`, which `show` shows as the network sees it, by windows."""


_TILINGS: WeakKeyDictionary[Any, dict[int, Tiling]] = WeakKeyDictionary()


def tiling_of(network: PixelNetwork, side: int) -> Tiling:
    """The tiles of a network, of at most `side` pixels a side. Raises UsageError for a network, or a side, without such tiles."""
    known = _TILINGS.setdefault(network, {})
    if side not in known or known[side].layers != repr(network):
        known[side] = Tiling(network, side)
    return known[side]


class Tiling:
    """The tiles of a network, of at most `side` pixels a side. Raises UsageError for a network, or a side, without such tiles.

    `words` say in a protocol how tiles overlap. `layers` describes the network for which this holds."""

    def __init__(self, network: PixelNetwork, side: int) -> None:
        self.side, self.layers = side, repr(network)
        self._network = ref(network)
        self._cuts: dict[tuple[int, int], Cut] = {}
        self.words = "overlapping by the border, mirrored beyond the picture"
        if has_border(network):
            kept(network, side)
            return
        with _told(network, side):
            self._large = reach(network, (LARGE, LARGE))
            stretched = any(special.kind == "stretched" for special in self._large.specials.values())
            self._padded(network, (LARGE, LARGE), 3 if stretched else 1)
        passes = self._large.levels
        self.words = "overlapping by the reach of scores, which equal those of the whole picture"
        if passes:
            number = "a pass" if passes == 1 else f"{passes} passes"
            self.words += f"; operations over the whole picture summed in {number} before"

    def cut(self, seen: tuple[int, int]) -> Cut:
        """How pictures that the network sees at the size `seen` are cut. Raises UsageError where that cannot be."""
        network = self._network()
        assert network is not None, "the network is in use"
        if seen not in self._cuts:
            with _told(network, self.side):
                self._cuts = {seen: self._cut(network, seen), **dict(list(self._cuts.items())[: MOST_SIZES - 1])}
        return self._cuts[seen]

    def _cut(self, network: PixelNetwork, seen: tuple[int, int]) -> Cut:
        if has_border(network):
            return BorderedCut(network, seen, self.side)
        if max(seen) <= self.side:
            return WholeCut(network, seen)
        return self._padded(network, seen)

    def _padded(self, network: PixelNetwork, seen: tuple[int, int], spare: int = 0) -> PaddedCut:
        cut = seen[0] > self.side, seen[1] > self.side
        whole = reach(network, seen, cut, self._large)
        grid = _grid(network, whole, cut, self._large)
        part = reach(network, _tile_of(network, whole, grid, self.side, cut, spare), cut, self._large)
        equal_maps(whole, part)
        parts = Parts(whole, part, grid)
        parts.check()
        for level in range(whole.levels):
            for axis in (0, 1):
                parts.starts(axis, level)
        return PaddedCut(network, parts)


@contextmanager
def _told(network: PixelNetwork, side: int) -> Iterator[None]:
    """Tells the user why a network has no tiles."""
    try:
        yield
    except NoReach as error:
        raise UsageError(
            f"tile = {side}: tiles of {type(network).__name__} have other scores than the whole picture, for {error}; leave tile "
            f"out, or give window."
        ) from None


class BorderedCut:
    """Tiles of a network with valid convolutions. A pass sees `side` x `side` pixels with the border, up to 32 more each way
    where a window does not begin on the grid."""

    def __init__(self, network: BorderedNetwork, seen: tuple[int, int], side: int) -> None:
        self.network, self.seen, self.most = network, seen, kept(network, side)

    def windows(self, size: tuple[int, int]) -> Iterator[Window]:
        return _grid_of(size, self.step(size))

    def step(self, size: tuple[int, int]) -> tuple[int, int]:
        rows, columns = (
            self.most if ours == theirs else max(1, int((self.most - 2) * ours / theirs))
            for ours, theirs in zip(size, self.seen, strict=True)
        )
        return rows, columns

    def scorer(self, show: Show, size: tuple[int, int]) -> Callable[[Window], Scores]:
        def scores(window: Window) -> Scores:
            cells = _cells(window, size, self.seen)
            return Scores(_valid(self.network, show, self.seen, cells), 1, 0.0, self.seen, cells[:2])

        return scores


@dataclass(frozen=True, eq=False)
class WholeCut:
    """A picture that is not larger than a tile: one pass."""

    network: PixelNetwork
    seen: tuple[int, int]

    def windows(self, size: tuple[int, int]) -> Iterator[Window]:
        return _grid_of(size, size)

    def step(self, size: tuple[int, int]) -> tuple[int, int]:
        return size

    def scorer(self, show: Show, size: tuple[int, int]) -> Callable[[Window], Scores]:
        whole = cache(lambda: scores_of(self.network.score_map, self.network, show((0, 0, *self.seen))))
        return lambda window: whole()


@dataclass(frozen=True, eq=False)
class PaddedCut:
    """Tiles of a network that pads its layers, by the reach of its scores. All have one size; the last ends with the picture."""

    network: PixelNetwork
    parts: Parts

    def windows(self, size: tuple[int, int]) -> Iterator[Window]:
        rows, columns = (list(self._steps(axis, size)) for axis in (0, 1))
        return ((top, left, bottom, right) for (top, bottom), (left, right) in product(rows, columns))

    def step(self, size: tuple[int, int]) -> tuple[int, int]:
        steps, (whole, part) = [], (self.parts.whole, self.parts.part)
        for axis in (0, 1):
            side = part.sides[axis]
            room = side.cells - side.before - side.after - (self.parts.grid[axis] / side.stride - 1)
            apart = np.broadcast_to(whole.score_map.stride, 2)[axis] * size[axis] / whole.size[axis]
            fits = max(1, math.floor(float(room - 2) * apart))
            steps.append(size[axis] if part.size[axis] == whole.size[axis] else fits)
        return steps[0], steps[1]

    def scorer(self, show: Show, size: tuple[int, int]) -> Callable[[Window], Scores]:
        (height, width), parts, network = self.parts.part.size, self.parts, self.network
        device = next(network.parameters()).device

        def pixels(start: tuple[int, int]) -> NDArray[Any]:
            return show((start[0], start[1], start[0] + height, start[1] + width))

        results = results_over(parts, network, lambda start: to_tensor(pixels(start)).to(device))

        def run(start: tuple[int, int], images: Tensor) -> ScoreMap:
            if not parts.part.specials:
                return network.score_map(images)
            score_map = run_part(parts, network, images, start, results)
            assert score_map is not None, "a run to the end has scores"
            return score_map

        def scores(window: Window) -> Scores:
            (top, rows), (left, columns) = (self._place(axis, size, window) for axis in (0, 1))
            start = top, left
            part = scores_of(partial(run, start), network, pixels(start)).scores
            assert part.shape[:2] == tuple(side.cells for side in parts.part.sides), "a pass has the map of its size"
            first = [parts.offset(axis, start[axis], *self._sides(axis)) for axis in (0, 1)]
            part = part[rows[0] - first[0] : rows[1] - first[0], columns[0] - first[1] : columns[1] - first[1]]
            whole = parts.whole
            return Scores(part, whole.score_map.stride, whole.score_map.shift, whole.size, (rows[0], columns[0]))

        return scores

    def _sides(self, axis: int) -> tuple[Side, Side]:
        return self.parts.whole.sides[axis], self.parts.part.sides[axis]

    def _place(self, axis: int, size: tuple[int, int], window: Window) -> tuple[int, tuple[int, int]]:
        """The first pixel of the pass for a window, and the sound cells of this pass."""
        first, last = self._read(axis, size)
        start = self._start(axis, int(first[window[axis]]))
        sound = self.parts.sound(axis, start, *self._sides(axis))
        assert sound[0] <= first[window[axis]], "a pass begins before its window"
        assert last[window[axis + 2] - 1] < sound[1], "a pass ends behind its window"
        return start, sound

    def _read(self, axis: int, size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first and the last cell of the map that each pixel of a side reads."""
        whole, cells = self.parts.whole, self.parts.whole.sides[axis].cells
        stride, shift = (np.broadcast_to(value, 2)[axis] for value in (whole.score_map.stride, whole.score_map.shift))
        places = places_of((0, size[axis]), size[axis], whole.size[axis], stride, shift)
        first = np.clip(places, 0, cells - 1).astype(np.int64)
        return first, np.minimum(first + 1, cells - 1)

    def _steps(self, axis: int, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
        first, last = self._read(axis, size)
        begin = 0
        while begin < size[axis]:
            start = self._start(axis, int(first[begin]))
            end = int(np.searchsorted(last, self.parts.sound(axis, start, *self._sides(axis))[1]))
            assert end > begin, "a pass has scores"
            yield begin, end
            begin = end

    def _start(self, axis: int, cell: int) -> int:
        """The first pixel of a pass whose first sound cell is `cell` or before it."""
        (whole, part), grid = self._sides(axis), self.parts.grid[axis]
        last = self.parts.whole.size[axis] - self.parts.part.size[axis]
        if not last:
            return 0
        first = math.floor((cell - part.before) * Fraction(last, whole.cells - part.cells) / grid) * grid
        return max(0, min(first, last))


def _grid(network: PixelNetwork, whole: Reach, cut: tuple[bool, bool], large: Reach) -> tuple[int, int]:
    """The grid on which parts begin: that of the strides, or a multiple where pictures are padded to one. Raises NoReach."""
    for multiple in MULTIPLES:
        grid = whole.grid[0] * multiple, whole.grid[1] * multiple
        less = [pixels - step if fewer else pixels for pixels, step, fewer in zip(whole.size, grid, cut, strict=True)]
        try:
            equal_maps(whole, reach(network, (max(1, less[0]), max(1, less[1])), cut, large))
        except NoReach:
            if multiple == MULTIPLES[-1]:
                raise
        else:
            break
    return grid


def _tile_of(
    network: PixelNetwork, whole: Reach, grid: tuple[int, int], side: int, cut: tuple[bool, bool], spare: int
) -> tuple[int, int]:
    """The largest tile of at most `side` pixels a side with the rest that the whole picture leaves on the grid.

    `spare` steps of the grid are room for pictures that leave another rest, or round other sizes. Raises UsageError for a side
    that is too small."""
    tile = []
    for axis in (0, 1):
        pixels, ours = whole.size[axis], whole.sides[axis]
        if not cut[axis]:
            tile.append(pixels)
            continue
        # A pass begins up to a step of the grid before the cells that it is made for. Interpolation reads two of them.
        maps = [(ours, 2), *((special.sides[axis], 1) for special in whole.specials.values() if special.joins and special.sides)]
        least = 1
        for map, cells in maps:
            needed = map.before + map.after + grid[axis] / map.stride - 1 + cells
            least = max(least, pixels - math.floor((map.cells - needed) * map.stride))
        fits = side - (side - pixels) % grid[axis]
        least += spare * grid[axis]
        if fits < least:
            around = math.ceil(max(ours.before, ours.after) * ours.stride)
            raise UsageError(
                f"tile = {side}: scores of {type(network).__name__} reach {around} pixels around them, so a tile has "
                f"{least + grid[axis] - 1} pixels a side or more; give at least that."
            )
        tile.append(fits)
    return tile[0], tile[1]


def kept(network: BorderedNetwork, side: int) -> int:
    """The side of the scores on the grid that a tile of `side` x `side` pixels gives. Raises UsageError for a wrong side."""
    least = 2 * network.border + REST + GRID
    if side < least or (side - least) % GRID:
        nearest = max(least, least + round((side - least) / GRID) * GRID)
        raise UsageError(f"tile = {side}: an input tile has 16 k + 60 pixels a side and at least {least}, such as {nearest}.")
    return side - 2 * network.border - REST


def mirrored(side: int, first: int, last: int) -> NDArray[Any]:
    """The row numbers first..last-1 of a picture of `side` rows; outside, the picture is mirrored repeatedly at its edge rows."""
    period = max(1, 2 * (side - 1))
    place = np.arange(first, last) % period
    return np.where(place < side, place, period - place)


def _grid_of(size: tuple[int, int], step: tuple[int, int]) -> Iterator[Window]:
    for top in range(0, size[0], step[0]):
        for left in range(0, size[1], step[1]):
            yield top, left, min(top + step[0], size[0]), min(left + step[1], size[1])


def _window_of(image: NDArray[Any], window: Window) -> NDArray[Any]:
    top, left, bottom, right = window
    return image[top:bottom, left:right]


def resized_part(read: Show, size: tuple[int, int], seen: tuple[int, int], window: Window) -> NDArray[Any]:
    """A window of the picture at the size `seen`: the bytes of `resized`, from the pixels of the picture of `size` it needs; of
    floats its values but for rounding.

    Pillow's `resize` of a part knows the part's place in float32 alone, which is not exact, so its sums are made here."""
    rows, columns = (_shares(window[axis], window[axis + 2], size[axis], seen[axis]) for axis in (0, 1))
    top, left = rows[0][0, 0], columns[0][0, 0]
    picture = read((int(top), int(left), int(rows[0].max()) + 1, int(columns[0].max()) + 1))
    whole = picture.dtype == np.uint8
    for axis, (taps, shares) in ((1, (columns[0] - left, columns[1])), (0, (rows[0] - top, rows[1]))):
        if not whole:
            read_by, sums = ("hwkn,wk->hwn", picture[:, taps]) if axis == 1 else ("hkwn,hk->hwn", picture[taps])
            picture = np.einsum(read_by, sums, shares / (1 << BITS), dtype=np.float64).astype(np.float32)
            continue
        total = np.full(np.insert(np.delete(picture.shape, axis), axis, len(taps)), 1 << (BITS - 1), np.int32)
        for tap, share in zip(taps.T, shares.T, strict=True):
            total += picture.take(tap, axis).astype(np.int32) * np.expand_dims(share, (1 - axis, 2))
        picture = (total >> BITS).clip(0, 255).astype(np.uint8)
    return picture


def _shares(first: int, last: int, side: int, seen: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """For each of the pixels first..last-1 of a side of `seen` pixels: the pixels of a side of `side` that Pillow's bilinear
    filter reads, and their shares of 2**BITS. A share is 0 where a place is repeated."""
    scale = side / seen
    wide = max(scale, 1.0)  # the filter is as wide as a pixel of the smaller picture
    centres = (np.arange(first, last) + 0.5) * scale
    begin = np.maximum(0, (centres - wide + 0.5).astype(np.int64))
    end = np.minimum(side, (centres + wide + 0.5).astype(np.int64))
    taps = begin[:, None] + np.arange(int((end - begin).max()))
    weights = np.maximum(0, 1 - np.abs((taps - centres[:, None] + 0.5) * (1 / wide)))
    weights[taps >= end[:, None]] = 0
    weights /= np.add.accumulate(weights, 1)[:, -1:]  # in the order of Pillow's sum
    return np.minimum(taps, side - 1), (weights * (1 << BITS) + 0.5).astype(np.int32)


def _cells(window: Window, size: tuple[int, int], seen: tuple[int, int]) -> Window:
    """The pixels of the network's input that interpolation reads for a window of the picture."""
    first, last = [], []
    for axis in (0, 1):
        ends = [(pixel + 0.5) * seen[axis] / size[axis] - 0.5 for pixel in (window[axis], window[axis + 2] - 1)]
        first.append(max(0, math.floor(ends[0])))
        last.append(min(seen[axis], math.ceil(ends[1]) + 1))
    return first[0], first[1], last[0], last[1]


def _valid(network: BorderedNetwork, show: Show, seen: tuple[int, int], cells: Window) -> NDArray[np.float32]:
    """Scores (h, w, C) of a window of the picture, from the tile around it that begins on the grid."""
    starts = [first // GRID * GRID for first in cells[:2]]
    ends = [last + (REST - last) % GRID for last in cells[2:]]
    rows, columns = (
        mirrored(side, first - network.border, last + network.border)
        for side, first, last in zip(seen, starts, ends, strict=True)
    )
    top, left = int(rows.min()), int(columns.min())
    image = show((top, left, int(rows.max()) + 1, int(columns.max()) + 1))
    scores = scores_of(network.valid_score_map, network, image[np.ix_(rows - top, columns - left)]).scores
    return scores[cells[0] - starts[0] : cells[2] - starts[0], cells[1] - starts[1] : cells[3] - starts[1]]
