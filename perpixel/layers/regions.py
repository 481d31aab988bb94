"""Regions of a picture, cut out of feature maps; and masks, from the square of a region to the pixels of a picture and back
(Mask R-CNN, He et al., ICCV 2017, section 3). Conventions are torchvision's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from perpixel.sample import Crop

SAMPLES = 2  # points of a bin of RoIAlign, along each side
WHOLE_SIDE, WHOLE_STRIDE = 224, 16  # a region as large as ImageNet's pictures belongs to the level of stride 16


def levels_of(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """The level, a place in `strides`, that each of `boxes` (N, 4) belongs to by its area: FPN, equation 1."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1).sqrt()
    octaves = (sides / WHOLE_SIDE).log2() + 1e-6
    first = strides.index(WHOLE_STRIDE)
    return (octaves.floor() + first).clamp(0, len(strides) - 1).long()


def region_features(
    levels: Sequence[Tensor], strides: Sequence[int], boxes: Sequence[Tensor], side: int, method: str, every_level: bool = False
) -> list[Tensor]:
    """The features (R, C, side, side) of the boxes (n, 4) of each picture, in turn.

    By `method` "align" a bin is the mean of bilinear samples at SAMPLES x SAMPLES places of it, and nothing is rounded; by "pool"
    it is the maximum of its cells, and sides are rounded. Each region is cut out of the level of its size; with `every_level` out
    of each level, and there are as many tensors."""
    from torchvision.ops import roi_align, roi_pool  # only now: it takes two seconds to import

    def cut(level: Tensor, stride: int, regions: Tensor) -> Tensor:
        if method == "pool":
            pooled: Tensor = roi_pool(level, regions, side, 1 / stride)
        else:
            pooled = roi_align(level, regions, side, 1 / stride, SAMPLES)
        return pooled

    pictures = [boxes_of.new_full((len(boxes_of), 1), number) for number, boxes_of in enumerate(boxes)]
    regions = torch.cat([torch.cat(pictures), torch.cat(list(boxes))], 1)
    if every_level or len(levels) == 1:
        return [cut(level, stride, regions) for level, stride in zip(levels, strides, strict=True)]
    found = levels[0].new_zeros((len(regions), levels[0].shape[1], side, side))
    place = levels_of(regions[:, 1:], strides)
    for number, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        here = (place == number).nonzero().flatten()
        found = found.index_copy(0, here, cut(level, stride, regions[here]).to(found.dtype))
    return [found]


def mask_targets(plane: Tensor, values: Tensor, boxes: Tensor, size: tuple[int, int], side: int) -> Tensor:
    """The part of a mask that lies in each of the `boxes` (N, 4), as shares in [0, 1]: float32 (N, side, side). The mask of box i
    is where `plane` (H, W) has values[i].

    Boxes are in pixels of a picture resized to `size`, in which every pixel has the nearest of the plane. Only the part in the
    box is resized."""
    from torchvision.ops import roi_align

    targets = boxes.new_zeros((len(boxes), side, side))
    rows, columns = (_nearest(before, after, boxes.device) for before, after in zip(plane.shape, size, strict=True))
    for number, (value, (left, top, right, bottom)) in enumerate(zip(values.tolist(), boxes.tolist(), strict=True)):
        x, y = int(left), int(top)
        part = plane[rows[y : int(-(-bottom // 1)) + 1]][:, columns[x : int(-(-right // 1)) + 1]] == value
        region = boxes.new_tensor([[0, left - x, top - y, right - x, bottom - y]])
        targets[number] = roi_align(part.to(boxes.dtype)[None, None], region, side)[0, 0]
    return targets


def boxes_of(numbers: Tensor, count: int) -> Tensor:
    """The boxes float32 (count, 4) of the pixels i + 1 of a map `numbers` (H, W), for each object i; one without a pixel has its
    right and lower edge at 0, and left and upper ones beyond."""
    (height, width), (rows, columns) = numbers.shape, numbers.nonzero(as_tuple=True)
    objects = numbers[rows, columns].long() - 1
    first = [rows.new_full((count,), side).scatter_reduce(0, objects, places, "amin")
             for places, side in ((columns, width), (rows, height))]  # fmt: skip
    last = [rows.new_full((count,), -1).scatter_reduce(0, objects, places, "amax") for places in (columns, rows)]
    return torch.stack([*first, last[0] + 1, last[1] + 1], 1).float()


def _nearest(before: int, after: int, device: torch.device) -> Tensor:
    """For each of `after` places the nearest of `before`, as interpolation rounds."""
    return F.interpolate(torch.arange(float(before), device=device)[None, None], after, mode="nearest")[0, 0].long()


def expanded(boxes: Tensor, side: int) -> Tensor:
    """The boxes (N, 4) with a border of one cell of a mask of `side` x `side` cells, cut off to whole pixels: int64."""
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * ((side + 2) / side)
    centres = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    return torch.cat([centres - half, centres + half], 1).long()


def soft_mask(mask: Tensor, box: Tensor, size: tuple[int, int]) -> tuple[Tensor, int, int]:
    """A mask (m, m) of probabilities in its expanded box (4,): the probabilities (h, w) of pixels, of which the first is at the
    row and the column that are given too, as far as they lie in a picture of `size`."""
    left, top, right, bottom = box.tolist()
    whole = max(bottom - top + 1, 1), max(right - left + 1, 1)
    padded = F.pad(mask, (1, 1, 1, 1))
    pixels = F.interpolate(padded[None, None], whole, mode="bilinear", align_corners=False)[0, 0]
    above, before = max(-top, 0), max(-left, 0)
    return pixels[above : max(size[0] - top, 0), before : max(size[1] - left, 0)], top + above, left + before


def mask_in(mask: Tensor, box: Tensor, size: tuple[int, int]) -> Crop:
    """The pixels of a picture of `size` whose probability is above a half, of a mask (m, m) in its expanded box."""
    pixels, top, left = soft_mask(mask, box, size)
    return Crop.of((pixels > 0.5).numpy(), top, left, size)
