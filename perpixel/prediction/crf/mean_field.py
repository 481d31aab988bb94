"""The loop of mean field for the fully connected CRF (Krähenbühl and Koltun, NIPS 2011, algorithm 1), on all cores.

Each iteration has three passes. First, the marginals go to the lattice of the bilateral kernel and are blurred there. Second,
they are smoothed along columns. Third, for each pixel the values from the lattice, from smoothing along the row and from the
unary are summed and normalised.

Marginals lie in memory as (pixel, class), with the number of classes filled up to a multiple of 8. Pixels are visited in tiles of
16x16, so that neighbouring pixels read from the same part of memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import config
from numpy.typing import NDArray

from perpixel.machines.compiled import compiled
from perpixel.prediction.crf import permutohedral
from perpixel.prediction.crf.permutohedral import CORNERS, Parallel
from perpixel.prediction.crf.vectors import add, add_line, add_rows, add_scaled, empty, exp, item, larger, load, spread, store

if TYPE_CHECKING:
    from perpixel.prediction.crf.settings import CRF

TILE, STRIP, SMALL = 16, 8, 2048  # pixels: side of a tile, width of a strip, and the fewest for which another thread pays
TRUNCATE = 4  # standard deviations at which the Gaussian is cut off; there it is 3e-4 of its height
ABSENT = -1e30  # the unary of the classes that fill up to a multiple of 8


def marginals(image: NDArray[np.uint8], unary: NDArray[np.float32], crf: CRF, threads: int | None) -> NDArray[np.float32]:
    """Marginals (C, H, W) for log probabilities `unary` (C, H, W). Raises OverflowError if the lattice is too fine."""
    cores: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    threads = min(threads or cores, 1 + unary[0].size // SMALL)
    with ThreadPoolExecutor(threads) as pool:

        def parallel(function: Callable[..., None], count: int, *arguments: Any) -> None:
            parts = min(4 * threads, count)  # more parts than threads, because some parts take longer
            if threads == 1 or parts <= 1:
                function(0, count, *arguments)
                return
            bounds = [part * count // parts for part in range(parts + 1)]
            for done in [pool.submit(function, *part, *arguments) for part in pairwise(bounds)]:
                done.result()

        return _mean_field(image, unary, crf, parallel)


def _mean_field(image: NDArray[np.uint8], log_p: NDArray[np.float32], crf: CRF, parallel: Parallel) -> NDArray[np.float32]:
    classes, height, width = log_p.shape
    pixels, columns = height * width, -(-classes // 8) * 8
    order = _tiles(height, width)
    unary, q = empty(pixels * columns), empty(pixels * columns)
    parallel(_pack, pixels, order, log_p.reshape(classes, -1), unary, columns)
    radius = int(min(np.ceil(TRUNCATE * crf.gaussian_sd), max(height, width) - 1))
    along_y = _taps(height, radius, crf.gaussian_sd)
    along_x = _taps(width, radius, crf.gaussian_sd) * np.float32(crf.gaussian_weight)
    nothing = np.zeros(0, np.float32)
    smooth = empty(pixels * columns) if crf.gaussian_weight else nothing
    corners, shares, values = np.zeros(0, np.uint32), nothing, nothing
    if crf.bilateral_weight:
        lattice = permutohedral.build(_features(image, crf), order, parallel)
        scale = _normalise(lattice, pixels, order, parallel)
        corners, values = lattice.corners, empty(lattice.points * columns)
        shares = lattice.shares * np.repeat(scale[order] * np.float32(crf.bilateral_weight), CORNERS)
        lattice.splats[:] *= scale[lattice.pixels]
    parallel(_update, pixels, order, unary, nothing, along_x, radius, nothing, corners, shares, q, width, columns)
    for _ in range(crf.iterations):
        if crf.bilateral_weight:
            permutohedral.splat_and_blur(lattice, q, values, parallel)
        if crf.gaussian_weight:
            parallel(_smooth_columns, -(-width // STRIP), q, along_y, radius, smooth, height, width, columns)
        parallel(_update, pixels, order, unary, smooth, along_x, radius, values, corners, shares, q, width, columns)
    result = np.empty((classes, pixels), np.float32)
    parallel(_unpack, pixels, q, result, columns)
    return result.reshape(log_p.shape)


def _features(image: NDArray[np.uint8], crf: CRF) -> NDArray[np.float64]:
    """(H W, 5): blue, green, red, y, x in standard deviations; in this order the lattice is nearer to the exact kernel."""
    y, x = np.indices(image.shape[:2]) / crf.bilateral_xy_sd
    return np.dstack([image[:, :, ::-1] / crf.bilateral_rgb_sd, y, x]).reshape(-1, permutohedral.D)


def _normalise(lattice: permutohedral.Lattice, pixels: int, order: NDArray[np.uint32], parallel: Parallel) -> NDArray[np.float32]:
    """(N) 1 / sqrt(the kernel applied to a picture of ones): the symmetric normalisation of the kernel."""
    ones, values = np.ones(pixels * 8, np.float32), empty(lattice.points * 8)
    permutohedral.splat_and_blur(lattice, ones, values, parallel)
    parallel(_slice, pixels, order, lattice.corners, lattice.shares, values, ones, 8)
    return (1 / np.sqrt(ones[::8])).astype(np.float32)


def _taps(length: int, radius: int, sd: float) -> NDArray[np.float32]:
    """(length * (2 radius + 1)) the weight at i with which place i gets the value of place i - radius + t; 0 for places outside.

    The kernel is normalised symmetrically. A Gaussian of two dimensions is a product of two Gaussians of one dimension, and so is
    its normalised kernel."""
    offsets = np.arange(-radius, radius + 1)
    at = np.arange(length)[:, None] + offsets
    kernel = np.where((at >= 0) & (at < length), np.exp(-0.5 * (offsets / sd) ** 2), 0)
    norm = 1 / np.sqrt(kernel.sum(1))
    taps: NDArray[np.float32] = (kernel * norm[:, None] * norm[at.clip(0, length - 1)]).astype(np.float32).ravel()
    return taps


def _tiles(height: int, width: int) -> NDArray[np.uint32]:
    """(H W) the numbers of the pixels, tile after tile."""
    y, x = np.indices((height, width), np.int64)
    tile = (y // TILE) * (width // TILE + 1) + x // TILE
    return np.argsort(tile.ravel(), kind="stable").astype(np.uint32)


@compiled()
def _pack(start: Any, stop: Any, order: Any, log_p: Any, unary: Any, columns: Any) -> None:
    for i in range(start, stop):
        pixel = order[i]
        for c in range(columns):
            unary[pixel * columns + c] = log_p[c, pixel] if c < len(log_p) else ABSENT


@compiled()
def _unpack(start: Any, stop: Any, q: Any, result: Any, columns: Any) -> None:
    for block in range(start, stop, 64):
        for c in range(len(result)):
            for pixel in range(block, min(block + 64, stop)):
                result[c, pixel] = q[pixel * columns + c]


@compiled()
def _slice(start: Any, stop: Any, order: Any, corners: Any, shares: Any, values: Any, target: Any, columns: Any) -> None:
    for i in range(start, stop):
        for column in range(0, columns, 8):
            store(target, order[i] * columns + column, spread(0))
        add_rows(target, order[i] * columns, values, corners, shares, i * CORNERS, (i + 1) * CORNERS, columns)


@compiled()
def _smooth_columns(
    start: Any, stop: Any, q: Any, taps: Any, radius: Any, smooth: Any, height: Any, width: Any, columns: Any
) -> None:  # fmt: skip
    """Smooths along columns in narrow strips, so that rows read by one row are still in the cache when the next row reads
    them."""
    for strip in range(start, stop):
        for y in range(height):
            top, bottom = max(y - radius, 0), min(y + radius + 1, height)
            tap = y * (2 * radius + 1) + top - y + radius
            for x in range(strip * STRIP, min((strip + 1) * STRIP, width)):
                at = (y * width + x) * columns
                for column in range(0, columns, 8):
                    store(smooth, at + column, spread(0))
                add_line(smooth, at, q, top * width + x, width, taps, tap, tap + bottom - top, columns)


@compiled()
def _update(
    start: Any, stop: Any, order: Any, unary: Any, smooth: Any, taps: Any, radius: Any, values: Any, corners: Any, shares: Any,
    q: Any, width: Any, columns: Any,
) -> None:  # fmt: skip
    """Algorithm 1, lines 3 to 6, with Potts' model: q = softmax(unary + messages of both kernels). An empty array sends
    nothing."""
    for i in range(start, stop):
        pixel = np.int64(order[i])
        at = pixel * columns
        for column in range(0, columns, 8):
            store(q, at + column, load(unary, at + column))
        if len(smooth):
            x = pixel % width
            left, right = max(x - radius, 0), min(x + radius + 1, width)
            tap = x * (2 * radius + 1) + left - x + radius
            add_line(q, at, smooth, pixel + left - x, 1, taps, tap, tap + right - left, columns)
        if len(values):
            add_rows(q, at, values, corners, shares, i * CORNERS, (i + 1) * CORNERS, columns)
        largest = load(q, at)
        for column in range(8, columns, 8):
            largest = larger(largest, load(q, at + column))
        highest = item(largest, 0)
        for k in range(1, 8):
            highest = max(highest, item(largest, k))
        sums = spread(0)
        for column in range(0, columns, 8):
            power = exp(add(load(q, at + column), spread(-highest)))
            store(q, at + column, power)
            sums = add(sums, power)
        total = item(sums, 0)
        for k in range(1, 8):
            total += item(sums, k)
        for column in range(0, columns, 8):
            store(q, at + column, add_scaled(spread(0), np.float32(1) / total, load(q, at + column)))
