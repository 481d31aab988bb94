"""Equal tuning: for each network of the review the same number of short trainings, on a part of train that no score is told of.

    OUT/trials/NAME/NUMBER/     the run folder of each trial
    OUT/tuned.json              what was tried, what it scored, what was chosen

Four learning rates come first, two of AdamW and two of SGD; then, with the best of them, the two choices of the entry. The
trial with the best mIoU on `tune` gives the settings; `val` is not looked at. The review reads the record that lies beside this
file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perpixel.errors import did_you_mean
from perpixel.files import write_whole
from perpixel.studies.entries import ENTRIES, RATES, Entry
from perpixel.studies.review import Plan, Review
from perpixel.terminal import percent
from perpixel.training.not_finite import NotFinite
from perpixel.training.run import Say
from perpixel.training.train import Progress, train

STEPS = 90  # of a trial
RECORD = "tuned.json"


def tune(
    out: Path, names: Sequence[str], seed: int, say: Say, progress: Callable[[str], Progress],
    entries: Mapping[str, Entry] = ENTRIES, steps: int = STEPS,
) -> Path:  # fmt: skip
    """Tunes the entries of these names, all without any, and writes the record after each. Returns its path.

    A trial that is done is not repeated. Raises UnknownName for a name that no entry has."""
    for name in names:
        if name not in entries:
            raise did_you_mean("network of the review", name, entries)
    record: dict[str, Any] = {"steps": steps, "seed": seed, "chosen": {}, "trials": {}}
    for name, entry in entries.items():
        if names and name not in names:
            continue
        trials: list[dict[str, Any]] = []
        for settings in RATES:
            trials.append(tried(out, name, entry, len(trials), settings, seed, steps, say, progress))
        best = max(trials, key=lambda trial: trial["mIoU"])["settings"]
        for choice in entry.choices:
            settings = {**best, **choice, "lr": best["lr"] * choice.get("lr", 1)}
            trials.append(tried(out, name, entry, len(trials), settings, seed, steps, say, progress))
        winner = max(trials, key=lambda trial: trial["mIoU"])
        record["chosen"][name], record["trials"][name] = winner["settings"], trials
        say(f"{entry.title}: {winner['settings']}, mIoU {percent(winner['mIoU'])} after {steps} steps.")
        write_whole(out, RECORD, (json.dumps(record, indent=1) + "\n").encode())
    return out / RECORD


def tried(
    out: Path, name: str, entry: Entry, number: int, settings: Mapping[str, Any], seed: int, steps: int, say: Say,
    progress: Callable[[str], Progress],
) -> dict[str, Any]:  # fmt: skip
    """One trial: its settings, and its mIoU on `tune`; 0 where a loss or weight became infinite."""
    review = Review(out, Plan(steps=steps, seeds=(seed,)), {name: entry})
    scores, text = None, progress(f"{entry.title}, trial {number + 1}: step")
    try:
        for recipe, folder in review.recipes(entry, out / "trials" / name / str(number), seed, steps, settings):
            scores = train(recipe, folder, say=say, progress=text)
    except NotFinite as error:  # the learning rate was too large
        return {"settings": dict(settings), "mIoU": 0.0, "failed": str(error)}
    assert scores is not None, "the review trains in one process"
    return {"settings": dict(settings), "mIoU": scores.mean_iou}
