"""The history of a run: the mean losses of some steps, every validation, and the best score so far.

It is kept in the states to resume from, and written as history.jsonl for people: one JSON object a line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perpixel import draw
from perpixel.files import write_whole
from perpixel.images import write_image
from perpixel.measures.measure import Summary, without_nan
from perpixel.training.criterion import Criterion
from perpixel.training.recipe import Recipe
from perpixel.training.run import HISTORY


class History:
    """`entries`: the lines of history.jsonl. `sums`: the losses of the steps since the last entry, added up. `best`: the best
    figure on val by the `criterion`; None before the first validation with a figure."""

    def __init__(self, recipe: Recipe, criterion: Criterion, out: Path) -> None:
        self.recipe, self.criterion, self.out = recipe, criterion, out
        self.entries: list[dict[str, Any]] = []
        self.sums: dict[str, float] = {}
        self.best: float | None = None

    def add(self, step: int, rate: float, losses: Mapping[str, float]) -> None:
        """Adds the losses of a step. Every `log_every` steps, and at the last step, their means become an entry."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if step % self.recipe.log_every == 0 or step == self.recipe.steps:
            steps = (step - 1) % self.recipe.log_every + 1
            self.entries.append({"step": step, "lr": rate, "losses": {name: total / steps for name, total in self.sums.items()}})
            self.sums = {}

    def add_validation(self, step: int, summary: Summary) -> bool:
        """Adds the figures of a validation; returns whether it is the best so far."""
        figures = {name: float(summary.figures[name]) for name in self.criterion.measure.better if name in summary.figures}
        score = figures.get(self.criterion.figure, math.nan)
        better = self.criterion.improves(score, self.best)
        self.best = score if better else self.best
        self.entries.append({"step": step, **without_nan(figures)})
        return better

    @property
    def without_better(self) -> int:
        """How many validations in a row, the last included, brought no better figure."""
        best: float | None = None
        count = 0
        for entry in self.entries:
            if self.criterion.figure in entry:
                score = math.nan if entry[self.criterion.figure] is None else entry[self.criterion.figure]
                better = self.criterion.improves(score, best)
                best, count = (score, 0) if better else (best, count + 1)
        return count

    @property
    def over(self) -> bool:
        """Whether the patience of the recipe is at its end."""
        return self.recipe.patience is not None and self.without_better >= self.recipe.patience

    def text(self) -> str:
        """The last losses and the last score, for the progress line."""
        losses: dict[str, float] = next((entry["losses"] for entry in reversed(self.entries) if "losses" in entry), {})
        figure = self.criterion.figure
        values = [math.nan if entry[figure] is None else entry[figure] for entry in self.entries if figure in entry]
        judged = f", val {self.criterion.text(values[-1])}" if values else ""
        return "loss " + " + ".join(f"{value:.3f}" for value in losses.values()) + judged if losses else "starting"

    def write(self) -> None:
        lines = "".join(json.dumps(entry) + "\n" for entry in self.entries)
        write_whole(self.out, HISTORY, lines.encode())


def write_curves(out: Path, entries: list[dict[str, Any]], figures: Sequence[str]) -> None:
    """Draws losses and these figures by step as `curves.png`."""
    names = sorted({name for entry in entries for name in entry.get("losses", {})})
    losses = {name: [(e["step"], e["losses"][name]) for e in entries if name in e.get("losses", {})] for name in names}
    judged = {key: [(e["step"], e[key]) for e in entries if e.get(key) is not None] for key in figures}
    panels = [draw.curves(losses, "loss by step"), draw.curves(judged, "val by step")]
    write_image(out, "curves.png", np.concatenate(panels, axis=1))
