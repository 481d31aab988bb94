"""Operations over the whole picture, made from its parts: means, group normalisation, pooled grids, encodings (`reach.Special`).

Where such an operation needs the result of another one, it belongs to a later level. A pass over all tiles makes the results of
one level: each tile runs as far as the last operation of the level, and every cell of its maps is added once, by one tile. Sums
are made in float64. In the pass after the last level these operations have their results for the whole picture. A network with
one mean, such as ParseNet, is so run twice on each tile. One with squeeze and excitation in sixteen blocks is run seventeen
times, on parts of its layers.

Interpolation to a size that follows from the picture's is computed at the places of the cells in the whole picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import floor, prod
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from perpixel.layers.pooling import average_pool, max_pool, shares_of
from perpixel.layers.score_map import ScoreMap
from perpixel.networks import PixelNetwork
from perpixel.prediction.reach import Key, NoReach, Reach, Side, Sides, Special, named_arguments

Span = tuple[int, int]  # cells of the whole picture's map: the first, and the first behind them
Results = dict[Key, Any]  # of operations over the whole picture: a tensor, pooled grids, or the mean and scale of each group


@dataclass(frozen=True)
class Parts:
    """The tiles of a picture: the reach of a network in the `whole` and in a `part`, and the `grid` on which parts begin."""

    whole: Reach
    part: Reach
    grid: tuple[int, int]

    def offset(self, axis: int, start: int, whole: Side, part: Side) -> int:
        """The first cell of a map of the part that begins at pixel `start`."""
        missing = self.whole.size[axis] - self.part.size[axis]
        place = Fraction(start * (whole.cells - part.cells), missing) if missing else Fraction(0)
        assert place.denominator == 1, "a part begins on the grid of all maps"
        return int(place)

    def sound(self, axis: int, start: int, whole: Side, part: Side) -> Span:
        """The cells that equal those of the whole picture."""
        first = self.offset(axis, start, whole, part)
        at_end = start + self.part.size[axis] == self.whole.size[axis]
        return first + (part.before if start else 0), first + part.cells - (0 if at_end else part.after)

    def check(self) -> None:
        """Raises NoReach where a part that begins on the grid begins between two cells of a map over the whole picture."""
        for key, special in self.part.specials.items():
            ours = self.whole.specials[key]
            for maps in ((ours.sides, special.sides), (ours.result, special.result)):
                for axis in (0, 1):
                    missing = self.whole.size[axis] - self.part.size[axis]
                    whole, part = (None if sides is None else sides[axis] for sides in maps)
                    if not missing or whole is None or part is None:
                        continue
                    if whole.cells == part.cells or self.grid[axis] * (whole.cells - part.cells) % missing:
                        raise NoReach(f"the map of its operation {key[0]} does not follow the size of the picture")

    def joined(self, level: int) -> dict[Key, tuple[Sides, Sides]]:
        """The operations of a level, with the sides of their map in the whole picture and in a part."""
        found = {}
        for key, special in self.part.specials.items():
            whole = self.whole.specials[key].sides
            if special.joins and special.level == level and special.sides is not None and whole is not None:
                found[key] = whole, special.sides
        return found

    def starts(self, axis: int, level: int) -> list[int]:
        """Where the parts of a pass begin, so that every cell of the maps of a level is sound in one of them. Raises NoReach."""
        maps = [(whole[axis], part[axis]) for whole, part in self.joined(level).values()]
        last, starts = self.whole.size[axis] - self.part.size[axis], [0]
        while starts[-1] < last:
            ends = [self.sound(axis, starts[-1], *sides)[1] for sides in maps]
            steps = [
                floor((end - part.before) * Fraction(last, whole.cells - part.cells) / self.grid[axis])
                for end, (whole, part) in zip(ends, maps, strict=True)
            ]
            start = min(last, *(step * self.grid[axis] for step in steps))
            if start <= starts[-1]:
                raise NoReach("a tile of this side is too small for its operations over the whole picture")
            starts.append(start)
        return starts

    def owned(self, axis: int, starts: Sequence[int], whole: Side, part: Side) -> list[Span]:
        """The cells of a map that each part of a pass adds: every cell once."""
        spans, begin = [], 0
        for start in starts:
            first, end = self.sound(axis, start, whole, part)
            assert first <= begin, "no cell lies between the sound cells of two parts"
            spans.append((begin, max(begin, end)))
            begin = max(begin, end)
        assert begin == whole.cells, "every cell is sound in a part"
        return spans


def results_over(parts: Parts, network: PixelNetwork, show: Callable[[tuple[int, int]], Tensor]) -> Results:
    """The results of all operations over the whole picture, by a pass for each level.

    `show` gives the pixels, float32 (1, 3, h, w), of the part that begins at (row, column)."""
    results: Results = {}
    for level in range(parts.whole.levels):
        maps = parts.joined(level)
        starts = [parts.starts(axis, level) for axis in (0, 1)]
        owned = {
            key: [parts.owned(axis, starts[axis], whole[axis], part[axis]) for axis in (0, 1)]
            for key, (whole, part) in maps.items()
        }
        sums: dict[Key, _Sum] = {}
        for (row, top), (column, left) in product(enumerate(starts[0]), enumerate(starts[1])):
            spans = {key: (rows[row], columns[column]) for key, (rows, columns) in owned.items()}
            run_part(parts, network, show((top, left)), (top, left), results, _Adding(sums, spans, list(maps)[-1]))
        results |= {key: total.finished() for key, total in sums.items()}
    return results


@dataclass
class _Sum:
    """What parts have given to an operation over the whole picture: float64 sums, or maxima. The result has the type `dtype`.

    `number` is the number of cells of a mean, or what group normalisation adds to the variance."""

    kind: str
    parts: list[Tensor]
    dtype: torch.dtype
    number: float = 0.0

    def add(self, other: _Sum) -> None:
        join = torch.maximum if self.kind in ("amax", "max_pool") else torch.add
        self.parts = [join(ours, theirs) for ours, theirs in zip(self.parts, other.parts, strict=True)]

    def finished(self) -> Any:
        if self.kind == "group_norm":
            total, squares, count = self.parts
            mean = total / count
            return mean, ((squares / count - mean.square()).clamp(min=0) + self.number).rsqrt()
        results = [total.to(self.dtype) for total in self.parts]
        if self.kind in ("average_pool", "max_pool"):
            return results
        if self.kind == "mean":
            return (self.parts[0] / self.number).to(self.dtype)
        return (self.parts[0].sqrt() if self.kind == "norm" else self.parts[0]).to(self.dtype)


@dataclass
class _Adding:
    """A pass of a level: the `sums` so far, the cells that this part adds to each, and the last operation of the level."""

    sums: dict[Key, _Sum]
    spans: dict[Key, tuple[Span, Span]]
    last: Key


class _Done(Exception):
    """The last operation of a level has its sums."""


def run_part(
    parts: Parts, network: PixelNetwork, images: Tensor, start: tuple[int, int], results: Results, adding: _Adding | None = None
) -> ScoreMap | None:
    """The score map of a part, or none where its run only adds to sums."""
    run = _Run(parts, start, results, adding)
    try:
        with torch.inference_mode(False), torch.no_grad(), _Poolings(run), run:
            score_map: ScoreMap = network.score_map(images.clone())
            return score_map
    except _Done:
        return None


class _Poolings(TorchFunctionMode):
    """Hands poolings of `layers.pooling` to a run."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (average_pool, max_pool):
            return self._run.pooled(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class _Run(TorchDispatchMode):
    """A run of a network on one part, in which special operations are those of the whole picture."""

    def __init__(self, parts: Parts, start: tuple[int, int], results: Results, adding: _Adding | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._parts, self._start, self._results, self._adding = parts, start, results, adding
        self._counts: dict[str, int] = {}

    def _next(self, name: str) -> tuple[Key, Special | None]:
        self._counts[name] = self._counts.get(name, 0) + 1
        key = name, self._counts[name]
        return key, self._parts.part.specials.get(key)

    def pooled(self, func: Any, x: Tensor, grids: Sequence[int]) -> list[Tensor]:
        key, special = self._next(func.__name__)
        assert special is not None, "every pooling is over the whole picture"
        if key in self._results:
            pooled: list[Tensor] = self._results[key]
            return pooled
        self._add(key, special, {"self": x, "grids": grids}, func)
        return [x.new_zeros(*x.shape[:-2], bins, bins) for bins in grids]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        key, special = self._next(func._schema.name.removeprefix("aten::"))
        if special is None:
            return func(*args, **kwargs)
        given = named_arguments(func, args, kwargs)
        if special.kind in ("stretched", "placed"):
            return self._interpolated(key, special, given)
        if key not in self._results:
            self._add(key, special, given, func)
            return func(*args, **kwargs)
        found = self._results[key]
        return _normalised(given, *found) if special.kind == "group_norm" else found

    def _add(self, key: Key, special: Special, given: dict[str, Any], func: Any) -> None:
        adding = self._adding
        if adding is None or key not in adding.spans:
            return
        whole = self._parts.whole.specials[key].sides
        assert special.sides is not None
        assert whole is not None
        block = []
        for axis, (first, end) in enumerate(adding.spans[key]):
            offset = self._parts.offset(axis, self._start[axis], whole[axis], special.sides[axis])
            block.append((first - offset, end - offset))
        if all(end > first for first, end in block):
            added = _added(special, whole, given, func, (block[0], block[1]), adding.spans[key])
            if key in adding.sums:
                adding.sums[key].add(added)
            else:
                adding.sums[key] = added
        if key == adding.last:
            raise _Done

    def _interpolated(self, key: Key, special: Special, given: dict[str, Any]) -> Tensor:
        """Bilinear interpolation at the places of the cells in the whole picture, in float32 as torch computes them."""
        x: Tensor = given["self"]
        ours = self._parts.whole.specials[key]
        assert special.result is not None
        assert ours.result is not None
        for axis, scale in enumerate((given["scales_h"], given["scales_w"])):
            to, result = ours.result[axis], special.result[axis]
            first = self._parts.offset(axis, self._start[axis], to, result)
            cells, lead = x.shape[2 + axis], 0
            if special.sides is not None and ours.sides is not None:
                cells = ours.sides[axis].cells
                lead = self._parts.offset(axis, self._start[axis], ours.sides[axis], special.sides[axis])
            x = _line(x, 2 + axis, (first, first + result.cells), to.cells, cells, lead, given["align_corners"], scale)
        return x


def _line(x: Tensor, dim: int, span: Span, to: int, cells: int, lead: int, cornered: bool, scale: float | None) -> Tensor:
    """`x`, the cells from `lead` on of a side of `cells`, read at the places of the cells `span` of a side of `to`."""
    there = torch.arange(*span, dtype=torch.float32, device=x.device)
    if cornered:
        step = torch.tensor((cells - 1) / (to - 1) if to > 1 else 0.0, dtype=torch.float32, device=x.device)
        place = there * step
    else:
        step = torch.tensor(1 / scale if scale else cells / to, dtype=torch.float32, device=x.device)
        place = ((there + 0.5) * step - 0.5).clamp(min=0)
    first = place.floor().clamp(max=cells - 1)
    share = (place - first).clamp(0, 1).to(x.dtype)
    held = x.shape[dim] - 1
    before = (first.long() - lead).clamp(0, held)
    behind = ((first.long() + 1).clamp(max=cells - 1) - lead).clamp(0, held)
    share = share.view(-1, *[1] * (x.dim() - 1 - dim))
    mixed: Tensor = x.index_select(dim, before) * (1 - share) + x.index_select(dim, behind) * share
    return mixed


def _cropped(x: Tensor, sides: Sides, block: tuple[Span, Span], dim: int | None = None) -> Tensor:
    """The cells of a block of a map; `dim` is the dimension of cells that lie in a single row, where it is another one."""
    rows, columns = sides
    (top, bottom), (left, right) = block
    if rows.dim == columns.dim:
        place = rows.dim if dim is None else dim
        x = x.unflatten(place, (rows.cells, columns.cells))
        return x.narrow(place, top, bottom - top).narrow(place + 1, left, right - left).flatten(place, place + 1)
    return x.narrow(rows.dim, top, bottom - top).narrow(columns.dim, left, right - left)


def _added(
    special: Special, whole: Sides, given: dict[str, Any], func: Any, block: tuple[Span, Span], span: tuple[Span, Span]
) -> _Sum:
    """What the cells of a block give to an operation over the whole picture; `span` is the block among the cells of the whole."""
    assert special.sides is not None
    kind, x = special.kind, given["input"] if special.kind == "group_norm" else given["self"]
    if kind == "product":
        second = given["mat2"]
        factors = _cropped(x, special.sides, block, x.dim() - 1), _cropped(second, special.sides, block, second.dim() - 2)
        return _Sum(kind, [func(*map(wide, factors))], x.dtype)
    part = _cropped(x, special.sides, block)
    if kind == "max_pool":
        return _Sum(kind, [_maxima(part, whole, bins, span) for bins in given["grids"]], x.dtype)
    dims = given.get("dim")
    dims = [dims] if isinstance(dims, int) else list(dims or range(x.dim()))
    keepdim = given.get("keepdim", False)
    if kind == "amax":
        return _Sum(kind, [part.amax(dims, keepdim)], x.dtype)
    part = wide(part)
    if kind == "average_pool":
        sums = []
        for bins in given["grids"]:
            rows, columns = (
                shares_of(side.cells, bins, part)[:, first:end] for side, (first, end) in zip(whole, span, strict=True)
            )
            sums.append(rows @ part @ columns.T)
        return _Sum(kind, sums, x.dtype)
    if kind == "group_norm":
        groups = part.reshape(part.shape[0], given["group"], -1)
        count = part.new_tensor(groups.shape[2])
        return _Sum(kind, [groups.sum(2), groups.square().sum(2), count], x.dtype, given["eps"])
    inner = prod(x.shape[dim] for dim in {dim % x.dim() for dim in dims} - {side.dim for side in special.sides})
    number = float(inner * whole[0].cells * whole[1].cells)
    return _Sum(kind, [(part.square() if kind == "norm" else part).sum(dims, keepdim)], x.dtype, number)


def wide(x: Tensor) -> Tensor:
    """`x` in float64, in which sums over a large picture lose nothing; in float32 where a device has no other."""
    return x.float() if x.device.type == "mps" else x.double()


def _maxima(x: Tensor, whole: Sides, bins: int, span: tuple[Span, Span]) -> Tensor:
    """The maxima of a block in each bin of the whole map, -inf where a bin has no cell in the block."""
    maxima = x.new_full((*x.shape[:-2], bins, bins), -torch.inf)
    for (row, rows), (column, columns) in product(
        *(_bins(side.cells, bins, each) for side, each in zip(whole, span, strict=True))
    ):
        maxima[..., row, column] = x[..., slice(*rows), slice(*columns)].amax((-2, -1))
    return maxima


def _bins(cells: int, bins: int, span: Span) -> Iterator[tuple[int, Span]]:
    """The bins of a side that a block touches, with their cells in the block."""
    for number in range(bins):
        first, end = number * cells // bins, -(-(number + 1) * cells // bins)
        first, end = max(first, span[0]), min(end, span[1])
        if first < end:
            yield number, (first - span[0], end - span[0])


def _normalised(given: dict[str, Any], mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Group normalisation by the mean and the reciprocal deviation of each group, (N, groups) in float64."""
    x, weight, bias = given["input"], given["weight"], given["bias"]
    depth = x.shape[1] // mean.shape[1]
    factor = scale.repeat_interleave(depth, 1) * (1 if weight is None else weight)
    shift = (0 if bias is None else bias) - mean.repeat_interleave(depth, 1) * factor
    shape = (*factor.shape, *[1] * (x.dim() - 2))
    return x * factor.to(x.dtype).view(shape) + shift.to(x.dtype).view(shape), mean.to(x.dtype), scale.to(x.dtype)
