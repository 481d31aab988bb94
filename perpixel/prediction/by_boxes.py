"""The scores of a picture's boxes, merged into one score map: DeconvNet (Noh et al., ICCV 2015, equations 1 and 2).

A box is enlarged for context and cut out, with black outside the picture; then it is resized to the network's side. Its scores
are resized back and put into a map of the picture's size that is 0 outside the box: g_i. The merged map is P = max_i g_i (1) or
P = sum_i g_i (2); a softmax over P gives probabilities. Where no box lies, P is 0 and class 0 wins.

The MATLAB code that the authors released differs, and `merge="released"` follows it. Its maximum begins with a map of zeros, so
that no score is below 0, even where all boxes overlap. It skips boxes with a side below 112 pixels and does not count them. It
also cuts the merged map one pixel too far up and left, an error of 1-based indices; here the map is cut at the picture's
border."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from perpixel.masks.boxes import enlarge
from perpixel.networks import PixelNetwork
from perpixel.prediction.fuse import Answer
from perpixel.prediction.proposals import propose
from perpixel.prediction.score_maps import Scores, Window
from perpixel.prediction.symmetries import Symmetry, turned, turned_back

CONTEXT = 1.2  # the factor by which the sides of a box grow
SIDE = 224  # pixels: the side of the square that a box is resized to, where the network has no side of its own
SKIPPED = 112  # pixels: `released` skips boxes with a smaller side
BATCH = 8  # boxes that pass through the network together
AT_ONCE = 2**25  # scores of pixels in memory together; a picture with more is merged strip by strip
MERGES = {
    "max": "maximum, 0 outside of a box",
    "sum": "sum, 0 outside of a box",
    "released": f"maximum and at least 0, no box with a side below {SKIPPED}",
}


def side_of(network: PixelNetwork) -> int:
    """The side of the squares that the network gets."""
    return int(getattr(network, "side", SIDE))


def chosen(image: NDArray[np.uint8], method: str, merge: str) -> NDArray[np.int64]:
    """Boxes (N, 4) of the picture as top, left, bottom, right in whole pixels, best first, enlarged for context."""
    boxes: NDArray[np.int64] = np.rint(enlarge(propose(image, method), CONTEXT)).astype(np.int64)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    if merge == "released":
        sides = boxes[:, 2:] - boxes[:, :2]
        boxes = boxes[(sides >= SKIPPED).all(1)]
    return boxes


def merges(
    network: PixelNetwork, classes: int, image: NDArray[np.uint8], boxes: NDArray[np.int64], counts: Sequence[int], merge: str,
    symmetries: Sequence[Symmetry],
) -> Iterator[tuple[int, Tensor]]:
    """For each of the rising `counts`: the count, and the merged scores (C, H, W) of so many first boxes, or of all boxes where
    there are fewer.

    The next map overwrites the one before it, so memory holds one map and one batch of boxes. A box's scores are the mean over
    `symmetries`."""
    height, width = image.shape[:2]
    merged = torch.full((classes, height, width), -torch.inf if merge == "max" else 0.0)
    covering = torch.zeros((height, width), dtype=torch.int32)  # the number of boxes that hold a pixel
    answers = _answers(network, image, boxes, symmetries)
    for before, count in pairwise((0, *counts)):
        for (top, left, bottom, right), scores in islice(answers, count - before):
            inside = max(top, 0), max(left, 0), min(bottom, height), min(right, width)
            rows, columns = slice(inside[0], inside[2]), slice(inside[1], inside[3])
            scores = scores[:, inside[0] - top : inside[2] - top, inside[1] - left : inside[3] - left]
            part = merged[:, rows, columns]
            if merge == "sum":
                part += scores
            else:
                torch.maximum(part, scores, out=part)
            covering[rows, columns] += 1
        if merge == "max":  # scores are 0 outside a box, so only pixels that all boxes hold can have a negative maximum
            in_all = covering == max(1, min(count, len(boxes)))
            yield count, torch.where(in_all, merged, merged.clamp(min=0))
        else:
            yield count, merged


def merged_parts(
    network: PixelNetwork, classes: int, image: NDArray[np.uint8], boxes: NDArray[np.int64], merge: str,
    symmetries: Sequence[Symmetry],
) -> Iterator[tuple[Window, Answer]]:  # fmt: skip
    """Parts that cover the picture, each with the merged scores (h, w, C) of all boxes: the picture itself, or strips of a large
    one.

    For strips memory holds the scores of each box at the network's side, and a strip."""
    height, width = image.shape[:2]
    rows = max(1, AT_ONCE // (classes * width))
    if rows >= height:
        ((_, whole),) = merges(network, classes, image, boxes, [len(boxes)], merge, symmetries)
        yield (0, 0, height, width), whole.movedim(0, 2).numpy()
        return
    answers = [
        (box, np.ascontiguousarray(scores.movedim(0, 2).numpy())) for box, scores in _at_side(network, image, boxes, symmetries)
    ]
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        merged = np.full((bottom - top, width, classes), -np.inf if merge == "max" else 0, np.float32)
        covering = np.zeros((bottom - top, width, 1), np.int32)  # the number of boxes that hold a pixel
        for (first, left, last, right), scores in answers:
            inside = max(first, top), max(left, 0), min(last, bottom), min(right, width)
            if inside[0] >= inside[2] or inside[1] >= inside[3]:
                continue
            place = slice(inside[0] - top, inside[2] - top), slice(inside[1], inside[3])
            window = inside[0] - first, inside[1] - left, inside[2] - first, inside[3] - left
            answer = _part(scores, (last - first, right - left), window)
            (np.add if merge == "sum" else np.maximum)(merged[place], answer, out=merged[place])
            covering[place] += 1
        if merge == "max":  # as in `merges`
            np.maximum(merged, 0, out=merged, where=covering != max(1, len(boxes)))
        yield (top, 0, bottom, width), merged


def _part(scores: Answer, size: tuple[int, int], window: Window) -> Answer:
    """The scores (side, side, C) of a box resized to its `size`, in a window of the box."""
    side = scores.shape[0]
    if min(size) >= side:  # no antialiasing, so that only the window is interpolated
        return Scores(scores, 1, 0.0, (side, side)).interpolated(size, window)
    top, left, bottom, right = window
    resized = F.interpolate(torch.from_numpy(scores).movedim(2, 0)[None], size, mode="bilinear", antialias=True)[0]
    answer: Answer = resized[:, top:bottom, left:right].movedim(0, 2).numpy()
    return answer


def _answers(
    network: PixelNetwork, image: NDArray[np.uint8], boxes: NDArray[np.int64], symmetries: Sequence[Symmetry]
) -> Iterator[tuple[tuple[int, int, int, int], Tensor]]:
    """Each box with its scores (C, h, w) at its own size."""
    for (top, left, bottom, right), scores in _at_side(network, image, boxes, symmetries):
        size = bottom - top, right - left
        yield (top, left, bottom, right), F.interpolate(scores[None], size, mode="bilinear", antialias=True)[0]


def _at_side(
    network: PixelNetwork, image: NDArray[np.uint8], boxes: NDArray[np.int64], symmetries: Sequence[Symmetry]
) -> Iterator[tuple[tuple[int, int, int, int], Tensor]]:
    """Each box with its scores (C, side, side) as the network gives them."""
    picture, side = Image.fromarray(image), side_of(network)
    for start in range(0, len(boxes), BATCH):
        batch = boxes[start : start + BATCH].tolist()
        crops = np.stack([_cut(picture, box, side) for box in batch])
        total = np.zeros((1, 1, 1, 1), np.float32)
        for symmetry in symmetries:
            total = total + turned_back(_logits(network, turned(crops, symmetry, 1)), symmetry, 1)
        scores = torch.from_numpy(total / np.float32(len(symmetries))).movedim(-1, 1)
        yield from (((box[0], box[1], box[2], box[3]), answer) for box, answer in zip(batch, scores, strict=True))


def _cut(picture: Image.Image, box: Sequence[int], side: int) -> NDArray[np.uint8]:
    top, left, bottom, right = box
    crop = picture.crop((left, top, right, bottom))  # Pillow fills with black outside the picture
    return np.asarray(crop.resize((side, side), Image.Resampling.BILINEAR))


@torch.inference_mode()
def _logits(network: PixelNetwork, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (B, side, side, 3) -> raw scores (B, side, side, C)."""
    device = next(network.parameters()).device
    images = torch.from_numpy(np.require(crops, requirements=("C", "W"))).movedim(-1, 1).float().div_(255)
    logits = network(images.to(device))["logits"]
    scores: NDArray[np.float32] = logits.float().movedim(1, -1).cpu().numpy()
    return scores
