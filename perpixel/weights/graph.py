"""A network as a graph of ONNX, with all that stands before and behind it, for pictures of any size and batches of any number.

    pictures, uint8 RGB (B, H, W, 3)
      -> resized as Pillow does, where the network sees pictures at another scale
      -> the network, which normalises, pads and crops for itself, and gives scores on its own grid
      -> the scores at each pixel, read bilinearly -> their argmax: labels (B, H, W)

Places are computed in whole numbers below 2^31, since OpenVINO has no larger ones and no float64: a rounded place would move
borders. So the graph reads the scores where `prediction.score_maps` reads them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from perpixel.errors import ResourceError, UsageError
from perpixel.layers.score_map import ScoreMap, greater
from perpixel.limits import DENOMINATOR, LARGEST_SCALE
from perpixel.weights.graph_parts import Alike

BITS = 22  # of the weights of Pillow's resizing
HALF = BITS // 2
EXAMPLE = (2, 301, 397, 3)  # a batch that the graph is traced with
OPSET = 20
EXTRA = 'pip install "perpixel[export]"'


class Labels(nn.Module):
    """pictures -> labels (B, H, W), uint8, or uint16 above 255 classes; with `probabilities` also those (B, C, H, W) float32.

    The network sees the pictures at `scale`, or with their shorter side of `side` pixels."""

    def __init__(self, network: nn.Module, scale: float, side: int | None, dtype: torch.dtype, probabilities: bool) -> None:
        super().__init__()
        self.network, self.scale, self.side, self.dtype, self.probabilities = network, scale, side, dtype, probabilities

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        size = pictures.shape[1], pictures.shape[2]
        seen_size = None if self.scale == 1 and self.side is None else seen(size, self.scale, self.side)
        network: Any = self.network
        scores = at_pixels(network.score_map(_images(resized(pictures, seen_size))), size, seen_size)
        labels = scores.argmax(1).to(self.dtype)
        return (labels, scores.softmax(1)) if self.probabilities else (labels,)


@dataclass(frozen=True)
class Grid:
    """How the cells of a network's scores lie in its input: `stride` and `shift` of `ScoreMap`; or they span a size, by their
    corners or by their edges."""

    stride: float = 1.0
    shift: float = 0.0
    spans: bool = False
    corners: bool = False

    def score_map(self, scores: Tensor, span: tuple[int, int]) -> ScoreMap:
        if not self.spans:
            return ScoreMap(scores, self.stride, self.shift)
        return ScoreMap.cornered(scores, span) if self.corners else ScoreMap.stretched(scores, span)


class Cells(nn.Module):
    """images float32 (B, 3, H, W) in [0, 1] -> the network's own scores (B, C, h, w), and the size (2,) int64 that they span, 0
    where they span none. Tracing notes the `grid`."""

    grid: Grid

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        network: Any = self.network
        found: ScoreMap = network.score_map(images)
        if found.span is None:
            assert not isinstance(found.stride, tuple), "a stride that follows from a size has its span"
            assert not isinstance(found.shift, tuple), "so has a shift"
            self.grid = Grid(float(found.stride), float(found.shift))
        else:
            self.grid = Grid(spans=True, corners=found.corners)
        sides = [torch.scalar_tensor(side, dtype=torch.int64) for side in found.span or (0, 0)]
        return found.scores.float(), torch.stack(sides)


def _images(pictures: Tensor) -> Tensor:
    return pictures.permute(0, 3, 1, 2).float() / 255


def seen(size: tuple[int, int], scale: float, side: int | None) -> tuple[int, int]:
    """The size at which a network sees a picture of `size`: each side times the scale, rounded, halves to even numbers."""
    if side is None:
        share = Fraction(scale).limit_denominator(DENOMINATOR)
        above, below = share.numerator, share.denominator
    else:  # no picture is enlarged more than LARGEST_SCALE times
        below = -greater(-size[0], -size[1])
        above = -greater(-side, -int(LARGEST_SCALE) * below)
    return _times(size[0], above, below), _times(size[1], above, below)


def _times(side: int, above: int, below: int) -> int:
    doubled = 2 * side * above + below
    whole = doubled // (2 * below)
    is_half = 1 + greater(-(doubled % (2 * below)), -1)
    return greater(whole - is_half * (whole % 2), 1)


def resized(pictures: Tensor, size: tuple[int, int] | None) -> Tensor:
    """uint8 (B, H, W, 3) at another size, if any, to the bit as by Pillow's bilinear filter: columns first, then rows."""
    if size is None:
        return pictures
    return _resized(_resized(pictures.int(), 2, size[1]), 1, size[0]).to(torch.uint8)


def _resized(x: Tensor, axis: int, after: int) -> Tensor:
    """One axis. A pixel is the mean of those before it under a triangle, whose weights are numbers of 2^-22."""
    before = x.shape[axis]
    widest = greater(before, after)  # half the base of the triangle, in pixels before, times `after`
    taps = 2 * ((widest + after - 1) // after) + 1  # a graph divides towards 0, so no negative number is divided
    centres = (2 * torch.arange(after, dtype=torch.int32) + 1) * before  # times 2 * after
    first = _quotient((centres - 2 * widest + after).clamp(min=0), 2 * after)
    places = first[:, None] + torch.arange(taps, dtype=torch.int32)  # (after, taps)
    distances = ((2 * places + 1) * after - centres[:, None]).abs()
    heights = torch.where(places < before, (2 * widest - distances).clamp(min=0), 0)
    total = heights.sum(1, keepdim=True, dtype=torch.int32)
    # heights / total in numbers of 2^-22, rounded: as a long division in two steps, so that no number exceeds 2^31.
    high = _quotient(heights << HALF, total)
    rest = (heights << HALF) - high * total
    low = _quotient((rest << HALF) * 2 + total, 2 * total)
    around = x.index_select(axis, places.clamp(max=before - 1).flatten()).unflatten(axis, (after, taps))
    shape = [after, taps] + [1] * (x.dim() - axis - 1)
    # OpenVINO shifts whole numbers as float32, so the halves of the weights are summed by themselves: both sums are below 2^24.
    upper, lower = ((around * half.reshape(shape)).sum(axis + 1, dtype=torch.int32) for half in (high, low))
    rounded: Tensor = (upper + (lower >> HALF) + (1 << (HALF - 1))) >> HALF
    return rounded.clamp(0, 255)


def _quotient(above: Tensor, below: Tensor | int) -> Tensor:
    """The whole part of above / below, of numbers that are not negative.

    OpenVINO divides whole numbers as float32, so the quotient may be off by one; the remainder tells."""
    quotient = above // below
    rest = above - quotient * below
    corrected: Tensor = quotient + (rest >= below).to(above.dtype) - (rest < 0).to(above.dtype)
    return corrected


def at_pixels(found: ScoreMap, size: tuple[int, int], seen_size: tuple[int, int] | None = None) -> Tensor:
    """The scores (B, C, H, W) at each pixel of pictures of `size`, which the network saw at `seen_size` if that is given."""
    scores = found.scores.float()
    if seen_size is None and found.span is None and (found.stride, found.shift) == (1, 0):
        return scores[:, :, : size[0], : size[1]]  # there may be more, of the border that a network adds
    for axis in (0, 1):
        cell, share = _places(found, axis, size[axis], None if seen_size is None else seen_size[axis])
        following = torch.clamp(cell + 1, max=scores.shape[axis + 2] - 1)
        first, second = scores.index_select(axis + 2, cell), scores.index_select(axis + 2, following)
        scores = first + (second - first) * (share[:, None] if axis == 0 else share)
    return scores


def _places(found: ScoreMap, axis: int, side: int, seen_side: int | None) -> tuple[Tensor, Tensor]:
    """For each pixel the cell before it and the share of the next cell. All is in whole numbers: a place is `above` / `below`."""
    cells, pixel = found.scores.shape[axis + 2], torch.arange(side, dtype=torch.int64)
    # middle / parts of what the network saw is the middle of a pixel; its place there is half a pixel less
    middle, parts = (2 * pixel + 1, 2) if seen_side is None else ((2 * pixel + 1) * seen_side, 2 * side)
    above: Tensor
    below: int
    if found.span is None:
        stride, shift = (Fraction(value[axis] if isinstance(value, tuple) else value) for value in (found.stride, found.shift))
        start = (shift - 1 / (2 * stride)).limit_denominator(DENOMINATOR)
        above = middle * (stride.denominator * start.denominator) + parts * (start.numerator * stride.numerator)
        below = parts * (start.denominator * stride.numerator)
    elif found.corners:
        last = greater(found.span[axis] - 1, 1)
        above = (pixel if seen_side is None else 2 * middle - parts) * (cells - 1)
        below = last if seen_side is None else 2 * parts * last
    else:
        twice = 1 if seen_side is None else 2
        above = middle * (twice * cells) - (parts * twice // 2) * found.span[axis]
        below = parts * twice * found.span[axis]
    above = torch.clamp(above, 0, (cells - 1) * below)
    cell = _quotient(above, below)
    return cell, (above - cell * below).float() / below


def as_onnx(graph: Labels | Cells, names: list[str]) -> Any:
    """The graph as an `onnx.ModelProto` whose outputs have these names. Batch, height and width of its input are free.

    Raises ResourceError where a package of the extra `export` is missing."""
    with quiet():
        try:
            import onnx  # noqa: F401
            import onnxscript  # noqa: F401
        except ModuleNotFoundError as error:
            raise ResourceError(f"an export needs {error.name}, which is not installed; {EXTRA} brings it.") from None
        example, free = torch.zeros(EXAMPLE, dtype=torch.uint8), (0, 1, 2)
        if isinstance(graph, Cells):
            example, free = _images(example), (0, 2, 3)
        sides = {axis: torch.export.Dim.AUTO for axis in free}
        with torch.no_grad():
            try:
                with Alike():
                    traced = torch.export.export(graph.eval(), (example,), dynamic_shapes=(sides,), strict=False)
                program = torch.onnx.export(
                    traced, dynamo=True, opset_version=OPSET, input_names=["pictures"], output_names=names, verbose=False,
                )  # fmt: skip
            except (RuntimeError, TypeError, ValueError, AttributeError, KeyError) as error:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise UsageError(f"torch makes no graph of this network ({reason}); it runs in torch alone.") from error
    assert program is not None
    return _without_notes(program.model_proto)


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings during the block: the packages that make graphs warn of their own parts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _without_notes(model: Any) -> Any:
    """The model without the notes of the exporter, which name files of this machine and lines of code."""
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
        for value in graph.value_info:
            del value.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        if hasattr(value, "metadata_props"):
            del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    return model
