"""evaluate --membranes CLASS: probability maps of membranes by the measures of the ISBI 2012 challenge (see `boundaries`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perpixel.datasets import Dataset, label_digest
from perpixel.errors import DataError
from perpixel.judging.evaluate import Progress, answers, each
from perpixel.judging.intervals import Intervals, interval, print_intervals, weights_of
from perpixel.judging.protocol import Failed, hash_of, left_out
from perpixel.measures.membranes import THRESHOLDS, Best, Sweep, figures, refuse_thresholds, sweep
from perpixel.prediction.inference import PLAIN, Inference
from perpixel.sample import Sample
from perpixel.terminal import print_table, show
from perpixel.weights.model_file import Model

RULES = {
    "judged": "inside is what is not of the class; probability of inside above each threshold, best threshold of each measure",
    "segments": "4-connected; membrane and the outside of the picture 8-connected",
    "pixel_error": "1 - F of inside pixels, summed over pictures",
    "rand_error": "1 - F of pairs of pixels that the truth has inside, summed over pictures",
    "warping_error": "pixels that split or merge after warping the truth to the prediction / pixels",
    "topology_error": "all pixels that differ after warping / pixels",
    "v_rand": "Rand score of pixels that the truth has inside, prediction thinned, mean over pictures",
    "v_info": "information score of pixels that the truth has inside, prediction thinned, mean over pictures",
}


@dataclass(frozen=True)
class MembraneScores:
    """The judgement of a split's membranes: what was counted in each picture, the protocol, and if asked for the intervals."""

    names: tuple[str, ...]
    sweeps: tuple[Sweep, ...]
    thresholds: tuple[float, ...]
    protocol: dict[str, Any]
    intervals: Intervals | None = None

    @property
    def figures(self) -> dict[str, Best]:
        """Each measure of the split at its best threshold; see `boundaries`."""
        return figures(self.sweeps, self.thresholds)

    @property
    def protocol_hash(self) -> str:
        return hash_of(self.protocol)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: figures with their thresholds, each picture's own best, protocol, its hash, intervals; nan is null."""
        told = {} if self.intervals is None else {"bootstrap": self.intervals.to_json()}
        rows = [
            {"name": name, **_plain(figures([one], self.thresholds))} for name, one in zip(self.names, self.sweeps, strict=True)
        ]
        return {
            "figures": _plain(self.figures),
            "pictures": rows,
            "protocol": self.protocol,
            "protocol_hash": self.protocol_hash,
            **told,
        }


def evaluate_membranes(
    model_or_predictions: Model | str | Path,
    dataset: Dataset,
    class_name: str,
    thresholds: Sequence[float] = THRESHOLDS,
    progress: Progress | None = None,
    inference: Inference = PLAIN,
    bootstrap: int = 0,
    seed: int = 0,
    failed: Failed = None,
) -> MembraneScores:
    """Judges where a model, or a folder of masks, sees the membranes that `class_name` is; masks are the same at all thresholds.

    `bootstrap` is the number of samples of pictures that intervals are made of, none with 0 (see `bootstrap`); each sample takes
    its own best thresholds.

    Raises DataError for a picture with void pixels, for which these measures have no rule, UnknownName for another class,
    UsageError for thresholds outside 0 <= t < 1, and what `evaluate` raises."""
    pictures, protocol_of = pictures_of(model_or_predictions, dataset, class_name, thresholds, inference, failed)
    sweeps, digests = list[Sweep](), list[bytes]()
    for one, digest in pictures:
        sweeps.append(one)
        digests.append(digest)
        if progress is not None:
            progress(len(sweeps), len(dataset))
    sure = None
    if bootstrap:
        held = weights_of(len(sweeps), bootstrap, seed)
        drawn = [figures([sweeps[i] for i in np.repeat(np.arange(len(sweeps)), one)], thresholds) for one in held]
        by_name = {name: interval(np.array([one[name].value for one in drawn])) for name in drawn[0]}
        sure = Intervals(by_name, {}, len(sweeps), bootstrap, seed)
    more = left_out(failed, len(dataset), bootstrap)
    names = [name for name in map(dataset.name, range(len(dataset))) if name not in (failed or {})]
    return MembraneScores(tuple(names), tuple(sweeps), tuple(thresholds), protocol_of(digests) | more, sure)


def pictures_of(
    model_or_predictions: Model | str | Path,
    dataset: Dataset,
    class_name: str,
    thresholds: Sequence[float] = THRESHOLDS,
    inference: Inference = PLAIN,
    failed: Failed = None,
) -> tuple[Iterator[tuple[Sweep, bytes]], Callable[[Iterable[bytes]], dict[str, Any]]]:
    """The sweep of each picture with the digest of its truth, in the order of the data set; and the protocol of those digests.

    Raises what `evaluate_membranes` does."""
    class_id = dataset.classes.id_of(class_name)
    refuse_thresholds(thresholds)
    answer, protocol_of = answers(model_or_predictions, dataset, inference, scores=True)

    def one(sample: Sample) -> tuple[Sweep, bytes]:
        digest = label_digest(sample)
        assert sample.labels is not None
        if (sample.labels == dataset.classes.void).any():
            raise DataError(f"{sample.name}: has void pixels, for which these measures have no rule; judge without --membranes.")
        found = answer(sample)
        inside = (found.labels != class_id).astype("f4") if found.scores is None else 1 - found.scores[class_id]
        return sweep(sample.labels != class_id, inside, thresholds), digest

    rules = {"class": class_name, "thresholds": list(thresholds), **RULES}
    return each(dataset, one, failed), lambda digests: {**protocol_of(digests), "membranes": rules}


def _plain(best: dict[str, Best]) -> dict[str, Any]:
    return {
        name: {key: None if math.isnan(value) else value for key, value in vars(one).items()} for name, one in best.items()
    }


def print_membranes(scores: MembraneScores) -> None:
    """The figures of membranes with the thresholds at which they are best, then split and protocol."""
    rows: list[tuple[str, ...]] = [(name, f"{best.value:.6f}", f"{best.threshold:g}") for name, best in scores.figures.items()]
    print_table((scores.protocol["membranes"]["class"], "", "inside above"), rows)
    tried = f"{len(scores.names)} pictures, best of {len(scores.thresholds)} thresholds"
    show(f"{tried}; split {scores.protocol['split']}, protocol {scores.protocol_hash}")
    print_intervals(scores.intervals, lambda value: f"{value:.6f}")
