"""How far the scores of a network reach into the picture, computed from its layers.

A network is run on shapes alone, without values, and each of its operations is followed by a rule. The rule says which cells of
the result a cut through the picture spoils: cells that read beyond the cut, where the whole picture has pixels, and a part has
the padding of a layer. All other cells of a part equal those of the whole picture, for all weights, if

- the part begins on the grid of all strides of the network, so that every layer begins on the same cell as in the whole picture;
- the sides of the part and of the picture leave the same rest on this grid, so that layers that round sizes up, pad to a multiple
  or cut to another map do the same at the bottom and at the right;
- every operation is the same, with the same settings, and every map is smaller by exactly the cells that the part lacks.

`equal_maps` checks the last condition operation by operation. An operation without a rule is refused by its name.

Some operations need the whole picture, and still a part at a time is enough (`Special`). Sums, means, maxima and products of
matrices over all cells, poolings to grids of bins and group normalisation are sums of what parts give: `tile_passes` makes them
in passes. Interpolation whose factor follows from the size of the picture, and interpolation of pooled grids, are computed for a
part at the places of its cells in the whole picture."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, lcm, prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from perpixel.errors import PerpixelError
from perpixel.layers.first_convolution import channels_of
from perpixel.layers.pooling import average_pool, max_pool
from perpixel.layers.score_map import ScoreMap
from perpixel.networks import PixelNetwork


class NoReach(PerpixelError):
    """The reason for which the scores of a network cannot be followed to a part of the picture, or do not belong to one."""


@dataclass(frozen=True)
class Side:
    """The rows, or the columns, of a map: the dimension of the tensor, the number of cells, and pixels from cell to cell.

    A cut before the map spoils the first `before` cells, a cut behind it the last `after`."""

    dim: int
    cells: int
    stride: Fraction = Fraction(1)
    before: int = 0
    after: int = 0

    def to(self, cells: int, before: int, after: int, stride: Fraction | None = None) -> Side:
        """The side of the next map; negative numbers of spoilt cells are 0."""
        return Side(self.dim, cells, self.stride if stride is None else stride, max(0, before), max(0, after))


Sides = tuple[Side, Side]  # rows, columns; of one dimension where cells lie in a single row, row by row
ANY = Fraction(0)  # the stride of a map that fits every other map of as many cells
Key = tuple[str, int]  # name of an operation, and its number among the operations of this name


@dataclass(frozen=True)
class Special:
    """An operation that needs the whole picture.

    `kind`: "mean", "sum", "norm", "amax", "product", "group_norm", "average_pool" and "max_pool" join all cells of the map with
    `sides`; "stretched" interpolates this map to the map with `result`, and "placed" a grid of bins. `level`: the operations over
    all cells on which it depends, one behind the other."""

    kind: str
    level: int
    sides: Sides | None
    result: Sides | None

    @property
    def joins(self) -> bool:
        return self.kind not in ("stretched", "placed")


@dataclass(frozen=True)
class Step:
    """An operation on maps: its name, its settings, and the sides of its result, if that is a map."""

    operation: str
    settings: tuple[Any, ...]
    sides: Sides | None


@dataclass(frozen=True)
class Reach:
    """The operations on a picture of `size`, its score map without values, and the sides of the map."""

    size: tuple[int, int]
    steps: tuple[Step, ...]
    specials: dict[Key, Special]
    score_map: ScoreMap
    sides: Sides

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of pixels after which all layers begin anew on the same cell."""
        sides = [step.sides for step in self.steps if step.sides is not None]
        rows, columns = (lcm(*(each[axis].stride.numerator or 1 for each in sides)) for axis in (0, 1))
        return rows, columns

    @property
    def levels(self) -> int:
        """The operations over all cells, one behind the other."""
        return max((special.level + 1 for special in self.specials.values() if special.joins), default=0)

    @property
    def factors(self) -> list[tuple[Fraction, Fraction]]:
        """The factors of bilinear interpolations, in their order."""
        return [step.settings[1] for step in self.steps if step.operation == "upsample_bilinear2d"]


def reach(
    network: PixelNetwork, size: tuple[int, int], cut: tuple[bool, bool] = (True, True), large: Reach | None = None
) -> Reach:
    """The reach of the network's scores in a picture of `size` (height, width).

    `cut`: whether parts will have fewer rows, and fewer columns. `large`: the reach in a very large picture, which tells the
    factors of interpolations between sizes that are rounded. Raises NoReach."""
    shapes = _without_values(network)
    images = torch.empty(1, channels_of(shapes), *size, device="meta")
    follower = _Follower(images, cut, [] if large is None else large.factors)
    try:
        with torch.no_grad(), _Poolings(follower), follower:
            score_map = shapes.score_map(images)
    except NoReach:
        raise
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        raise NoReach(f"its layers do not run on shapes alone ({str(error).splitlines()[0]})") from error
    sides = follower.sides_of(score_map.scores)
    if sides is None or (sides[0].dim, sides[1].dim) != (2, 3):
        raise NoReach("its scores are not those of cells of the picture")
    return Reach(size, tuple(follower.steps), follower.specials, score_map, sides)


def equal_maps(whole: Reach, part: Reach) -> None:
    """Raises NoReach unless every operation on the part is that on the whole picture, on a map with fewer cells."""
    if len(whole.steps) != len(part.steps) or whole.specials.keys() != part.specials.keys():
        raise NoReach("its layers are others for another size of the picture")
    for ours, theirs in zip(whole.steps, part.steps, strict=True):
        if (ours.operation, ours.settings) != (theirs.operation, theirs.settings):
            raise NoReach(f"its operation {ours.operation} changes with the size of the picture")
        for axis in (0, 1):
            more, less = (None if step.sides is None else step.sides[axis] for step in (ours, theirs))
            if more is None or less is None:
                continue
            missing = whole.size[axis] - part.size[axis]
            as_many = more.stride == ANY or (more.cells - less.cells) * more.stride == missing
            if (more.dim, more.stride) != (less.dim, less.stride) or not as_many:
                raise NoReach(f"the map of its operation {ours.operation} does not follow the size of the picture")


def _without_values(network: PixelNetwork) -> Any:
    """A copy of the network whose tensors have shapes and no values."""
    memo: dict[int, Any] = {}
    for module in network.modules():
        for tensor in (*module.parameters(False), *module.buffers(False)):
            shape = torch.empty_like(tensor, device="meta")
            memo[id(tensor)] = nn.Parameter(shape, False) if isinstance(tensor, nn.Parameter) else shape
    return copy.deepcopy(network, memo)


class _Poolings(TorchFunctionMode):
    """Hands poolings of `layers.pooling` to a follower, as operations of their own."""

    def __init__(self, follower: _Follower) -> None:
        super().__init__()
        self._follower = follower

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (average_pool, max_pool):
            return self._follower.pooled(func.__name__, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class _Follower(TorchDispatchMode):
    """Notes the sides of every tensor that depends on the picture, operation by operation."""

    def __init__(self, images: Tensor, cut: tuple[bool, bool], factors: Sequence[tuple[Fraction, Fraction]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cut, self.factors = cut, iter(factors)  # of interpolations that are still to come
        self.steps: list[Step] = []
        self.specials: dict[Key, Special] = {}
        self.key: Key = ("", 0)  # of the present operation
        self.level = 0  # of the operands of the present operation
        self._counts: dict[str, int] = {}
        self._sides: dict[int, Sides] = {}
        self._levels: dict[int, int] = {}  # of tensors that depend on the whole picture
        self._values: dict[int, Tensor] = {}  # of tensors that are made from numbers alone
        self._kept: list[Any] = [images]  # so that no other tensor gets the id of one of them
        self._places: set[int] = set()  # ids of tensors that hold places in a map
        self._unsure: set[int] = set()  # ids of tensors whose values nobody knows here
        self._shared: dict[int, list[int]] = {}  # ids of the maps that lie in a storage
        self._sides[id(images)] = Side(2, images.shape[2]), Side(3, images.shape[3])

    def sides_of(self, tensor: Tensor) -> Sides | None:
        return self._sides.get(id(tensor))

    def value_of(self, tensor: Tensor) -> Tensor | None:
        return self._values.get(id(tensor))

    def special(self, kind: str, sides: Sides | None = None, result: Sides | None = None) -> None:
        """Notes the present operation as one that needs the whole picture."""
        self.specials[self.key] = Special(kind, self.level, sides, result)

    def pooled(self, name: str, x: Tensor, grids: Sequence[int]) -> list[Tensor]:
        """The grids of a pooling, without values."""
        sides = _map(self, x, name)
        self.key, self.level = self._next(name), self._levels.get(id(x), 0)
        self.special(name, sides)
        self.steps.append(Step(name, tuple(grids), None))
        results = [torch.empty(*x.shape[:-2], bins, bins, device=x.device) for bins in grids]
        self._kept.extend(results)
        self._unsure -= {id(result) for result in results}
        self._levels |= {id(result): self.level + 1 for result in results}
        return results

    def _next(self, name: str) -> Key:
        self._counts[name] = self._counts.get(name, 0) + 1
        return name, self._counts[name]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = named_arguments(func, args, kwargs)
        results = [part for part in (result if isinstance(result, (tuple, list)) else (result,)) if isinstance(part, Tensor)]
        self._kept.extend(results)
        tensors = list(_tensors_in(given.values()))
        name = func._schema.name.removeprefix("aten::")
        self.key = self._next(name)
        self.level = max((self._levels.get(id(tensor), 0) for tensor in tensors), default=0)
        if func._schema.is_mutable and name.endswith("_") and isinstance(args[0], Tensor):
            if args[0]._is_view():
                raise NoReach(f"its operation {name} writes into a part of another map")
            self._unsure |= set(self._shared.get(args[0].untyped_storage()._cdata, ())) - {id(args[0])}
        name = name if name == "copy_" else name.removesuffix("_")
        if any(id(tensor) in self._places for tensor in tensors):
            raise NoReach(f"its operation {name} reads places in a map, which a part of the picture does not have")
        if any(id(tensor) in self._unsure for tensor in tensors):
            if name in ("detach", "alias"):  # by which torch hands out a new tensor
                self._unsure |= {id(tensor) for tensor in results}
                return result
            raise NoReach(f"its operation {name} reads values that a part of the picture may not have")
        if any(id(tensor) in self._sides for tensor in tensors):
            self._follow(name, given, results)
        elif self.level and name == "upsample_bilinear2d":
            sides = tuple(Side(dim, results[0].shape[dim], ANY) for dim in (2, 3))
            self._sides[id(results[0])] = sides[0], sides[1]
            self.special("placed", None, (sides[0], sides[1]))
            self.steps.append(Step("placed", (given["align_corners"],), (sides[0], sides[1])))
        elif results and all(id(tensor) in self._values for tensor in tensors):
            self._compute(func, args, kwargs, results, name.startswith(UNSURE))
        else:  # weights, or results over the whole picture: the same for every part, if all numbers are
            self.steps.append(Step(name, () if name == "expand" else self._numbers(given.values()), None))
        joined = self.key in self.specials and self.specials[self.key].joins
        if self.level or joined:
            self._levels |= {id(tensor): self.level + joined for tensor in results}
        return result

    def _follow(self, name: str, given: dict[str, Any], results: list[Tensor]) -> None:
        rule = RULES.get(name)
        if rule is None:
            raise NoReach(f"its operation {name} has no rule for parts of a picture")
        settings, sides = rule(self, given, results[0])
        self.steps.append(Step(name, settings, sides))
        for number, tensor in enumerate(results):
            if name == "max_pool2d_with_indices" and number == 1:
                self._places.add(id(tensor))
            elif sides is not None and (number == 0 or name in SEVERAL):
                self._sides[id(tensor)] = sides
                self._shared.setdefault(tensor.untyped_storage()._cdata, []).append(id(tensor))

    def _numbers(self, values: Any) -> tuple[Any, ...]:
        """All numbers among the arguments of an operation, those of tensors that are made from numbers included."""
        numbers: list[Any] = []
        for value in values:
            if isinstance(value, Tensor):
                made = self._values.get(id(value))
                numbers.append(None if made is None else tuple(made.flatten().tolist()))
            elif isinstance(value, (tuple, list)):
                numbers.append(self._numbers(value))
            else:
                numbers.append(value)
        return tuple(numbers)

    def _compute(self, func: Any, args: Any, kwargs: Any, results: list[Tensor], unsure: bool) -> None:
        """The values of tensors that are made from numbers alone."""
        self._unsure |= {id(tensor) for tensor in results}
        if unsure or sum(tensor.numel() for tensor in results) > MOST_VALUES:
            return
        here = [self._values.get(id(each), each) if isinstance(each, Tensor) else each for each in args]
        named = {key: self._values.get(id(each), each) if isinstance(each, Tensor) else each for key, each in kwargs.items()}
        if named.get("device") is not None:
            named["device"] = torch.device("cpu")
        try:
            values = func(*here, **named)
        except (RuntimeError, NotImplementedError, TypeError):
            return
        for tensor, value in zip(results, values if isinstance(values, (tuple, list)) else (values,), strict=False):
            if isinstance(value, Tensor) and value.device.type == "cpu":
                self._values[id(tensor)] = value
                self._unsure.discard(id(tensor))


UNSURE = ("empty", "new_empty", "rand", "normal", "bernoulli")  # operations without sure values
MOST_VALUES = 1 << 20  # of a tensor that is made from numbers
SEVERAL = {"split", "split_with_sizes", "unbind"}  # whose results are all maps
Found = tuple[tuple[Any, ...], Sides | None]
Rule = Callable[[_Follower, dict[str, Any], Tensor], Found]


def named_arguments(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of an operation by their names, with the defaults of those that are not given."""
    arguments = func._schema.arguments
    given = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
    return {**given, **{argument.name: value for argument, value in zip(arguments, args, strict=False)}, **kwargs}


def _tensors_in(values: Any) -> Any:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors_in(value)


def _source(follower: _Follower, tensor: Tensor, name: str) -> Sides:
    sides = follower.sides_of(tensor)
    if sides is None:
        raise NoReach(f"its operation {name} computes weights from the picture")
    return sides


def _map(follower: _Follower, tensor: Tensor, name: str) -> Sides:
    """The sides of a map whose rows and columns are the last two dimensions."""
    sides = _source(follower, tensor, name)
    if (sides[0].dim, sides[1].dim) != (tensor.dim() - 2, tensor.dim() - 1):
        raise NoReach(f"its operation {name} reads a map in an unusual layout")
    return sides


def _pair(value: Any) -> tuple[int, int]:
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    return (values[0], values[-1])


def _window(side: Side, cells: int, kernel: int, stride: int, padding: int, dilation: int) -> Side:
    """Cell j reads the cells j * stride - padding + dilation * tap."""
    last = side.cells - 1 - side.after + padding - dilation * (kernel - 1)  # of which the last sound cell is the floor
    return side.to(cells, -(-(side.before + padding) // stride), cells - 1 - last // stride, side.stride * stride)


def _transposed(side: Side, cells: int, kernel: int, stride: int, padding: int, dilation: int) -> Side:
    """Cell j writes to the cells j * stride - padding + dilation * tap."""
    before = (side.before - 1) * stride + dilation * (kernel - 1) - padding + 1
    last = (side.cells - side.after) * stride - padding - 1
    return side.to(cells, before, cells - 1 - last, side.stride / stride)


def _convolution(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    if any(follower.sides_of(given[name]) is not None for name in ("weight", "bias") if given[name] is not None):
        raise NoReach("its operation convolution computes weights from the picture")
    sides = _map(follower, given["input"], "convolution")
    kernel = given["weight"].shape[-2:]
    settings = tuple(tuple(_pair(given[name])) for name in ("stride", "padding", "dilation"))
    rule = _transposed if given["transposed"] else _window
    rows, columns = (
        rule(side, result.shape[side.dim], kernel[axis], *(value[axis] for value in settings)) for axis, side in enumerate(sides)
    )
    return (*settings, tuple(kernel), given["transposed"], tuple(given["output_padding"])), (rows, columns)


def _pool(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    sides = _map(follower, given["self"], "pool")
    kernel = _pair(given["kernel_size"])
    stride = _pair(given["stride"]) if given["stride"] else kernel
    padding, dilation = _pair(given["padding"]), _pair(given.get("dilation", 1))
    rows, columns = (
        _window(side, result.shape[side.dim], kernel[axis], stride[axis], padding[axis], dilation[axis])
        for axis, side in enumerate(sides)
    )
    more = tuple(given.get(name) for name in ("ceil_mode", "count_include_pad", "divisor_override"))
    return (kernel, stride, padding, dilation, more), (rows, columns)


def _pool_of_channels(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    """avg_pool3d over channels, by which torch normalises responses (AlexNet)."""
    kernel, padding = list(given["kernel_size"]), list(given["padding"])
    stride = list(given["stride"]) or kernel
    sides = _map(follower, given["self"], "avg_pool3d")
    if kernel[-2:] != [1, 1] or stride[-2:] != [1, 1] or padding[-2:] != [0, 0]:
        raise NoReach("its operation avg_pool3d has no rule for parts of a picture")
    return (tuple(kernel), tuple(stride), tuple(padding)), sides


def _bilinear(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    sides, cornered = _map(follower, given["self"], "upsample_bilinear2d"), given["align_corners"]
    known = next(follower.factors, None)
    found, factors, stretched = [], [], False
    for axis, scale in enumerate((given["scales_h"], given["scales_w"])):
        side = sides[axis]
        cells = result.shape[side.dim]
        steps, more = (side.cells - 1, cells - 1) if cornered else (side.cells, cells)
        exact = scale is not None and not cornered and floor(side.cells * Fraction(scale)) == cells
        factor = Fraction(scale) if exact else Fraction(more, steps) if steps and more else Fraction(1)
        nominal = (known[axis] if known else factor).limit_denominator(MOST_PARTS)
        factors.append(nominal)
        if not follower.cut[axis]:
            found.append(side.to(cells, 0, 0))
        elif nominal != factor or nominal.denominator > 1:
            stretched = True
            found.append(_stretched(side, cells, nominal, steps, more))
        elif factor == 1 and cells == side.cells:
            found.append(side)
        elif cornered:
            behind = cells - 1 - int(factor) * (side.cells - 1 - side.after)
            found.append(side.to(cells, int(factor) * side.before, behind, side.stride / factor))
        else:
            first = ceil(factor * (side.before + Fraction(1, 2)) - Fraction(1, 2))
            last = ceil(factor * (side.cells - Fraction(1, 2) - side.after) - Fraction(1, 2)) - 1
            found.append(side.to(cells, first, cells - 1 - last, side.stride / factor))
    if stretched:
        follower.special("stretched", sides, (found[0], found[1]))
    return (cornered, tuple(factors)), (found[0], found[1])


MOST_PARTS = 64  # the largest denominator of a factor of interpolation


def _stretched(side: Side, cells: int, factor: Fraction, steps: int, more: int) -> Side:
    """Interpolation from edge to edge, or from corner to corner, of sizes that are rounded: the last cell lies farthest from its
    place by the nominal `factor`. All places are those in the whole picture (`tile_passes`)."""
    drift = abs(steps - more / factor)
    if drift > MOST_DRIFT:
        raise NoReach(
            f"it interpolates a map of {side.cells} cells to {cells}, and this factor is another one for other pictures"
        )
    before, after = (ceil((spoilt + drift + 2) * factor) for spoilt in (side.before, side.after))
    return side.to(cells, before, after + max(0, cells - floor(side.cells * factor)), side.stride / factor)


MOST_DRIFT = 16  # cells


def _nearest(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    sides, factors, found = _map(follower, given["self"], "upsample_nearest2d"), [], []
    for axis, scale in enumerate((given["scales_h"], given["scales_w"])):
        side = sides[axis]
        cells = result.shape[side.dim]
        factor = max(1, -(-cells // side.cells))
        factors.append(Fraction(factor))
        if not follower.cut[axis]:
            found.append(side.to(cells, 0, 0))
            continue
        step = 1 / scale if scale else side.cells / cells
        places = torch.arange(cells, dtype=torch.float32).mul(step).floor().long().clamp(max=side.cells - 1)
        if not torch.equal(places, torch.arange(cells) // factor):
            raise NoReach(f"it repeats cells of a map of {side.cells} unevenly to have {cells}")
        found.append(side.to(cells, factor * side.before, cells - factor * (side.cells - side.after), side.stride / factor))
    return (False, tuple(factors)), (found[0], found[1])


def _smoothed(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    raise NoReach("it resizes every picture to one size")


def _padded(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    """Pads, or with negative numbers cuts, the last dimensions."""
    sides = _source(follower, given["self"], "pad")
    pads = list(given.get("pad") or given["padding"])
    found = []
    for side in sides:
        place = 2 * (result.dim() - 1 - side.dim)
        first, last = (pads[place], pads[place + 1]) if place + 1 < len(pads) else (0, 0)
        found.append(_lengthened(side, first, last))
    return (tuple(pads), given.get("value")), (found[0], found[1])


def _lengthened(side: Side, first: int, last: int) -> Side:
    """A side with `first` more cells before it and `last` behind it, which may be made from cells near the ends."""
    cells = side.cells + first + last
    if max(first, last) > 0 and side.before + side.after + max(first, last) >= side.cells:
        return side.to(cells, cells, cells)  # too short: an end is made from what a cut at the other end spoils
    return side.to(cells, side.before + first, side.after + last)


def _sliced(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    sides = _source(follower, given["self"], "slice")
    dim = given["dim"] % given["self"].dim()
    if dim not in (sides[0].dim, sides[1].dim):
        return (dim, given["start"], given["end"], given["step"]), sides
    if sides[0].dim == sides[1].dim:
        raise NoReach("its operation slice cuts rows of cells that are no rows of a map")
    found = []
    for side in sides:
        if side.dim == dim:
            start, step = given["start"] or 0, given["step"]
            start = start + side.cells if start < 0 else start
            cells = result.shape[dim]
            last = (side.cells - 1 - side.after - start) // step
            found.append(side.to(cells, -(-(side.before - start) // step), cells - 1 - last, side.stride * step))
        else:
            found.append(side)
    return (dim, given["start"], given["step"]), (found[0], found[1])


def _selected_rows(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    """index_select by numbers: the rows of a map, with rows repeated or mirrored before and behind them."""
    sides, dim = _source(follower, given["self"], "index_select"), given["dim"] % given["self"].dim()
    places = follower.value_of(given["index"])
    at = [side for side in sides if side.dim == dim]
    if len(at) != 1 or places is None or places.numel() < at[0].cells:
        raise NoReach("its operation index_select has no rule for parts of a picture")
    side, rows = at[0], places.tolist()
    first = next((number for number in range(len(rows) - side.cells + 1) if rows[number : number + side.cells] ==
                  list(range(side.cells))), None)  # fmt: skip
    if first is None:
        raise NoReach("its operation index_select does not keep the rows of a map in order")
    last = len(rows) - first - side.cells
    found = [_lengthened(each, first, last) if each.dim == dim else each for each in sides]
    return (dim, first, last), (found[0], found[1])


def _pointwise(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    """Each cell of the result is computed from the same cell of each map."""
    found: list[Sides] = []
    numbers: list[Any] = []
    others: list[Tensor] = []
    for value in given.values():
        if isinstance(value, Tensor):
            sides = follower.sides_of(value)
            lead = result.dim() - value.dim()
            if sides is None:
                others.append(value)
            else:
                found.append((replace(sides[0], dim=sides[0].dim + lead), replace(sides[1], dim=sides[1].dim + lead)))
        elif isinstance(value, (int, float, bool)):
            numbers.append(value)
    sides = _merged(follower, found)
    if sides[0].dim != sides[1].dim and any(result.shape[side.dim] != side.cells for side in sides):
        raise NoReach("it repeats a map over another one")
    for value in others:
        _constant(value, sides, result.dim() - value.dim())
        made = follower.value_of(value)
        if made is not None:
            numbers.append(tuple(made.flatten().tolist()))
    return tuple(numbers), sides


def _merged(follower: _Follower, found: Sequence[Sides]) -> Sides:
    """The sides of maps that are joined cell by cell. Where no part is cut, cells may lie anywhere."""
    merged = []
    for axis in (0, 1):
        sides = [each[axis] for each in found]
        first = sides[0]
        strides = {side.stride for side in sides} - {ANY}
        if (follower.cut[axis] and len(strides) > 1) or any((side.dim, side.cells) != (first.dim, first.cells) for side in sides):
            raise NoReach("it joins maps whose cells do not lie on each other")
        before, after = max(side.before for side in sides), max(side.after for side in sides)
        merged.append(Side(first.dim, first.cells, max(strides, default=ANY), before, after))
    return merged[0], merged[1]


def _constant(value: Tensor, sides: Sides, lead: int) -> None:
    """Raises NoReach where a tensor that is no map has other values at other places of a map."""
    for side in sides:
        dim = side.dim - lead
        if dim >= 0 and value.shape[dim] > 1 and value.stride(dim) != 0:
            raise NoReach("it joins a map with values that belong to places of the picture")


def _joined(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    tensors, dim = given["tensors"], given["dim"] % result.dim()
    found = [sides for sides in map(follower.sides_of, tensors) if sides is not None]
    sides = _merged(follower, found)
    for tensor in tensors:
        if follower.sides_of(tensor) is None:
            _constant(tensor, sides, 0)
    if result.dim() > tensors[0].dim():
        return (dim,), _moved(sides, dim)
    if dim in (sides[0].dim, sides[1].dim):
        raise NoReach("it puts other values beside the cells of a map, as attention does")
    return (dim,), sides


def _moved(sides: Sides, dim: int) -> Sides:
    """The sides after a new dimension `dim` is put in."""
    rows, columns = (replace(side, dim=side.dim + (side.dim >= dim)) for side in sides)
    return rows, columns


def _norm(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    if given["training"]:
        raise NoReach("its batch normalisation uses the statistics of the picture")
    return (), _source(follower, given["input"], "native_batch_norm")


def _group_norm(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    sides = _map(follower, given["input"], "native_group_norm")
    follower.special("group_norm", sides)
    return (given["C"], given["group"]), sides


def _layer_norm(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    sides = _source(follower, given["input"], "native_layer_norm")
    if max(side.dim for side in sides) >= result.dim() - len(given["normalized_shape"]):
        raise NoReach("its layer normalisation joins the whole picture")
    return (len(given["normalized_shape"]),), sides


def _reduced(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    """Sums and the like, over all cells or over dimensions that are no rows or columns."""
    sides, source, name = _source(follower, given["self"], "sum"), given["self"], follower.key[0]
    dims = given.get("dim")
    dims = [dims] if isinstance(dims, int) else list(dims or range(source.dim()))
    dims = sorted(dim % source.dim() for dim in dims)
    power, keepdim = given.get("ord"), given.get("keepdim", False)
    settings = (tuple(dims), keepdim, power)
    inside = {side.dim for side in sides} & set(dims)
    if inside:
        kind = JOINS.get(name)
        if kind is None or inside != {side.dim for side in sides} or power not in (None, 2):
            raise NoReach(GLOBAL)
        follower.special(kind, sides)
        return settings, None
    rows, columns = (side if keepdim else replace(side, dim=side.dim - sum(dim < side.dim for dim in dims)) for side in sides)
    return settings, (rows, columns)


JOINS = {"mean": "mean", "sum": "sum", "amax": "amax", "linalg_vector_norm": "norm"}
GLOBAL = "an operation joins the whole picture in a way that parts cannot add to"


def _softmax(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    sides, dim = _source(follower, given["self"], "softmax"), given["dim"] % result.dim()
    if any(side.dim == dim for side in sides):
        raise NoReach(GLOBAL)
    return (dim,), sides


def _permuted(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    sides = _source(follower, given["self"], "permute")
    dims = [dim % result.dim() for dim in given["dims"]]
    return tuple(dims), (replace(sides[0], dim=dims.index(sides[0].dim)), replace(sides[1], dim=dims.index(sides[1].dim)))


def _transposed_dims(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    sides = _source(follower, given["self"], "transpose")
    first, second = ((given.get(name, default) % result.dim()) for name, default in (("dim0", 0), ("dim1", 1)))
    there = {first: second, second: first}
    rows, columns = (replace(side, dim=there.get(side.dim, side.dim)) for side in sides)
    return (first, second), (rows, columns)


def _unsqueezed(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    dim = given["dim"] % result.dim()
    return (dim,), _moved(_source(follower, given["self"], "unsqueeze"), dim)


def _squeezed(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    sides, source = _source(follower, given["self"], "squeeze"), given["self"]
    dims = given["dim"]
    dims = [dim % source.dim() for dim in ([dims] if isinstance(dims, int) else dims)]
    gone = [dim for dim in dims if source.shape[dim] == 1]
    if any(side.dim in dims for side in sides):
        raise NoReach("it drops the rows of a map")
    rows, columns = (replace(side, dim=side.dim - sum(dim < side.dim for dim in gone)) for side in sides)
    return (tuple(dims),), (rows, columns)


def _one_of(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    """select and unbind: one entry of a dimension, which goes."""
    sides, dim = _source(follower, given["self"], "select"), given["dim"] % given["self"].dim()
    if any(side.dim == dim for side in sides):
        raise NoReach("it reads a single row of a map")
    rows, columns = (replace(side, dim=side.dim - (dim < side.dim)) for side in sides)
    return (dim, given.get("index")), (rows, columns)


def _split(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    sides, dim = _source(follower, given["self"], "split"), given["dim"] % given["self"].dim()
    if any(side.dim == dim for side in sides):
        raise NoReach("it cuts the rows of a map apart")
    sizes = given.get("split_size", given.get("split_sizes"))
    return (dim, tuple(sizes) if isinstance(sizes, (tuple, list)) else sizes), sides


def _viewed(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    """Another shape of the same values, in which rows and columns stay dimensions, or lie in one dimension, row by row."""
    sides, source = _source(follower, given["self"], "view"), given["self"]
    rows, columns = sides
    if rows.dim != columns.dim and columns.dim != rows.dim + 1:
        raise NoReach("it views a map in an unusual layout")
    lead = prod(source.shape[: rows.dim])
    for dim in range(result.dim()):
        if prod(result.shape[:dim]) != lead:
            continue
        if tuple(result.shape[dim : dim + 2]) == (rows.cells, columns.cells):
            found = replace(rows, dim=dim), replace(columns, dim=dim + 1)
            return _view_settings(result, found), found
        if result.shape[dim] == rows.cells * columns.cells:
            found = replace(rows, dim=dim), replace(columns, dim=dim)
            return _view_settings(result, found), found
    raise NoReach("it views a map in an unusual layout")


def _view_settings(result: Tensor, sides: Sides) -> tuple[Any, ...]:
    """The dimensions that are no rows or columns."""
    return tuple(None if dim in (sides[0].dim, sides[1].dim) else size for dim, size in enumerate(result.shape))


def _expanded(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    lead = result.dim() - given["self"].dim()
    sides = _source(follower, given["self"], "expand")
    rows, columns = (replace(side, dim=side.dim + lead) for side in sides)
    if any(result.shape[side.dim] != given["self"].shape[side.dim - lead] for side in (rows, columns)):
        raise NoReach("it repeats a row of a map")
    return (), (rows, columns)


def _product_of_matrices(follower: _Follower, given: dict[str, Any], result: Tensor) -> Found:
    """mm, addmm and bmm: the rows of the first matrix are cells, or those of the second are."""
    added = "mat1" in given or "batch1" in given
    names = ("mat1", "mat2") if "mat1" in given else ("batch1", "batch2") if "batch1" in given else ("self", "mat2")
    first, second = (given[name] for name in names)
    if added and follower.sides_of(given["self"]) is not None:
        raise NoReach("its operation addmm adds a map to a product")
    left, right = follower.sides_of(first), follower.sides_of(second)
    if left is not None and right is not None and not added:
        ends = left[0].dim == left[1].dim == first.dim() - 1 and right[0].dim == right[1].dim == second.dim() - 2
        if ends and [(side.cells, side.stride) for side in left] == [(side.cells, side.stride) for side in right]:
            moved = [replace(side, dim=first.dim() - 1) for side in right]
            follower.special("product", _merged(follower, [left, (moved[0], moved[1])]))
            return (), None
    if left is not None and right is None and left[0].dim == left[1].dim == first.dim() - 2:
        return (), left
    if right is not None and left is None and right[0].dim == right[1].dim == second.dim() - 1:
        return (), right
    raise NoReach(GLOBAL)


_SAME = (
    "relu", "add", "sub", "rsub", "mul", "div", "neg", "abs", "sigmoid", "hardswish", "silu", "gelu", "mish", "clamp",
    "clamp_min", "clamp_max", "hardtanh", "hardsigmoid", "elu", "leaky_relu", "tanh", "exp", "log", "pow", "sqrt", "rsqrt",
    "square", "maximum", "minimum", "where", "_to_copy", "clone", "alias", "detach", "lift_fresh", "contiguous", "softplus",
    "reciprocal", "erf", "threshold", "lerp", "addcmul",
)  # fmt: skip
RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME, _pointwise),
    "convolution": _convolution,
    "max_pool2d_with_indices": _pool,
    "max_pool2d": _pool,
    "avg_pool2d": _pool,
    "avg_pool3d": _pool_of_channels,
    "upsample_bilinear2d": _bilinear,
    "upsample_nearest2d": _nearest,
    **dict.fromkeys(("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "upsample_bicubic2d"), _smoothed),
    **dict.fromkeys(("constant_pad_nd", "replication_pad2d", "reflection_pad2d"), _padded),
    "slice": _sliced,
    "index_select": _selected_rows,
    "cat": _joined,
    "stack": _joined,
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"), _norm),
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    **dict.fromkeys(("sum", "mean", "amax", "amin", "linalg_vector_norm"), _reduced),
    **dict.fromkeys(("_softmax", "_safe_softmax"), _softmax),
    "permute": _permuted,
    "transpose": _transposed_dims,
    "t": _transposed_dims,
    "unsqueeze": _unsqueezed,
    "squeeze": _squeezed,
    "select": _one_of,
    "unbind": _one_of,
    "split": _split,
    "split_with_sizes": _split,
    **dict.fromkeys(("view", "_unsafe_view"), _viewed),
    "expand": _expanded,
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm"), _product_of_matrices),
}
