"""A recipe that starts from another recipe: its stages in order, each a run folder of its own.

    fcn8s_voc2012 -> fcn16s_voc2012 -> fcn32s_voc2012 is trained as OUT/stages/fcn32s_voc2012, OUT/stages/fcn16s_voc2012, OUT

A finished stage is not trained again, so the same command continues in the stage in which it was stopped. A flag `starts_from`
that names an imported trunk is the start of the first stage. A flag that names a run or model is the start of the last stage;
then there are no stages before it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perpixel.errors import PerpixelError, UsageError
from perpixel.judging.scores import Scores
from perpixel.networks import title
from perpixel.training.recipe import Recipe, find, first_difference, is_recipe, merge
from perpixel.training.run import RECIPE, SCORES, STAGES, CheckProgress, Say
from perpixel.training.shown import Page
from perpixel.training.train import Progress, train
from perpixel.weights.model_file import is_trunk


@dataclass(frozen=True)
class Stage:
    """One training of several: the `name` of its recipe ("" for the last stage), its settings, and the origin of each."""

    name: str
    recipe: Recipe
    origins: Mapping[str, str]

    def folder(self, out: Path) -> Path:
        """The run folder of the stage, where the last one has `out`."""
        return out / STAGES / self.name if self.name else out


def stages(
    file: Path | None,
    flags: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
) -> list[Stage]:
    """The trainings that a recipe file asks for, in order. Flags and environment change each of them; but `starts_from` changes
    the last one, or the first one when it is a trunk.

    Raises UsageError when recipes start from each other in a circle, and whatever `merge` raises."""
    given = Stage("", *merge(file, flags, environment))
    origin = given.recipe.starts_from
    trunk = origin if origin is not None and not is_recipe(origin) and is_trunk(origin) else None
    # The user's start of the last stage is not the start of the stages before it.
    flags = {name: value for name, value in flags.items() if name != "starts_from"}
    environment = {key: value for key, value in environment.items() if key != "PERPIXEL_STARTS_FROM"}
    planned = [given if trunk is None else Stage("", *merge(file, flags, environment))]
    while (start := planned[0].recipe.starts_from) is not None and is_recipe(start):
        name = Path(start).stem
        if any(stage.name == name for stage in planned):
            raise UsageError(f"recipe {name}: starts from itself; correct `starts_from`.")
        planned.insert(0, Stage(name, *merge(find(start), flags, environment)))
    if trunk is not None:
        first = planned[0]
        origins = {**first.origins, "starts_from": given.origins["starts_from"]}
        planned[0] = Stage(first.name, replace(first.recipe, starts_from=trunk), origins)
    return planned


def train_stages(
    planned: list[Stage],
    out: Path,
    say: Say = print,
    progress: Callable[[str], Progress] | None = None,
    checked: CheckProgress | None = None,
    judging: Callable[[], CheckProgress] | None = None,
    page: Page | None = None,
) -> Scores | None:
    """Trains each stage from the weights of the stage before it, the last in `out`; returns the scores of the last.

    `progress` makes a progress line from the name of the counted steps. `checked` is called with each picture that the data check
    has finished. `judging` and `page` are those of `train`."""
    scores = None
    before: Path | None = None
    for stage in planned:
        folder = stage.folder(out)
        recipe = stage.recipe if before is None else replace(stage.recipe, starts_from=str(before))
        if stage.name and _finished(folder, recipe):
            say(f"{folder}: is done.")
        else:
            named = stage.name or title(recipe.network, recipe.network_arguments())
            shown = progress(f"{named} on {recipe.data}: step") if progress else None
            scores = train(recipe, folder, stage.origins, say, shown, checked, judging, page)
        before = folder
    return scores


def _finished(folder: Path, recipe: Recipe) -> bool:
    """Whether `folder` holds the scores of this recipe. (`train` refuses a folder of another recipe.)"""
    try:
        return (folder / SCORES).is_file() and first_difference(merge(folder / RECIPE, {}, {})[0], recipe) is None
    except PerpixelError:  # `train` raises it again
        return False
