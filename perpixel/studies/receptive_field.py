"""receptive-field: the part of a picture that moves one output. ParseNet's probe (Liu et al., arXiv:1506.04579, section 3.1).

    probe = receptive_field(load("runs/mine"), read_image("street.jpg"))
    probe.moved                                                  # 0.24: a quarter of the picture
    write_image(Path(), "field.png", draw_probe(image, probe))

The paper slides a small patch of random noise over the picture and measures how the activation of one unit changes. A place with
hardly any change lies outside the effective field. The paper finds a field of about a quarter of the picture, although the
theoretical field of its fc7 (404 pixels) is nearly the whole picture. Its figure 2 follows the channel of a class at one place.
So the change is here

    | score of the winning class at the pixel, with the patch - without |

before any softmax. The winning class is that of the undisturbed picture. The paper gives neither the size of the patch nor the
least change that counts, so every result states both."""

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
from perpixel.limits import seen_size
from perpixel.networks import PixelNetwork, pixel_network
from perpixel.prediction.score_maps import to_tensor
from perpixel.weights.model_file import Model

PATCH = 16  # pixels
SHARE = 0.1  # a change above this share of the greatest change moves the output
PIXELS_AT_ONCE = 2**19  # most pixels of the pictures in one batch, which has at least one picture
HEAT, FIELD, CROSS = (235, 60, 20), (60, 140, 255), (255, 230, 0)

Box = tuple[int, int, int, int]  # top, left, bottom, right; bottom and right are the first row and column outside


@dataclass(frozen=True)
class Probe:
    """The pixels of a picture that move the score of one class at one pixel."""

    at: tuple[int, int]  # row and column of the pixel whose score is probed
    size: tuple[int, int]  # (height, width) of the picture
    class_id: int
    patch: int  # side of the noise, in pixels
    step: int  # side of a cell, in pixels
    field: NDArray[np.float32]  # of `effective_receptive_field`
    theoretical: Box  # of `theoretical_field`

    @property
    def relative(self) -> NDArray[np.float32]:
        """The change at every pixel (H, W), as a share of the greatest change. All 0 where no patch moves the output."""
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
    """Both fields of the output at `at` (row, column), by default the middle of the picture. `step` is `patch` by default."""
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
    """How far a patch of noise on each cell of the picture moves the output at `at` (row, column): float32 (rows, columns).

    Cells of `step` pixels tile `image`, uint8 RGB (H, W, 3), from its top left corner. The same noise lies on each cell in turn.
    It is drawn evenly from [0, 1] by `seed`, has a side of `patch` pixels around the centre of the cell, and is cut at the
    picture's edge. A change of exactly 0 means that the output does not depend on the patch. The network is left in evaluation
    mode. `progress` gets the numbers of finished and of all cells.
    Raises UsageError for a pixel outside of the picture, and for a patch that does not cover its cell."""
    height, width = image.shape[:2]
    if not (0 <= at[0] < height and 0 <= at[1] < width):
        raise UsageError(f"row {at[0]}, column {at[1]} is outside the picture, which is {height}x{width} (height x width).")
    if not 1 <= step <= patch:
        raise UsageError(f"patch {patch}, step {step}: a step above the patch leaves pixels out; choose 1 <= step <= patch.")
    rows, columns = -(-height // step), -(-width // step)
    picture = to_tensor(image)
    noise = torch.rand(3, patch, patch, generator=torch.Generator().manual_seed(seed))
    batch = min(rows * columns, max(1, PIXELS_AT_ONCE // (height * width)))
    # Each batch is compared with an undisturbed batch of the same size, so a patch out of sight changes a score by exactly 0.
    undisturbed = _scores(network_or_model, picture.repeat(batch, 1, 1, 1), at)
    winner = int(undisturbed[0].argmax())
    changes = torch.zeros(rows * columns)
    for first in range(0, rows * columns, batch):
        pictures = picture.repeat(batch, 1, 1, 1)
        count = min(batch, rows * columns - first)
        for entry in range(count):
            cell = divmod(first + entry, columns)
            top, left = (place * step - (patch - step) // 2 for place in cell)
            patch_inside = noise[:, max(0, -top) : height - top, max(0, -left) : width - left]
            top, left = max(0, top), max(0, left)
            pictures[entry, :, top : top + patch_inside.shape[1], left : left + patch_inside.shape[2]] = patch_inside
        disturbed = _scores(network_or_model, pictures, at)
        changes[first : first + count] = (disturbed - undisturbed)[:count, winner].abs()
        if progress:
            progress(first + count, rows * columns)
    return changes.view(rows, columns).numpy()


@torch.inference_mode()
def theoretical_field(network_or_model: Model | nn.Module, size: tuple[int, int], at: tuple[int, int]) -> Box:
    """The smallest box with all pixels that the output at `at` can depend on, in a picture of `size` (height, width).

    The network itself shows it: a score is nan exactly when it is computed from a pixel that is nan, for all weights. This needs
    direct convolutions, which torch has on CPUs. Where the output depends on no pixel, the box is empty: its bottom lies above
    its top."""
    picture = torch.zeros(1, 3, *size)

    def reaches(axis: int, start: int, end: int) -> bool:
        with_nan = picture.clone()
        with_nan.narrow(axis, start, end - start).fill_(torch.nan)
        return bool(_scores(network_or_model, with_nan, at).isnan().any())

    def ends(axis: int, side: int) -> tuple[int, int]:
        first = bisect_left(range(side), True, key=lambda last: reaches(axis, 0, last + 1))
        return first, bisect_left(range(side), True, key=lambda start: not reaches(axis, start, side))

    (top, bottom), (left, right) = ends(2, size[0]), ends(3, size[1])
    return top, left, bottom, right


def draw_probe(image: NDArray[np.uint8], probe: Probe) -> draw.RgbImage:
    """The picture, and beside it the pixels that move the output at the cross. The redder a pixel, the more it moves the output.

    The white line encloses the pixels that `probe.moved` counts. The blue line encloses the theoretical field."""
    heat = probe.relative[..., None]
    grey = image.mean(2, keepdims=True) * 0.6
    heated = (grey * (1 - heat) + np.array(HEAT) * heat).astype(np.uint8)
    moving = np.pad(probe.relative > SHARE, 1)
    inner = moving[:-2, 1:-1] & moving[2:, 1:-1] & moving[1:-1, :-2] & moving[1:-1, 2:]
    heated[moving[1:-1, 1:-1] & ~inner] = draw.PAPER
    page = Image.fromarray(heated)
    pen, (row, column), (top, left, bottom, right) = ImageDraw.Draw(page), probe.at, probe.theoretical
    if probe.reach:
        pen.rectangle((left, top, right - 1, bottom - 1), outline=FIELD)
    for ink, width in ((draw.INK, 3), (CROSS, 1)):
        pen.line((column - 4, row, column + 4, row), ink, width)
        pen.line((column, row - 4, column, row + 4), ink, width)
    return draw.sheet([[image, np.asarray(page)]], ["picture", "what moves the output"])


def _scores(network_or_model: Model | nn.Module, images: Tensor, at: tuple[int, int]) -> Tensor:
    """The scores at one pixel of the pictures (B, 3, H, W): float32 (B, C) on the CPU. A model gets the pictures at its scale."""
    network: PixelNetwork | nn.Module
    if isinstance(network_or_model, Model):
        network, scale = pixel_network(network_or_model.ready(), "receptive-field"), network_or_model.scale
    else:
        network, scale = network_or_model.eval(), 1.0
    height, width = images.shape[-2:]
    input_size = seen_size((height, width), scale)
    if input_size != (height, width):
        images = F.interpolate(images, input_size, mode="bilinear", antialias=True)
    row, column = (
        int((place + 0.5) * input_side / side) for place, input_side, side in zip(at, input_size, (height, width), strict=True)
    )
    weights: Any = next(network.parameters(), images)
    logits: Tensor = network(images.to(weights.device))["logits"]
    return logits[:, :, row, column].float().cpu()
