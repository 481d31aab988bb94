"""Class scores of one picture: the network is run on the whole picture, and its scores are interpolated bilinearly at every
pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from perpixel.images import resampled
from perpixel.layers.score_map import ScoreMap
from perpixel.limits import seen_size
from perpixel.machines.compiled import compiled
from perpixel.networks import PixelNetwork

Window = tuple[int, int, int, int]  # top, left, bottom, right: rows top..bottom-1, columns left..right-1


@dataclass(frozen=True)
class Scores:
    """Class scores (h, w, C) float32. Pixel i of the network's input lies at i / `stride` + `shift` in their rows, or columns.

    `seen` is the size of the network's input. Where `scores` are a part of the network's map, `origin` is their first cell
    there."""

    scores: NDArray[np.float32]
    stride: float | tuple[float, float]
    shift: float | tuple[float, float]
    seen: tuple[int, int]
    origin: tuple[int, int] = (0, 0)

    def labels(self, size: tuple[int, int], window: Window | None = None) -> NDArray[Any]:
        """The class with the largest bilinearly interpolated score at each pixel of a picture of `size`, or of a window of it.

        uint8, or uint16 above 255 classes: the type of class ids everywhere."""
        rows, columns = self._places(0, size, window), self._places(1, size, window)
        labels = np.empty((rows[0].size, columns[0].size), np.uint8 if self.scores.shape[2] <= 255 else np.uint16)
        _labels_at(labels, self.scores, *rows, *columns)
        return labels

    def interpolated(self, size: tuple[int, int], window: Window | None = None, logarithms: bool = False) -> NDArray[np.float32]:
        """The scores (H, W, C) at each pixel of a picture of `size`, or of a window of it.

        With `logarithms` the scores are logarithms of the values that are interpolated, and so are the results."""
        mixed = _mixed_logarithms if logarithms else _mixed
        row, row_share = self._places(0, size, window)
        column, column_share = self._places(1, size, window)
        below, right = (np.minimum(at + 1, end - 1) for at, end in zip((row, column), self.scores.shape, strict=False))
        lines = mixed(self.scores[row], self.scores[below], row_share[:, None, None])
        return mixed(lines[:, column], lines[:, right], column_share[:, None])

    def probabilities(self, size: tuple[int, int], window: Window | None = None) -> NDArray[np.float32]:
        """Softmax (C, H, W) of the interpolated scores."""
        return torch.from_numpy(self.interpolated(size, window)).movedim(2, 0).softmax(0).numpy()

    def _places(self, axis: int, size: tuple[int, int], window: Window | None) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """For each pixel the cell before it and the share of the next cell; the outermost cells reach to the edge."""
        pixels = (0, size[axis]) if window is None else (window[axis], window[axis + 2])
        stride, shift = (np.broadcast_to(value, 2)[axis] for value in (self.stride, self.shift))
        places = places_of(pixels, size[axis], self.seen[axis], stride, shift)
        at = np.clip(places - self.origin[axis], 0, self.scores.shape[axis] - 1)
        cell = at.astype(np.int32)
        return cell, (at - cell).astype(np.float32)


def places_of(pixels: tuple[int, int], side: int, seen: int, stride: float, shift: float) -> NDArray[np.float64]:
    """The places on a map, in cells, of the pixels first..last-1 of a side, which the network sees with `seen` pixels."""
    middles: NDArray[np.float64] = (np.arange(*pixels) + 0.5) * seen / side - 0.5
    return middles / stride + shift


def _mixed(first: NDArray[np.float32], second: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    mixed: NDArray[np.float32] = first * (1 - share) + second * share
    return mixed


def _mixed_logarithms(first: NDArray[np.float32], second: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore"):  # the logarithm of a share of 0 is -inf
        return log_sum(first + np.log1p(-share), second + np.log(share))


def log_sum(
    first: NDArray[np.float32], second: NDArray[np.float32], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """log(exp(first) + exp(second)), which never overflows; not both may be -inf. Many times as fast as `np.logaddexp`."""
    rest = np.subtract(first, second)
    np.abs(rest, out=rest)
    np.exp(np.negative(rest, out=rest), out=rest)
    rest += 1
    return np.add(np.maximum(first, second, out=out), np.log(rest, out=rest), out=out)


def score_map(network: PixelNetwork, image: NDArray[Any], scale: float = 1.0) -> Scores:
    """The network's scores of one picture, resized by `scale`, before the interpolation to pixels."""
    return scores_of(network.score_map, network, resized(image, scale))


def resized(image: NDArray[Any], scale: float) -> NDArray[Any]:
    """The picture at `scale` times its size, at least a pixel each way; bilinear, antialiased where it shrinks.

    Columns come first, then rows, as by Pillow up to version 12; later ones begin with the rows of some high pictures."""
    height, width = image.shape[:2]
    size = seen_size((height, width), scale)
    if size == (height, width):
        return image
    if image.dtype != np.uint8:
        return resampled(resampled(image, (height, size[1]), Image.Resampling.BILINEAR), size, Image.Resampling.BILINEAR)
    narrowed = Image.fromarray(image).resize((size[1], height), Image.Resampling.BILINEAR)
    return np.asarray(narrowed.resize((size[1], size[0]), Image.Resampling.BILINEAR))


@torch.inference_mode()
def scores_of(run: Callable[[Tensor], ScoreMap], network: PixelNetwork, image: NDArray[Any]) -> Scores:
    """The scores that `run`, a method of the network, gives for one picture at its own size, on the network's device.

    The picture is uint8, or float32 in [0, 1]."""
    weights = next(network.parameters())
    score_map = run(to_tensor(image).to(weights.device))
    scores = score_map.scores[0].float().movedim(0, -1).contiguous().cpu().numpy()
    return Scores(scores, score_map.stride, score_map.shift, image.shape[:2])


def to_tensor(image: NDArray[Any]) -> Tensor:
    """RGB (H, W, 3), uint8 or float32 in [0, 1], or bands (H, W, N) in [0, 1] -> float32 (1, 3 or N, H, W), laid out channels
    last."""
    tensor = torch.from_numpy(np.require(image, requirements=("C", "W"))).movedim(-1, 0)[None]
    return tensor if tensor.is_floating_point() else tensor.float().div_(255)


@compiled()
def _labels_at(labels: Any, scores: Any, rows: Any, row_shares: Any, columns: Any, column_shares: Any) -> None:
    """Fills `labels` with the argmax of the bilinear interpolation of `scores` (h, w, C), without storing interpolated scores.

    A class that is greatest at all four corners of a cell is greatest everywhere in the cell, because interpolation is a mean
    with weights of 0 or more. So scores are interpolated only in cells whose corners differ."""
    height, width, classes = scores.shape
    best = np.empty((height, width), np.uint16)
    for y in range(height):
        for x in range(width):
            top = 0
            for c in range(1, classes):
                if scores[y, x, c] > scores[y, x, top]:
                    top = c
            best[y, x] = top
    line = np.empty((width, classes), np.float32)
    for i in range(rows.size):
        y, share = rows[i], row_shares[i]
        below = min(y + 1, height - 1)
        for x in range(width):
            for c in range(classes):
                line[x, c] = scores[y, x, c] + (scores[below, x, c] - scores[y, x, c]) * share
        for j in range(columns.size):
            x = columns[j]
            right = min(x + 1, width - 1)
            top = best[y, x]
            if best[y, right] != top or best[below, x] != top or best[below, right] != top:
                part = column_shares[j]
                top, greatest = 0, line[x, 0] + (line[right, 0] - line[x, 0]) * part
                for c in range(1, classes):
                    score = line[x, c] + (line[right, c] - line[x, c]) * part
                    if score > greatest:
                        top, greatest = c, score
            labels[i, j] = top
