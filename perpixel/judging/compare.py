"""Two sets of predictions of the same pictures: is the difference of their scores more than chance?

Both tests are paired: they never part what the two make of one picture.

    interval   The same halves of the pictures score both, and the interval is that of the difference (see `intervals`).
    p_value    Permutation test: if both were alike, exchanging their answers to any picture would change nothing. In R random
               exchanges, each picture with chance 1/2, E give a difference as great as the one found or greater, in either
               direction, and p = (E + 1) / (R + 1) (Fisher, The Design of Experiments, 1935, section 21; the 1 is the order
               found: Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9(1):39, 2010)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perpixel.judging.answers import pairs_of
from perpixel.judging.evaluate import Progress, counted, pixels, samples
from perpixel.judging.intervals import GROUPS, KIND, LEVEL, Interval, Samples, drawn, few_pictures, print_with_doubts
from perpixel.judging.protocol import hash_of, protocol, refuse_other_protocol
from perpixel.machines.team import ALONE, Team
from perpixel.measures.measure import Measure, Pairs, Values, decimals_of, percent, without_nan
from perpixel.terminal import points, show

if TYPE_CHECKING:
    from perpixel.datasets import Dataset
    from perpixel.prediction.inference import Inference
    from perpixel.weights.model_file import Model

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
    """The figures of the measure by name, how they were tested, and the protocol that both share but for the weights. `doubt` is
    why no interval can be trusted, if there is a reason."""

    measure: Measure[Any]
    figures: Mapping[str, Difference]
    num_pictures: int
    samples: int
    seed: int
    protocol: dict[str, Any]
    doubt: str | None = None

    @property
    def protocol_hash(self) -> str:
        return hash_of(self.protocol)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; nan is null."""
        figures = {
            name: {**{key: value for key, value in vars(one).items() if key != "interval"}, "interval": vars(one.interval)}
            for name, one in self.figures.items()
        }
        return {
            "figures": without_nan(figures),
            "intervals": KIND, "doubt": self.doubt,
            "pictures": self.num_pictures, "samples": self.samples, "seed": self.seed,
            "protocol": self.protocol, "protocol_hash": self.protocol_hash,
        }  # fmt: skip


def coins(samples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """For each picture, whether each of R exchanges turns it round: (R,) of 0 and 1. Apart from the numbers that draw halves."""
    random = np.random.default_rng([seed, 1])
    while True:
        yield random.integers(0, 2, samples, np.int64)


def differences(
    figures_of: Callable[[NDArray[np.int64]], Values],
    num_pictures: int,
    samples_drawn: int,
    seed: int,
    sums: Collection[str] = (),
) -> dict[str, Difference]:
    """Both tests. `figures_of` takes weights (R, 2 N): how often samples hold the first and the second answer to each picture.
    `sums` are figures that are sums over pictures."""
    samples = Samples.drawn(num_pictures, samples_drawn, seed)
    none = np.zeros_like(samples.weights)
    swap = np.array([*islice(coins(samples_drawn, seed), num_pictures)], np.int64).reshape(num_pictures, samples_drawn).T
    resampled, exchanged = (
        [figures_of(np.concatenate(pair, 1)) for pair in (both, both[::-1])]
        for both in ((samples.weights, none), (1 - swap, swap))
    )
    tested = {}
    for name in resampled[0]:
        one, other = (samples.whole(side[name]) if name in sums else side[name] for side in resampled)
        first, second = float(one[0]), float(other[0])
        by_chance = np.abs(exchanged[1][name] - exchanged[0][name])
        as_great = int((by_chance >= abs(second - first) - TINY).sum())
        p_value = math.nan if math.isnan(second - first) else (as_great + 1) / (len(by_chance) + 1)
        tested[name] = Difference(first, second, second - first, samples.interval(other - one, "difference"), p_value)
    return tested


def compare(
    first: Model | str | Path,
    second: Model | str | Path,
    data: Dataset | str | Path,
    measure: Measure[Any] | None = None,
    samples_drawn: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
    inference: Inference | None = None,
    other_inference: Inference | None = None,
    team: Team = ALONE,
) -> Comparison:
    """Compares two models, folders of masks or results files by a measure. `inference` is how the first predicts, and
    `other_inference` how the second does. The processes of a `team` divide the pictures and all return what one process would.

    Raises UsageError that names the field where the two protocols differ, and what `evaluate` raises."""
    measure = measure or pixels()
    sides = [pairs_of(first, data, measure, inference), pairs_of(second, data, measure, other_inference)]
    ways = [dict(side.rules) for side in sides] if inference != other_inference else []
    shared = [_shared(side, ways) for side in sides]
    if sides[0].rows is None:
        refuse_other_protocol(*(protocol_of(()) for protocol_of in shared))
    rows, digests = zip(*(counted(side, _half(progress, place), team) for place, side in enumerate(sides)), strict=True)
    figures_of, pictures = measure.figures(*rows), len(rows[0])
    parts = 4 * samples_drawn + 2 * (1 + min(pictures, GROUPS))
    told = _parts(progress, parts) if measure.at_once is not None and sides[0].rows is not None else None

    def values_of(weights: NDArray[np.int64]) -> Values:
        return drawn(measure, figures_of, weights, told).overall

    tested, doubt = differences(values_of, pictures, samples_drawn, seed, measure.sums), few_pictures(measure, pictures)
    return Comparison(measure, tested, pictures, samples_drawn, seed, shared[0](digests[0]), doubt)


def _shared(side: Pairs[Any], ways: Sequence[Mapping[str, Any]]) -> Callable[[Sequence[bytes]], dict[str, Any]]:
    """The protocol of a side. Where the two predict in different ways, these stand in it side by side."""

    def protocol_of(digests: Sequence[bytes]) -> dict[str, Any]:
        described = side.protocol(digests)
        if not ways:
            return described
        differing = {key for way in ways for key in way}
        return {**{key: value for key, value in described.items() if key not in differing}, "predicted": list(ways)}

    return protocol_of


def _half(progress: Progress | None, place: int) -> Progress | None:
    """Tells of the pictures of both sides together."""
    return None if progress is None else lambda done, pictures: progress(done + place * pictures, 2 * pictures)


def _parts(progress: Progress | None, parts: int) -> Progress | None:
    """Tells of all samples together, which are drawn in several parts."""
    done = iter(range(1, parts + 1))
    return None if progress is None else lambda *_: progress(next(done), parts)


def refuse_other_data(one: Dataset, other: Dataset) -> None:
    """Raises UsageError, as `refuse_other_protocol` does, where two models' own data sets differ: in split, classes or labels."""
    from perpixel.datasets import label_digest

    refuse_other_protocol(*(protocol(each, (), "", 1.0) for each in (one, other)))  # what needs no reading
    digests = ([label_digest(sample) for sample in samples(each)] for each in (one, other))
    refuse_other_protocol(*(protocol(each, own, "", 1.0) for each, own in zip((one, other), digests, strict=True)))


def print_comparison(comparison: Comparison) -> None:
    """A row per figure: both scores, their difference with its interval, and the probability of such a one by chance."""
    measure = comparison.measure
    rows: list[tuple[str, ...]] = []
    for name, one in comparison.figures.items():
        decimals = None if measure.compared_in_percent else decimals_of(measure, name)
        write = percent if decimals is None else f"{{:.{decimals}f}}".format
        signed = points if decimals is None else f"{{:+.{decimals}f}}".format
        differences = (one.difference, one.interval.low, one.interval.high)
        p_value = "nan" if math.isnan(one.p_value) else f"{one.p_value:.4f}"
        rows.append((name, write(one.first), write(one.second), *map(signed, differences), p_value, one.interval.doubt or ""))
    print_with_doubts(("figure", "first", "second", "second - first", "from", "to", "p"), rows, comparison.doubt)
    split = f"split {comparison.protocol['split']}, " if "split" in comparison.protocol else ""
    tests = f"{100 * LEVEL:.0f} % intervals from halves of the pictures and p of the permutation test"
    show(f"{comparison.num_pictures} pictures, {tests}, {comparison.samples} samples each, "
         f"seed {comparison.seed}; {split}protocol {comparison.protocol_hash}")  # fmt: skip
