"""Predictions + truth -> the mean IoU that each of eight conventions gives them, and which classes and pictures make them differ;
and what each gives them at other sizes than the truth's.

    explanation = explain_score("masks", open_truth("DATA/masks/val"))
    explanation.rows[1].score, explanation.rows[1].reasons        # 0.333, (Reason(effect=-0.111, class_name="d", ...),)
    explain_score("masks", truth, sizes=[read_size("longer=640")]).resized[0].scores

Every difference is divided among classes, and for scores over pictures among pairs of class and picture, so that the effects add
up to it exactly. With w' and v' the weights and values of the classes under a convention, w = 1 / K and v = IoU under ours:
sum of w' v' - mean of v  =  sum of (v' - v) / K  +  sum of (w' - 1 / K) (v' - mean of v'), for weights that sum to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.datasets import DATASETS, ON_DISK, Dataset, open_dataset
from perpixel.datasets.folder import SPLITS
from perpixel.datasets.mask_folder import MaskFolder
from perpixel.errors import DataError, UsageError
from perpixel.judging.answers import answers
from perpixel.judging.conventions import CONVENTIONS, Convention, PictureCounts, Totals, mean, ratio
from perpixel.judging.evaluate import Progress, samples
from perpixel.judging.sizes import RESIZES, JudgedAt
from perpixel.terminal import percent, points, print_table, show

if TYPE_CHECKING:
    from perpixel.prediction.inference import Inference
    from perpixel.weights.model_file import Model



@dataclass(frozen=True)
class Reason:
    """What a class, or a class in one picture, does to a score: `effect` in -1..1 on top of the score of ours, nan if it makes
    that nan. `why` is one sentence without the effect."""

    class_name: str
    effect: float
    why: str
    picture: str | None = None


@dataclass(frozen=True)
class Row:
    """A convention's `score` in 0..1 or nan; `reasons` add up to its difference from the first row's, greatest effect first.

    `with_void` is the score if predictions at void pixels count as wrong, where that is what the package does untold."""

    convention: Convention
    score: float
    reasons: tuple[Reason, ...]
    with_void: float | None


@dataclass(frozen=True)
class Resized:
    """The score of every convention, in their order, where truth and prediction are resized before they are judged: to which
    `size`, in words, and in which way, a name of `RESIZES`."""

    size: str
    resize: str
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Explanation:
    """A row per convention, in their order; the counts of all pictures, and of each; and the scores at other sizes."""

    rows: tuple[Row, ...]
    classes: ClassTable
    totals: Totals
    pictures: tuple[PictureCounts, ...]
    resized: tuple[Resized, ...] = ()

    @property
    def void(self) -> tuple[int, int]:
        """Void pixels, and all pixels."""
        return sum(one.void for one in self.pictures), int(self.totals.truth.sum()) + sum(one.void for one in self.pictures)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: conventions with scores and reasons, classes, pictures; fractions, nan is null."""
        names = self.classes.names
        return {
            "conventions": [
                {
                    "key": row.convention.key, "packages": row.convention.packages, "rule": row.convention.rule,
                    "mIoU": _finite(row.score), "difference": _finite(row.score - self.rows[0].score),
                    "void": row.convention.void,
                    "mIoU_if_void_counts": None if row.with_void is None else _finite(row.with_void),
                    "reasons": [
                        {"class": one.class_name, "picture": one.picture, "effect": _finite(one.effect), "why": one.why}
                        for one in row.reasons
                    ],
                }
                for row in self.rows
            ],
            "judged_at": [
                {
                    "size": one.size, "resize": one.resize,
                    "mIoU": {row.convention.key: _finite(score) for row, score in zip(self.rows, one.scores, strict=True)},
                }
                for one in self.resized
            ],
            "classes": [
                {"name": name, "hits": int(hits), "truth": int(truth), "predicted": int(predicted), "iou": _finite(float(iou))}
                for name, hits, truth, predicted, iou in zip(
                    names, self.totals.hits, self.totals.truth, self.totals.predicted, self.totals.iou, strict=True
                )
            ],
            "pictures": [
                {
                    "name": one.name, "void": one.void,
                    "classes": {
                        names[i]: {"hits": int(one.hits[k]), "truth": int(one.truth[k]), "predicted": int(one.predicted[k])}
                        for k, i in enumerate(one.classes.tolist())
                    },
                }
                for one in self.pictures
            ],
        }  # fmt: skip


def explain_score(
    model_or_predictions: Model | str | Path,
    truth: Dataset,
    progress: Progress | None = None,
    inference: Inference | None = None,
    sizes: Sequence[JudgedAt] = (),
) -> Explanation:
    """Judges a model, or a folder of masks of the names of `truth`, by all of `CONVENTIONS`: at the size of the truth, and of
    `sizes` at each, resized in every way of `RESIZES`. Raises what `evaluate` does."""
    answer = answers(model_or_predictions, truth, inference)
    classes = truth.classes
    pictures: list[PictureCounts] = []
    others: dict[tuple[str, str], list[PictureCounts]] = {(size.words, resize): [] for size in sizes for resize in RESIZES}
    for number, sample in enumerate(samples(truth), start=1):
        assert sample.labels is not None
        labels = answer(sample).labels
        pictures.append(PictureCounts.of(sample.name, sample.labels, labels, len(classes), classes.void))
        for size in sizes:
            shape = size.of((labels.shape[0], labels.shape[1]))
            for resize, resized in RESIZES.items():
                true, predicted = resized(sample.labels, shape), resized(labels, shape)
                true = np.where(predicted == classes.void, classes.void, true)  # which may reach beyond the truth's by a pixel
                others[size.words, resize].append(PictureCounts.of(sample.name, true, predicted, len(classes), classes.void))
        if progress is not None:
            progress(number, len(truth))
    return replace(
        explain(pictures, classes),
        resized=tuple(
            Resized(*key, tuple(one.score(Totals.of(each, len(classes)), each) for one in CONVENTIONS))
            for key, each in others.items()
        ),
    )


def explain(pictures: Sequence[PictureCounts], classes: ClassTable) -> Explanation:
    """The explanation of counted pictures, one at least."""
    totals = Totals.of(pictures, len(classes))
    with_void = [one.with_void() for one in pictures]
    totals_with_void = Totals.of(with_void, len(classes))
    rows = [
        Row(
            one, one.score(totals, pictures), _reasons(one.key, totals, pictures, classes.names),
            one.score(totals_with_void, with_void) if one.default_counts_void and any(p.void for p in pictures) else None,
        )
        for one in CONVENTIONS
    ]  # fmt: skip
    return Explanation(tuple(rows), classes, totals, tuple(pictures))


def _reasons(key: str, totals: Totals, pictures: Sequence[PictureCounts], names: Sequence[str]) -> tuple[Reason, ...]:
    """The reasons of one convention; none where no pixel is judged."""
    if not totals.union.any():
        return ()
    ours = mean(totals.iou[totals.union > 0])
    if key in ("empty_is_zero", "empty_is_one", "plain"):
        value = {"empty_is_zero": 0.0, "empty_is_one": 1.0, "plain": math.nan}[key]
        found = _empty(totals, names, value, ours)
    elif key == "truth_only":
        found = _only_predicted(totals, names, ours)
    elif key == "micro":
        found = _by_size(totals, names)
    elif key == "torchmetrics":
        shares = [np.where(one.union > 0, 1.0, 0.0) for one in pictures]
        found = _by_picture(totals, pictures, names, shares, totals.union > 0)
    elif key == "monai" and totals.truth.any():
        shares = [ratio((one.truth > 0).astype(np.int64), np.full(len(one.classes), (one.truth > 0).sum())) for one in pictures]
        shares = [np.nan_to_num(one) for one in shares]
        found = _only_predicted(totals, names, ours) + _by_picture(totals, pictures, names, shares, totals.truth > 0)
    else:
        found = []
    return tuple(sorted(found, key=lambda one: -abs(one.effect) if one.effect == one.effect else -math.inf))


def _empty(totals: Totals, names: Sequence[str], value: float, ours: float) -> list[Reason]:
    """Each class in neither moves the mean alike."""
    empty = np.flatnonzero(totals.union == 0).tolist()
    effect = (value - ours) / len(names)
    counted = "0 / 0 makes the mean nan" if math.isnan(value) else f"counts as {value:.0f}"
    return [Reason(names[i], effect, f"{names[i]} is in neither truth nor prediction: {counted}") for i in empty]


def _only_predicted(totals: Totals, names: Sequence[str], ours: float) -> list[Reason]:
    """Each class that is only predicted counts as 0 under our rule, and moves the mean alike when it is left out."""
    wrong = np.flatnonzero((totals.union > 0) & (totals.truth == 0)).tolist()
    if not totals.truth.any():
        return [Reason(names[i], math.nan, f"{names[i]} is not in truth: no class is left") for i in wrong]
    effect = (mean(totals.iou[totals.truth > 0]) - ours) / max(1, len(wrong))
    return [
        Reason(names[i], effect, f"{names[i]} is not in truth, only predicted ({_pixels(totals.predicted[i])}): left out")
        for i in wrong
    ]


def _by_size(totals: Totals, names: Sequence[str]) -> list[Reason]:
    held = np.flatnonzero(totals.union > 0)
    iou, weights = totals.iou[held], totals.union[held] / totals.union.sum()
    effects = (weights - 1 / len(held)) * (iou - iou.mean())
    equal = _percent(1 / len(held))
    return [
        Reason(names[i], float(effect), f"{names[i]} (IoU {_percent(v)}) weighs {_percent(w)} % instead of {equal} %")
        for i, v, w, effect in zip(held.tolist(), iou, weights, effects, strict=True)
    ]


def _by_picture(
    totals: Totals,
    pictures: Sequence[PictureCounts],
    names: Sequence[str],
    shares: Sequence[NDArray[np.float64]],
    judged: NDArray[np.bool_],
) -> list[Reason]:
    """Reasons of a mean over pairs of picture and class with the weights `shares`, one array for the classes of each picture.

    Two kinds: in a picture a class has another IoU than over all pictures; and a class weighs more or less than others."""
    total = sum(float(one.sum()) for one in shares)
    count = int(judged.sum())
    weights, sums, held = np.zeros(len(names)), np.zeros(len(names)), np.zeros(len(names), np.int64)
    for one, share in zip(pictures, shares, strict=True):
        weights[one.classes] += share / total
        sums[one.classes] += share / total * np.nan_to_num(ratio(one.hits, one.union))
        held[one.classes] += share > 0
    values = ratio(sums, weights)
    middle = mean(values[judged])
    found = []
    for i in np.flatnonzero(judged).tolist():
        effect = (weights[i] - 1 / count) * (values[i] - middle)
        why = f"{names[i]} is judged in {held[i]} of {len(pictures)} pictures, so it weighs {_percent(weights[i])} % instead of "
        found.append(Reason(names[i], float(effect), f"{why}{_percent(1 / count)} %"))
    for one, share in zip(pictures, shares, strict=True):
        iou = ratio(one.hits, one.union)
        for k, i in enumerate(one.classes.tolist()):
            if share[k]:
                effect = share[k] / total / weights[i] * (iou[k] - totals.iou[i]) / count
                why = f"{names[i]} has IoU {_percent(iou[k])} in {one.name} ({_pixels(one.truth[k])} of truth), "
                found.append(Reason(names[i], float(effect), f"{why}{_percent(totals.iou[i])} over all pictures", one.name))
    return found


def open_truth(
    truth: str | Path,
    *,
    root: str | Path | None = None,
    split: str | None = None,
    classes: str | None = None,
    beside: Path | None = None,
    pictures: bool = False,
) -> tuple[Dataset, str]:
    """What is judged by, and what to call it: a data set by name or folder (its split, else val), or a folder of masks alone.

    Of a data set in a folder without splits, and without `split`, every mask is taken; unless `pictures` are needed too. Masks
    alone need a class table: `classes`, a file or a number of classes, else a `classes.csv` in their folder or the two above it,
    in `beside` or the one above it. Raises DataError and UsageError where there is none, and what `open_dataset` raises."""
    name, folder = str(truth), Path(truth)
    if name in DATASETS or name in ON_DISK or not folder.is_dir():
        _refuse_classes(classes, name)
        return open_dataset(name, root=root, split=split or "val"), f"{name}, {split or 'val'}"
    has_pictures = (folder / "images").is_dir() or (folder / "pairs.csv").is_file()
    divided = any((folder / kind / one).is_dir() for kind in ("masks", "instances", "images") for one in SPLITS)
    listed = (folder / "pairs.csv").is_file() or not (folder / "masks").is_dir()
    if has_pictures and (pictures or divided or listed or split):
        _refuse_classes(classes, name)
        return open_dataset(folder, split=split or "val"), f"{name}, {split or 'val'}"
    if pictures:
        raise UsageError(f"{folder}: holds masks alone; a model is judged on a data set with pictures.")
    place = folder / "masks" if (folder / "masks").is_dir() else folder
    if split or (divided and place != folder):
        place = place / (split or "val")
        if not place.is_dir():
            raise UsageError(f"{place}: there is no such folder; leave --split out for all masks of {folder}.")
    return MaskFolder(place, _class_table(place, classes, beside)), str(place)


def _refuse_classes(classes: str | None, name: str) -> None:
    if classes is not None:
        raise UsageError(f"{name}: is a data set, which has its own classes; leave --classes out.")


def _class_table(folder: Path, classes: str | None, beside: Path | None) -> ClassTable:
    if classes is not None and classes.isdecimal():
        count = int(classes)
        if not 1 <= count <= 65535:
            raise UsageError(f"--classes {classes}: give a number of classes from 1 to 65535, or a classes.csv.")
        return ClassTable.of([str(i) for i in range(count)])
    if classes is not None:
        return ClassTable.read_csv(Path(classes))
    above = folder.resolve().parents
    places = [folder, *above[:2], *(() if beside is None else (beside, beside.resolve().parent))]
    for place in places:
        if (place / "classes.csv").is_file():
            return ClassTable.read_csv(place / "classes.csv")
    raise DataError(
        f"{folder}: has no classes.csv, in it or above it; give the classes with --classes, a file `id,name` or their number: "
        f"a class that no mask holds counts too."
    )


def summary(row: Row, limit: int = 3) -> list[str]:
    """The reasons of a row in plain words, the `limit` greatest one by one and the rest as a sum, effects in points.

    Where there are more, those of a class in single pictures become one, with the picture that does most."""
    shown = [one for one in row.reasons if not abs(one.effect) < 5e-4]
    reasons = row.reasons if len(shown) <= limit else _by_class(row.reasons)
    lines = [f"{one.why} ({_points(one.effect)})" for one in reasons[:limit] if not abs(one.effect) < 5e-4]
    rest = reasons[limit:]
    if len(shown) > limit and rest:
        lines.append(f"{len(rest)} more ({_points(sum(one.effect for one in rest))} together)")
    return lines


def _by_class(reasons: Sequence[Reason]) -> list[Reason]:
    found = [one for one in reasons if one.picture is None]
    for name in {one.class_name: None for one in reasons if one.picture is not None}:
        single = [one for one in reasons if one.picture is not None and one.class_name == name]
        most = max(single, key=lambda one: abs(one.effect))
        why = f"{name} counts by its IoU in each of {len(single)} pictures; most of all, {most.why}"
        found.append(Reason(name, sum(one.effect for one in single), why))
    return sorted(found, key=lambda one: -abs(one.effect))


def _points(effect: float) -> str:
    return "nan" if math.isnan(effect) else f"{100 * effect:+.1f}"


def _percent(value: float) -> str:
    return "nan" if math.isnan(value) else f"{100 * value:.1f}"


def _pixels(count: int) -> str:
    return f"{count:,} pixel{'' if count == 1 else 's'}"


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def print_explanation(found: Explanation) -> None:
    """A row per convention, what makes each differ from ours, the classes, and what becomes of void."""
    ours = found.rows[0].score
    print_table(
        ("mIoU", "difference", "judged so by", "rule"),
        [(percent(row.score), points(row.score - ours) if number else "", row.convention.packages, row.convention.rule)
         for number, row in enumerate(found.rows)],
    )  # fmt: skip
    if found.resized:
        show()
        header = ("mIoU at the truth's size", *(f"{one.size}, {one.resize}" for one in found.resized), "judged so by")
        cells = zip(*(one.scores for one in found.resized), strict=True)
        print_table(header, [
            (percent(row.score), *map(percent, scores), row.convention.packages)
            for row, scores in zip(found.rows, cells, strict=True)
        ])  # fmt: skip
    for row in found.rows[1:]:
        lines = summary(row)
        told = f"{row.convention.packages}: {percent(row.score)}, {points(row.score - ours)}"
        show()
        show(f"{told}{':' if lines else '; no difference here.'}")
        for line in lines:
            show(f"  {line}")
    totals = found.totals
    show()
    print_table(
        ("class", "IoU", "truth", "predicted", "hits"),
        [(name, percent(totals.iou[i]), *(f"{int(count[i]):,}" for count in (totals.truth, totals.predicted, totals.hits)))
         for i, name in enumerate(found.classes.names)],
    )  # fmt: skip
    void, pixels = found.void
    show()
    show(f"void: {void:,} of {pixels:,} pixels")
    for row in found.rows if void else ():
        counted = "" if row.with_void is None else f" (mIoU if so: {percent(row.with_void)})"
        show(f"  {row.convention.packages}: {row.convention.void}{counted}")
