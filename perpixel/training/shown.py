"""What a run shows after each validation: a sheet of pictures, its worst and its best ones, and all that its page needs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perpixel import draw
from perpixel.classes import ClassTable
from perpixel.datasets import Dataset
from perpixel.judging.evaluate import spread
from perpixel.measures.measure import Summary
from perpixel.prediction.predict import predict
from perpixel.sample import Prediction, Sample
from perpixel.training.criterion import Criterion
from perpixel.training.recipe import Recipe
from perpixel.training.run import CheckProgress
from perpixel.weights.model_file import Model

SHOWN = 6  # pictures in the sheet of a run, and on its page
SHOWN_SECONDS, AT_THE_END = 1.0, 15.0  # for these pictures after a validation, about, and at the end
LONG = 3.0  # seconds after which a validation says how far it is


@dataclass(frozen=True)
class Predicted:
    """A picture with its truth, its prediction, and the figure of the two."""

    truth: Sample
    prediction: Prediction
    value: float


@dataclass(frozen=True)
class RunNow:
    """A training after a validation, as its page shows it. `summary` is of that validation; where it is `done`, of the kept
    weights on all of val. `pictures` are the worst and the best by these, worst first. `class_pixels` are those of
    train."""

    out: Path
    recipe: Recipe
    step: int
    done: bool
    classes: ClassTable
    class_pixels: Sequence[int]
    splits: Mapping[str, int]
    entries: Sequence[Mapping[str, Any]]
    criterion: Criterion
    summary: Summary
    pictures: Sequence[Predicted]


Page = Callable[[RunNow], None]


@dataclass
class Shown:
    """What a training shows while it validates: how far it is, and the page with some predictions of the kept weights."""

    judging: Callable[[], CheckProgress] | None
    page: Page | None
    pictures: list[Predicted] = field(default_factory=list)

    def progress(self) -> CheckProgress | None:
        """A new line of progress, which is silent at first."""
        if self.judging is None:
            return None
        tell, began = self.judging(), time.monotonic()

        def after_a_while(done: int, total: int) -> None:
            if time.monotonic() - began > LONG:
                tell(done, total)

        return after_a_while


@dataclass
class Stopwatch:
    """The seconds that are spent since it was made, and whether `seconds` are over."""

    seconds: float = math.inf
    began: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        return time.monotonic() - self.began

    @property
    def over(self) -> bool:
        return self.spent > self.seconds


def sheet(model: Model, validation: Dataset, left: Stopwatch) -> draw.RgbImage:
    """Some pictures, evenly spread, with their truth, the prediction and its errors; fewer where the time is over."""
    rows: list[list[draw.RgbImage]] = []
    for index in spread(len(validation), SHOWN):
        if rows and left.over:
            break
        sample = validation.sample(index)
        assert sample.labels is not None
        predicted = predict(model, model.picture_of(sample)).labels
        rows.append([
            sample.shown, draw.colours(sample.labels, model.classes), draw.colours(predicted, model.classes),
            draw.error_map(sample.labels, predicted, model.classes.void),
        ])  # fmt: skip
    return draw.sheet(rows, ("picture", "truth", "prediction", "errors in red"))


def worst_and_best(model: Model, validation: Dataset, values: Mapping[int, float], left: Stopwatch) -> list[Predicted]:
    """The pictures of val with the lowest and the highest of `values`, lowest first, each with its prediction; fewer where the
    time is over."""
    ranked = sorted((index for index in values if not math.isnan(values[index])), key=lambda index: values[index])
    if len(ranked) > SHOWN:
        ranked = [*ranked[: SHOWN // 2], *ranked[-(SHOWN // 2) :]]
    pictures: list[tuple[int, Predicted]] = []
    for place in sorted(range(len(ranked)), key=lambda place: min(place, len(ranked) - 1 - place)):  # from both ends
        if pictures and left.over:
            break
        sample = validation.sample(ranked[place])
        pictures.append((place, Predicted(sample, predict(model, model.picture_of(sample)), values[ranked[place]])))
    return [picture for _, picture in sorted(pictures, key=lambda pair: pair[0])]
