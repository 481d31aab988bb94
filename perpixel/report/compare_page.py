"""compare --report: the tables of a comparison and the pictures in which its sides differ, on one HTML page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from perpixel import draw
from perpixel.datasets import Dataset
from perpixel.errors import printable
from perpixel.judging.comparison import Comparison, Side, apart, basis, in_order, shown, verdicts
from perpixel.judging.comparison_tables import sections
from perpixel.judging.left_out import kinds_of
from perpixel.report import page
from perpixel.report.page import at_size_of_page, class_colours, data_url, json_inside, listed
from perpixel.sample import Prediction, Sample

SHOWN = 12  # pictures at most
Answers = Mapping[str, Callable[[Sample], Prediction]]


def write_page(path: Path, comparison: Comparison, dataset: Dataset | None, answers: Answers, most: int = 3) -> None:
    """Writes the page, whole or not at all. The pictures are those of `dataset`; none are shown without it. `answers` predict
    them, by the name of the side; `most` pictures and confusions of each kind are shown."""
    reasons = _chosen(comparison, most)
    page.write_page(
        path, "compare.html",
        title=listed([printable(side.name) for side in comparison.sides]),
        verdicts=list(map(printable, verdicts(comparison))), apart=list(map(printable, apart(comparison))),
        basis=basis(comparison), left_out=kinds_of(comparison.left_out),
        figure=comparison.main, chart=_chart(comparison), numbers=json_inside(comparison.to_json()),
        sections=[
            {"title": part.title, "header": [*map(printable, part.table.header)], "right": set(part.table.right),
             "rows": [[*map(printable, row)] for row in part.table.rows], "note": part.note}
            for part in sections(comparison, most)
        ],
        classes=[] if dataset is None else class_colours(dataset.classes.names, dataset.classes.colours),
        pictures=[] if dataset is None else _pictures(comparison, dataset, answers, reasons),
    )  # fmt: skip


def _chart(comparison: Comparison) -> list[dict[str, Any]]:
    """Of each side the main figure and its interval, as places of 0..100 between the least and the greatest end of all."""
    figure = comparison.main
    sides = [side for side in in_order(comparison) if not math.isnan(side.figures[figure].value)]
    ends = [end for side in sides for end in _ends(side, figure)]
    if not ends:
        return []
    low, high = min(ends), max(ends)
    width = high - low or 1.0

    def place(value: float) -> float:
        return round(4 + 92 * (value - low) / width, 2)

    rows = []
    for side in sides:
        one = side.figures[figure]
        first, last = min(_ends(side, figure)), max(_ends(side, figure))
        text = f"{shown(comparison, figure, one.value)} ({shown(comparison, figure, first)} to {shown(comparison, figure, last)})"
        rows.append({"name": printable(side.name), "text": text, "from": place(first), "to": place(last), "at": place(one.value),
                     "apart": bool(side.apart)})  # fmt: skip
    return rows


def _ends(side: Side, figure: str) -> list[float]:
    one = side.figures[figure]
    return [value for value in (one.value, one.interval.low, one.interval.high) if not math.isnan(value)]


def _chosen(comparison: Comparison, most: int) -> dict[str, str]:
    """The pictures to show, and why each one."""
    best, *others = [side.name for side in comparison.ranked]
    reasons: dict[str, str] = {}
    for other in others:
        for side, beaten in ((best, other), (other, best)):
            for name, _ in comparison.by_picture.gains(side, beaten, most):
                reasons.setdefault(name, f"{side} beats {beaten}")
    for name in comparison.by_picture.hardest(most):
        reasons.setdefault(name, "hard for all")
    return dict(list(reasons.items())[:SHOWN])


def _pictures(comparison: Comparison, dataset: Dataset, answers: Answers, reasons: Mapping[str, str]) -> list[dict[str, Any]]:
    """Of each picture its truth, and of each side the result and the errors."""
    places = {dataset.name(index): index for index in range(len(dataset))}
    numbers = {name: number for number, name in enumerate(comparison.by_picture.names)}
    names = [side.name for side in comparison.ranked]
    rows = []
    for name, reason in reasons.items():
        sample = dataset.sample(places[name])
        if sample.labels is None:
            continue
        truth = draw.overlay(sample.shown, sample.labels, dataset.classes, legend=False)
        figures = [_figure(sample.shown, "the picture", ".jpg"), _figure(truth, "truth", ".jpg")]
        for side in names:
            labels = answers[side](sample).labels
            value = shown(comparison, comparison.main, float(comparison.by_picture.values[side][numbers[name]]))
            result = draw.overlay(sample.shown, labels, dataset.classes, legend=False)
            errors = draw.error_map(sample.labels, labels, dataset.classes.void)
            figures.append(_figure(result, f"{side}: {value}", ".jpg"))
            figures.append(_figure(errors, f"{side}: errors", ".png"))
        rows.append({"name": printable(name), "reason": printable(reason), "figures": figures})
    return rows


def _figure(pixels: draw.RgbImage, text: str, suffix: str) -> dict[str, str]:
    """A picture at the size of the page, with a line of text."""
    picture = at_size_of_page(Image.fromarray(pixels), sharp=suffix == ".png")
    return {"source": data_url(picture, suffix), "text": printable(text)}
