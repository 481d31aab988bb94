"""A folder of pictures and masks, a data set or a recipe -> a trained run: made ready, planned, trained, shown on a page.

    perpixel.train("street", out="runs/street", minutes=5)
    perpixel.train("fcn8s_voc2012", root="DATA", out="runs/fcn8s")"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perpixel.datasets import DATASETS, ON_DISK
from perpixel.doctor.init import prepared
from perpixel.errors import UsageError
from perpixel.judging.scores import Scores
from perpixel.report.run_page import write_page
from perpixel.terminal import say
from perpixel.training.plan import QUICK, names_no_network, plan
from perpixel.training.recipe import LENGTHS, find, is_recipe, merge
from perpixel.training.shown import Stopwatch
from perpixel.training.stages import stages, train_stages

Counted = Callable[..., None]  # (done, total), and of steps a text


@dataclass(frozen=True)
class Trained:
    """The run folder, and the scores of the kept weights; None in all but the first process of several."""

    run: Path
    scores: Scores | None


def train(
    folder_or_recipe: str | Path,
    out: str | Path | None = None,
    *,
    minutes: float | None = None,
    quick: bool = False,
    say: Callable[[str], None] = say,
    **settings: Any,
) -> Scores | None:
    """What `perpixel train` does: trains on a folder of any shape, on a data set by its name, or by a recipe's name or TOML file.
    Returns the scores of the kept weights on val; the run folder `out` holds the weights, pictures and a page.

    `minutes` is about how long all of it takes; `quick` is two minutes. `say` gets what the command writes to stderr. `settings`
    are those of a recipe, such as `network="unet"`. The same call continues a training that was stopped. Raises the errors of
    `training.train.train`."""
    given = {**settings, **({} if minutes is None else {"minutes": float(minutes)})}
    name = str(folder_or_recipe)
    if os.path.isdir(name):
        return run(name, None, given, out=out, quick=quick, say=say).scores
    if name in DATASETS or name in ON_DISK:
        return run(None, None, {"data": name, **given}, out=out, quick=quick, say=say).scores
    if is_recipe(name):
        return run(None, name, given, out=out, quick=quick, say=say).scores
    raise UsageError(f"{name}: is no folder, no data set and no recipe; name the folder that holds your pictures and masks.")


def run(
    folder: str | None,
    recipe: str | None,
    given: Mapping[str, Any],
    *,
    out: str | Path | None = None,
    quick: bool = False,
    say: Callable[[str], None] = say,
    progress: Callable[[str], Counted] | None = None,
) -> Trained:
    """Trains by the settings `given`, on `folder` where it is named, in the run folder `out`, or one below `runs/`.

    `progress` makes a line of progress from the name of the counted things. Raises UsageError for two data sets or lengths."""
    watch, given = Stopwatch(), dict(given)
    if folder is not None and given.setdefault("data", folder) != folder:
        raise UsageError(f"{folder} and --data {given['data']} are two data sets; name one of them.")
    if quick:
        length = next((name for name in LENGTHS if name in given), None)
        if length is not None:
            raise UsageError(f"--quick and --{length} are two lengths of a training; give one of them.")
        given["minutes"] = QUICK
    file = None if recipe is None else find(recipe)
    name = "" if folder is None else Path(os.path.abspath(folder)).name

    def line(things: str) -> Counted:
        return _silent if progress is None else progress(things)

    if folder is not None and os.path.isdir(folder):
        copy = (Path(out).parent if out else Path("runs")) / f"{name}-set"
        given["data"] = str(prepared(Path(folder), copy, say, line("copied")))
    settings, origins = merge(file, given)
    network = "unet" if names_no_network(settings, origins) else settings.network
    title = Path(recipe).stem if recipe else f"{name or Path(settings.data).name}-{network}"
    place = Path(out) if out else Path("runs") / title
    planned = []
    for stage in stages(file, given):
        decided, reasons = plan(stage.recipe, stage.origins, stage.folder(place), say, line("looked at"), watch)
        planned.append(replace(stage, recipe=decided, origins=reasons))
    shown = None if progress is None else progress
    scores = train_stages(planned, place, say, shown, line("checked"), lambda: line("judged"), write_page)
    return Trained(place, scores)


def _silent(*_: Any) -> None: ...
