"""receptive-field: which part of a picture moves one output? ParseNet's probe (Liu et al., arXiv:1506.04579, section 3.1).

    probe = receptive_field(load("runs/mine"), read_image("street.jpg"))
    probe.moved                                                  # 0.24: a quarter of the picture
    write_image(Path(), "field.png", draw_probe(image, probe))

The paper slides a small patch of random noise over the picture and measures how the activation of one unit changes: a place
where it hardly does lies outside the effective field. It finds about a quarter of the picture, where the theoretical field of
its fc7 (404 pixels) is nearly the whole. Its figure 2 follows the channel of a class at one place; so the change is here

    | score of the winning class at the pixel, with the patch - without |

before any softmax, where the winning class is that of the undisturbed picture. The paper gives neither the size of the patch
nor the change that counts: both are said with every result."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel import draw
from perpixel.errors import UsageError
from perpixel.networks import PixelNetwork, pixel_network
from perpixel.prediction.score_maps import to_tensor
from perpixel.weights.model_file import Model

PATCH = 16  # pixels
SHARE = 0.1  # of the greatest change: what counts as moving the output
PIXELS_AT_ONCE = 2**19  # of all pictures that go through the network together; at least one picture does
HEAT, FIELD, CROSS = (235, 60, 20), (60, 140, 255), (255, 230, 0)

Box = tuple[int, int, int, int]  # top, left, bottom, right; the last two are just outside


@dataclass(frozen=True)
class Probe:
    """What moves the score of `class_id` at `at` (row, column) of a picture of `size` (height, width).

    `field` is that of `effective_receptive_field` in cells of `step` pixels, `theoretical` that of `theoretical_field`."""

    at: tuple[int, int]
    size: tuple[int, int]
    class_id: int
    patch: int
    step: int
    field: NDArray[np.float32]
    theoretical: Box

    @property
    def relative(self) -> NDArray[np.float32]:
        """(H, W): the change at every pixel as a share of the greatest; all 0 where nothing moves the output."""
        height, width = self.size
        shares = self.field / max(float(self.field.max()), float(np.finfo(np.float32).tiny))
        pixels: NDArray[np.float32] = shares.repeat(self.step, 0)[:height].repeat(self.step, 1)[:, :width]
        return pixels

    @property
    def moved(self) -> float:
        """The share of the picture's pixels whose change is more than `SHARE` of the greatest."""
        return float((self.relative > SHARE).mean())

    @property
    def reach(self) -> float:
        """The share of the picture's pixels inside the theoretical field."""
        top, left, bottom, right = self.theoretical
        return max(0, bottom - top) * max(0, right - left) / (self.size[0] * self.size[1])


def receptive_field(
    model: Model | nn.Module,
    image: NDArray[np.uint8],
    at: tuple[int, int] | None = None,
    patch: int = PATCH,
    step: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Probe:
    """Both fields of the output at `at`, the middle of the picture without it; `step` is `patch` without it."""
    size = image.shape[0], image.shape[1]
    at, step = at or (size[0] // 2, size[1] // 2), patch if step is None else step
    field = effective_receptive_field(model, image, at, patch, step, seed, progress)
    with torch.inference_mode():
        class_id = int(_scores(model, to_tensor(image), at).argmax())
    return Probe(at, size, class_id, patch, step, field, theoretical_field(model, size, at))


@torch.inference_mode()
def effective_receptive_field(
    network_or_model: Model | nn.Module,
    image: NDArray[np.uint8],
    at: tuple[int, int],
    patch: int = PATCH,
    step: int = PATCH,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """float32 (rows, columns): how far a patch of noise on each cell of the picture moves the output at `at` (row, column).

    Cells of `step` pixels tile `image`, uint8 RGB (H, W, 3), from its top left corner. On each in turn lies the same noise, drawn
    evenly from [0, 1] by `seed`, with a side of `patch` pixels around the cell's centre and cut at the picture's edge. A change
    of exactly 0 means that the output does not see the patch. Leaves the network in evaluation mode; `progress` gets (done, all).
    Raises UsageError for a pixel outside, or a patch that does not cover its cell."""
    height, width = image.shape[:2]
    if not (0 <= at[0] < height and 0 <= at[1] < width):
        raise UsageError(f"row {at[0]}, column {at[1]} is outside the picture, which is {height}x{width} (height x width).")
    if not 1 <= step <= patch:
        raise UsageError(f"patch {patch}, step {step}: a step above the patch leaves pixels out; choose 1 <= step <= patch.")
    rows, columns = -(-height // step), -(-width // step)
    picture = to_tensor(image)
    noise = torch.rand(3, patch, patch, generator=torch.Generator().manual_seed(seed))
    batch = min(rows * columns, max(1, PIXELS_AT_ONCE // (height * width)))
    # Compared entry by entry with an undisturbed batch of the same size: then what is out of sight differs by exactly 0.
    before = _scores(network_or_model, picture.repeat(batch, 1, 1, 1), at)
    winner = int(before[0].argmax())
    changes = torch.zeros(rows * columns)
    for first in range(0, rows * columns, batch):
        pictures = picture.repeat(batch, 1, 1, 1)
        count = min(batch, rows * columns - first)
        for entry in range(count):
            cell = divmod(first + entry, columns)
            top, left = (place * step - (patch - step) // 2 for place in cell)
            seen = noise[:, max(0, -top) : height - top, max(0, -left) : width - left]
            top, left = max(0, top), max(0, left)
            pictures[entry, :, top : top + seen.shape[1], left : left + seen.shape[2]] = seen
        after = _scores(network_or_model, pictures, at)
        changes[first : first + count] = (after - before)[:count, winner].abs()
        if progress:
            progress(first + count, rows * columns)
    return changes.view(rows, columns).numpy()


@torch.inference_mode()
def theoretical_field(network_or_model: Model | nn.Module, size: tuple[int, int], at: tuple[int, int]) -> Box:
    """The smallest box of a picture of `size` (height, width) with all pixels from which anything can reach the output at `at`.

    Found on the network itself: a score is nan exactly when it was computed from a pixel that is nan, whatever the weights, as
    long as convolutions are direct, as torch's are on CPUs. Empty, with its bottom above its top, where nothing reaches it."""
    picture = torch.zeros(1, 3, *size)

    def sees(axis: int, start: int, end: int) -> bool:
        blind = picture.clone()
        blind.narrow(axis, start, end - start).fill_(torch.nan)
        return bool(_scores(network_or_model, blind, at).isnan().any())

    def ends(axis: int, side: int) -> tuple[int, int]:
        first = bisect_left(range(side), True, key=lambda last: sees(axis, 0, last + 1))
        return first, bisect_left(range(side), True, key=lambda start: not sees(axis, start, side))

    (top, bottom), (left, right) = ends(2, size[0]), ends(3, size[1])
    return top, left, bottom, right


def draw_probe(image: NDArray[np.uint8], probe: Probe) -> draw.Picture:
    """The picture, and beside it what moves the output at the cross: the redder, the more. The white line goes around what
    `probe.moved` counts, the blue one around the theoretical field."""
    heat = probe.relative[..., None]
    grey = image.mean(2, keepdims=True) * 0.6
    heated = (grey * (1 - heat) + np.array(HEAT) * heat).astype(np.uint8)
    counted = np.pad(probe.relative > SHARE, 1)
    inner = counted[:-2, 1:-1] & counted[2:, 1:-1] & counted[1:-1, :-2] & counted[1:-1, 2:]
    heated[counted[1:-1, 1:-1] & ~inner] = draw.PAPER
    page = Image.fromarray(heated)
    pen, (row, column), (top, left, bottom, right) = ImageDraw.Draw(page), probe.at, probe.theoretical
    if probe.reach:
        pen.rectangle((left, top, right - 1, bottom - 1), outline=FIELD)
    for ink, width in ((draw.INK, 3), (CROSS, 1)):
        pen.line((column - 4, row, column + 4, row), ink, width)
        pen.line((column, row - 4, column, row + 4), ink, width)
    return draw.sheet([[image, np.asarray(page)]], ["picture", "what moves the output"])


def _scores(network_or_model: Model | nn.Module, images: Tensor, at: tuple[int, int]) -> Tensor:
    """(B, C) float32 scores, on the CPU, at one pixel of the pictures (B, 3, H, W); a model sees them at its own scale."""
    network: PixelNetwork | nn.Module
    if isinstance(network_or_model, Model):
        network, scale = pixel_network(network_or_model.ready(), "receptive-field"), network_or_model.scale
    else:
        network, scale = network_or_model.eval(), 1.0
    height, width = images.shape[-2:]
    seen = max(1, round(height * scale)), max(1, round(width * scale))
    if seen != (height, width):
        images = F.interpolate(images, seen, mode="bilinear", antialias=True)
    row, column = (int((place + 0.5) * now / side) for place, now, side in zip(at, seen, (height, width), strict=True))
    weights: Any = next(network.parameters(), images)
    logits: Tensor = network(images.to(weights.device))["logits"]
    return logits[:, :, row, column].float().cpu()
