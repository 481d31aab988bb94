"""Judging at another size than the truth's: truth and prediction are resized first, as validators do that judge at the size at
which a network sees its pictures.

    nearest    the label at the middle of each new pixel
    bilinear   of the classes of the four labels around that middle the one whose map, 1 where the class is and 0 elsewhere, has
               the greatest value there; of equal ones the lowest id

Both have the middle of a pixel at half of it, as Pillow and torch with `align_corners=False` do. Nothing is smoothed first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import UsageError
from perpixel.limits import MAX_PIXELS

Labels = NDArray[Any]
Size = tuple[int, int]


@dataclass(frozen=True)
class JudgedAt:
    """A size in words, and as a function of that of a picture, (height, width)."""

    words: str
    of: Callable[[Size], Size]


def read_size(text: str) -> JudgedAt:
    """512x1024 (height x width); longer=640 or shorter=520, which keep the shape of a picture.

    Raises UsageError for anything else."""
    exact, side = re.fullmatch(r"(\d+)x(\d+)", text), re.fullmatch(r"(longer|shorter)=(\d+)", text)
    numbers = [int(number) for number in exact.groups()] if exact else [int(side[2])] if side else []
    if not numbers or not all(numbers) or numbers[0] * numbers[-1] > MAX_PIXELS:
        raise UsageError(f"--judged-at {text}: give height and width as 512x1024, or one side as longer=640 or shorter=520.")
    if exact:
        return JudgedAt(f"{numbers[0]} x {numbers[1]}", lambda _: (numbers[0], numbers[1]))
    assert side is not None
    chosen, which = numbers[0], max if side[1] == "longer" else min
    return JudgedAt(f"{side[1]} side {chosen}", lambda size: scaled(size, chosen / which(size)))


def scaled(size: Size, scale: float) -> Size:
    """A size at a scale, at least one pixel each way."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def nearest(labels: Labels, size: Size) -> Labels:
    """Labels (H, W) at another size (h, w)."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.intp), old - 1)
        for old, new in zip(labels.shape, size, strict=True)
    )
    resized: Labels = labels[rows[:, None], columns]
    return resized


def bilinear(labels: Labels, size: Size) -> Labels:
    """Labels (H, W) at another size (h, w); void is a class as any other here."""
    (top, bottom, down), (left, right, along) = (_between(old, new) for old, new in zip(labels.shape, size, strict=True))
    down, along = down[:, None], along[None]
    around = np.stack([labels[rows[:, None], columns] for rows in (top, bottom) for columns in (left, right)])
    shares = np.stack([(1 - down) * (1 - along), (1 - down) * along, down * (1 - along), down * along])
    best, resized = np.full(size, -1.0), np.empty(size, labels.dtype)
    for candidate in around:
        share = (shares * (around == candidate)).sum(0)
        better = (share > best + 1e-9) | ((share > best - 1e-9) & (candidate < resized))
        best, resized = np.where(better, share, best), np.where(better, candidate, resized)
    return resized


def _between(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """For each new place the old ones before and behind it, and how far it lies towards the second, 0..1."""
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    before = np.floor(places).astype(np.intp)
    return before, np.minimum(before + 1, old - 1), places - before


RESIZES: Mapping[str, Callable[[Labels, Size], Labels]] = {"nearest": nearest, "bilinear": bilinear}
