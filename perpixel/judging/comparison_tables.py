"""A comparison as people read it: verdicts in words, then a table for each part."""

from __future__ import annotations

import math

from perpixel.judging.comparison import Comparison, Difference, Pair, Side
from perpixel.judging.intervals import LEVEL
from perpixel.measures.measure import decimals_of, percent
from perpixel.terminal import points, print_table, show


def print_comparison(comparison: Comparison) -> None:
    """What can be said of every two sides, the figures of all, and the tests."""
    for sentence in verdicts(comparison):
        show(sentence)
    show()
    _print_figures(comparison)
    show()
    if len(comparison.pairs) == 1:
        _print_pair(comparison, comparison.pairs[0])
    else:
        _print_pairs(comparison)
    _print_classes(comparison)
    _print_apart(comparison)
    split = f"split {comparison.protocol['split']}, " if "split" in comparison.protocol else ""
    tests = f"{100 * LEVEL:.0f} % intervals of the paired bootstrap and p of the permutation test"
    holm = ", by Holm's correction for all pairs" if len(comparison.pairs) > 1 else ""
    show()
    show(f"{comparison.num_pictures} pictures, {tests}{holm}, {comparison.samples} samples each, "
         f"seed {comparison.seed}; {split}protocol {comparison.protocol_hash}")  # fmt: skip


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
        few = 1 / (comparison.samples + 1) * max(1, len(comparison.pairs)) > 1 - LEVEL
        what = f"{comparison.samples} exchanges are" if few else f"{comparison.num_pictures} pictures are"
        sentences.append(f"{what} too few to show any difference: p cannot be below {min(1, least):.2f}.")
    return sentences


def least_p(comparison: Comparison) -> float:
    """The least p that the tests could find after Holm's correction: R exchanges give 1 / (R + 1) at least, and N pictures have
    2 ** N, two of which are as great as any difference."""
    exchanges = 2.0 ** (1 - min(comparison.num_pictures, 1000))
    return len(comparison.pairs) * max(1 / (comparison.samples + 1), exchanges)


def shown(comparison: Comparison, name: str, value: float) -> str:
    """A figure as people see it in comparisons."""
    measure = comparison.measure
    decimals = None if measure.compared_in_percent else decimals_of(measure, name)
    return percent(value) if decimals is None else f"{value:.{decimals}f}"


def signed(comparison: Comparison, name: str, value: float) -> str:
    """A difference of two figures, in points where they are percent."""
    measure = comparison.measure
    decimals = None if measure.compared_in_percent else decimals_of(measure, name)
    return points(value) if decimals is None else f"{value:+.{decimals}f}"


def _print_figures(comparison: Comparison) -> None:
    """Of each figure a row for each side, the best side by the main figure first, those that stand apart last."""
    sides = in_order(comparison)
    rows = []
    for name in sides[0].figures:
        for place, side in enumerate(side for side in sides if name in side.figures):
            one = side.figures[name]
            values = (one.value, one.interval.low, one.interval.high)
            note = "apart" if side.apart else ""
            rows.append(("" if place else name, side.name, *(shown(comparison, name, value) for value in values), note))
    print_table(("figure", "side", "value", "from", "to", ""), rows, (2, 3, 4))


def in_order(comparison: Comparison) -> list[Side]:
    """The sides as they are ranked, then those that stand apart."""
    return [*comparison.ranked, *(side for side in comparison.sides if side.apart)]


def _print_pair(comparison: Comparison, pair: Pair) -> None:
    """A row for each figure of the only two sides: both, their difference with its interval, and its probability by chance."""
    rows = [
        (name, shown(comparison, name, one.first), shown(comparison, name, one.second), *_test(comparison, name, one))
        for name, one in pair.figures.items()
    ]
    print_table(("figure", pair.first, pair.second, "difference", "from", "to", "p"), rows)


def _print_pairs(comparison: Comparison) -> None:
    """A row for every two sides by the main figure."""
    name = comparison.main
    rows = [
        (pair.first, pair.second, *_test(comparison, name, pair.figures[name]), _p(pair.figures[name].p_holm))
        for pair in comparison.pairs
    ]
    print_table(("first", "second", f"{name}: second - first", "from", "to", "p", "p, Holm"), rows)


def _test(comparison: Comparison, name: str, one: Difference) -> tuple[str, ...]:
    values = (one.difference, one.interval.low, one.interval.high)
    return *(signed(comparison, name, value) for value in values), _p(one.p_value)


def _p(value: float) -> str:
    return "nan" if math.isnan(value) else f"{value:.4f}"


def _print_classes(comparison: Comparison) -> None:
    """A row for each class: the IoU of each side with its interval, and between which sides a difference is shown."""
    sides = in_order(comparison)
    classes = [name for name in sides[0].classes if any(not math.isnan(side.classes[name].value) for side in comparison.ranked)]
    if not classes:
        return
    rows = []
    for name in classes:
        cells = []
        for side in sides:
            one = side.classes.get(name)
            sure = "" if one is None else f"{percent(one.value)} ({percent(one.interval.low)} to {percent(one.interval.high)})"
            cells.append(sure)
        shown_between = [
            f"{pair.first} {'<' if pair.classes[name].difference > 0 else '>'} {pair.second}"
            for pair in comparison.pairs
            if pair.classes[name].p_holm <= 1 - LEVEL
        ]
        rows.append((name, *cells, ", ".join(shown_between)))
    show()
    print_table(("IoU of class", *(side.name for side in sides), "difference shown"), rows)


def _print_apart(comparison: Comparison) -> None:
    apart = [side for side in comparison.sides if side.apart]
    if apart:
        show()
    for side in apart:
        show(f"{side.name} stands apart and is not ranked: it is judged by protocol {side.protocol_hash}, which differs in "
             f"{side.apart}.")  # fmt: skip
