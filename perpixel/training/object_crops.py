"""DeconvNet's training examples (Noh et al., ICCV 2015, section 4.2; the authors' training/001_stage_1 and 002_stage_2): a data
set seen through boxes, each cut out with some context and resized to one size.

    objects      the box of each true object. Only this object keeps its class; other pixels become background; void stays void
    proposals    proposals that overlap a true object (see `perpixel.prediction.proposals`), with all their labels

An object is an instance of the data set, or a connected part of a class among the pixels that no instance has. In data sets
without instances (CamVid) every connected part is an object; in scenes also the sky, which has no number; in VOC nothing but
instances. Background is the class of that name. Where the data set has no such class, the other pixels become void in stage
`objects`, so that the network learns nothing from them.

The boxes are found once, picture by picture, and kept in the run folder as `crops.safetensors`. This file names its data and
settings and has its own digest. A file that is damaged or of other data is made anew."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from perpixel.classes import ClassTable
from perpixel.datasets import Dataset, bands_of, with_objects
from perpixel.errors import DataError, UsageError
from perpixel.files import write_whole
from perpixel.machines.interrupts import interruptible
from perpixel.machines.team import Team
from perpixel.masks.boxes import Boxes, enlarge, overlaps
from perpixel.prediction.proposals import MOST, propose
from perpixel.sample import Instances, Sample
from perpixel.training.recipe import Recipe
from perpixel.training.run import Say
from perpixel.training.transforms import Window, window_of

FILE = "crops.safetensors"
SIDE, CROP = 250, 224  # boxes are resized to 250 x 250, of which training sees 224 x 224 at random
SMALLEST = 0.001  # share of the picture's pixels; a smaller connected part is no object
THREADS = 2
OUTSIDE = (0, 0, 0)  # black around the picture, as the authors pad
_HEADER_KEY = "perpixel"


@dataclass(frozen=True)
class Examples:
    """N boxes to train on: `pictures` int32 (N,), numbers of samples; `objects` int32 (N,), numbers in `objects_of` that
    sample; `class_ids` int32 (N,), the objects' classes; `boxes` float64 (N, 4), not enlarged."""

    pictures: NDArray[np.int32]
    objects: NDArray[np.int32]
    class_ids: NDArray[np.int32]
    boxes: Boxes

    def __len__(self) -> int:
        return len(self.pictures)


def object_crops(dataset: Dataset, recipe: Recipe, data: str, out: Path, team: Team, say: Say) -> Dataset:
    """The crops of `dataset` that the recipe's `crops` ask for; `dataset` itself where the recipe asks for none.

    `data` is the fingerprint of the data set, `out` the run folder that keeps the boxes. The processes of `team` share the
    pictures. Raises DataError where there is nothing to crop, ResourceError where proposals need a library that is not
    installed."""
    if recipe.crops == "none":
        return dataset
    if (bands := bands_of(dataset)) is not None:
        raise UsageError(f"crops = {recipe.crops!r}: are made of RGB pictures, and these have {bands}; leave crops out.")
    method = recipe.proposals if recipe.crops == "proposals" else None
    settings = {"crops": recipe.crops, "smallest": SMALLEST}
    if method is not None:
        settings |= {"proposals": method, "most": MOST, "overlap": recipe.proposal_overlap}
    key = json.dumps({"data": data, "split": dataset.split, **settings})
    examples: Examples | None = None
    if team.rank == 0 and (out / FILE).exists():
        examples = read_examples(out / FILE, key)
        if examples is None:
            say(f"{out / FILE}: is damaged or of other data; it is made anew.")
    examples = team.from_first(examples)
    if examples is None:
        find = partial(_examples_of, with_objects(dataset), method=method, overlap=recipe.proposal_overlap)
        mine = range(team.rank, len(dataset), team.world)
        examples = _joined(part for share in team.gather(list(_examples(find, mine, say))) for part in share)
        if team.rank == 0:
            write_examples(out / FILE, examples, key)
    if not len(examples):
        kind = "object" if method is None else "proposal that overlaps an object"
        raise DataError(f"{recipe.data}: holds no {kind} to crop; train with crops none.")
    assert recipe.crop is not None, "Recipe asks for a crop"
    size = round(recipe.crop[0] * SIDE / CROP), round(recipe.crop[1] * SIDE / CROP)
    return ObjectCrops(dataset, examples, size, recipe.crop_enlarge, recipe.crop_balance, alone=method is None)


class ObjectCrops:
    """`dataset` seen through `examples`: a sample of `size` (height, width) for each, its box made `enlarged` times as large.

    With `alone` every pixel outside the object becomes background. Rare classes repeat, as in the paper, which does not say how
    often: an example of a class comes (examples of the most frequent class / examples of its class) ** `balance` times,
    rounded."""

    def __init__(
        self, dataset: Dataset, examples: Examples, size: tuple[int, int], enlarged: float, balance: float, alone: bool
    ) -> None:
        self.dataset = with_objects(dataset) if alone else dataset
        self.examples, self.size, self.enlarged, self.alone = examples, size, enlarged, alone
        counts = np.bincount(examples.class_ids)
        times = np.rint((counts.max() / np.maximum(counts, 1)) ** balance).astype(np.int64)
        self.order = np.repeat(np.arange(len(examples), dtype=np.int32), times[examples.class_ids])

    @property
    def classes(self) -> ClassTable:
        return self.dataset.classes

    @property
    def split(self) -> str:
        return self.dataset.split

    @property
    def splits(self) -> tuple[str, ...]:
        return self.dataset.splits

    def __len__(self) -> int:
        return len(self.order)

    def name(self, index: int) -> str:
        example = self.order[index]
        return f"{self.dataset.name(int(self.examples.pictures[example]))} crop {example}"

    def sample(self, index: int) -> Sample:
        """Raises DataError where the objects of a picture are not the objects that the boxes were made of."""
        example = self.order[index]
        sample = self.dataset.sample(int(self.examples.pictures[example]))
        assert sample.labels is not None, "training needs labels"
        box = self.examples.boxes[example]
        labels = self._alone(sample, int(self.examples.objects[example]), box) if self.alone else sample.labels
        ((top, left, bottom, right),) = enlarge(box[None], self.enlarged)
        window = Window(top, left, (bottom - top, right - left), self.size)
        image = window_of(sample.image, window, Image.Resampling.BILINEAR, OUTSIDE)
        return Sample(self.name(index), image, window_of(labels, window, Image.Resampling.NEAREST, self.classes.void))

    def _alone(self, sample: Sample, number: int, box: Boxes) -> NDArray[Any]:
        objects = objects_of(sample, self.classes)
        if number >= len(objects.masks) or not np.array_equal(_boxes_of(objects.masks[[number]])[0], box):
            raise DataError(f"{sample.name}: its objects changed since the run began; choose another --out.")
        return only(sample, objects.masks[number], int(objects.class_ids[number]), self.classes)


def only(sample: Sample, mask: NDArray[np.bool_], class_id: int, classes: ClassTable) -> NDArray[Any]:
    """The labels (H, W) with background outside the object of `mask`, or void where no class is background; void stays void."""
    labels = sample.labels
    assert labels is not None, "training needs labels"
    rest = classes.background
    keep = (mask & (labels == class_id)) | (labels == classes.void)
    return np.where(keep, labels, labels.dtype.type(classes.void if rest is None else rest))


def objects_of(sample: Sample, classes: ClassTable) -> Instances:
    """The objects of a sample: first its instances without crowds, then the connected parts (eight neighbours) of each class
    among the pixels that no instance has, by class id and place. Background and parts below `SMALLEST` of the picture are left
    out."""
    from scipy import ndimage

    assert sample.labels is not None, "training needs labels"
    free = sample.labels.copy()
    masks, class_ids = [], []
    if sample.instances is not None:
        free[sample.instances.masks.any(axis=0)] = classes.void
        there = sample.instances.masks.any(axis=(1, 2)) & ~sample.instances.crowd
        masks, class_ids = list(sample.instances.masks[there]), sample.instances.class_ids[there].tolist()
    least = SMALLEST * free.size
    for class_id in np.unique(free).tolist():
        if class_id in (classes.void, classes.background):
            continue
        numbers, _ = ndimage.label(free == class_id, np.ones((3, 3)))
        areas = np.bincount(numbers.ravel())
        for number in np.flatnonzero(areas[1:] >= least) + 1:
            masks.append(numbers == number)
            class_ids.append(class_id)
    return Instances(np.array(masks, bool).reshape(-1, *free.shape), np.array(class_ids, np.int64))


def write_examples(path: Path, examples: Examples, key: str) -> None:
    """Writes `examples` with `key`, which names their data and settings, and a digest of both; the file is whole or not there."""
    header = json.dumps({"key": key, "sha256": _digest(examples, key)})
    write_whole(path.parent, path.name, to_safetensors(vars(examples), {_HEADER_KEY: header}))


def read_examples(path: Path, key: str) -> Examples | None:
    """The examples that `write_examples` wrote there with this key; None when the file is damaged or has another key."""
    with interruptible():
        try:
            with safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {})[_HEADER_KEY])
                examples = Examples(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
            return examples if header == {"key": key, "sha256": _digest(examples, key)} else None
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
            return None


def _digest(examples: Examples, key: str) -> str:
    total = hashlib.sha256(key.encode())
    for name, values in sorted(vars(examples).items()):
        total.update(f"\0{name}\0{values.dtype}\0{values.shape}\0".encode())
        total.update(np.ascontiguousarray(values).data)
    return total.hexdigest()


def _examples_of(dataset: Dataset, index: int, method: str | None, overlap: float) -> Examples:
    """The examples of one picture: the boxes of its objects; with a `method` the proposals that overlap them, best first."""
    sample = dataset.sample(index)
    true = objects_of(sample, dataset.classes)
    boxes, objects = _boxes_of(true.masks), np.arange(len(true.masks))
    if method is not None and len(boxes):
        proposed = propose(sample.image, method, MOST)
        shared = overlaps(proposed, boxes)
        good = shared.max(axis=1) >= overlap
        boxes, objects = proposed[good], shared[good].argmax(axis=1)
    pictures = np.full(len(boxes), index, np.int32)
    return Examples(pictures, objects.astype(np.int32), true.class_ids[objects].astype(np.int32), boxes)


def _examples(find: Callable[[int], Examples], pictures: range, say: Say) -> Iterator[Examples]:
    """The examples of each picture, by threads; every twenty seconds `say` gets the number of finished pictures."""
    done, boxes, next_line = 0, 0, time.monotonic() + 20
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for part in pool.map(find, pictures):
                done, boxes = done + 1, boxes + len(part)
                if time.monotonic() > next_line:
                    say(f"looking for what to crop: {done}/{len(pictures)} pictures, {boxes} boxes")
                    next_line = time.monotonic() + 20
                yield part
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _joined(parts: Iterable[Examples]) -> Examples:
    """The examples of all processes, in the order of the pictures."""
    every = sorted((part for part in parts if len(part)), key=lambda part: int(part.pictures[0]))
    nothing = np.zeros(0, np.int32)
    every.insert(0, Examples(nothing, nothing, nothing, np.zeros((0, 4))))
    return Examples(**{name: np.concatenate([vars(part)[name] for part in every]) for name in vars(every[0])})


def _boxes_of(masks: NDArray[np.bool_]) -> Boxes:
    """The box of each mask (N, H, W), none of them empty: (N, 4)."""
    ends = []
    for across in (2, 1):  # rows, then columns
        there = np.asarray(masks.any(axis=across))
        ends.append((there.argmax(axis=1), there.shape[1] - there[:, ::-1].argmax(axis=1)))
    (top, bottom), (left, right) = ends
    return np.stack([top, left, bottom, right], axis=1).astype(np.float64)
