"""What a comparison says: the figures of two or more sides with their intervals, and of every two of them the difference and its
test.

Sides are named by what tells their paths apart. The main figure of the measure, the first of its `better`, ranks them. A side
whose protocol is another one stands apart: it has figures, a reason in words, and no rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perpixel import notebook
from perpixel.judging.conditions import Conditions
from perpixel.judging.intervals import KIND, LEVEL, Interval
from perpixel.judging.left_out import LeftOut, kinds_of
from perpixel.judging.protocol import hash_of
from perpixel.judging.where import ByPicture, Confusion, Slice
from perpixel.measures.measure import Measure, decimals_of, percent, without_nan

if TYPE_CHECKING:
    from perpixel.prediction.cost import Cost


@dataclass(frozen=True)
class Figure:
    """A figure of one side, in 0..1 or nan, with its interval."""

    value: float
    interval: Interval

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "interval": vars(self.interval)}


@dataclass(frozen=True)
class Difference:
    """A figure of two sides. `difference` = second - first, with its interval. `p_value` is that of the permutation test, and
    `p_holm` the same after Holm's correction for all tests that it is one of. All may be nan."""

    first: float
    second: float
    difference: float
    interval: Interval
    p_value: float
    p_holm: float

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "interval": vars(self.interval)}


@dataclass(frozen=True)
class Side:
    """What is said of one side: its figures, and the IoU of each class where the measure has one.

    `apart` says why it is ranked with no other, and is empty where it is. `weights` is the digest of the model."""

    name: str
    figures: Mapping[str, Figure]
    classes: Mapping[str, Figure]
    num_pictures: int
    protocol_hash: str
    weights: str | None
    conditions: Conditions
    apart: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "figures": {name: one.to_json() for name, one in self.figures.items()},
            "classes": {name: one.to_json() for name, one in self.classes.items()},
            "conditions": vars(self.conditions),
            "pictures": self.num_pictures, "protocol_hash": self.protocol_hash, "weights": self.weights,
            "apart": self.apart or None,
        }  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Two sides by their names, and the difference of each figure and of the IoU of each class."""

    first: str
    second: str
    figures: Mapping[str, Difference]
    classes: Mapping[str, Difference]

    def to_json(self) -> dict[str, Any]:
        return {
            "first": self.first, "second": self.second,
            "figures": {name: one.to_json() for name, one in self.figures.items()},
            "classes": {name: one.to_json() for name, one in self.classes.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """The sides in the order in which they were named, every two of those that are ranked, how they were tested, and the protocol
    that these share.

    `num_pictures` are judged on all ranked sides. `left_out` are the others. `confusions` are those that differ most,
    the greatest difference first."""

    measure: Measure[Any]
    sides: tuple[Side, ...]
    pairs: tuple[Pair, ...]
    num_pictures: int
    samples: int
    seed: int
    protocol: dict[str, Any]
    left_out: tuple[LeftOut, ...]
    by_picture: ByPicture
    confusions: tuple[Confusion, ...]
    slices: tuple[Slice, ...]
    not_in_table: int  # pictures that the table of slices does not have
    doubt: str | None = None  # why no interval can be trusted, if there is a reason
    costs: Mapping[str, Cost] = field(default_factory=dict)  # of models, by the name of the side

    @property
    def protocol_hash(self) -> str:
        return hash_of(self.protocol)

    @property
    def main(self) -> str:
        """The figure that ranks."""
        return next(iter(self.measure.better))

    @property
    def ranked(self) -> list[Side]:
        """The sides that share a protocol, the best first; those without a main figure last."""
        sign = -1 if self.measure.better[self.main] == "larger" else 1

        def key(side: Side) -> tuple[bool, float]:
            value = side.figures[self.main].value
            return math.isnan(value), sign * value

        return sorted((side for side in self.sides if not side.apart), key=key)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; nan is null."""
        return {
            "sides": without_nan([side.to_json() for side in self.sides]),
            "costs": {name: cost.to_json() for name, cost in self.costs.items()},
            "pairs": without_nan([pair.to_json() for pair in self.pairs]),
            "intervals": KIND, "doubt": self.doubt,
            "pictures": self.num_pictures, "samples": self.samples, "seed": self.seed, "level": LEVEL,
            "left_out": kinds_of(self.left_out),
            "by_picture": without_nan(self.by_picture.to_json()),
            "confusions": without_nan([vars(one) for one in self.confusions]),
            "slices": without_nan([one.to_json() for one in self.slices]),
            "protocol": self.protocol, "protocol_hash": self.protocol_hash,
        }  # fmt: skip

    def _repr_html_(self) -> str:
        """The verdicts, and the main figure of each side with its interval, for notebooks."""
        sides = [(side, side.figures[self.main]) for side in in_order(self) if self.main in side.figures]
        rows = [
            (side.name, *(shown(self, self.main, value) for value in (one.value, one.interval.low, one.interval.high)))
            for side, one in sides
        ]
        lines = [*(notebook.line(sentence, strong=True) for sentence in verdicts(self)),
                 notebook.table(("side", self.main, "from", "to"), rows, (1, 2, 3)),
                 *map(notebook.line, (*apart(self), basis(self)))]  # fmt: skip
        return notebook.block(*lines)


def basis(comparison: Comparison) -> str:
    """What the figures and tests of a comparison rest on."""
    split = f"split {comparison.protocol['split']}, " if "split" in comparison.protocol else ""
    tests = f"{100 * LEVEL:.0f} % intervals from halves of the pictures and p of the permutation test"
    holm = ", by Holm's correction for all pairs" if len(comparison.pairs) > 1 else ""
    return (
        f"{comparison.num_pictures} pictures, {tests}{holm}, {comparison.samples} samples each, seed {comparison.seed}; "
        f"{split}protocol {comparison.protocol_hash}"
    )


def verdicts(comparison: Comparison) -> list[str]:
    """A sentence for every two sides: which one is better by the main figure, or that no difference can be shown."""
    name, order = comparison.main, [side.name for side in comparison.ranked]
    sentences = []
    for pair in sorted(comparison.pairs, key=lambda pair: sorted(order.index(side) for side in (pair.first, pair.second))):
        one = pair.figures[name]
        sides = sorted(((pair.first, one.first), (pair.second, one.second)), key=lambda side: order.index(side[0]))
        (best, high), (other, low) = sides
        figures = f"{name} {shown(comparison, name, high)} and {shown(comparison, name, low)}"
        if math.isnan(one.p_value):
            sentences.append(f"{best} and {other}: nothing can be said, {name} is undefined.")
        elif one.p_holm <= 1 - LEVEL:
            sentences.append(f"{best} is better than {other}: {figures}, p {one.p_holm:.4f}.")
        else:
            sentences.append(f"{best} and {other}: no difference can be shown; {figures}, p {one.p_holm:.4f}.")
    least = least_p(comparison)
    if least > 1 - LEVEL:
        few = 1 / (comparison.samples + 1) >= _of_pictures(comparison)
        what = f"{comparison.samples} exchanges are" if few else f"{comparison.num_pictures} pictures are"
        sentences.append(f"{what} too few to show any difference: p cannot be below {min(1, least):.2f}.")
    return sentences


def least_p(comparison: Comparison) -> float:
    """The least p that the tests could find after Holm's correction: R exchanges give 1 / (R + 1) at least, and N pictures have
    2 ** N, two of which are as great as any difference."""
    return len(comparison.pairs) * max(1 / (comparison.samples + 1), _of_pictures(comparison))


def _of_pictures(comparison: Comparison) -> float:
    return 2.0 ** (1 - min(comparison.num_pictures, 1000))


def shown(comparison: Comparison, name: str, value: float) -> str:
    """A figure as people see it in comparisons."""
    measure = comparison.measure
    decimals = None if measure.compared_in_percent else decimals_of(measure, name)
    return percent(value) if decimals is None else f"{value:.{decimals}f}"


def in_order(comparison: Comparison) -> list[Side]:
    """The sides as they are ranked, then those that stand apart."""
    return [*comparison.ranked, *(side for side in comparison.sides if side.apart)]


def apart(comparison: Comparison) -> list[str]:
    """A sentence for each side that stands apart."""
    return [
        f"{side.name} stands apart and is not ranked: its protocol {side.protocol_hash} differs in {side.apart}."
        for side in comparison.sides
        if side.apart
    ]


def names_of(paths: Sequence[str | Path]) -> list[str]:
    """Short names that tell paths apart: the last parts, as many as are needed; where two paths are equal, a number behind."""
    parts = [Path(path).parts or (str(path),) for path in paths]
    names = [str(Path(*each)) for each in parts]
    for count in range(1, max(map(len, parts)) + 1):
        short = [str(Path(*each[-count:])) for each in parts]
        if len(set(short)) == len(set(names)):
            break
    numbers = [short[: place + 1].count(name) for place, name in enumerate(short)]
    return [f"{name} ({number})" if short.count(name) > 1 else name for name, number in zip(short, numbers, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """p of each of several tests after Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979); nan stays nan.

    The k-th least of m values is multiplied by m - k + 1, is at least the value before it, and at most 1."""
    known = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    corrected, least = [math.nan] * len(p_values), 0.0
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * p))
        corrected[place] = least
    return corrected
