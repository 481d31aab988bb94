"""Pooling to grids of bins, for PSPNet and UPerNet. In an exported graph, too, the bins follow the size of the map.

Like torch's functions, both poolings can be overridden by torch's protocol of functions, as `prediction.tile_passes` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from perpixel.layers.precision import at_least_float32, full_precision


def average_pool(x: Tensor, grids: Sequence[int]) -> list[Tensor]:
    """x (B, C, h, w) -> for each grid of n x n bins (B, C, n, n), the means of x in its bins.

    It equals `F.adaptive_avg_pool2d`. The matrices for rows and columns follow the size of x in an exported graph too."""
    if has_torch_function_unary(x):
        pooled: list[Tensor] = handle_torch_function(average_pool, (x,), x, grids)
        return pooled
    with full_precision(x):
        cells = at_least_float32(x).flatten(2)
        sides = [[shares_of(side, bins, cells) for side in x.shape[-2:]] for bins in grids]
        # (h w, bins of all grids): one product reads x once, in either memory layout.
        shares = torch.cat(
            [(rows[:, None, :, None] * columns[None, :, None, :]).flatten(2).flatten(0, 1) for rows, columns in sides]
        )
        means = torch.bmm(cells, shares.T.expand(x.shape[0], -1, -1)).to(x.dtype)
    parts = means.split([bins**2 for bins in grids], 2)
    return [part.unflatten(2, (bins, bins)) for part, bins in zip(parts, grids, strict=True)]


def max_pool(x: Tensor, grids: Sequence[int]) -> list[Tensor]:
    """x (B, C, h, w) -> for each grid the maxima of x in the same bins; `F.adaptive_max_pool2d`, also in an exported graph."""
    if has_torch_function_unary(x):
        pooled: list[Tensor] = handle_torch_function(max_pool, (x,), x, grids)
        return pooled
    return [_maxima(_maxima(x, bins, 2), bins, 3) for bins in grids]


POOLINGS: dict[str, Callable[[Tensor, Sequence[int]], list[Tensor]]] = {"average": average_pool, "max": max_pool}


def shares_of(cells: int, bins: int, like: Tensor) -> Tensor:
    """(bins, cells): the share of each cell in each bin. Bins divide the side evenly. A cell counts in every bin it touches."""
    bin = torch.arange(bins, device=like.device)[:, None]
    cell = torch.arange(cells, device=like.device)
    inside: Tensor = ((cell * bins < (bin + 1) * cells) & ((cell + 1) * bins > bin * cells)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def _maxima(x: Tensor, bins: int, axis: int) -> Tensor:
    """x with its maxima in the same bins along one axis."""
    cells = x.shape[axis]
    bin = torch.arange(bins, device=x.device)[:, None]
    first, last = bin * cells // bins, -((-bin - 1) * cells // bins) - 1
    most = cells // bins + 2  # cells of the largest bin; a smaller bin repeats its last cell
    places = torch.minimum(first + torch.arange(most, device=x.device), last)
    maxima: Tensor = x.index_select(axis, places.flatten()).unflatten(axis, (bins, most)).amax(axis + 1)
    return maxima
