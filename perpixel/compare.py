"""Two sets of predictions of the same pictures: is the difference of their scores more than chance?

Both tests are paired: they never part what the two make of one picture.

    interval   Paired bootstrap: the same bootstrap samples of pictures score both, and the interval is that of the difference
               (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, sections 8.3 and 13.3; see `bootstrap`).
    p_value    Permutation test: if both were alike, exchanging their answers to any picture would change nothing. In R random
               exchanges, each picture with chance 1/2, E give a difference as great as the one found or greater, in either
               direction, and p = (E + 1) / (R + 1) (Fisher, The Design of Experiments, 1935, section 21; the 1 is the order
               found: Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9(1):39, 2010)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.bootstrap import Interval, Replicates, class_counts, interval, pixel_figures
from perpixel.checkpoint import Model
from perpixel.datasets import Dataset, label_digest
from perpixel.errors import DataError, UsageError
from perpixel.evaluate import Progress, answers, hash_of, samples
from perpixel.metrics import ConfusionMatrix

TINY = 1e-12  # differences that rounding makes of equal ones


@dataclass(frozen=True)
class Difference:
    """A figure of both, `difference` = second - first with its interval, and the `p_value` of the permutation test; or nan."""

    first: float
    second: float
    difference: float
    interval: Interval
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """The figures of pixels by name, how they were tested, and the protocol that both share but for the weights."""

    figures: Mapping[str, Difference]
    num_pictures: int
    samples: int
    seed: int
    protocol: dict[str, Any]

    @property
    def protocol_hash(self) -> str:
        return hash_of(self.protocol)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; nan is null."""
        return {
            "figures": {
                name: {**{key: _finite(value) for key, value in vars(one).items() if key != "interval"},
                       "interval": {key: _finite(value) for key, value in vars(one.interval).items()}}
                for name, one in self.figures.items()
            },
            "pictures": self.num_pictures, "samples": self.samples, "seed": self.seed,
            "protocol": self.protocol, "protocol_hash": self.protocol_hash,
        }  # fmt: skip


def compare(
    first: Model | str | Path,
    second: Model | str | Path,
    dataset: Dataset,
    of_second: Dataset | None = None,
    samples_drawn: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Compares two models, or folders of masks, on the pictures of `dataset`; `of_second` is the second one's own data set.

    Raises UsageError that names the field where the two protocols differ, and what `evaluate` raises."""
    of_second = of_second or dataset
    answer, protocol_of = answers(first, dataset)
    other_answer, other_protocol_of = answers(second, of_second)
    refuse_other_protocol(protocol_of(()), other_protocol_of(()))
    if of_second is not dataset:
        digests = [[label_digest(sample) for sample in samples(each, range(len(each)))] for each in (dataset, of_second)]
        refuse_other_protocol(protocol_of(digests[0]), other_protocol_of(digests[1]))
    width = 3 * len(dataset.classes)
    boot = [Replicates(len(dataset), width, samples_drawn, seed) for _ in range(2)]
    coins = np.random.default_rng([seed, 1])  # apart from the numbers of the bootstrap
    exchanged = np.zeros((2, samples_drawn, width), np.int64)
    sums = np.zeros((2, width), np.int64)
    digest = []
    for index, sample in enumerate(samples(dataset, range(len(dataset)))):
        digest.append(label_digest(sample))
        counts = [_counts(sample.name, sample.labels, one(sample).labels, dataset) for one in (answer, other_answer)]
        swap = coins.integers(0, 2, samples_drawn, np.int64)[:, None]
        held = np.flatnonzero(counts[0] + counts[1])
        for place, (mine, others) in enumerate((counts, counts[::-1])):
            sums[place] += mine
            boot[place].add(index, mine)
            exchanged[place][:, held] += mine[held] + swap * (others - mine)[held]
        if progress is not None:
            progress(index + 1, len(dataset))
    found = [pixel_figures(one[None]) for one in sums]
    drawn = [pixel_figures(one.sums) for one in boot]
    chance = [pixel_figures(one) for one in exchanged]
    figures = {}
    for name in found[0]:
        one, other = float(found[0][name][0]), float(found[1][name][0])
        by_chance = np.abs(chance[1][name] - chance[0][name])
        as_great = int((by_chance >= abs(other - one) - TINY).sum())
        p_value = math.nan if math.isnan(other - one) else (as_great + 1) / (samples_drawn + 1)
        figures[name] = Difference(one, other, other - one, interval(drawn[1][name] - drawn[0][name]), p_value)
    return Comparison(figures, len(dataset), samples_drawn, seed, protocol_of(digest))


def refuse_other_protocol(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raises UsageError where two protocols differ in more than the weights, with the first field and both its values."""
    for key in [*one, *(key for key in other if key not in one)]:
        if key != "weights" and one.get(key) != other.get(key):
            raise UsageError(
                f"the protocols differ ({hash_of(one)} and {hash_of(other)}) in {key!r}: {_short(one.get(key))} and "
                f"{_short(other.get(key))}; judge both alike: the same pictures, split, classes, scale and rules."
            )


def _counts(name: str, truth: Any, predicted: NDArray[Any], dataset: Dataset) -> NDArray[np.int64]:
    matrix = ConfusionMatrix(len(dataset.classes), dataset.classes.void)
    try:
        matrix.add(truth, predicted)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    return class_counts(matrix.counts)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
