"""The page of a run: how far it is, its curves, the plan, every class with the reasons for its errors, the worst and the best
pictures of val, and the commands that come next. A training writes it anew after each validation."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from perpixel import draw
from perpixel.errors import printable
from perpixel.measures.measure import Summary, Table, percent, shown
from perpixel.report import page
from perpixel.report.page import data_url
from perpixel.training.recipe import PLAN, origins_in

if TYPE_CHECKING:  # pages are written without torch
    from perpixel.training.shown import Predicted, RunNow

PAGE = "report.html"
SIDE = 280  # the longer side of a picture, in pixels of the page
WIDTH, HEIGHT = 600, 180  # of a chart, in its own units
WORTH_TELLING = 0.05  # share of a class that is confused with another
RARE = 0.01  # share of the pixels of train below which a class is called rare


def write_page(run: RunNow) -> None:
    """Writes `report.html` of a run, whole or not at all."""
    measure, figure = run.criterion.measure, run.criterion.figure
    value = run.summary.figures.get(figure, math.nan)
    commands = [
        ("masks for new pictures", f"perpixel predict {_quoted(run.out)} PICTURES --out masks"),
        ("figures with intervals", f"perpixel evaluate {_quoted(run.out)} --bootstrap 1000"),
    ]
    if not run.done:
        commands.append(("the training goes on", "the same `perpixel train` command again"))
    page.write_page(
        run.out / PAGE, "run.html",
        title=printable(run.out.resolve().name), data=printable(run.recipe.data), done=run.done, step=run.step,
        steps=run.recipe.steps, figure=figure, value=shown(measure, figure, value), splits=run.splits,
        judged=run.recipe.val_split, some=None if run.done else run.recipe.val_pictures,
        charts=[chart for chart in _charts(run) if chart["lines"]], plan=_plan(run), classes=_classes(run),
        tables=[] if "confusion" in run.summary.details else _tables(run.summary),
        pictures=[_row(predicted, run) for predicted in run.pictures],
        legend=[{"name": printable(name), "colour": tuple(colour)}
                for name, colour in zip(run.classes.names, run.classes.colours, strict=True)],
        commands=[{"means": means, "text": text} for means, text in commands],
    )  # fmt: skip


def _quoted(path: Any) -> str:
    return shlex.quote(printable(path))


def _charts(run: RunNow) -> list[dict[str, Any]]:
    """The losses and the figures by step, each as lines of points in the chart's own units."""
    losses = sorted({name for entry in run.entries for name in entry.get("losses", {})})
    of_losses = {name: [(e["step"], e["losses"][name]) for e in run.entries if name in e.get("losses", {})] for name in losses}
    of_figures = {name: [(e["step"], e[name]) for e in run.entries if e.get(name) is not None] for name in run.criterion.drawn}
    measure, steps = run.criterion.measure, run.recipe.steps
    return [
        _chart("Loss", of_losses, lambda _, value: f"{value:.3g}", steps),
        _chart("Val", of_figures, lambda name, value: shown(measure, name, value), steps),
    ]


def _chart(title: str, lines: Mapping[str, Sequence[tuple[int, float]]], text: Any, steps: int) -> dict[str, Any]:
    values = [value for line in lines.values() for _, value in line if math.isfinite(value)]
    if not values:
        return {"lines": []}
    low, high = min(values), max(values)
    spread = high - low or 1.0

    def place(step: int, value: float) -> str:
        return f"{step / steps * WIDTH:.1f},{HEIGHT - 6 - (value - low) / spread * (HEIGHT - 12):.1f}"

    first = next(iter(lines))
    return {
        "title": title, "width": WIDTH, "height": HEIGHT, "low": text(first, low), "high": text(first, high),
        "lines": [
            {"name": printable(name), "points": " ".join(place(*point) for point in line if math.isfinite(point[1])),
             "last": text(name, line[-1][1]), "colour": f"var({'--bar' if number == 0 else '--look'})",
             "dots": [place(*point).split(",") for point in line if math.isfinite(point[1])] if len(line) < 40 else []}
            for number, (name, line) in enumerate(lines.items()) if line
        ],
    }  # fmt: skip


def _plan(run: RunNow) -> list[dict[str, str]]:
    """The settings that the plan chose, by reason."""
    by_reason: dict[str, list[str]] = {}
    for name, origin in origins_in(run.out / "recipe.toml").items():
        kind, _, reason = origin.partition(": ")
        if kind == PLAN:
            value = getattr(run.recipe, name)
            written = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            by_reason.setdefault(reason, []).append(f"{name.replace('_', ' ')} {written}")
    return [{"settings": printable(", ".join(settings)), "why": printable(reason)} for reason, settings in by_reason.items()]


def _classes(run: RunNow) -> list[dict[str, Any]]:
    """Of a judgement of pixels each class, worst first: its figures, and the reasons for its errors."""
    details = run.summary.details
    if "confusion" not in details:
        return []
    counts, names = np.array(details["confusion"]), run.classes.names
    total = max(1, sum(run.class_pixels))
    rows = []
    for row in details["classes"]:
        i = names.index(row["name"])
        share = run.class_pixels[i] / total
        rows.append({
            "name": printable(row["name"]), "colour": tuple(run.classes.colours[i]),
            "numbers": [percent(row[key]) for key in ("iou", "accuracy", "precision")], "share": f"{100 * share:.2g}",
            "why": printable("; ".join(_reasons(counts, i, names, share))),
        })  # fmt: skip
    return rows


def _reasons(counts: Any, i: int, names: Sequence[str], share: float) -> list[str]:
    """Why a class is not perfect: what of it is taken for another class, what of another is taken for it, how rare it is."""
    truth, predicted = int(counts[i].sum()), int(counts[:, i].sum())
    reasons = []
    if not truth:
        return ["not in the truth that is judged" + (f", but predicted {predicted:,} times" if predicted else "")]
    for line, whole, words in (
        (counts[i], truth, "{:.0f} % of it is taken for {}"), (counts[:, i], predicted, "{:.0f} % of what is called so is {}"),
    ):  # fmt: skip
        others = np.where(np.arange(len(line)) == i, 0, line)
        other = int(others.argmax())
        if whole and others[other] > WORTH_TELLING * whole:
            reasons.append(words.format(100 * others[other] / whole, names[other]))
    if not predicted:
        reasons.insert(0, "never predicted")
    if share < RARE:
        reasons.append("rare in train" if share else "not in train")
    return reasons


def _tables(summary: Summary) -> list[dict[str, Any]]:
    """The measure's own tables."""
    return [
        {"header": [*map(printable, table.header)], "right": set(table.right),
         "rows": [[*map(printable, row)] for row in table.rows]}
        for table in summary.tables
        if isinstance(table, Table)
    ]  # fmt: skip


def _row(predicted: Predicted, run: RunNow) -> dict[str, Any]:
    """A picture of val: itself, its truth, the prediction and its errors."""
    truth, labels, classes = predicted.truth, predicted.prediction.labels, run.classes
    assert truth.labels is not None
    measure, figure = run.criterion.measure, run.criterion.figure
    value = shown(measure, figure, predicted.value) if not math.isnan(predicted.value) else ""
    figures = [
        _figure(truth.shown, "the picture", ".jpg"),
        _figure(draw.overlay(truth.shown, truth.labels, classes, legend=False), "truth", ".jpg"),
        _figure(draw.overlay(truth.shown, labels, classes, legend=False), "prediction", ".jpg"),
        _figure(draw.error_map(truth.labels, labels, classes.void), "errors in red", ".png"),
    ]
    return {"name": printable(truth.name), "value": f"{figure} {value}", "figures": figures}


def _figure(pixels: draw.RgbImage, text: str, suffix: str) -> dict[str, str]:
    picture = Image.fromarray(pixels)
    factor = SIDE // max(picture.size)
    if factor > 1:  # whole numbers keep pixels sharp
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    else:
        picture.thumbnail((SIDE, SIDE), Image.Resampling.NEAREST if suffix == ".png" else Image.Resampling.BICUBIC)
    return {"source": data_url(picture, suffix), "text": text}
