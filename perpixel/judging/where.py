"""Where sides differ: in which pictures, in which confusions of classes, and for which values of a table of the pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError
from perpixel.judging.evaluate import Progress
from perpixel.judging.intervals import drawn
from perpixel.measures.confusion_matrix import ConfusionMatrix
from perpixel.measures.measure import Better, FiguresOf, Measure, ratio
from perpixel.tables import read_csv

AT_ONCE = 64  # pictures whose own figures are made in one call
SEVERAL = 8  # different numbers of a column up to which each is a slice of its own
PARTS = 4  # slices of a column of more numbers, each with as many pictures
CONFUSIONS = 20  # that are kept


@dataclass(frozen=True)
class ByPicture:
    """The main figure of every picture by itself: `values` (N,) by side, nan where the picture has none."""

    figure: str
    better: Better
    names: Sequence[str]
    values: Mapping[str, NDArray[np.float64]]

    def gains(self, side: str, other: str, count: int) -> list[tuple[str, float]]:
        """The pictures in which `side` is better than `other` by most, and second - first of the figure, as `side` - `other`."""
        differences = self.values[side] - self.values[other]
        gains = differences if self.better == "larger" else -differences
        order = [place for place in np.argsort(-gains, kind="stable").tolist() if gains[place] > 0]  # nan is above nothing
        return [(self.names[place], float(differences[place])) for place in order[:count]]

    def hardest(self, count: int) -> list[str]:
        """The pictures in which even the best side is worst."""
        every = np.stack([*self.values.values()])
        known = [place for place in range(len(self.names)) if not np.isnan(every[:, place]).any()]
        best = {place: every[:, place].max() if self.better == "larger" else -every[:, place].min() for place in known}
        return [self.names[place] for place in sorted(known, key=lambda place: best[place])[:count]]

    def to_json(self) -> dict[str, Any]:
        return {
            "figure": self.figure,
            "pictures": [
                {"name": name, "values": {side: float(values[place]) for side, values in self.values.items()}}
                for place, name in enumerate(self.names)
            ],
        }


def by_picture(
    measure: Measure[Any],
    figure: str,
    names: Sequence[str],
    rows: Mapping[str, Sequence[Any]],
    figures_of: Mapping[str, FiguresOf],
    told: Progress | None = None,
) -> ByPicture:
    """`rows` of each side, and its `figures_of` where the pictures are ranked together."""
    values = {}
    for side, each in rows.items():
        if isinstance(each, list):
            parts = [each[start : start + AT_ONCE] for start in range(0, len(each), AT_ONCE)]
            own = [measure.figures(part)(np.eye(len(part), dtype=np.int64)).overall[figure] for part in parts]
        else:
            places = [np.arange(start, min(start + AT_ONCE, len(each))) for start in range(0, len(each), AT_ONCE)]
            one_by_one = [(place[:, None] == np.arange(len(each))).astype(np.int64) for place in places]
            own = [drawn(measure, figures_of[side], weights, told).overall[figure] for weights in one_by_one]
        values[side] = np.concatenate(own)
    return ByPicture(figure, measure.better[figure], names, values)


@dataclass(frozen=True)
class Confusion:
    """Which share of the `pixels` of the class `truth` each side takes for the class `taken_for`, in 0..1."""

    truth: str
    taken_for: str
    pixels: int
    shares: Mapping[str, float]

    @property
    def spread(self) -> float:
        return max(self.shares.values()) - min(self.shares.values())


def confusions(matrices: Mapping[str, ConfusionMatrix], classes: Sequence[str]) -> list[Confusion]:
    """The confusions of which the sides have the most different shares, greatest difference first."""
    counts = {side: matrix.counts for side, matrix in matrices.items()}
    truth = next(iter(counts.values())).sum(1)
    shares = {side: ratio(each, truth[:, None]) for side, each in counts.items()}
    stacked = np.stack([*shares.values()])
    spread = stacked.max(0) - stacked.min(0)
    np.fill_diagonal(spread, math.nan)
    places = [divmod(place, len(classes)) for place in np.argsort(-spread, axis=None, kind="stable").tolist()]
    return [
        Confusion(classes[i], classes[j], int(truth[i]), {side: float(each[i, j]) for side, each in shares.items()})
        for i, j in places[:CONFUSIONS]
        if spread[i, j] > 0
    ]


@dataclass(frozen=True)
class Slice:
    """The figures of each side over the pictures for which a column of a table has this value."""

    column: str
    value: str
    num_pictures: int
    figures: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        return {"column": self.column, "value": self.value, "pictures": self.num_pictures, "figures": dict(self.figures)}


@dataclass(frozen=True)
class Groups:
    """Of each column and value the places of its pictures; and how many pictures the table does not have."""

    places: Mapping[tuple[str, str], NDArray[np.int64]]
    missing: int


def groups_of(table: Path, names: Sequence[str]) -> Groups:
    """Reads a table in CSV: the first column has the names of pictures, with or without the suffix of a file; each other column
    divides them. Columns of more than `SEVERAL` different numbers are cut into `PARTS` slices of as many pictures.

    Rows of other pictures count nowhere. Raises DataError for a picture that has two rows, for a table without a second column or
    without any of the pictures, and what `read_csv` raises."""
    rows: dict[str, dict[str, str]] = {}
    known = {**{Path(name).stem: name for name in names}, **{name: name for name in names}}
    for line, row in read_csv(table, ()):
        first, *others = row
        if not others:
            raise DataError(f"{table}: has one column; add one that says something of each picture, as `name,weather`.")
        written = row.pop(first).strip()
        name = known.get(written, known.get(Path(written).stem))
        if name is None:
            continue
        if name in rows:
            raise DataError(f"{table}, line {line}: has the picture {name} again; keep one row.")
        rows[name] = {column: value.strip() for column, value in row.items()}
    if not rows:
        raise DataError(f"{table}: its first column names none of the pictures, of which {names[0]} is the first; correct it.")
    places: dict[tuple[str, str], NDArray[np.int64]] = {}
    for column in next(iter(rows.values())):
        values = {place: rows[name][column] for place, name in enumerate(names) if name in rows}
        for value, chosen in _divided(values):
            places[column, value] = np.array(chosen, np.int64)
    return Groups(places, len(names) - len(rows))


def _divided(values: Mapping[int, str]) -> list[tuple[str, list[int]]]:
    """The places by their value; numbers in ascending order, words in that of the alphabet."""
    numbers = {place: _number(value) for place, value in values.items()}
    known = {place: number for place, number in numbers.items() if not math.isnan(number)}
    different = sorted({*values.values()}, key=lambda value: (math.isnan(_number(value)), _number(value), value))
    if len(known) < len(values) or len({*known.values()}) <= SEVERAL:
        return [(value or "(empty)", [place for place, own in values.items() if own == value]) for value in different]
    order = sorted(known, key=lambda place: known[place])
    parts = [part.tolist() for part in np.array_split(np.array(order), PARTS)]
    return [(f"{known[part[0]]:g} to {known[part[-1]]:g}", sorted(part)) for part in parts]


def _number(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def slices(
    measure: Measure[Any], groups: Groups, num_pictures: int, figures_of: Mapping[str, FiguresOf], told: Progress | None = None
) -> list[Slice]:
    """The figures of each side over the pictures of each group."""
    weights = np.zeros((len(groups.places), num_pictures), np.int64)
    for row, places in zip(weights, groups.places.values(), strict=True):
        row[places] = 1
    made = {side: drawn(measure, each, weights, told).overall for side, each in figures_of.items()}
    return [
        Slice(
            column, value, len(places),
            {side: {name: float(values[number]) for name, values in figures.items()} for side, figures in made.items()},
        )
        for number, ((column, value), places) in enumerate(groups.places.items())
    ]  # fmt: skip
