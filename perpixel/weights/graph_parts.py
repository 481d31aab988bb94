"""Functions of torch that engines compute otherwise, in terms of what all engines compute alike.

a resize that smooths       products with two matrices      OpenVINO smooths otherwise
a maximum with its place    comparisons within its window   of equal values engines choose another
pools that round up         pools of a longer map           neither engine has windows that are larger than the map
edges that go on            cells by their number           OpenVINO stops, without an error, at a map of one cell
unpooling                   comparisons with the places     its windows are tiles, so nothing need be scattered
a small number added        a tensor of one number          the exporter takes a number below 1e-8 for 0"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from perpixel.layers.score_map import greater

TAKEN_FOR_0 = 1e-7  # the exporter's own bound is 1e-8
KEYS = -0.5  # a of the cubic filter (Keys, "Cubic Convolution Interpolation", 1981) with which PyTorch and Pillow smooth


class Alike(TorchFunctionMode):
    """While this mode is on, torch calls the functions of this module instead of its own."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is F.interpolate and kwargs.get("antialias") and kwargs.get("size") is not None:
            return smoothed(args[0], kwargs["size"], kwargs["mode"])
        if function is F.max_pool2d_with_indices and _by_pairs(*args[1:], **kwargs) and _even(args[0]):
            return pooled_in_pairs(args[0])
        if function is F.max_unpool2d and _by_pairs(*args[2:], **kwargs):
            return unpooled_in_pairs(args[0], args[1])
        if function is F.pad and kwargs.get("mode") == "replicate":
            return continued(args[0], args[1])
        if function is F.max_pool2d and not kwargs.get("return_indices"):
            return pooled_up(*args, **kwargs)
        if function in (torch.add, torch.Tensor.add):
            args = [_kept(number) for number in args]
        return function(*args, **kwargs)


def _kept(number: Any) -> Any:
    return torch.tensor([number]) if isinstance(number, float) and abs(number) < TAKEN_FOR_0 else number


def _by_pairs(
    window: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, output_size: Any = None, **others: bool
) -> bool:
    """Whether windows are 2 x 2, side by side, and nothing more is asked for."""
    return {window, stride} <= {2, (2, 2), None} and (padding, dilation, output_size) == (0, 1, None)


def _even(x: Tensor) -> bool:
    return not any(side % 2 for side in x.shape[-2:])


def smoothed(x: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """`F.interpolate(x, size, mode=mode, antialias=True)` of x (B, C, h, w), "bilinear" or "bicubic"."""
    rows, columns = (_shares(before, after, FILTERS[mode]) for before, after in zip(x.shape[-2:], size, strict=True))
    return rows @ x @ columns.T


def _shares(before: int, after: int, height: Callable[[Tensor], Tensor]) -> Tensor:
    """(after, before): the share of each pixel before in each pixel after, by their distance in sides of the larger pixel.

    Numbers are rounded where torch rounds them: a middle near pixel 400 is known to 1e-5 alone."""
    ratio = torch.scalar_tensor(before, dtype=torch.float32) / after
    middle = ratio * (torch.arange(after)[:, None] + 0.5)
    distance = torch.arange(before) - middle + 0.5
    heights = height((distance / ratio.clamp(min=1)).abs())
    return heights / heights.sum(1, keepdim=True)


def _linear(far: Tensor) -> Tensor:
    return (1 - far).clamp(min=0)


def _cubic(far: Tensor) -> Tensor:
    near = ((KEYS + 2) * far - (KEYS + 3)) * far * far + 1
    return torch.where(far < 1, near, torch.where(far < 2, (((far - 5) * far + 8) * far - 4) * KEYS, 0.0))


FILTERS = {"bilinear": _linear, "bicubic": _cubic}


def pooled_in_pairs(x: Tensor) -> tuple[Tensor, Tensor]:
    """`F.max_pool2d(x, 2, return_indices=True)`: the maxima of windows of 2 x 2, and the places in their planes, of equal
    values the first."""
    height, width = x.shape[-2:]
    corner = (2 * torch.arange(height // 2) * width)[:, None] + 2 * torch.arange(width // 2)
    most, place = x[..., ::2, ::2], corner.expand(*x.shape[:-2], -1, -1)
    for down, right in ((0, 1), (1, 0), (1, 1)):
        other = x[..., down::2, right::2]
        place = torch.where(other > most, corner + (down * width + right), place)
        most = torch.maximum(most, other)
    return most, place


def unpooled_in_pairs(x: Tensor, places: Tensor) -> Tensor:
    """`F.max_unpool2d(x, places, 2)` with places in the windows of 2 x 2: the values at their places among zeros."""
    height, width = (2 * side for side in x.shape[-2:])
    cells = torch.arange(height * width).unflatten(0, (height, width))
    values, chosen = (each.repeat_interleave(2, -2).repeat_interleave(2, -1) for each in (x, places))
    return torch.where(chosen == cells, values, 0.0)


def continued(x: Tensor, margins: Sequence[int]) -> Tensor:
    """`F.pad(x, margins, mode="replicate")`, where margins begin with the last axis."""
    for axis, (before, after) in enumerate(zip(margins[::2], margins[1::2], strict=True), start=1):
        cells = x.shape[-axis]
        x = x.index_select(x.dim() - axis, torch.arange(-before, cells + after).clamp(0, cells - 1))
    return x


def pooled_up(
    x: Tensor, window: int, stride: int | None = None, padding: int = 0, dilation: int = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """`F.max_pool2d` without places. Where it rounds up, x is made longer, so that it need not, and never shorter than a window:
    of a map of 1 cell OpenVINO makes a map of none."""
    step = stride or window
    if ceil_mode and isinstance(window, int) and isinstance(step, int) and window >= step and (padding, dilation) == (0, 1):
        below, right = (step - 1 if window == step else greater(step - 1, window - side) for side in x.shape[-2:])
        x, ceil_mode = F.pad(x, (0, right, 0, below), value=-torch.inf), False
    return F.max_pool2d(x, window, step, padding, dilation, ceil_mode)
