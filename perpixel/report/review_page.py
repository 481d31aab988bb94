"""The page of a review, an article whose numbers were measured: `REVIEW/report.html`; beside it `report.csv` and `report.png`.

    REVIEW/review.json, claims.json   what was measured so far (`review_results`)
    REVIEW/predictions/NAME/*.png     masks of the first seed, by the names of pictures (`review_pictures`)

Texts stand in `article.en.toml` and `article.ko.toml`, the template in `review.html`, what moves in `review.js`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from perpixel import draw
from perpixel.classes import ClassTable
from perpixel.errors import printable
from perpixel.files import write_whole
from perpixel.report import article, page
from perpixel.report.article import LANGUAGES, both, class_name, filled, paragraphs
from perpixel.report.live_examples import eight
from perpixel.report.network_drawing import drawn, stages_of
from perpixel.report.page import TEMPLATES, json_inside, listed
from perpixel.report.review_pictures import Pictures, pictures_of
from perpixel.report.review_results import MAIN, Claim, Figure, Review, Row, read_review, rising, tested, verdict
from perpixel.report.share_picture import write_share_picture
from perpixel.version import VERSION

TITLE_SIZE = (128, 160)  # of the drawing where the pictures are not at hand
MOST_TIED = 3  # names in the verdict
CURVE = (200, 90)  # width and height of a curve
SCRIPT_WORDS = (
    "pictures.photo", "pictures.truth", "pictures.errors", "pictures.errors_group", "pictures.networks_group", "pictures.at",
    "pictures.right_pixel", "pictures.wrong_pixel", "pictures.void", "pictures.absent", "pictures.of", "table.pixel_accuracy",
    "table.chance", "table.shown", "table.untested", "table.self", "measures.verdict_at", "measures.eight_cell",
)  # fmt: skip


def write_page(out: Path, root: str | Path | None = None) -> Path:
    """Writes the page of the review in the folder `out`, its figures as CSV and its picture, each whole or not at all. Returns
    the path of the page.

    `root` is the folder of published sets. Where the pictures cannot be read, the page has none. Raises UntrustedFile where
    `review.json` is no record of a review."""
    review = read_review(out)
    pictures = pictures_of(review, out, root)
    path = out / "report.html"
    page.write_page(path, "review.html", **_content(review, pictures))
    write_whole(out, "report.csv", figures_as_csv(review).encode())
    key, values = verdict(review)
    heading = f"perpixel: the review that runs, on {review.data_name}"
    strip = _strip(review, pictures) if pictures is not None and pictures.samples else []
    write_share_picture(
        out / "report.png", heading, _plain(filled("en", key, _named(values))), review.ranked("review"), strip
    )
    return path


def figures_as_csv(review: Review) -> str:
    """A line for each network and figure, in 0..1: mean over seeds, half interval over seeds, interval over pictures."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(
        ("name", "title", "group", "pretrained", "figure", "mean", "half_over_seeds", "low_over_pictures", "high_over_pictures")
    )
    for row in [*review.rows, *review.of_objects]:
        for name, figure in row.figures.items():
            low, high = figure.pictures or (None, None)
            values = ("" if value is None else f"{value:.6f}" for value in (figure.mean, figure.seeds, low, high))
            writer.writerow((row.name, row.shown_name, row.group, row.pretrained, name, *values))
    return lines.getvalue()


def _content(review: Review, pictures: Pictures | None) -> dict[str, Any]:
    key, values = verdict(review)
    ranked = review.ranked()
    size = pictures.size if pictures is not None and pictures.samples else TITLE_SIZE
    return {
        "both": both, "paragraphs": paragraphs, "text": article.text, "in_both": article.in_both, "languages": LANGUAGES,
        "class_name": class_name, "percent": percent, "version": VERSION, "review": review,
        "verdict": both(key, **_named(values)), "claims_summed": _claims_summed(review.claims), "pictures": pictures,
        "failed": [row for row in review.rows if row.failed], "ranked": ranked,
        "table": _table(review), "yardsticks": any(row.group == "yardsticks" for row in ranked),
        "class_rows": _class_rows(review), "object_rows": _object_rows(review),
        "chapters": [_chapter(review, pictures, name, size) for name in article.CHAPTERS],
        "curves": _curves(review), "certain": _certain(review), "made": _made(review),
        "examples": {"eight": eight(), "constant": _constant(review, pictures)},
        "numbers": json_inside(review.numbers()),
        "data": json_inside({
            "words": {one: {language: article.text(language, one) for language in LANGUAGES} for one in SCRIPT_WORDS},
            "classes": [class_name(printable(name)) for name in review.classes],
            "pictures": None if pictures is None else pictures.content,
            "main": MAIN, "eight": eight(), "differences": _differences(review),
            "truth_pixels": [] if pictures is None else pictures.truth_pixels,
        }),
        "script": Markup((TEMPLATES / "review.js").read_text(encoding="utf-8")),
    }  # fmt: skip


def percent(value: float | None, digits: int = 1) -> str:
    """A share in percent; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def signed(value: float | None) -> str:
    """A difference in points, with a true minus sign."""
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def amount(number: int | None) -> str:
    """A large number as people read it."""
    if number is None:
        return "–"
    return f"{number / 1e9:.2f} G" if number >= 1e9 else f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number:,}"


def _plain(text: str) -> str:
    return Markup(text).unescape()


def _named(values: dict[str, object]) -> dict[str, object]:
    """The values of the verdict; of names that no one can be told apart from, so many as a sentence holds."""
    tied = values.get("tied")
    if not isinstance(tied, list):
        return values
    shown = [printable(name) for name in tied[:MOST_TIED]]
    more = len(tied) - len(shown)
    words = {
        language: ", ".join([*shown, filled(language, "verdict.count_more", {"count": more})]) if more
        else listed(shown) if language == "en" else ", ".join(shown)
        for language in LANGUAGES
    }  # fmt: skip
    return {**values, "tied": words}


def _claims_summed(claims: Sequence[Claim]) -> Markup | None:
    verdicts = [claim.verdict for claim in claims if claim.verdict is not None]
    counts = {one.replace(" ", "_"): verdicts.count(one) for one in ("shown", "not shown", "opposite")}
    return both("verdict.claims", count=len(verdicts), **counts) if verdicts else None


# The table.


def _table(review: Review) -> list[dict[str, Any]]:
    """The ranked rows with the places of their intervals on a common axis, of 0..100."""
    ranked = review.ranked()
    if not ranked:
        return []
    ends = [end for row in ranked for end in _ends(row.figures[MAIN])]
    low, high = max(0.0, min(ends) - 0.02), min(1.0, max(ends) + 0.02)

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low or 1.0), 2)

    rows = []
    for row in ranked:
        figure = row.figures[MAIN]
        mean = figure.mean or 0.0
        low_end, high_end = figure.pictures or (None, None)
        seeds = None if figure.seeds is None else (place(mean - figure.seeds), place(mean + figure.seeds))
        rows.append({
            "row": row, "name": row.name, "title": printable(row.shown_name), "detail": printable(row.detail),
            "group": row.group, "mean": place(mean), "seeds": seeds,
            "pictures": None if low_end is None or high_end is None else (place(low_end), place(high_end)),
            "words": _figure_words(figure), "half": "" if figure.half is None else f"± {100 * figure.half:.1f}",
            "parameters": amount(row.parameters), "multiply_adds": amount(row.multiply_adds),
            "minutes": "–" if row.minutes is None else f"{row.minutes:.1f}",
            "difference": _difference(review, row.name, ranked[0].name),
        })  # fmt: skip
    return rows


def _ends(figure: Figure) -> list[float]:
    mean = figure.mean or 0.0
    seeds = [] if figure.seeds is None else [mean - figure.seeds, mean + figure.seeds]
    return [mean, *seeds, *(end for end in figure.pictures or () if end is not None)]


def _figure_words(figure: Figure) -> Markup:
    low, high = figure.pictures or (None, None)
    values = {"figure": percent(figure.mean), "half": percent(figure.seeds), "low": percent(low), "high": percent(high)}
    return both("table." + ("both" if figure.seeds is not None and low is not None else "seeds" if figure.seeds is not None
                            else "pictures" if low is not None else "plain"), **values)  # fmt: skip


def _difference(review: Review, one: str, other: str) -> dict[str, Any]:
    """What the table says of a row against another one: a text, and whether it is more than chance."""
    if one == other:
        return {"state": "self", "text": ""}
    pair = review.difference(one, other)
    if pair is None or pair.difference is None:
        return {"state": "untested", "text": ""}
    half = "" if pair.interval is None else f" ± {100 * pair.interval:.1f}"
    return {"state": "shown" if pair.shown else "chance", "text": f"{signed(pair.difference)}{half}"}


def _differences(review: Review) -> dict[str, dict[str, dict[str, Any]]]:
    names = [row.name for row in review.ranked()]
    return {other: {one: _difference(review, one, other) for one in names} for other in names}


def _class_rows(review: Review) -> list[dict[str, Any]]:
    """Of each row the IoU of every class, with a shade of 0..4 by its value."""
    rows = []
    for row in review.ranked():
        cells = []
        for place, name in enumerate(review.classes):
            figure = row.figures.get(name, Figure())
            half = "" if figure.seeds is None else f"{100 * figure.seeds:.1f}"
            shade = 0 if figure.mean is None else min(4, int(5 * figure.mean))
            cells.append({"class": place, "text": percent(figure.mean), "half": half, "shade": shade})
        rows.append({"name": row.name, "title": printable(row.shown_name), "cells": cells})
    return rows


def _object_rows(review: Review) -> list[dict[str, Any]]:
    rows = [row for row in review.of_objects if not row.failed]
    names = list(dict.fromkeys(name for row in rows for name in row.figures if name in ("AP", "AP50", "AP75", "PQ", "SQ", "RQ")))
    rows.sort(key=lambda row: -(row.value("AP") or 0.0))
    return [
        {"title": printable(row.shown_name), "parameters": amount(row.parameters),
         "figures": {name: _short(row.figures.get(name, Figure())) for name in names}}
        for row in rows
    ]  # fmt: skip


def _short(figure: Figure) -> str:
    return percent(figure.mean) + ("" if figure.half is None else f" ± {100 * figure.half:.1f}")


# A chapter for each system.


def _chapter(review: Review, pictures: Pictures | None, system: str, size: tuple[int, int]) -> dict[str, Any]:
    networks = article.CHAPTERS[system]
    rows = [row for row in review.rows if row.network in networks and row.group == "review"]
    of_objects = [row for row in review.of_objects if row.network in networks]
    ranked = [row for row in review.ranked() if row in rows]
    drawings: dict[tuple[str, str], Row] = {}
    for row in [*rows, *of_objects]:
        if row.failed is None:
            drawings.setdefault((row.network, str(row.arguments)), row)
    best = next((row for row in ranked if pictures is not None and row.name in pictures.failures), None)
    return {
        "name": system, "planned": bool(rows or of_objects),
        "drawings": [_drawing(row, len(review.classes), size) for row in drawings.values()],
        "rows": [_measured(review, row) for row in ranked],
        "objects": [{"title": printable(row.shown_name), "figures": {name: _short(figure) for name, figure in row.figures.items()
                     if name in ("AP", "PQ")}} for row in of_objects if row.figures],
        "failed": [row for row in [*rows, *of_objects] if row.failed],
        "pairs": _pairs(review, ranked),
        "claims": [_claim(claim) for claim in review.claims if claim.system == system or claim.system in networks],
        "failures": [] if best is None or pictures is None else _failures(pictures, best),
        "best": None if best is None else printable(best.shown_name),
    }  # fmt: skip


def _drawing(row: Row, classes: int, size: tuple[int, int]) -> dict[str, Any]:
    stages = stages_of(row.network, row.arguments, classes, size)
    caption = both("systems.figure", name=printable(row.shown_name), parameters=amount(row.parameters), stages=len(stages),
                   height=size[0], width=size[1])  # fmt: skip
    return {
        "caption": caption, "svg": Markup(drawn(stages)),
        "stages": [
            {"number": number, "layers": ", ".join(stage.layers), "output": f"{stage.channels} × {stage.size[0]}×{stage.size[1]}",
             "reads": [before + 1 for before in stage.inputs]}
            for number, stage in enumerate(stages, start=1)
        ],
    }  # fmt: skip


def _measured(review: Review, row: Row) -> dict[str, Any]:
    """The figure of a row, its place in its group, and its strongest and weakest class."""
    group = review.ranked(row.group)
    known = [(name, value) for name in review.classes if (value := row.value(name)) is not None]
    sentence = None
    if known:
        (strong, strong_iou), (weak, weak_iou) = max(known, key=lambda one: one[1]), min(known, key=lambda one: one[1])
        sentence = both(
            "systems.row", place=group.index(row) + 1, count=len(group), strong=class_name(strong), weak=class_name(weak),
            strong_iou=percent(strong_iou), weak_iou=percent(weak_iou),
        )  # fmt: skip
    return {"name": row.name, "title": printable(row.shown_name), "words": _figure_words(row.figures[MAIN]), "sentence": sentence}


def _pairs(review: Review, rows: Sequence[Row]) -> list[Markup]:
    sentences = []
    for one, other in combinations(rows, 2):
        pair = review.difference(one.name, other.name)
        if pair is not None and pair.difference is not None:
            half = "" if pair.interval is None else f" ± {100 * pair.interval:.1f}"
            p = "–" if pair.p is None else f"{pair.p:.3f}"
            key = "systems.pair_shown" if pair.shown else "systems.pair_chance"
            sentences.append(both(key, a=printable(one.shown_name), b=printable(other.shown_name),
                                  difference=f"{signed(pair.difference)}{half}", p=p))  # fmt: skip
    return sentences


def _claim(claim: Claim) -> dict[str, Any]:
    half = "" if claim.interval is None else f" ± {100 * claim.interval:.1f}"
    by_seed = ", ".join(signed(value) for value in claim.by_seed)
    verdict = (claim.verdict or "none").replace(" ", "_")
    return {
        "claim": {language: printable(words) for language, words in article.claim_text(claim.name, claim.claim).items()},
        "source": printable(claim.source), "data": printable(claim.data), "figure": printable(claim.figure),
        "effect": f"{signed(claim.difference)}{half}", "by_seed": by_seed, "verdict": verdict,
        "words": both(f"systems.verdict_{verdict}"), "reason": printable(claim.reason or ""),
    }  # fmt: skip


def _failures(pictures: Pictures, row: Row) -> list[dict[str, Any]]:
    network = [one["name"] for one in pictures.content["networks"]].index(row.name)
    return [
        {
            "picture": pictures.shown.index(failure.picture), "network": network, "name": row.name,
            "words": both(
                "systems.fail", picture=printable(pictures.names[failure.picture]), iou=percent(failure.iou),
                truth=class_name(failure.truth), taken=class_name(failure.taken), share=percent(failure.share, 0),
            ),
        }
        for failure in pictures.failures[row.name]
        if failure.picture in pictures.shown
    ]  # fmt: skip


# Curves, certainty, making.


def _curves(review: Review) -> dict[str, Any] | None:
    """A small chart for each row with a history, and the lines of all."""
    rows = [row for row in review.ranked() if row.runs and len(row.runs[0].history) > 1]
    if not rows:
        return None
    width, height = CURVE
    values = [value for row in rows for run in row.runs for _, value in run.history if value is not None]
    most_steps = max(run.history[-1][0] for row in rows for run in row.runs if run.history)
    highest = max(values, default=1.0) or 1.0

    def points(history: Sequence[tuple[float, float | None]]) -> str:
        return " ".join(
            f"{width * step / most_steps:.1f},{height - (height - 6) * value / highest:.1f}"
            for step, value in history
            if value is not None
        )

    return {
        "width": width, "height": height, "highest": percent(highest, 0), "steps": f"{most_steps:,.0f}",
        "all": [points(row.runs[0].history) for row in rows],
        "panels": [
            {
                "lines": [points(run.history) for run in row.runs],
                "words": both("curves.end", name=printable(row.shown_name), figure=percent(row.runs[0].history[-1][1]),
                              change=signed(row.rise)),
            }
            for row in rows
        ],
    }  # fmt: skip


def _certain(review: Review) -> list[Markup]:
    known, shown = tested(review)
    seeds = len(review.seeds)
    rows = review.ranked()
    climbing = rising(rows)
    sentences = [
        both("certain.pairs", all=known, shown=shown, chance=known - shown) if known else both("certain.no_pairs"),
        both("certain.seeds", count=seeds) if seeds > 1 else both("certain.one_seed"),
        both("certain.drawn") if review.data == "scenes" else both("certain.real", data=printable(review.data_name)),
        both("certain.short"),
    ]
    if any(row.rise is not None for row in rows):
        names = {language: ", ".join(map(printable, climbing)) for language in LANGUAGES}
        sentences.append(both("certain.rising", names=names) if climbing else both("certain.settled"))
    return sentences


def _made(review: Review) -> list[tuple[Markup, list[tuple[str, str]]]]:
    """Groups of settings: their heading, and their names and values."""
    groups = [
        ("made.conditions", {**review.conditions, "seeds": review.seeds, "threads": review.threads}),
        ("made.protocol", {**(review.protocol or {}), "hash": review.protocol_hash}),
        ("made.versions", {**review.versions, "perpixel page": VERSION}),
    ]
    return [
        (both(key), [(printable(name), printable(_worded(one))) for name, one in values.items() if one not in (None, [], "")])
        for key, values in groups
    ]


def _worded(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_worded(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_worded, value))
    return str(value)


def _constant(review: Review, pictures: Pictures | None) -> dict[str, Any] | None:
    """What a prediction of one class gets, for the live example of the data; it begins with the largest class."""
    if pictures is None or not sum(pictures.truth_pixels):
        return None
    shares = np.array(pictures.truth_pixels) / sum(pictures.truth_pixels)
    present = int((shares > 0).sum())
    best = review.ranked()[:1]
    words = None
    if best:
        words = both("data_sets.live_best", accuracy=percent(best[0].value("pixel_accuracy")), miou=percent(best[0].value(MAIN)))
    return {
        "classes": [
            {"place": place, "name": class_name(printable(name)), "accuracy": percent(float(shares[place])),
             "miou": percent(float(shares[place]) / present)}
            for place, name in enumerate(review.classes)
        ],
        "first": int(shares.argmax()), "best": words,
    }  # fmt: skip


def _strip(review: Review, pictures: Pictures) -> list[NDArray[np.uint8]]:
    """A photo, its truth, and what the best network says of it."""
    photo, truth, mask = pictures.samples[-1]
    ids = tuple((place,) for place in range(len(review.classes)))
    void = 255 if len(ids) <= 255 else 65535
    table = ClassTable(tuple(review.classes), tuple(review.colours), ids, (void,))
    return [photo, draw.colours(truth, table), draw.colours(mask, table)]

