"""Two pages -> what became of the numbers of each network: `perpixel compare page-a.html page-b.html`.

Pages hold figures and intervals, not the answers to single pictures, so no test is paired here. A difference is more than chance
where it exceeds the intervals of both figures together, sqrt(a^2 + b^2) of their half widths. Where both rest on the same
pictures, this asks for more than a paired test would."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from perpixel.errors import DataError, UsageError
from perpixel.judging.comparison import names_of
from perpixel.report.page import numbers_in
from perpixel.report.review_results import Review
from perpixel.terminal import percent, points, print_table, show


@dataclass(frozen=True)
class Known:
    """A figure that a page holds; `half` is half the width of its interval, nan where it has none."""

    value: float
    half: float


@dataclass(frozen=True)
class Numbers:
    """The numbers of a page: what they were judged by, and the figures of each row by its name."""

    name: str
    data: str
    protocol_hash: str
    rows: Mapping[str, Mapping[str, Known]]


@dataclass(frozen=True)
class Change:
    """A figure of one network on two pages. `difference` = second - first. `shown`: whether that is more than chance; none where
    the pages cannot tell, without intervals or judged by other rules."""

    network: str
    figure: str
    first: Known
    second: Known
    shown: bool | None

    @property
    def difference(self) -> float:
        return self.second.value - self.first.value


@dataclass(frozen=True)
class PageComparison:
    """`apart` says why the figures of the two pages are not of one kind, and is empty where they are."""

    first: Numbers
    second: Numbers
    apart: str
    changes: tuple[Change, ...]

    @property
    def alone(self) -> dict[str, list[str]]:
        """The networks that one page alone has, by the name of the page."""
        pages = ((self.first, self.second), (self.second, self.first))
        return {one.name: [name for name in one.rows if name not in other.rows] for one, other in pages}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; nan is null."""
        return {
            "pages": [
                {"name": one.name, "data": one.data, "protocol_hash": one.protocol_hash} for one in (self.first, self.second)
            ],
            "apart": self.apart or None,
            "changes": [
                {
                    "network": one.network, "figure": one.figure,
                    "first": {"value": _finite(one.first.value), "half": _finite(one.first.half)},
                    "second": {"value": _finite(one.second.value), "half": _finite(one.second.half)},
                    "difference": _finite(one.difference), "shown": one.shown,
                }
                for one in self.changes
            ],
            "alone": self.alone,
        }  # fmt: skip


def compare_pages(paths: Sequence[Path]) -> PageComparison:
    """Compares two pages of reviews or comparisons, network by network of the same name.

    Raises UsageError where there are not two, DataError where a file holds no numbers, or no network is on both."""
    if len(paths) != 2:
        raise UsageError(f"{len(paths)} pages are named; name two.")
    first, second = (_read(path, name) for path, name in zip(paths, names_of(paths), strict=True))
    apart = ""
    if first.protocol_hash != second.protocol_hash:
        apart = f"protocol {first.protocol_hash or 'not known'} and {second.protocol_hash or 'not known'}"
    changes = tuple(
        Change(network, figure, one, other, None if apart else _shown(one, other))
        for network in first.rows
        if network in second.rows
        for figure, one in first.rows[network].items()
        if (other := second.rows[network].get(figure)) is not None
    )
    if not changes:
        raise DataError(f"{paths[0]} and {paths[1]}: have no network of the same name; their rows cannot be compared.")
    return PageComparison(first, second, apart, changes)


def _read(path: Path, name: str) -> Numbers:
    numbers = numbers_in(path)
    try:
        return _of_review(numbers, name) if numbers.get("kind") == "review" else _of_comparison(numbers, name)
    except (msgspec.ValidationError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: its numbers are damaged ({error}); write the page again.") from error


def _of_review(numbers: Mapping[str, Any], name: str) -> Numbers:
    review = msgspec.convert(numbers, Review)
    rows = {
        row.name: {
            figure: Known(one.mean, math.nan if one.half is None else one.half)
            for figure, one in row.figures.items()
            if one.mean is not None
        }
        for row in [*review.ranked(), *review.of_objects]
    }
    return Numbers(name, f"{review.data}, {review.split}", review.protocol_hash or "", rows)


def _of_comparison(numbers: Mapping[str, Any], name: str) -> Numbers:
    rows = {}
    for side in numbers["sides"]:
        figures = {**side["figures"], **side["classes"]}
        rows[str(side["name"])] = {
            str(figure): Known(float(one["value"]), _half(one["interval"]))
            for figure, one in figures.items()
            if one["value"] is not None
        }
    split = numbers["protocol"].get("split", "")
    return Numbers(name, str(split), str(numbers["protocol_hash"]), rows)


def _half(interval: Mapping[str, Any]) -> float:
    low, high = interval["low"], interval["high"]
    return math.nan if low is None or high is None else (float(high) - float(low)) / 2


def _shown(one: Known, other: Known) -> bool | None:
    chance = math.hypot(one.half, other.half)
    return None if math.isnan(chance) else abs(other.value - one.value) > chance


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def print_page_comparison(comparison: PageComparison) -> None:
    """The main figure of every network on both pages; then every other figure whose difference is more than chance."""
    first, second = comparison.first, comparison.second
    if comparison.apart:
        show(f"{first.name} and {second.name} were judged by other rules ({comparison.apart}), so no difference can be shown.")
    mains = [one for one in comparison.changes if one.figure == _main(comparison.changes, one.network)]
    header = ("network", "figure", first.name, second.name, "difference", "")
    print_table(header, [_cells(one) for one in mains], (2, 3, 4))
    others = [one for one in comparison.changes if one.shown and one not in mains]
    if others:
        show()
        print_table(header, [_cells(one) for one in others], (2, 3, 4))
    for name, networks in comparison.alone.items():
        if networks:
            show(f"Only in {name}: {', '.join(networks)}.")


def _main(changes: Sequence[Change], network: str) -> str:
    """The first figure of a network."""
    return next(one.figure for one in changes if one.network == network)


def _cells(one: Change) -> tuple[str, ...]:
    def cell(known: Known) -> str:
        return percent(known.value) + ("" if math.isnan(known.half) else f" ± {100 * known.half:.1f}")

    said = {True: "more than chance", False: "may be chance", None: "cannot be told"}[one.shown]
    return one.network, one.figure, cell(one.first), cell(one.second), points(one.difference), said
