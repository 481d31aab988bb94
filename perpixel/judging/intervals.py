"""How sure a score is: intervals of its figures, from halves of the pictures.

R times m = N // 2 of the N pictures are drawn without replacement, and every figure is made of each half, and of all pictures but
those of each of G groups in turn. A group is one picture, or 1 / `GROUPS` of all. Of a figure f in 0..1

    bias            b = m / (N - m) (mean of the halves - f)
    standard error  s, the greater of  sqrt(m / (N - m)) standard deviation of the halves
                                  and  sqrt((G - 1) sum of (l - mean)^2 / G) over the figures l without a group
    interval        logit(f) - b / g +- t s / g,  g = f (1 - f),  and back from logits

Both are jackknives (Shao and Wu, Annals of Statistics 17(3), 1989). m / (N - m) makes half a set stand for the whole, where bias
and variance fall as 1 / N. AP takes the greatest precision of many, so its bias cannot be seen by leaving out one picture; the
variance that comes of a class in few pictures is seen better that way. A figure that may exceed 1 has log in place of logit and
g = f; a difference of two figures has neither, and g = 1.

t is Student's quantile, since s rests on few pictures where a class is rare. Its degrees of freedom are those of a variance
whose estimate varies as that of s (Satterthwaite, Biometrics Bulletin 2(6), 1946): 2 / (2 / N + k / G), with the excess kurtosis
k of the figures without a group.

Percentiles of the bootstrap, which these intervals replace, are too narrow where a class is in few pictures, and add the bias of
mean IoU and AP once more. Halves hold no picture twice, so AP's equal scores keep the official order. `docs/scores.md` has the
table of how often each interval holds the truth, `benchmarks/interval_coverage.py` makes it.

Pictures are what is drawn because pixels of one are no independent witnesses; where pictures come from few drives or films, the
interval is still too narrow. It says nothing of training's chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import UsageError
from perpixel.measures.measure import Figures, FiguresOf, Measure, shown
from perpixel.terminal import print_table, show

LEVEL = 0.95
KIND = "halves of the pictures without replacement; bias removed, logits, Student's t"
GROUPS = 100  # of pictures that are left out in turn; one picture each, up to as many pictures
FEW = 10  # pictures, or groups of them, that a figure must rest on
ROUNDING = 1e-12  # by which sums of equal figures differ
LEAST_FREEDOM = 1.5  # degrees, where one picture decides nearly alone
Scale = Literal["share", "amount", "difference"]  # in 0..1, 0 or more, any number


@dataclass(frozen=True)
class Samples:
    """Samples of N pictures, as `weights` (1 + R + G, N) of 0 and 1: all pictures, R halves, and all but each of G groups."""

    num_pictures: int
    replicates: int
    weights: NDArray[np.int64]

    @classmethod
    def drawn(cls, num_pictures: int, replicates: int, seed: int) -> Samples:
        """Raises UsageError for fewer than 2 halves or a seed below 0."""
        if replicates < 2 or seed < 0:
            raise UsageError(f"halves = {replicates}, seed = {seed}: give 2 halves or more, and a seed of 0 or more.")
        groups = np.arange(num_pictures) % GROUPS
        left = groups[None] != np.arange(min(num_pictures, GROUPS))[:, None]
        every = np.ones((1, num_pictures), np.int64)
        return cls(num_pictures, replicates, np.concatenate([every, halves(num_pictures, replicates, seed), left]))

    def whole(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over the pictures of each sample (1 + R + G,), as if each had all N."""
        held = self.weights.sum(1)
        scaled = np.full(len(values), math.nan)
        np.divide(values * self.num_pictures, held, out=scaled, where=held > 0)
        return scaled

    def interval(self, values: NDArray[np.float64], scale: Scale) -> Interval:
        """The interval of a figure from its values in the samples (1 + R + G,), nan where it is undefined."""
        figure, drawn, left = float(values[0]), values[1 : 1 + self.replicates], values[1 + self.replicates :]
        known = drawn[~np.isnan(drawn)]
        undefined = len(drawn) - len(known)
        if math.isnan(figure) or len(known) < 2:
            return Interval(math.nan, math.nan, math.nan, math.nan, undefined, "undefined")
        half = self.num_pictures // 2
        share = half / (self.num_pictures - half)
        bias, quantile, of_groups = share * (float(known.mean()) - figure), *_of_groups(self.num_pictures, left)
        error = max(math.sqrt(share) * float(known.std(ddof=1)), of_groups)
        doubt = _doubt(figure, bias, error, self.resting(values), len(left) == self.num_pictures, scale)
        low, high = _back(figure, bias, quantile * error, scale)
        return Interval(low, high, error, bias, undefined, doubt)

    def resting(self, values: NDArray[np.float64]) -> int:
        """Without how many groups of pictures a figure is another, or undefined, from its values in the samples."""
        return int((~(np.abs(values[1 + self.replicates :] - values[0]) <= ROUNDING)).sum())


@dataclass(frozen=True)
class Interval:
    """An interval, the figure's standard error and bias, how many halves were left out because the figure is undefined there, and
    why the interval may hold less often than it says, if there is a reason."""

    low: float
    high: float
    standard_error: float
    bias: float
    undefined: int
    doubt: str | None = None


@dataclass(frozen=True)
class Intervals:
    """Intervals of the figures by name, and of each class's IoU by the class's name; and what is doubtful about all of them."""

    figures: Mapping[str, Interval]
    iou: Mapping[str, Interval]
    num_pictures: int
    replicates: int
    seed: int
    doubt: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; nan is null."""
        return {
            "kind": KIND, "pictures": self.num_pictures, "replicates": self.replicates, "seed": self.seed, "level": LEVEL,
            "doubt": self.doubt,
            "figures": {name: _plain(one) for name, one in self.figures.items()},
            "iou": {name: _plain(one) for name, one in self.iou.items()},
        }  # fmt: skip


def halves(num_pictures: int, replicates: int, seed: int) -> NDArray[np.int64]:
    """(R, N) of 0 and 1: which pictures each half holds, N // 2 of them, every choice as likely.

    Picture by picture, one is taken with the chance of those still to be taken among those still to come (Knuth, The Art of
    Computer Programming 2, section 3.4.2, algorithm S)."""
    random, open_places = np.random.default_rng(seed), np.full(replicates, num_pictures // 2)
    held = np.empty((num_pictures, replicates), np.int64)
    for index in range(num_pictures):
        held[index] = random.random(replicates) * (num_pictures - index) < open_places
        open_places -= held[index]
    return held.T


def intervals_of(
    measure: Measure[Any],
    rows: Sequence[Any],
    classes: Sequence[str],
    replicates: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Intervals:
    """The intervals of every figure of the measure from the rows of all pictures. `progress` is told how many samples are drawn,
    where they are drawn one by one."""
    samples = Samples.drawn(len(rows), replicates, seed)
    figures, iou = intervals_from(measure, samples, drawn(measure, measure.figures(rows), samples.weights, progress))
    by_class = dict(zip(classes, iou, strict=True)) if iou else {}
    return Intervals(figures, by_class, len(rows), replicates, seed, few_pictures(measure, len(rows)))


def intervals_from(measure: Measure[Any], samples: Samples, figures: Figures) -> tuple[dict[str, Interval], list[Interval]]:
    """The intervals of figures by name, and those of the classes' IoU if there are any, from the figures of the samples."""
    of_classes = [] if figures.classes is None else [*figures.classes.T]
    # A class that no picture changes has an IoU of 0 or 1 in every picture, of which there may be many.
    rare = sum(not math.isnan(values[0]) and 0 < samples.resting(values) < FEW for values in of_classes)
    by_name = {}
    for name, values in figures.overall.items():
        scale: Scale = "amount" if name in measure.amounts else "share"
        one = samples.interval(samples.whole(values) if name in measure.sums else values, scale)
        if rare and name in measure.class_means:
            one = replace(one, doubt=f"{rare} class{'es are' if rare > 1 else ' is'} in fewer than {FEW} pictures")
        by_name[name] = one
    return by_name, [samples.interval(values, "share") for values in of_classes]


def drawn(
    measure: Measure[Any],
    figures_of: FiguresOf,
    weights: NDArray[np.int64],
    progress: Callable[[int, int], None] | None = None,
) -> Figures:
    """The figures of all samples, as many at a time as the measure takes at once."""
    if measure.at_once is None:
        return figures_of(weights)
    parts = []
    for first in range(0, len(weights), measure.at_once):
        parts.append(figures_of(weights[first : first + measure.at_once]))
        if progress is not None:
            progress(min(first + measure.at_once, len(weights)), len(weights))
    names = parts[0].overall
    return Figures({name: np.concatenate([part.overall[name] for part in parts]) for name in names})


def few_pictures(measure: Measure[Any], num_pictures: int) -> str | None:
    """Why no interval of so many pictures can be trusted, if they are fewer than the measure needs."""
    if num_pictures >= measure.enough:
        return None
    return f"{num_pictures} pictures are few: below {measure.enough} these intervals hold the truth less often than they say"


def _of_groups(num_pictures: int, left: NDArray[np.float64]) -> tuple[float, float]:
    """Student's quantile and the jackknife's standard error, from the figure's values without each group (G,)."""
    from scipy.special import stdtrit  # imported here, because it takes time and most scores are told without intervals

    known, most = left[~np.isnan(left)], max(num_pictures - 1, 1)
    changes = known - known.mean() if len(known) else known
    variance, freedom = float((changes**2).mean()) if len(known) else 0.0, float(most)
    if variance > 0:
        excess = float((changes**4).mean()) / variance**2 - 3
        freedom = 2 / max(2 / num_pictures + excess / len(known), 2 / most)
    return float(stdtrit(max(freedom, LEAST_FREEDOM), (1 + LEVEL) / 2)), math.sqrt(max(len(known) - 1, 0) * variance)


def _back(figure: float, bias: float, width: float, scale: Scale) -> tuple[float, float]:
    """The ends of the interval around a figure, made on its scale and brought back."""
    assert scale == "difference" or -ROUNDING <= figure <= (1 + ROUNDING if scale == "share" else math.inf), "see Measure.amounts"
    if scale == "share" and 0 < figure < 1:
        slope, middle = figure * (1 - figure), math.log(figure / (1 - figure))
        low, high = ((1 + math.tanh((middle + (side * width - bias) / slope) / 2)) / 2 for side in (-1, 1))
    elif scale == "amount" and figure > 0:
        low, high = (figure * math.exp(min((side * width - bias) / figure, 700)) for side in (-1, 1))
    else:  # at the end of its range halves are as the whole
        low, high = (figure - bias + side * width for side in (-1, 1))
        low = low if scale == "difference" else max(low, 0.0)
        high = min(high, 1.0) if scale == "share" else high
    return low, high


def _doubt(figure: float, bias: float, error: float, resting: int, exact: bool, scale: Scale) -> str | None:
    """Why an interval may hold less often than it says. It rests on so many pictures, or where that is not `exact`, groups."""
    if error <= ROUNDING:
        ends = {"share": (0, 1), "amount": (0,), "difference": ()}[scale]
        return next((f"{end} in every half" for end in ends if abs(figure - end) <= ROUNDING), "the same in every half")
    if resting < FEW:
        return f"rests on {resting} picture{'s' * (resting != 1)}" if exact else "rests on few pictures"
    if abs(bias) > error / 2:
        return "bias is more than half of the error: classes in few pictures"
    return None


def _plain(one: Interval) -> dict[str, float | int | str | None]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in vars(one).items()}


def print_intervals(intervals: Intervals | None, measure: Measure[Any]) -> None:
    """A row per figure if there are intervals."""
    if intervals is None:
        return
    show()
    show(title_of(intervals))
    print_with_doubts(*rows_of(intervals, measure), intervals.doubt)


def title_of(intervals: Intervals) -> str:
    samples = f"{intervals.replicates} halves of {intervals.num_pictures} pictures, seed {intervals.seed}"
    return f"{100 * LEVEL:.0f} % intervals, {samples}:"


def rows_of(intervals: Intervals, measure: Measure[Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A header, and a row for each figure, with the reason to doubt its interval as last column behind the header's columns."""
    rows: list[tuple[str, ...]] = []
    for name, one in [*intervals.figures.items(), *((f"IoU of {name}", one) for name, one in intervals.iou.items())]:
        ends = (shown(measure, name, value) for value in (one.low, one.high, one.standard_error))
        rows.append((name, *ends, one.doubt or ""))
    return ("figure", "from", "to", "standard error"), rows


def print_with_doubts(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], of_all: str | None) -> None:
    """Rows whose last column is why their interval can be trusted less, empty where there is no reason; and a reason `of_all`."""
    if any(row[-1] for row in rows):
        print_table((*header, "doubt"), [*rows])
    else:
        print_table(header, [row[:-1] for row in rows])
    if of_all:
        show(f"{of_all}.")
