"""What a prediction costs: parameters and multiply-adds of each network, and, where it is asked for, time and memory of pictures,
measured for all networks in one process, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perpixel.limits import seen_size
from perpixel.machines.memory import peak_of
from perpixel.networks import gives_labels, labels_pixels
from perpixel.networks.mask_rcnn import RegionNetwork
from perpixel.networks.papers import size_of
from perpixel.prediction.inference import Predictor
from perpixel.sample import Sample

WARM_UP = 2  # first predictions of each that are not counted
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Speed:
    """Seconds from a picture to its labels: the median `p50`, and `p95`, over `num_pictures`. `peak_memory` are the bytes that
    the largest of these pictures takes beyond the weights; none where the machine does not tell."""

    p50: float
    p95: float
    num_pictures: int
    peak_memory: int | None


@dataclass(frozen=True)
class Cost:
    """`multiply_adds` are those of one run of the network on a picture of `size` (height, width), as it sees it, and none
    where a network of objects does not let them be counted. `minutes` are those of its training, none where nobody noted them;
    `speed` is none where it was not measured."""

    parameters: int
    multiply_adds: int | None
    size: tuple[int, int]
    minutes: float | None = None
    speed: Speed | None = None

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "size": list(self.size), "speed": None if self.speed is None else vars(self.speed)}


def costs_of(
    predictors: Mapping[str, Predictor],
    image: Image,
    minutes: Mapping[str, float | None],
    speeds: Mapping[str, Speed],
) -> dict[str, Cost]:
    """The cost of each by its name, for a picture like `image`; with a second network in an ensemble that one is not counted."""
    costs = {}
    for name, predictor in predictors.items():
        model, card = predictor.model, predictor.model.card
        height, width = seen_size((image.shape[0], image.shape[1]), model.scale_for(image.shape[:2]))
        multiply_adds, exported = None, gives_labels(model.network)
        parameters = sum(parameter.numel() for parameter in model.network.parameters())
        if exported or labels_pixels(model.network) or isinstance(model.network, RegionNetwork):
            built, multiply_adds = size_of(card.network, len(model.classes), (height, width), **card.arguments)
            parameters = built if exported else parameters
        costs[name] = Cost(parameters, multiply_adds, (height, width), minutes.get(name), speeds.get(name))
    return costs


def speeds_of(
    predictors: Mapping[str, Predictor],
    samples: Sequence[Sample],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Speed]:
    """Times every one on every picture, alternately, so that what else the machine does touches all alike. The first `WARM_UP`
    predictions of each are not counted, and memory is measured after all that."""
    for predictor in predictors.values():
        for _ in range(WARM_UP):
            predictor.of(samples[0])
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    for done, sample in enumerate(samples, start=1):
        in_turn = list(predictors.items())
        for name, predictor in in_turn if done % 2 else in_turn[::-1]:
            began = time.perf_counter()
            predictor.of(sample)
            seconds[name].append(time.perf_counter() - began)
        if progress is not None:
            progress(done, len(samples))
    largest = max(samples, key=lambda sample: sample.image.size)
    found = {}
    for name, predictor in predictors.items():
        p50, p95 = np.quantile(seconds[name], [0.5, 0.95]).tolist()
        found[name] = Speed(p50, p95, len(samples), _peak(predictor, largest))
    return found


def _peak(predictor: Predictor, sample: Sample) -> int | None:
    """Bytes that a prediction takes at most beyond what is held before it: of the GPU, where the network is on one."""
    weights = next(predictor.model.network.parameters(), None)  # none of an exported file
    device = torch.device("cpu") if weights is None else weights.device
    if device.type == "cpu":
        return peak_of(lambda: predictor.of(sample))
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    predictor.of(sample)
    return torch.cuda.max_memory_allocated(device) - before
