"""compare --cityscapes, --instances, --panoptic: two sets of predictions by a benchmark's rules, tested as `compare` says."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from perpixel import evaluate_cityscapes, evaluate_panoptic
from perpixel.annotations import Annotations, read_panoptic
from perpixel.average_precision import Ranking, Result
from perpixel.bootstrap import columns, weights_of
from perpixel.checkpoint import Model
from perpixel.cityscapes_iou import WIDTH, CityscapesCounts, vector_of
from perpixel.compare import Comparison, Pairs, coins, differences, refuse_other_protocol
from perpixel.datasets import Dataset
from perpixel.evaluate import Progress


def compare_cityscapes(
    first: Model | str | Path,
    second: Model | str | Path,
    dataset: Dataset,
    samples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Two models, or folders of masks, by IoU and iIoU of classes and categories. Raises what `evaluate_cityscapes` does."""
    ones, protocol_of = evaluate_cityscapes.pictures_of(first, dataset)
    others, other_protocol_of = evaluate_cityscapes.pictures_of(second, dataset)
    refuse_other_protocol(protocol_of(()), other_protocol_of(()))
    pairs, digests = Pairs(len(dataset), WIDTH, samples, seed, np.float64), list[bytes]()
    for (one, digest), (other, _) in zip(ones, others, strict=True):
        pairs.add(len(digests), vector_of(one), vector_of(other))
        digests.append(digest)
        if progress is not None:
            progress(len(digests), len(dataset))
    found = pairs.differences(
        lambda sums: columns(evaluate_cityscapes.figures_of(CityscapesCounts.of(vector)) for vector in sums)
    )
    protocol = {**protocol_of(digests), "cityscapes": evaluate_cityscapes.RULES}
    return Comparison(found, len(dataset), samples, seed, protocol)


def compare_panoptic(
    first: Path, second: Path, data: Path, samples: int = 1000, seed: int = 0, progress: Progress | None = None
) -> Comparison:
    """Two JSON files of panoptic results by PQ, SQ and RQ. Raises what `evaluate_panoptic` does."""
    truth = read_panoptic(data)
    pairs, digests = Pairs(len(truth.maps), 4 * len(truth.categories), samples, seed, np.float64), list[bytes]()
    ones, others = (evaluate_panoptic.pictures_of(each, truth) for each in (first, second))
    for (one, digest), (other, _) in zip(ones, others, strict=True):
        pairs.add(len(digests), one, other)
        digests.append(digest)
        if progress is not None:
            progress(len(digests), len(truth.maps))
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
    one, other = Ranking(truth, first, kind), Ranking(truth, second, kind)
    pictures, figures_of = len(truth.pictures), Ranking.outcomes(one, other)
    drawn, chance = ([list[dict[str, float]](), list[dict[str, float]]()] for _ in range(2))
    by_picture = islice(coins(samples, seed), pictures)
    turned = np.array([*by_picture], np.int64).reshape(pictures, samples).T
    for number, (weights, swap) in enumerate(zip(weights_of(pictures, samples, seed), turned, strict=True), start=1):
        none = np.zeros_like(weights)
        for place, (sample, exchange) in enumerate((([weights, none], [1 - swap, swap]), ([none, weights], [swap, 1 - swap]))):
            drawn[place].append(figures_of(np.concatenate(sample)))
            chance[place].append(figures_of(np.concatenate(exchange)))
        if progress is not None:
            progress(number, samples)
    found = [columns([ranking.figures]) for ranking in (one, other)]
    by_name = differences(found, [columns(each) for each in drawn], [columns(each) for each in chance])
    return Comparison(by_name, pictures, samples, seed, one.protocol)
