"""What a review has measured: `REVIEW/review.json`, written anew after each network, and what follows from its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec

from perpixel.errors import UntrustedFile
from perpixel.files import read_bytes
from perpixel.report.article import NAMES

FILE, CLAIMS = "review.json", "claims.json"
MAIN = "mIoU"
RISES = 0.01  # of the main figure over the last quarter of a training: so much says that it was too short


class Figure(msgspec.Struct, frozen=True):
    """A figure in 0..1: its mean over seeds, half the width of the interval over seeds, and the interval over pictures."""

    mean: float | None = None
    seeds: float | None = None
    pictures: tuple[float | None, float | None] | None = None

    @property
    def half(self) -> float | None:
        """Half the width of the interval over seeds, or of that over pictures where there is one seed."""
        low, high = self.pictures or (None, None)
        return self.seeds if self.seeds is not None else None if low is None or high is None else (high - low) / 2


class Run(msgspec.Struct, frozen=True):
    """One training. `history` has steps and the main figure in 0..1."""

    seed: int
    folder: str = ""
    scores: dict[str, Any] = {}
    history: list[tuple[float, float | None]] = []


class Row(msgspec.Struct, frozen=True):
    """A network of the review, its trainings and its figures by name; those of classes have the name of the class."""

    name: str
    network: str = ""
    title: str = ""
    arguments: dict[str, Any] = {}
    how: str = ""
    group: str = "review"
    pretrained: str = "none"
    parameters: int | None = None
    multiply_adds: int | None = None
    minutes: float | None = None
    paper: str = ""
    published: str = ""
    failed: str | None = None
    runs: list[Run] = []
    figures: dict[str, Figure] = {}

    @property
    def shown_name(self) -> str:
        """The name of the network as its paper writes it, and how it was trained or predicts."""
        return ", ".join(part for part in (NAMES.get(self.network, self.title or self.name), self.how) if part)

    @property
    def detail(self) -> str:
        """What is not as published: the title without the network's name and without `how`."""
        words = self.title.removeprefix(self.network).removesuffix(self.how).strip(" ,")
        return "" if words == NAMES.get(self.network) else words

    def value(self, figure: str) -> float | None:
        one = self.figures.get(figure)
        return None if one is None or self.failed else one.mean

    @property
    def rise(self) -> float | None:
        """By how much the main figure of the first run rose over the last quarter of its training."""
        points = [(step, value) for step, value in (self.runs[0].history if self.runs else []) if value is not None]
        if len(points) < 3:
            return None
        early = [value for step, value in points if step <= 0.75 * points[-1][0]]
        return points[-1][1] - early[-1] if early else None


class Pair(msgspec.Struct, frozen=True):
    """`difference` is the mean of a minus b in 0..1, `p` that of the test after Holm's correction."""

    a: str
    b: str
    difference: float | None = None
    interval: float | None = None
    p: float | None = None
    shown: bool = False


class Claim(msgspec.Struct, frozen=True):
    """A claim of a paper, and whether `better` beats `worse` here. Without a verdict, `reason` says why there is none."""

    system: str
    claim: str
    name: str = ""
    source: str = ""
    better: str = ""
    worse: str = ""
    figure: str = MAIN
    difference: float | None = None
    interval: float | None = None
    by_seed: list[float | None] = []
    p: float | None = None
    verdict: str | None = None
    reason: str | None = None
    data: str = ""


class Review(msgspec.Struct, frozen=True):
    """A review so far. Rows that are not judged yet have no figures."""

    data: str
    split: str
    classes: list[str]
    colours: list[tuple[int, int, int]]
    conditions: dict[str, Any] = {}
    conditions_text: str = ""
    protocol: dict[str, Any] | None = None
    protocol_hash: str | None = None
    command: str = ""
    versions: dict[str, Any] = {}
    threads: int | None = None
    seeds: list[int] = []
    rows: list[Row] = []
    pairs: list[Pair] = []
    instances: dict[str, Any] | None = None
    claims: list[Claim] = []

    @property
    def data_name(self) -> str:
        """The name of the data set; of a folder, its own without those above it."""
        return Path(self.data).name or self.data

    def ranked(self, group: str | None = None) -> list[Row]:
        """The rows that are judged, of one group or of all, the best by the main figure first."""
        rows = [row for row in self.rows if row.value(MAIN) is not None and group in (None, row.group)]
        return sorted(rows, key=lambda row: -(row.value(MAIN) or 0.0))

    @property
    def of_objects(self) -> list[Row]:
        """The rows of the table of objects."""
        rows = (self.instances or {}).get("rows", [])
        return [msgspec.convert(row, Row) for row in rows]

    def difference(self, one: str, other: str) -> Pair | None:
        """What was tested between two rows, as the first minus the second; none where nothing was."""
        for pair in self.pairs:
            if (pair.a, pair.b) == (one, other):
                return pair
            if (pair.b, pair.a) == (one, other):
                turned = None if pair.difference is None else -pair.difference
                return Pair(one, other, turned, pair.interval, pair.p, pair.shown)
        return None

    def numbers(self) -> dict[str, Any]:
        """The numbers of the page: all but the settings and scores of single runs."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        for row in plain["rows"]:
            row["runs"] = [{"seed": run["seed"], "history": run["history"]} for run in row["runs"]]
        return {"kind": "review", **plain}


def read_review(folder: Path) -> Review:
    """Reads `review.json` of a folder, and `claims.json` where `perpixel claims` has left one beside it.

    Raises UntrustedFile where either is no such file."""
    path, claims = folder / FILE, folder / CLAIMS
    try:
        review = msgspec.json.decode(read_bytes(path), type=Review)
        if not claims.is_file():
            return review
        path = claims
        return msgspec.structs.replace(review, claims=[*review.claims, *msgspec.json.decode(read_bytes(path), type=list[Claim])])
    except msgspec.DecodeError as error:
        raise UntrustedFile(f"{path}: is no record of a review ({error}); run `perpixel review` again.") from error


def verdict(review: Review) -> tuple[str, dict[str, object]]:
    """The key of the sentence that sums the review up, and the values in it; `tied` are names, or a number of them."""
    rows = review.ranked("review")
    if not rows:
        return "verdict.none", {}
    best, others = rows[0], rows[1:]
    figure = best.figures[MAIN]
    half = "" if figure.half is None else f" ± {100 * figure.half:.1f}"
    values: dict[str, object] = {"best": best.shown_name, "count": len(rows), "figure": f"{100 * (figure.mean or 0):.1f}{half}"}
    if not others:
        return "verdict.one", values
    pairs = [review.difference(best.name, other.name) for other in others]
    if not any(pairs):
        return "verdict.untested", values
    tied = [row.shown_name for row, pair in zip(others, pairs, strict=True) if pair is None or not pair.shown]
    values |= {"beaten": len(others) - len(tied), "tied": tied}
    return ("verdict.all" if not tied else "verdict.few" if len(tied) == len(others) else "verdict.some"), values


def tested(review: Review) -> tuple[int, int]:
    """How many pairs of the ranked rows are tested, and how many of them differ by more than chance."""
    found = [review.difference(a.name, b.name) for a, b in combinations(review.ranked(), 2)]
    known = [pair for pair in found if pair is not None]
    return len(known), sum(pair.shown for pair in known)


def rising(rows: Sequence[Row]) -> list[str]:
    """The names of rows whose curve still rose at its end."""
    return [row.shown_name for row in rows if row.rise is not None and row.rise > RISES]
