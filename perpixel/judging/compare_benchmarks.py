"""compare by what evaluate judges besides pixels: two sets of predictions by the same rules, tested as `compare` says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets import Dataset
from perpixel.datasets.coco_annotations import Annotations, read_panoptic
from perpixel.judging import evaluate_boundary_iou, evaluate_cityscapes, evaluate_membranes, evaluate_objects, evaluate_panoptic
from perpixel.judging.average_precision import Ranking, Result, weighted_figures
from perpixel.judging.compare import Comparison, Difference, Figures, Pairs, coins, differences, refuse_other_protocol
from perpixel.judging.evaluate import Progress
from perpixel.judging.intervals import columns, weights_of
from perpixel.measures import membranes
from perpixel.measures.boundary_iou import DILATION
from perpixel.measures.cityscapes import WIDTH, CityscapesCounts, vector_of
from perpixel.weights.model_file import Model

One = TypeVar("One")  # what is kept of a picture
ProtocolOf = Callable[[Iterable[bytes]], dict[str, Any]]
Predicted = Model | str | Path


def compare_cityscapes(
    first: Predicted,
    second: Predicted,
    dataset: Dataset,
    samples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Two models, or folders of masks, by IoU and iIoU of classes and categories. Raises what `evaluate_cityscapes` does."""
    found, protocol_of = _both(first, second, partial(evaluate_cityscapes.pictures_of, dataset=dataset))
    counted = (((vector_of(one), digest), (vector_of(other), digest)) for (one, digest), (other, _) in found)
    pairs = Pairs(len(dataset), WIDTH, samples, seed, np.float64)
    digests = _added(pairs, counted, len(dataset), progress)
    by_name = pairs.differences(
        lambda sums: columns(evaluate_cityscapes.figures_of(CityscapesCounts.of(vector)) for vector in sums)
    )
    return Comparison(by_name, len(dataset), samples, seed, protocol_of(digests))


def compare_boundary_iou(
    first: Predicted,
    second: Predicted,
    dataset: Dataset,
    samples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
    dilation: float = DILATION,
) -> Comparison:
    """Two models, or folders of masks, by the mean Boundary IoU of classes. Raises what `evaluate_boundary_iou` does."""
    found, protocol_of = _both(first, second, partial(evaluate_boundary_iou.pictures_of, dataset=dataset, dilation=dilation))
    pairs = Pairs(len(dataset), 3 * len(dataset.classes), samples, seed)
    digests = _added(pairs, found, len(dataset), progress)
    by_name = pairs.differences(evaluate_boundary_iou.figures_of)
    return Comparison(by_name, len(dataset), samples, seed, protocol_of(digests))


def compare_objects(
    first: Predicted,
    second: Predicted,
    dataset: Dataset,
    class_name: str,
    samples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
    **rules: Any,
) -> Comparison:
    """Two models, or folders of masks, by the objects of a class; `rules` are those of `evaluate_objects`, which says what is
    raised."""
    of = partial(evaluate_objects.pictures_of, dataset=dataset, class_name=class_name, **rules)
    found, protocol_of = _both(first, second, of)
    ones, others, digests = _kept(found, len(dataset), progress)
    by_name = _differences(partial(evaluate_objects.resampled_figures, [*ones, *others]), len(ones), samples, seed)
    return Comparison(by_name, len(ones), samples, seed, protocol_of(digests))


def compare_membranes(
    first: Predicted,
    second: Predicted,
    dataset: Dataset,
    class_name: str,
    samples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
    thresholds: Sequence[float] = membranes.THRESHOLDS,
) -> Comparison:
    """Two models, or folders of masks, by the membranes that a class is; each sample takes its own best thresholds. Raises what
    `evaluate_membranes` does."""
    of = partial(evaluate_membranes.pictures_of, dataset=dataset, class_name=class_name, thresholds=thresholds)
    found, protocol_of = _both(first, second, of)
    ones, others, digests = _kept(found, len(dataset), progress)
    sweeps = [*ones, *others]

    def figures_of(weights: NDArray[Any]) -> Figures:
        drawn = ([sweeps[i] for i in np.repeat(np.arange(len(sweeps)), held)] for held in weights)
        return columns({name: one.value for name, one in membranes.figures(each, thresholds).items()} for each in drawn)

    return Comparison(_differences(figures_of, len(ones), samples, seed), len(ones), samples, seed, protocol_of(digests))


def compare_panoptic(
    first: Path, second: Path, data: Path, samples: int = 1000, seed: int = 0, progress: Progress | None = None
) -> Comparison:
    """Two JSON files of panoptic results by PQ, SQ and RQ. Raises what `evaluate_panoptic` does."""
    truth = read_panoptic(data)
    pairs = Pairs(len(truth.maps), 4 * len(truth.categories), samples, seed, np.float64)
    ones, others = (evaluate_panoptic.pictures_of(each, truth) for each in (first, second))
    digests = _added(pairs, zip(ones, others, strict=True), len(truth.maps), progress)
    found = pairs.differences(lambda sums: columns(evaluate_panoptic.figures_of(vector, truth) for vector in sums))
    return Comparison(found, len(truth.maps), samples, seed, evaluate_panoptic.protocol_of(digests))


def compare_instances(
    first: list[Result],
    second: list[Result],
    truth: Annotations,
    kind: str = "mask",
    samples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Two lists of results by COCO's AP and AR. Raises what `average_precision` does."""
    rankings = Ranking(truth, first, kind), Ranking(truth, second, kind)
    pictures, figures_of = len(truth.pictures), weighted_figures(*rankings)
    parts = 4 * samples + 2  # in `_differences`
    done = iter(range(1, parts + 1))

    def told(weights: NDArray[Any]) -> dict[str, float]:
        found = figures_of(weights)
        if progress is not None:
            progress(next(done), parts)
        return found

    by_name = _differences(lambda weights: columns(map(told, weights)), pictures, samples, seed)
    return Comparison(by_name, pictures, samples, seed, rankings[0].protocol)


def _both(
    first: Predicted, second: Predicted, pictures_of: Callable[[Any], tuple[Iterator[One], ProtocolOf]]
) -> tuple[Iterator[tuple[One, One]], ProtocolOf]:
    """What both have in each picture, and the protocol, which must be one."""
    ones, protocol_of = pictures_of(first)
    others, other_protocol_of = pictures_of(second)
    refuse_other_protocol(protocol_of(()), other_protocol_of(()))
    return zip(ones, others, strict=True), protocol_of


def _added(
    pairs: Pairs,
    found: Iterable[tuple[tuple[NDArray[Any], bytes], tuple[NDArray[Any], bytes]]],
    pictures: int,
    progress: Progress | None,
) -> list[bytes]:
    """Counts both of every picture; the digests of the truth."""
    digests = list[bytes]()
    for (one, digest), (other, _) in found:
        pairs.add(len(digests), one, other)
        digests.append(digest)
        if progress is not None:
            progress(len(digests), pictures)
    return digests


def _kept(
    found: Iterator[tuple[tuple[One, bytes], tuple[One, bytes]]], pictures: int, progress: Progress | None
) -> tuple[list[One], list[One], list[bytes]]:
    """Those of the first, of the second, and the digests of the truth."""
    ones, others, digests = list[One](), list[One](), list[bytes]()
    for (one, digest), (other, _) in found:
        ones.append(one)
        others.append(other)
        digests.append(digest)
        if progress is not None:
            progress(len(ones), pictures)
    return ones, others, digests


def _differences(
    figures_of: Callable[[NDArray[np.int64]], Figures], pictures: int, samples: int, seed: int
) -> dict[str, Difference]:
    """Where all pictures are kept: `figures_of` weights (R, 2 N), how often samples hold the first and second answer to each."""
    weights, none = weights_of(pictures, samples, seed), np.zeros((samples, pictures), np.int64)
    swap = np.array([*islice(coins(samples, seed), pictures)], np.int64).reshape(pictures, samples).T
    every = np.ones((1, pictures), np.int64)
    found, drawn, chance = (
        [figures_of(np.concatenate(pair, 1)) for pair in (both, both[::-1])]
        for both in ((every, none[:1]), (weights, none), (1 - swap, swap))
    )
    return differences(found, drawn, chance)
