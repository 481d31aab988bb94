"""Data set -> training batches. Which pictures make step n, and how each is augmented, follows from the seed and n alone, so
a run that was stopped anywhere continues with the same batches, and any number of processes divides the same ones."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from perpixel.datasets import Dataset
from perpixel.errors import UsageError
from perpixel.recipe import Recipe
from perpixel.sample import Sample
from perpixel.transforms import Augmentation, augment

AHEAD = 2  # steps that are read while one is computed
_ORDER, _VIEW = 0, 1  # branches of the seed


@dataclass(frozen=True)
class Batch:
    """`images` float32 (B, 3, H, W) in [0, 1], channels last in memory; `targets` int64 (B, H, W); `judged` pixels not void."""

    images: Tensor
    targets: Tensor
    names: tuple[str, ...]
    judged: int


def batches(dataset: Dataset, recipe: Recipe, first: int, rank: int = 0, world: int = 1) -> Iterator[list[Batch]]:
    """For each step from `first` (0-based) to the last: this process's share of the batch, in `recipe.accumulate` parts.

    Pictures are drawn by `recipe.sampling`. Reading and augmenting run ahead in a thread of their own.
    Raises UsageError when the batch does not divide or pictures of different sizes meet without a crop."""
    parts = recipe.accumulate * world
    if recipe.batch % parts:
        raise UsageError(f"batch = {recipe.batch}: must be a multiple of accumulate x processes = {parts}.")
    size = recipe.batch // parts
    draw = index_at if recipe.sampling == "shuffled" else index_of_all
    read = _Cache(dataset, recipe.cache_mb << 20)
    how = Augmentation(
        recipe.scale, recipe.crop, recipe.scale_jitter, recipe.flip, recipe.colour, recipe.class_crops
    )  # fmt: skip

    def load(step: int) -> list[Batch]:
        start = step * recipe.batch + rank * recipe.accumulate * size
        return [
            _batch([_view(position) for position in range(begin, begin + size)], dataset.classes.void)
            for begin in range(start, start + recipe.accumulate * size, size)
        ]

    def _view(position: int) -> Sample:
        sample = read(draw(position, len(dataset), recipe.seed))
        return augment(sample, how, dataset.classes.void, np.random.default_rng([recipe.seed, _VIEW, position]))

    steps = iter(range(first, recipe.steps))
    with ThreadPoolExecutor(1, "batches") as worker:
        ahead: deque[Future[list[Batch]]] = deque(worker.submit(load, step) for step in islice(steps, AHEAD))
        try:
            while ahead:
                found = ahead.popleft().result()
                ahead.extend(worker.submit(load, step) for step in islice(steps, 1))
                yield found
        finally:
            for future in ahead:
                future.cancel()


_orders = threading.local()


def index_at(position: int, length: int, seed: int) -> int:
    """The picture at `position` of the endless sequence of shuffled epochs."""
    epoch, place = divmod(position, length)
    key = (epoch, length, seed)
    if getattr(_orders, "key", None) != key:
        _orders.key, _orders.order = key, np.random.default_rng([seed, _ORDER, epoch]).permutation(length)
    return int(_orders.order[place])


def index_of_all(position: int, length: int, seed: int) -> int:
    """The picture at `position` of the sequence that draws each from all, as the authors of FCN do."""
    return int(np.random.default_rng([seed, _ORDER, position]).integers(length))


class _Cache:
    """Reads samples, keeping the first that fit into `budget` bytes."""

    def __init__(self, dataset: Dataset, budget: int) -> None:
        self._dataset, self._left = dataset, budget
        self._kept: dict[int, Sample] = {}

    def __call__(self, index: int) -> Sample:
        if index in self._kept:
            return self._kept[index]
        found = self._dataset.sample(index)
        assert found.labels is not None, "training needs labels"
        sample = Sample(found.name, found.image, found.labels)  # instances are not trained on
        if (size := sample.image.nbytes + found.labels.nbytes) <= self._left:
            self._kept[index] = sample
            self._left -= size
        return sample


def _batch(samples: list[Sample], void: int) -> Batch:
    sizes = {sample.image.shape[:2] for sample in samples}
    if len(sizes) > 1:
        raise UsageError(f"the pictures have different sizes ({', '.join(map(str, sorted(sizes)))}); give `--crop HEIGHT WIDTH`.")
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    targets = torch.from_numpy(np.stack([np.asarray(sample.labels, np.int64) for sample in samples]))
    return Batch(images.float().div_(255), targets, tuple(sample.name for sample in samples), int((targets != void).sum()))
