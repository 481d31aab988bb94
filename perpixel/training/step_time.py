"""The speed of this machine with this recipe: some steps of a training that are thrown away, and some predicted pictures."""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

import torch

from perpixel.datasets import Dataset, bands_of
from perpixel.judging.evaluate import judge
from perpixel.machines.team import Team
from perpixel.networks import finds_objects, has_border, labels_pixels
from perpixel.training.batches import batches
from perpixel.training.criterion import criterion_of
from perpixel.training.learner import enough_to_normalise, follow, learner_of, network_of, set_loss, train_mode
from perpixel.training.recipe import Recipe

SECONDS = 1.5  # of steps that are measured, about; at least one step is
STEPS = 10  # at most, after one that is not counted
SLOW = 4.0  # of the first step, which then is counted, though it takes longer than others
TOGETHER = 3  # steps of processes that share a batch, and have to take equally many
JUDGED = 2  # pictures that are judged, after one that is not counted


@dataclass(frozen=True)
class Pace:
    """Seconds of a step, reading its pictures included, and of a picture of val that is judged."""

    step: float
    picture: float


def pace_of(recipe: Recipe, training: Dataset, validation: Dataset, team: Team) -> Pace:
    """The pace of a recipe on this machine, by a network that is then thrown away.

    Raises what the first step and the first judgement of the training would raise."""
    network = network_of(recipe, training.classes, bands_of(training))
    criterion = criterion_of(recipe, network, validation)
    set_loss(network, recipe, None, training.classes.void)
    learner = learner_of(network, recipe, team, _nothing)
    train_mode(network, recipe)
    plain = recipe if recipe.crops == "none" else replace(recipe, crops="none")
    context = (has_border(network) and network.border) or 0
    seconds: list[float] = []
    read = batches(
        training, plain, 0, team.rank, team.world, context, None, finds_objects(network), not labels_pixels(network)
    )  # fmt: skip
    with closing(read) as reader:
        began = time.monotonic()
        for number, parts in enumerate(islice(reader, (TOGETHER if team.world > 1 else STEPS) + 1)):
            torch.manual_seed(recipe.seed)
            learner.optimiser.zero_grad(set_to_none=True)
            for part in parts:
                with learner.autocast, enough_to_normalise(recipe, part, team):
                    terms = learner.losses(part.images.to(team.device), part.targets.to(team.device))
                learner.scaler.scale(torch.stack(list(terms.values())).sum()).backward()
            learner.scaler.step(learner.optimiser)
            learner.scaler.update()
            if learner.average is not None:
                follow(learner.average, network, recipe.ema)
            torch.stack(list(terms.values())).sum().item()  # waits for a GPU
            now = time.monotonic()
            if number or recipe.steps == 1 or now - began > SLOW:
                seconds.append(now - began)
            began = now
            if sum(seconds) > SECONDS and team.world == 1:
                break
    step = max(team.gather(statistics.median(seconds)))
    judge(network, validation, criterion.measure, recipe.scale, count=1)  # not counted
    began = time.monotonic()
    judge(network, validation, criterion.measure, recipe.scale, count=JUDGED)
    return Pace(step, (time.monotonic() - began) / min(JUDGED, len(validation)))


def _nothing(_: str) -> None: ...
