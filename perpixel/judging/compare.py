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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets import Dataset, label_digest
from perpixel.errors import DataError, UsageError
from perpixel.judging.evaluate import Progress, answers, protocol, samples
from perpixel.judging.intervals import COUNTED, Interval, Replicates, class_counts, interval, pixel_figures
from perpixel.judging.protocol import hash_of
from perpixel.measures.confusion_matrix import ConfusionMatrix
from perpixel.terminal import percent, points, print_table, show
from perpixel.weights.model_file import Model

Figures = Mapping[str, NDArray[np.float64]]
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


class Pairs:
    """The summed counts (width,) of two sets of predictions: as they are, in bootstrap samples, and in random exchanges."""

    def __init__(self, num_pictures: int, width: int, samples: int, seed: int, dtype: type[np.number[Any]] = np.int64) -> None:
        self.boot = [Replicates(num_pictures, width, samples, seed, dtype) for _ in range(2)]
        self.exchanged: NDArray[Any] = np.zeros((2, samples, width), dtype)
        self.sums: NDArray[Any] = np.zeros((2, width), dtype)
        self._coins = coins(samples, seed)

    def add(self, index: int, first: NDArray[Any], second: NDArray[Any]) -> None:
        """Adds the counts of the picture `index`; pictures come in ascending order."""
        swap = next(self._coins)[:, None]
        held = np.flatnonzero((first != 0) | (second != 0))
        for place, (mine, others) in enumerate(((first, second), (second, first))):
            self.sums[place] += mine
            self.boot[place].add(index, mine)
            self.exchanged[place][:, held] += mine[held] + swap * (others - mine)[held]

    def differences(self, figures: Callable[[NDArray[Any]], Figures]) -> dict[str, Difference]:
        """`figures` are those of sums (R, width)."""
        found, drawn, chance = (
            [figures(one) for one in part] for part in (self.sums[:, None], (one.sums for one in self.boot), self.exchanged)
        )
        return differences(found, drawn, chance)


def coins(samples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """For each picture, whether each of R exchanges turns it round: (R,) of 0 and 1. Apart from the numbers of the bootstrap."""
    random = np.random.default_rng([seed, 1])
    while True:
        yield random.integers(0, 2, samples, np.int64)


def differences(found: Sequence[Figures], drawn: Sequence[Figures], chance: Sequence[Figures]) -> dict[str, Difference]:
    """The differences of two sets of predictions, whose figures by name are (1,) as found, and (R,) each in bootstrap samples and
    after exchanges."""
    figures = {}
    for name in found[0]:
        one, other = float(found[0][name][0]), float(found[1][name][0])
        by_chance = np.abs(chance[1][name] - chance[0][name])
        as_great = int((by_chance >= abs(other - one) - TINY).sum())
        p_value = math.nan if math.isnan(other - one) else (as_great + 1) / (len(by_chance) + 1)
        figures[name] = Difference(one, other, other - one, interval(drawn[1][name] - drawn[0][name]), p_value)
    return figures


def compare(
    first: Model | str | Path,
    second: Model | str | Path,
    dataset: Dataset,
    samples_drawn: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Compares two models, or folders of masks, on the pictures of `dataset`.

    Raises UsageError that names the field where the two protocols differ, and what `evaluate` raises."""
    answer, protocol_of = answers(first, dataset)
    other_answer, other_protocol_of = answers(second, dataset)
    refuse_other_protocol(protocol_of(()), other_protocol_of(()))
    pairs = Pairs(len(dataset), 3 * len(dataset.classes), samples_drawn, seed)
    digest = []
    for index, sample in samples(dataset, range(len(dataset))):
        digest.append(label_digest(sample))
        counts = [_counts(sample.name, sample.labels, one(sample).labels, dataset) for one in (answer, other_answer)]
        pairs.add(index, *counts)
        if progress is not None:
            progress(index + 1, len(dataset))
    return Comparison(pairs.differences(pixel_figures), len(dataset), samples_drawn, seed, protocol_of(digest))


def refuse_other_data(one: Dataset, other: Dataset) -> None:
    """Raises UsageError, as `refuse_other_protocol` does, where two models' own data sets differ: in split, classes or labels."""
    refuse_other_protocol(*(protocol(each, (), "", 1.0) for each in (one, other)))  # what needs no reading
    digests = ((label_digest(sample) for _, sample in samples(each, range(len(each)))) for each in (one, other))
    refuse_other_protocol(*(protocol(each, own, "", 1.0) for each, own in zip((one, other), digests, strict=True)))


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


def print_comparison(found: Comparison) -> None:
    """A row per figure: both scores, their difference with its interval, and the probability of such a one by chance."""
    from perpixel.judging.intervals import LEVEL

    rows: list[tuple[str, ...]] = []
    for name, one in found.figures.items():
        digits = 1 if name in COUNTED else 6 if "membranes" in found.protocol else None  # of values that are no percent
        write = percent if digits is None else f"{{:.{digits}f}}".format
        signed = points if digits is None else f"{{:+.{digits}f}}".format
        differences = (one.difference, one.interval.low, one.interval.high)
        p_value = "nan" if math.isnan(one.p_value) else f"{one.p_value:.4f}"
        rows.append((name, write(one.first), write(one.second), *map(signed, differences), p_value))
    print_table(("figure", "first", "second", "second - first", "from", "to", "p"), rows)
    split = f"split {found.protocol['split']}, " if "split" in found.protocol else ""
    show(f"{found.num_pictures} pictures, {100 * LEVEL:.0f} % intervals of the paired bootstrap and p of the permutation test, "
         f"{found.samples} samples each, seed {found.seed}; {split}protocol {found.protocol_hash}")  # fmt: skip
