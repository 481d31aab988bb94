"""FPN's segmentation proposals (Lin et al., CVPR 2017, section 6 and appendix): masks of objects whose class nobody asks for.

    image -> ResNet -> pyramid of 128 channels: P2, P3, P4, P5, P6 (strides 4, 8, 16, 32, 64)
    on every level, at every cell, with the same weights on all levels:
      5x5 convolution to 512, ReLU --+-> 1x1 convolution: a mask of 28 x 28
                                     +-> 1x1 convolution: its score
      7x7 convolution to 512, ReLU ----> the same, for objects that are sqrt(2) as large

The size of an object is the longer side of its box. Sizes of 32, 64, 128, 256 and 512 belong to P2 ... P6 and the 5x5, sizes
sqrt(2) larger to the same levels and the 7x7; other sizes go to the nearest of these, in log space. The mask shows a window
around the cell's centre that is a quarter larger than that size, so of 40, 80 ... 640 pixels.

    training    a cell is positive where an object of its size has its centre less than a cell away, on both axes
                128 cells of a picture, a quarter of them positive, logistic losses, that of masks ten times as heavy
    detection   the masks of the 1,000 cells with the highest scores, as they are: nothing is suppressed

Differs: a mask is taught the share of the object in each of its cells; what is void or beyond the picture teaches nothing.
Where fewer cells are positive, negative ones take their place. A cell whose centre is void or in a crowd is not drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones.trunks import staged_trunk
from perpixel.backbones.vgg import scaled
from perpixel.errors import UsageError
from perpixel.layers.examples import generators, ranks, sampled
from perpixel.layers.pyramid import Pyramid, coarsest
from perpixel.losses import Mean
from perpixel.sample import Crop, Instances, InstanceTargets, Targets

STRIDES = (4, 8, 16, 32)  # of the trunk's features; P6 has a stride of 64
DEPTH, HIDDEN = 128, 512  # channels of the pyramid, and of a head's first layer
SIZES = {5: 32.0, 7: 32 * sqrt(2)}  # of objects on P2 in pixels, by the kernel of the head
PADDING = 1.25  # the window of a mask over the size of the object
EXAMPLES, POSITIVE = 128, 0.25  # cells of a picture that losses are of, and the largest share of positive ones
MASK_WEIGHT = 10.0
MOST = 1000  # objects of a picture
PIXELS_AT_ONCE = 1 << 22  # of masks that are drawn together
BACKGROUND, NOTHING = -1, -2  # what a cell learns without an object: that there is none, or nothing


class FPNProposals(nn.Module):
    """FPN's segmentation proposals; 30,246,498 parameters.

    `kernels` of the heads: 5, 7 or both as in the final model. `mask_side`: cells of a mask in a row, 28 as in the final model or
    14. `backbone`, `width`, `top_down`, `lateral` and `weights` are as in `FPN`. Every object that is found has one class: the
    first of the table but background, which is class 0 there, or class 0 where there is no other.
    Raises UnknownName or UsageError for an argument that does not exist or does not go with the others."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "resnet50",
        kernels: Sequence[int] = (5, 7),
        mask_side: int = 28,
        top_down: bool = True,
        lateral: bool = True,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if not kernels or len({*kernels}) < len(kernels) or not {*kernels} <= SIZES.keys():
            raise UsageError(f"kernels = {list(kernels)}: give 5, 7 or both.")
        if not 1 <= mask_side <= 256:
            raise UsageError(f"mask_side = {mask_side}: must be 1 to 256; published are 14 and 28.")
        self.class_id, self.void = min(1, classes - 1), 255 if classes <= 255 else 65535
        self.mask_side = mask_side
        self.trunk = staged_trunk(backbone, width, weights)
        self.levels = [self.trunk.levels[stride] for stride in STRIDES]
        depth = scaled(DEPTH, width)
        self.pyramid = Pyramid([self.trunk.channels[level] for level in self.levels], depth, top_down=top_down, lateral=lateral)
        self.heads = nn.ModuleList(Head(depth, scaled(HIDDEN, width), kernel, mask_side) for kernel in kernels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> of all N cells of `planes_of`, in logits: "scores" (B, N), and "masks" (B, N, side,
        side), which training and `detect` only make of the cells that they use."""
        hidden, _ = self._hidden(images)
        scores, masks = [], []
        for head, x in zip(self._head_of_plane(hidden), hidden, strict=True):
            scores.append(head.score(x).flatten(1))
            masks.append(head.mask(x).flatten(2).movedim(1, 2).unflatten(2, (self.mask_side, self.mask_side)))
        return {"scores": torch.cat(scores, 1), "masks": torch.cat(masks, 1)}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """`score`, the mean over the examples of the batch, and `mask`, ten times the mean over the cells of the masks of the
        positive ones, each cell as heavy as its judged share."""
        return {name: mean.value for name, mean in self.means(images, targets).items()}

    def means(self, images: Tensor, targets: Targets) -> dict[str, Mean]:
        """The losses, and how many cells of pictures or of masks each is the mean of."""
        hidden, planes = self._hidden(images)
        taught = lessons(targets, planes, self.void, self.mask_side)
        score_loss, mask_loss = images.new_zeros(()), images.new_zeros(())
        for head, x, plane in zip(self._head_of_plane(hidden), hidden, planes, strict=True):
            here = (taught.cells >= plane.start) & (taught.cells < plane.stop)
            positive = taught.positive[here]  # of the examples on this plane
            mine = here[taught.positive]  # of the positive examples, those on this plane
            vectors = x.flatten(2)[taught.pictures[here], :, taught.cells[here] - plane.start][..., None, None]
            scores = head.score(vectors).flatten().float()
            score_loss = score_loss + F.binary_cross_entropy_with_logits(scores, positive.float(), reduction="sum")
            masks = head.mask(vectors[positive]).flatten(1).float()
            losses = F.binary_cross_entropy_with_logits(masks, taught.shares[mine], reduction="none")
            mask_loss = mask_loss + (losses * taught.judged[mine]).sum()
        return {
            "score": Mean.of(score_loss, len(taught.cells)),
            "mask": Mean.of(MASK_WEIGHT * mask_loss, taught.judged.sum()),
        }

    @torch.no_grad()
    def detect(self, images: Tensor, size: tuple[int, int] | None = None) -> list[Instances]:
        """The objects of each image, at most 1,000 and the highest score first; masks without a pixel are left out."""
        seen = images.shape[-2], images.shape[-1]
        hidden, planes = self._hidden(images)
        heads = self._head_of_plane(hidden)
        scores = torch.cat([head.score(x).flatten(1) for head, x in zip(heads, hidden, strict=True)], 1).float()
        best, cells = scores.topk(min(MOST, scores.shape[1]))
        found = []
        for picture in range(len(images)):
            crops: dict[int, Crop] = {}  # by rank
            for head, x, plane in zip(heads, hidden, planes, strict=True):
                ranks = ((cells[picture] >= plane.start) & (cells[picture] < plane.stop)).nonzero().flatten()
                chosen = cells[picture][ranks]
                vectors = x[picture].flatten(1)[:, chosen - plane.start].T[..., None, None]
                masks = head.mask(vectors).float().sigmoid().view(-1, self.mask_side, self.mask_side)
                crops.update(zip(ranks.tolist(), drawn(masks, windows_of(chosen, [plane]), seen, size or seen), strict=True))
            shown = [rank for rank in sorted(crops) if crops[rank].bits.size]
            class_ids, crowd = np.full(len(shown), self.class_id, np.int64), np.zeros(len(shown), np.bool_)
            kept = best[picture].sigmoid().cpu().numpy()[shown]
            found.append(Instances.of_crops([crops[rank] for rank in shown], size or seen, class_ids, crowd, kept))
        return found

    def _hidden(self, images: Tensor) -> tuple[list[Tensor], list[Plane]]:
        """The hidden layer (B, 512, h, w) of each head on each level, and where its cells lie."""
        features = self.trunk(images)
        levels = self.pyramid([features[level] for level in self.levels])
        levels.append(coarsest(levels[-1]))
        hidden = [torch.relu(head.hidden(level)) for head in self._heads() for level in levels]
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        return hidden, planes_of([head.kernel for head in self._heads()], sizes)

    def _heads(self) -> list[Head]:
        return [head for head in self.heads if isinstance(head, Head)]

    def _head_of_plane(self, hidden: Sequence[Tensor]) -> list[Head]:
        heads = self._heads()
        return [head for head in heads for _ in range(len(hidden) // len(heads))]


class Head(nn.Module):
    """The layers of one head: the hidden one, the mask's `side` x `side` cells, and the score."""

    def __init__(self, depth: int, inner: int, kernel: int, side: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.hidden = nn.Conv2d(depth, inner, kernel, padding=kernel // 2)
        self.mask = nn.Conv2d(inner, side * side, 1)
        self.score = nn.Conv2d(inner, 1, 1)
        nn.init.kaiming_normal_(self.hidden.weight, mode="fan_out", nonlinearity="relu")
        for layer in (self.hidden, self.mask, self.score):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        for layer in (self.mask, self.score):
            nn.init.normal_(layer.weight, std=0.01)


class Plane(NamedTuple):
    """The cells (rows, columns) of one head on one level, numbered row by row from `start`, for objects of `size` pixels.

    Cell (i, j) has its centre at (i + 0.5, j + 0.5) times `stride`, in pixels from the corner of the picture."""

    start: int
    rows: int
    columns: int
    stride: int
    size: float

    @property
    def stop(self) -> int:
        return self.start + self.rows * self.columns


def planes_of(kernels: Iterable[int], sizes: Sequence[tuple[int, int]]) -> list[Plane]:
    """The planes of heads with these kernels on levels of these sizes, P2 first: head after head, level after level."""
    planes, start = [], 0
    for kernel in kernels:
        for level, (rows, columns) in enumerate(sizes):
            planes.append(Plane(start, rows, columns, STRIDES[0] << level, SIZES[kernel] * 2**level))
            start = planes[-1].stop
    return planes


def windows_of(cells: Tensor, planes: Sequence[Plane]) -> Tensor:
    """The windows of the masks of cells (n,), float32 (n, 4): left, top, right, bottom in pixels of the picture."""
    windows = torch.zeros(len(cells), 4, device=cells.device)
    for plane in planes:
        here = (cells >= plane.start) & (cells < plane.stop)
        place = cells[here] - plane.start
        y, x = (torch.div(place, plane.columns, rounding_mode="floor") + 0.5, place % plane.columns + 0.5)
        centres = torch.stack([x, y, x, y], 1) * plane.stride
        windows[here] = centres + torch.tensor([-0.5, -0.5, 0.5, 0.5], device=cells.device) * plane.size * PADDING
    return windows


class Lessons(NamedTuple):
    """What n cells of a batch are taught: their `pictures` and `cells` (n,), and whether they are `positive` (n,).

    The masks of the m positive ones are taught the `shares` (m, side * side) of the object in what is judged of each of their
    cells, and each of these weighs as much as its `judged` share (m, side * side)."""

    pictures: Tensor
    cells: Tensor
    positive: Tensor
    shares: Tensor
    judged: Tensor


def lessons(targets: Targets, planes: Sequence[Plane], void: int, side: int) -> Lessons:
    """The lessons of a batch; its examples are drawn at random, by the seeds of its pictures."""
    assert targets.instances is not None, "proposals learn from objects"
    parts = []
    parts_of_pictures = zip(targets.instances, targets.labels, generators(targets), strict=True)
    for picture, (objects, labels, random) in enumerate(parts_of_pictures):
        known = labels != void
        truth = assigned(objects, known, planes)
        cells = examples(truth, random)
        positive = truth[cells] >= 0
        windows = windows_of(cells[positive], planes)
        judged = shares(known[None], windows, side)
        of_objects = shares(objects.masks(truth[cells[positive]]) & known, windows, side)
        taught = (of_objects / judged.clamp(min=1e-6)).clamp(max=1)
        parts.append(Lessons(torch.full_like(cells, picture), cells, positive, taught, judged))
    return Lessons(*(torch.cat(part) for part in zip(*parts, strict=True)))


def assigned(objects: InstanceTargets, judged: Tensor, planes: Sequence[Plane]) -> Tensor:
    """What each cell learns, int64 (N,): the place of its object among `objects`, BACKGROUND, or NOTHING.

    `judged` bool (H, W) is False where labels are void. Crowds, and objects all of whose pixels are void, are of no cell. Where
    the centres of several objects are near, the cell takes the nearest."""
    device = judged.device
    truth = torch.full((planes[-1].stop,), BACKGROUND, dtype=torch.int64, device=device)
    known = judged & ~objects.where(objects.crowd)
    for plane in planes:
        rows, columns = (
            (torch.arange(cells, device=device) * plane.stride + plane.stride // 2).clamp(max=side - 1)
            for cells, side in zip((plane.rows, plane.columns), judged.shape, strict=True)
        )
        truth[plane.start : plane.stop][~known[rows][:, columns].flatten()] = NOTHING

    shown = objects.numbers[judged].bincount(minlength=len(objects.crowd) + 1)[1:] > 0
    numbers = (shown & ~objects.crowd).nonzero().flatten()
    left, top, right, bottom = objects.boxes[numbers].unbind(1)
    longer = torch.maximum(right - left, bottom - top).clamp(min=1)
    # By object: the plane that its size is nearest to, and the cells around its centre, two on each axis.
    sizes = torch.tensor([plane.size for plane in planes], device=device)
    nearest = (longer.log()[:, None] - sizes.log()).abs().argmin(1)
    start, height, width, stride = (
        torch.tensor(values, device=device)[nearest][:, None]
        for values in zip(*((plane.start, plane.rows, plane.columns, plane.stride) for plane in planes), strict=True)
    )
    centre_y, centre_x = ((top + bottom) / 2)[:, None], ((left + right) / 2)[:, None]
    down, across = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]], device=device)
    y, x = (torch.floor(centre / stride - 0.5).long() + step for centre, step in ((centre_y, down), (centre_x, across)))
    off_y, off_x = ((cell + 0.5) * stride - centre for cell, centre in ((y, centre_y), (x, centre_x)))
    near = (off_y.abs() < stride) & (off_x.abs() < stride) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    cells = (start + y * width + x)[near]
    distance, of_object = (off_y.square() + off_x.square())[near], numbers[:, None].expand(-1, 4)[near]
    order = torch.argsort(distance, stable=True)
    order = order[torch.argsort(cells[order], stable=True)]
    cells, of_object = cells[order], of_object[order]
    first = torch.ones_like(cells, dtype=torch.bool)
    first[1:] = cells[1:] != cells[:-1]
    truth[cells[first]] = of_object[first]
    return truth


def examples(truth: Tensor, random: torch.Generator | None = None) -> Tensor:
    """The cells (n,) that a picture's losses are of, drawn at random: at most 128, and at most a quarter of these positive."""
    positive, negative = (truth >= 0).nonzero().flatten(), (truth == BACKGROUND).nonzero().flatten()
    return torch.cat(sampled(positive, negative, ranks(len(truth), random, truth.device), EXAMPLES, POSITIVE))


def shares(masks: Tensor, windows: Tensor, side: int) -> Tensor:
    """The share of each mask, bool (n or 1, H, W), in each of the `side` x `side` cells of its window, float32 (n, side * side).

    Of one mask all windows (n, 4) are. Beyond the masks shares are 0."""
    (left, top, right, bottom), (height, width) = windows.unbind(1), masks.shape[-2:]
    with torch.autocast(masks.device.type, enabled=False):  # half precision would round shares
        rows, columns = overlaps(top, bottom, side, height), overlaps(left, right, side, width)
        return (rows @ masks.float() @ columns.mT).flatten(1)


def overlaps(starts: Tensor, stops: Tensor, side: int, pixels: int) -> Tensor:
    """What part of each of the `side` equal pieces from `starts` to `stops` (n,) lies in each pixel, (n, side, pixels)."""
    piece = ((stops - starts) / side)[:, None, None]
    begin = starts[:, None, None] + piece * torch.arange(side, device=starts.device)[:, None]
    pixel = torch.arange(pixels, device=starts.device)
    return (torch.minimum(begin + piece, pixel + 1) - torch.maximum(begin, pixel)).clamp(min=0) / piece


def drawn(masks: Tensor, windows: Tensor, seen: tuple[int, int], size: tuple[int, int]) -> Iterator[Crop]:
    """The pixels of a picture of `size` where masks (n, side, side) are above 0.5, interpolated bilinearly in their windows.

    `windows` (n, 4) have one size, in pixels of the picture as it was `seen`."""
    scale = torch.tensor([size[1] / seen[1], size[0] / seen[0]] * 2, device=windows.device)
    corners, ends = (windows * scale).split(2, 1)
    spans = ends - corners  # widths and heights
    if not len(masks):
        return
    wide, high = (min(side, int(span) + 2) for side, span in zip(size[::-1], spans.amax(0).tolist(), strict=True))
    first = corners.floor().clamp(min=0)  # column and row
    for part in torch.arange(len(masks), device=masks.device).split(max(1, PIXELS_AT_ONCE // (wide * high))):
        inside, at = [], []
        for axis, pixels in enumerate((wide, high)):
            centres = first[part, axis, None] + torch.arange(pixels, device=masks.device) + 0.5
            place = (centres - corners[part, axis, None]) / spans[part, axis, None]
            inside.append((place >= 0) & (place <= 1) & (centres < size[1 - axis]))
            at.append(2 * place - 1)
        grid = torch.stack([at[0][:, None].expand(-1, high, -1), at[1][:, :, None].expand(-1, -1, wide)], 3)
        values = F.grid_sample(masks[part, None], grid, padding_mode="border", align_corners=False)[:, 0]
        shown = ((values > 0.5) & inside[0][:, None] & inside[1][:, :, None]).cpu().numpy()
        for pixels_of_one, (left, top) in zip(shown, first[part].long().tolist(), strict=True):
            yield Crop.of(pixels_of_one, top, left, size)
