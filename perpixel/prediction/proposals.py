"""Object proposals: boxes that may hold an object, best first. DeconvNet looks at boxes and not at whole pictures.

    edge_boxes          boxes that hold many whole contours (Zitnick and Dollar, ECCV 2014), scored by OpenCV. The paper's edges
                        come from a trained detector (structured forests), whose file is not part of perpixel. Here edges are
                        colour gradients (`edge_map`), which respond more to texture, so recall is below the paper's
    selective_search    boxes of regions that are merged step by step (Uijlings et al., IJCV 2013), OpenCV's `fast` strategies
    sliding             windows of nine sizes and three shapes, the same in every picture of one size

The first two need OpenCV: pip install "perpixel[proposals]". All give the same boxes in every run, thread and process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import ResourceError, did_you_mean
from perpixel.masks.boxes import Boxes

MOST = 2000  # boxes of a picture at most, as in the paper of DeconvNet
SHAPES = (1.0, 1 / 3, 3.0)  # width to height, relative to the picture's
SHRINK, SMALLEST = 0.6, 1 / 64  # the factor from one size to the next, and the least size as part of the picture's sides
STRIDE = 0.5  # from one window to the next, as part of the window's side
LEAST_AREA = 1000.0  # pixels of the smallest edge box, as in the paper
EDGE_BLUR = 1 / 220  # standard deviation, as part of the root of the picture's area: 2.5 pixels at 480x640


def propose(image: NDArray[np.uint8], method: str = "edge_boxes", most: int = MOST) -> Boxes:
    """At most `most` boxes of `image`, uint8 RGB (H, W, 3): float64 (N, 4) as (top, left, bottom, right), best first.

    They lie in the picture; no box is empty, and no box occurs twice. `edge_boxes` may find no box in a small or plain picture.
    Raises UnknownName for another method, ResourceError where OpenCV is needed and is not installed."""
    if method not in METHODS:
        raise did_you_mean("method of proposals", method, METHODS)
    boxes = METHODS[method](image, most)
    height, width = image.shape[:2]
    boxes = np.clip(boxes, 0.0, [height, width, height, width])
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    _, firsts = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(firsts)][:most]


def edge_boxes(image: NDArray[np.uint8], most: int = MOST) -> Boxes:
    """Boxes by the edges of `edge_map`, with the paper's settings; the least area of 1000 shrinks with pictures below 400x500."""
    cv2 = _opencv()
    # Below 25 pixels of area a box in a corner may have no side, and OpenCV's score for it is not a number.
    least = max(25.0, min(LEAST_AREA, image.shape[0] * image.shape[1] / 200))
    # Each picture gets a new finder, because OpenCV's finder keeps rows of the picture before.
    finder = cv2.ximgproc.createEdgeBoxes(maxBoxes=most, minBoxArea=least)
    answer = finder.getBoundingBoxes(*edge_map(image))
    boxes = answer[0] if isinstance(answer, tuple) else answer  # some versions of OpenCV add the scores
    # OpenCV counts places from 1, as the MATLAB code that it follows, and a side is one less than the pixels it scored.
    return _corners(np.asarray(boxes, np.float64).reshape(-1, 4) + np.array([-1, -1, 1, 1]))


def edge_map(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two maps (H, W): strength in [0, 1] of the edge at each pixel, 0 beside the ridge; and the angle of its normal in [0, pi).

    The strength is the gradient of Lab colours, joined over channels by the tensor of Di Zenzo (1986); squared, so that weak
    texture counts for little; thinned to local maxima along the normal."""
    cv2 = _opencv()
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab = cv2.GaussianBlur(lab, (0, 0), max(0.5, EDGE_BLUR * float(np.sqrt(lab.shape[0] * lab.shape[1]))))
    across, down = cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    xx, yy, xy = (across**2).sum(axis=2), (down**2).sum(axis=2), (across * down).sum(axis=2)
    squared = (xx + yy + np.hypot(xx - yy, 2 * xy)) / 2  # the greater eigenvalue of the tensor
    normal = np.arctan2(2 * xy, xx - yy) / 2
    strength = np.minimum(squared / max(np.quantile(squared, 0.99), 1e-2), 1).astype(np.float32)
    rows, columns = np.indices(strength.shape, dtype=np.float32)
    step_x, step_y = np.cos(normal), np.sin(normal)
    before, after = (
        cv2.remap(strength, columns + way * step_x, rows + way * step_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for way in (-1, 1)
    )
    ridge = (strength >= before) & (strength > after + 1e-6)
    return np.where(ridge, strength, np.float32(0)), np.mod(normal, np.pi).astype(np.float32)


def selective_search(image: NDArray[np.uint8], most: int = MOST) -> Boxes:
    """Boxes of OpenCV's regions. As in the paper, the order is by a random number times the place in the hierarchy of regions,
    largest first. OpenCV does not give the hierarchy, and its own order differs from call to call, so areas give the place
    here."""
    cv2 = _opencv()
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))
    search.switchToSelectiveSearchFast()
    boxes = np.unique(_corners(np.asarray(search.process(), np.float64).reshape(-1, 4)), axis=0)
    boxes = boxes[np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable")]
    rank = np.arange(1, len(boxes) + 1) * np.random.default_rng(0).random(len(boxes))
    return boxes[np.argsort(rank, kind="stable")][:most]


def sliding(image: NDArray[np.uint8], most: int = MOST) -> Boxes:
    """Windows, the whole picture first, then smaller; evenly spread, so that neighbours of a row or column share half a side."""
    height, width = image.shape[:2]
    every, side = [], 1.0
    while side >= SMALLEST:
        for shape in SHAPES:
            high, wide = (min(1.0, side * shape**power) * whole for power, whole in ((-0.5, height), (0.5, width)))
            tops, lefts = (
                np.linspace(0, whole - part, 1 + int(np.ceil((whole / part - 1) / STRIDE - 1e-9)))
                for whole, part in ((height, high), (width, wide))
            )
            places = np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=2).reshape(-1, 2)
            every.append(np.concatenate([places, places + np.array([high, wide])], axis=1))
        side *= SHRINK
    boxes = np.concatenate(every)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).round(6)  # windows of equal area stay in the order of their places
    return boxes[np.argsort(-areas, kind="stable")][:most]


METHODS: dict[str, Callable[[NDArray[np.uint8], int], Boxes]] = {
    "edge_boxes": edge_boxes,
    "selective_search": selective_search,
    "sliding": sliding,
}


def _corners(boxes: Boxes) -> Boxes:
    """OpenCV's (x, y, width, height) as (top, left, bottom, right)."""
    left, top, width, height = boxes.T
    return np.stack([top, left, top + height, left + width], axis=1)


def _opencv() -> Any:
    try:
        import cv2

        cv2.ximgproc.createEdgeBoxes  # noqa: B018  the package without contrib lacks it
    except (ImportError, AttributeError) as error:
        raise ResourceError(
            f'these proposals need OpenCV with its contributed modules ({error}); pip install "perpixel[proposals]", '
            "or use the method sliding."
        ) from error
    return cv2
