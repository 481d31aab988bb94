"""A comparison as people read it: the verdicts, then a table for each part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from perpixel.judging.comparison import Comparison, Difference, Pair, apart, basis, in_order, shown, verdicts
from perpixel.judging.intervals import LEVEL
from perpixel.measures.measure import Table, decimals_of, percent
from perpixel.terminal import points, print_table, show

CONDITIONS = ("data", "split", "trained on", "pre-training", "sizes", "predicts", "judged at")  # as people read them


@dataclass(frozen=True)
class Section:
    """A part of a comparison: its title, its table, and a line below it, which may be empty."""

    title: str
    table: Table
    note: str = ""


def print_comparison(comparison: Comparison, most: int = 3) -> None:
    """What can be said of every two sides, the figures of all, the tests, and where sides differ: `most` pictures and confusions
    of each kind."""
    for sentence in verdicts(comparison):
        show(sentence)
    for section in sections(comparison, most):
        show()
        print_table(section.table.header, list(section.table.rows), section.table.right)
        if section.note:
            show(section.note)
    for sentence in apart(comparison):
        show()
        show(sentence)
    show()
    show(basis(comparison))


def sections(comparison: Comparison, most: int) -> list[Section]:
    """The parts that the comparison has; `most` pictures and confusions of each kind."""
    one_pair = len(comparison.pairs) == 1
    parts = [
        _figures(comparison), _pair(comparison, comparison.pairs[0]) if one_pair else _pairs(comparison), _classes(comparison),
        _slices(comparison), *(_pictures(comparison, most), _hardest(comparison, most), _confusions(comparison, most)),
        _conditions(comparison), _costs(comparison),
    ]  # fmt: skip
    return [part for part in parts if part.table.rows]


def signed(comparison: Comparison, name: str, value: float) -> str:
    """A difference of two figures, in points where they are percent."""
    measure = comparison.measure
    decimals = None if measure.compared_in_percent else decimals_of(measure, name)
    return points(value) if decimals is None else f"{value:+.{decimals}f}"


def _figures(comparison: Comparison) -> Section:
    """Of each figure a row for each side, the best side by the main figure first, those that stand apart last."""
    sides = in_order(comparison)
    rows = []
    for name in sides[0].figures:
        for place, side in enumerate(side for side in sides if name in side.figures):
            one = side.figures[name]
            values = (one.value, one.interval.low, one.interval.high)
            note = ", ".join(part for part in ("stands apart" if side.apart else "", one.interval.doubt or "") if part)
            rows.append(("" if place else name, side.name, *(shown(comparison, name, value) for value in values), note))
    table = _with_doubts(("figure", "side", "value", "from", "to"), rows, (2, 3, 4))
    return Section("Figures", table, f"{comparison.doubt}." if comparison.doubt else "")


def _with_doubts(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: Sequence[int] = ()) -> Table:
    """Rows whose last column is why their interval is in doubt; without that column where none is."""
    if any(row[-1] for row in rows):
        return Table((*header, "doubt"), rows, right)
    return Table(header, [row[:-1] for row in rows], right)


def _pair(comparison: Comparison, pair: Pair) -> Section:
    """A row for each figure of the only two sides: both, their difference with its interval, and its probability by chance."""
    rows = [
        (name, shown(comparison, name, one.first), shown(comparison, name, one.second), *_test(comparison, name, one),
         one.interval.doubt or "")
        for name, one in pair.figures.items()
    ]  # fmt: skip
    return Section("Differences", _with_doubts(("figure", pair.first, pair.second, "difference", "from", "to", "p"), rows))


def _pairs(comparison: Comparison) -> Section:
    """A row for every two sides by the main figure."""
    name = comparison.main
    rows = [
        (pair.first, pair.second, *_test(comparison, name, one), _p(one.p_holm), one.interval.doubt or "")
        for pair in comparison.pairs
        for one in [pair.figures[name]]
    ]
    header = ("first", "second", f"{name}: second - first", "from", "to", "p", "p, Holm")
    return Section("Differences", _with_doubts(header, rows))


def _test(comparison: Comparison, name: str, one: Difference) -> tuple[str, ...]:
    values = (one.difference, one.interval.low, one.interval.high)
    return *(signed(comparison, name, value) for value in values), _p(one.p_value)


def _p(value: float) -> str:
    return "nan" if math.isnan(value) else f"{value:.4f}"


def _classes(comparison: Comparison) -> Section:
    """A row for each class: the IoU of each side with its interval, and between which sides a difference is shown."""
    sides = in_order(comparison)
    classes = [name for name in sides[0].classes if any(not math.isnan(side.classes[name].value) for side in comparison.ranked)]
    rows = []
    for name in classes:
        cells = []
        for side in sides:
            one = side.classes.get(name)
            if one is None:
                cells.append("")
                continue
            ends = f"{percent(one.interval.low)} to {percent(one.interval.high)}"
            doubtful = one.interval.doubt is not None and not math.isnan(one.value)
            cells.append(f"{percent(one.value)} ({ends}{', ?' if doubtful else ''})")
        shown_between = [
            f"{pair.first} {'<' if pair.classes[name].difference > 0 else '>'} {pair.second}"
            for pair in comparison.pairs
            if pair.classes[name].p_holm <= 1 - LEVEL
        ]
        rows.append((name, *cells, ", ".join(shown_between)))
    doubtful = any("?" in cell for row in rows for cell in row[1:-1])
    note = "?: the interval is in doubt, because the class is in few pictures; --json says why." if doubtful else ""
    tests = sum(not math.isnan(pair.classes[name].p_value) for pair in comparison.pairs for name in pair.classes)
    needed = math.ceil(tests / (1 - LEVEL))  # the smallest p of R samples is 1 / (R + 1), and Holm multiplies it by the tests
    if comparison.samples + 1 < needed:
        note += f" {comparison.samples} samples are too few to show a difference among {tests} tests; give --samples {needed}."
    return Section("Classes", Table(("IoU of class", *(side.name for side in sides), "difference shown"), rows), note.strip())


def _pictures(comparison: Comparison, most: int) -> Section:
    """In which pictures the best side beats each other side, and is beaten."""
    pictures, figure = comparison.by_picture, comparison.main
    best, *others = [side.name for side in comparison.ranked]
    places = {name: place for place, name in enumerate(pictures.names)}
    rows = []
    for other in others:
        for side, beaten in ((best, other), (other, best)):
            for number, (name, difference) in enumerate(pictures.gains(side, beaten, most)):
                values = (shown(comparison, figure, float(pictures.values[each][places[name]])) for each in (side, beaten))
                what = "" if number else f"{side} beats {beaten}"
                rows.append((what, name, *values, signed(comparison, figure, difference)))
    header = ("", "picture", f"its {figure}", "the other's", "difference")
    return Section("Pictures where one beats the other", Table(header, rows, (2, 3, 4)))


def _hardest(comparison: Comparison, most: int) -> Section:
    pictures, names = comparison.by_picture, [side.name for side in comparison.ranked]
    places = {name: place for place, name in enumerate(pictures.names)}
    rows = [
        (name, *(shown(comparison, comparison.main, float(pictures.values[side][places[name]])) for side in names))
        for name in pictures.hardest(most)
    ]
    return Section("Pictures that are hardest for all", Table(("hardest for all", *names), rows))


def _confusions(comparison: Comparison, most: int) -> Section:
    names = [side.name for side in comparison.ranked]
    rows = [
        (one.truth, one.taken_for, *(f"{percent(one.shares[name])} %" for name in names), f"{one.pixels:,}")
        for one in comparison.confusions[:most]
    ]
    return Section("Confusions that differ most", Table(("class", "is taken for", *names, "pixels of the class"), rows))


def _slices(comparison: Comparison) -> Section:
    """A row for each value of each column, with the main figure of each side."""
    figure, names = comparison.main, [side.name for side in comparison.ranked]
    rows, before = [], ""
    for one in comparison.slices:
        values = (shown(comparison, figure, one.figures[name][figure]) for name in names)
        rows.append(("" if one.column == before else one.column, one.value, str(one.num_pictures), *values))
        before = one.column
    missing = comparison.not_in_table
    note = f"{missing} of {comparison.num_pictures} pictures have no row in the table, and are in no slice." if missing else ""
    return Section("Slices", Table(("column", "value", "pictures", *(f"{figure} of {name}" for name in names)), rows), note)


def _conditions(comparison: Comparison) -> Section:
    """A row for each side: what must be alike for its figures to say which network is better."""
    rows = [(side.name, *vars(side.conditions).values(), side.protocol_hash) for side in in_order(comparison)]
    return Section("Conditions", Table(("side", *CONDITIONS, "by protocol"), rows))


def _costs(comparison: Comparison) -> Section:
    """A row for each model."""
    header = ["side", "parameters", "multiply-adds", "of a picture of", "minutes of training"]
    timed = any(cost.speed for cost in comparison.costs.values())
    rows = []
    for name, cost in comparison.costs.items():
        minutes = "not known" if cost.minutes is None else f"{cost.minutes:.1f}"
        size = "x".join(map(str, cost.size))
        multiply_adds = "not known" if cost.multiply_adds is None else _amount(cost.multiply_adds)
        row = [name, _amount(cost.parameters), multiply_adds, size, minutes]
        if cost.speed is not None:
            memory = cost.speed.peak_memory
            told = "not known" if memory is None else f"{memory / 1e6:.0f} MB"
            row += [f"{1000 * cost.speed.p50:.1f} ms", f"{1000 * cost.speed.p95:.1f} ms", told]
        rows.append(tuple(row))
    if timed:
        header += ["p50", "p95", "peak memory"]
    return Section("Cost", Table(tuple(header), rows, range(1, len(header))))


def _amount(number: int) -> str:
    return f"{number / 1e9:.2f} G" if number >= 1e9 else f"{number / 1e6:.2f} M"
