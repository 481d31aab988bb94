"""Data set -> training batches. The seed and n alone decide which pictures step n has and how each is augmented. So a run that
was stopped continues with the same batches, and any number of processes share the same batches."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from perpixel.datasets import Dataset, picture_size, with_objects
from perpixel.errors import UsageError, did_you_mean
from perpixel.masks.touching import components, weight_map
from perpixel.sample import Instances, InstanceTargets, Sample, Seeds, Targets
from perpixel.training.recipe import Recipe
from perpixel.training.transforms import Augmentation, augment, outside_of

AHEAD = 2  # steps whose batches are read while a step is computed
_ORDER, _VIEW, _GROUP, _DRAWN = 0, 1, 2, 3  # a number beside the seed, so that the four kinds of draws are independent


@dataclass(frozen=True)
class Batch:
    """`images` float32 (B, 3, H, W) in [0, 1], or of N bands, channels last in memory; `judged` is the number of pixels that are
    not void.

    The targets have weights of pixels, 0 at void, where the recipe separates objects."""

    images: Tensor
    targets: Targets
    names: tuple[str, ...]
    judged: int


def batches(
    dataset: Dataset,
    recipe: Recipe,
    first: int,
    rank: int = 0,
    world: int = 1,
    context: int = 0,
    class_weights: Sequence[float] | None = None,
    instances: bool = False,
    objects_alone: bool = False,
) -> Generator[list[Batch]]:
    """For each step from `first` (0-based) to the last: this process's share of the batch, in `recipe.accumulate` parts.

    `recipe.sampling` decides how pictures are drawn. Where the recipe groups pictures by aspect, a batch has wide pictures or
    tall pictures. With `recipe.short_sides` the pictures of a part are padded to the largest height and width among them. A
    thread reads and augments ahead. Images of crops show `context` pixels more on each side than their targets.

    `class_weights` (C,) balance the weight map of `recipe.separation_weights`; the map is made of the objects after augmentation.
    With `instances` the targets also have the objects that show in the view; a pixel of several objects belongs to the last.
    With `objects_alone` the objects are the truth: a void pixel inside an object gets the class of that object. COCO needs this,
    since its label maps are void where its objects contradict each other.

    Raises UsageError when the batch does not divide, pictures of different sizes meet without a crop, or there are no objects
    to separate or to learn from; UnknownName for a `separation_class` that the data set does not have."""
    parts = recipe.accumulate * world
    if recipe.batch % parts:
        raise UsageError(f"batch = {recipe.batch}: must be a multiple of accumulate x processes = {parts}.")
    size = recipe.batch // parts
    draw = index_at if recipe.sampling == "shuffled" else index_of_all
    read = _Cache(dataset, recipe, instances)
    augmentation = Augmentation(
        recipe.scale, recipe.crop, recipe.scale_jitter, recipe.flip, recipe.colour, recipe.class_crops,
        recipe.flip_vertical, recipe.rotate, recipe.elastic, context, recipe.scale_steps, recipe.short_sides or (),
        recipe.long_side, recipe.blur, recipe.fill,
    )  # fmt: skip
    groups = aspect_groups(dataset) if recipe.group_by_aspect else []
    void, balance = dataset.classes.void, class_weights or [1.0] * len(dataset.classes)
    closed = threading.Event()  # set when the consumer stops; no further picture is read then

    def load(step: int) -> list[Batch]:
        start = step * recipe.batch + rank * recipe.accumulate * size
        return [_part(step, begin) for begin in range(start, start + recipe.accumulate * size, size)]

    def _part(step: int, begin: int) -> Batch:
        """The pictures from position `begin` on. They are a batch of their own where the recipe averages over parts."""
        positions = range(begin, begin + size)
        first_of_batch = begin if recipe.loss_mean == "parts" else step * recipe.batch
        seeds = Seeds(_seed(recipe.seed, first_of_batch, 1), tuple(_seed(recipe.seed, position, 0) for position in positions))
        views = [_view(position) for position in positions]
        return _batch(views, seeds, _weights, void, instances, objects_alone, dataset.classes.background, augmentation)

    def _view(position: int) -> Sample:
        if closed.is_set():
            raise CancelledError
        if len(groups) > 1:
            group, position_there = place_in_groups(position, recipe.batch, [len(group) for group in groups], recipe.seed)
            index = groups[group][draw(position_there, len(groups[group]), recipe.seed)]
        else:
            index = draw(position, len(dataset), recipe.seed)
        sample = read(index)
        return augment(sample, augmentation, void, np.random.default_rng([recipe.seed, _VIEW, position]))

    def _weights(view: Sample) -> NDArray[np.float32] | None:
        if not recipe.separation_weights or view.instances is None or view.labels is None:
            return None
        return weight_map(
            view.labels, view.instances, void, balance, recipe.separation_weights, recipe.separation_sigma
        )  # fmt: skip

    steps = iter(range(first, recipe.steps))
    with ThreadPoolExecutor(1, "batches") as worker:
        ahead: deque[Future[list[Batch]]] = deque(worker.submit(load, step) for step in islice(steps, AHEAD))
        try:
            while ahead:
                parts_of_step = ahead.popleft().result()
                ahead.extend(worker.submit(load, step) for step in islice(steps, 1))
                yield parts_of_step
        finally:
            closed.set()
            for future in ahead:
                future.cancel()


def _seed(seed: int, position: int, kind: int) -> int:
    """The seed of what a network draws at random: of the picture at `position` (kind 0), or of the batch that it begins (1)."""
    return int(np.random.SeedSequence([seed, _DRAWN, position, kind]).generate_state(1, np.uint64)[0] >> np.uint64(1))


_orders = threading.local()


def index_at(position: int, length: int, seed: int) -> int:
    """The picture at `position` of the endless sequence of shuffled epochs."""
    epoch, place = divmod(position, length)
    key = (epoch, length, seed)
    if getattr(_orders, "key", None) != key:
        _orders.key, _orders.order = key, np.random.default_rng([seed, _ORDER, epoch]).permutation(length)
    return int(_orders.order[place])


def index_of_all(position: int, length: int, seed: int) -> int:
    """The picture at `position` of a sequence of draws with replacement, as the authors of FCN draw."""
    return int(np.random.default_rng([seed, _ORDER, position]).integers(length))


def aspect_groups(dataset: Dataset) -> list[list[int]]:
    """Two lists of picture numbers: wide or square pictures, then tall pictures. An empty list is left out.

    A data set with picture files gives the sizes from their headers; else samples are read."""
    groups: tuple[list[int], list[int]] = [], []
    for index in range(len(dataset)):
        size = picture_size(dataset, index)
        groups[size[0] > size[1]].append(index)
    return [group for group in groups if group]


def place_in_groups(position: int, batch: int, lengths: Sequence[int], seed: int) -> tuple[int, int]:
    """The group (0 or 1) whose pictures the batch at `position` has, and the position in the sequence of that group.

    Each group gets a share of the batches equal to its share of the pictures, evenly spread; `seed` decides which group is
    first."""
    step, place = divmod(position, batch)
    total = sum(lengths)
    start = int(np.random.default_rng([seed, _GROUP]).integers(total))
    before, after = ((steps * lengths[0] + start) // total for steps in (step, step + 1))  # batches of the first group
    group, number = (0, before) if after > before else (1, step - before)
    return group, number * batch + place


class _Cache:
    """Reads samples and keeps the first of them, up to `cache_mb`. Samples have objects where the recipe separates touching
    objects, or where the network learns from objects (`instances`)."""

    def __init__(self, dataset: Dataset, recipe: Recipe, instances: bool) -> None:
        self._kept: dict[int, Sample] = {}
        self._objects, name = instances or recipe.separation_weights > 0, recipe.separation_class
        self._learned, self._void = instances, dataset.classes.void
        numbered = self._objects and name is None
        self._dataset, self._left = with_objects(dataset) if numbered else dataset, recipe.cache_mb << 20
        if self._objects and name is not None and name not in dataset.classes.names:
            raise did_you_mean("class", name, dataset.classes.names)
        self._region_class = None if name is None else dataset.classes.names.index(name)

    def __call__(self, index: int) -> Sample:
        if index in self._kept:
            return self._kept[index]
        read = _scaled(self._dataset.sample(index), self._void)
        assert read.labels is not None, "training needs labels"
        objects = self._objects_of(read) if self._objects else None
        sample = Sample(read.name, read.image, read.labels, objects)
        if (size := sample.image.nbytes + read.labels.nbytes + (objects.numbers.nbytes if objects else 0)) <= self._left:
            self._kept[index] = sample
            self._left -= size
        return sample

    def _objects_of(self, sample: Sample) -> Instances:
        if self._region_class is not None and sample.labels is not None:
            return components(sample.labels, self._region_class)
        if sample.instances is None and self._learned:
            raise UsageError(
                f"data: the data set numbers no objects in {sample.name}, which the network learns from; choose one with objects."
            )
        if sample.instances is None:
            raise UsageError(
                f"separation_weights: the data set numbers no objects in {sample.name}; give `--separation-class NAME` of the "
                f"class whose regions are objects ({', '.join(self._dataset.classes.names)})."
            )
        objects = sample.instances
        return Instances.of_numbers(objects.numbers, objects.class_ids, objects.crowd)  # without masks


def _scaled(sample: Sample, void: int) -> Sample:
    """The sample with its bands as networks see them, and void where a band has no data. RGB stays as it is."""
    if sample.bands is None:
        return sample
    image, absent = sample.bands.scaled(sample.image)
    labels = sample.labels
    if absent is not None and labels is not None:
        labels = np.where(absent, np.asarray(void, labels.dtype), labels)
    return Sample(sample.name, image, labels, sample.instances)


def _batch(
    samples: list[Sample],
    seeds: Seeds,
    weight_map_of: Callable[[Sample], NDArray[np.float32] | None],
    void: int,
    instances: bool,
    objects_alone: bool,
    background: int | None,
    augmentation: Augmentation,
) -> Batch:
    sizes = {sample.image.shape[:2] for sample in samples}
    if augmentation.short_sides:
        samples = [_padded(sample, (max(heights), max(widths)), void) for heights, widths in [zip(*sizes, strict=True)]
                   for sample in samples]  # fmt: skip
    elif len(sizes) > 1:
        raise UsageError(f"the pictures have different sizes ({', '.join(map(str, sorted(sizes)))}); give `--crop HEIGHT WIDTH`.")
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    labels_of = _labels_by_objects if objects_alone else _labels
    labels = torch.from_numpy(np.stack([labels_of(sample, void) for sample in samples]))
    maps = [weight for sample in samples if (weight := weight_map_of(sample)) is not None]
    weights = torch.from_numpy(np.stack(maps)) if maps else None
    names = tuple(sample.name for sample in samples)
    objects = None
    if instances:
        objects = tuple(_targets_of(sample.instances, background) for sample in samples if sample.instances is not None)
    images = images if images.is_floating_point() else images.float().div_(255)
    return Batch(images, Targets(labels, weights, objects, seeds), names, int((labels != void).sum()))


def _padded(sample: Sample, size: tuple[int, int], void: int) -> Sample:
    """The view at this size: mean colour, or 0 in bands, and void fill the pixels to its right and below it."""
    assert sample.labels is not None
    height, width = sample.labels.shape
    if (height, width) == size:
        return sample

    def filled(plane: NDArray[Any], value: Any) -> NDArray[Any]:
        whole = np.empty((*size, *plane.shape[2:]), plane.dtype)
        whole[...] = value
        whole[:height, :width] = plane
        return whole

    old = sample.instances
    instances = None if old is None else Instances.of_numbers(filled(old.numbers, 0), old.class_ids, old.crowd)
    return Sample(sample.name, filled(sample.image, outside_of(sample.image)), filled(sample.labels, void), instances)


def _labels(sample: Sample, _void: int) -> NDArray[np.int64]:
    return np.asarray(sample.labels, np.int64)


def _labels_by_objects(sample: Sample, void: int) -> NDArray[np.int64]:
    """The labels; a void pixel inside an object gets the class of that object."""
    labels, objects = _labels(sample, void), sample.instances
    if objects is None or not len(objects.class_ids):
        return labels
    return np.where((labels == void) & (objects.numbers > 0), objects.class_ids[objects.numbers - 1], labels)


def _targets_of(objects: Instances, background: int | None) -> InstanceTargets:
    """The objects that have a pixel left in the view, and another class than background."""
    count = len(objects.class_ids)
    places = ndimage.find_objects(objects.numbers, count) if count else []
    shown = [index for index in range(count) if places[index] is not None and objects.class_ids[index] != background]
    boxes = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in (places[index] for index in shown)]
    number_of = np.zeros(count + 1, np.int32)
    number_of[np.array(shown, np.int64) + 1] = np.arange(1, 1 + len(shown))
    return InstanceTargets(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.from_numpy(number_of[objects.numbers]),
        torch.from_numpy(objects.class_ids[shown]), torch.from_numpy(objects.crowd[shown]),
    )  # fmt: skip
