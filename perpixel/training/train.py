"""Recipe -> run folder. The loop is in `train`, top to bottom. `batches` makes the batches, `learner` the network and its
optimiser; `states` keeps the states to resume from, `history` the losses and scores.

The seed and n decide every random choice of step n: torch's generator is seeded anew for each step. So no state of a generator is
kept, and a run that was killed ends with the same bytes as a run that was not."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from perpixel.datasets import Dataset, bands_of
from perpixel.errors import Interrupted, PerpixelError, UntrustedFile, UsageError
from perpixel.files import MODEL_FILE, write_whole
from perpixel.images import write_image
from perpixel.judging.answers import pairs_of
from perpixel.judging.evaluate import Judgement, counted, judge
from perpixel.judging.scores import Scores
from perpixel.losses import class_weights
from perpixel.machines.interrupts import stop_after_step
from perpixel.machines.memory import keep_freed_memory
from perpixel.machines.team import Team, join
from perpixel.measures import DEFAULT
from perpixel.measures.measure import Summary
from perpixel.networks import Network, begins_with_imagenet, finds_objects, has_border, labels_pixels, title
from perpixel.training import states
from perpixel.training.batches import Batch, batches
from perpixel.training.criterion import Criterion, criterion_of, refuse_truth
from perpixel.training.history import History, write_curves
from perpixel.training.learner import (
    Learner,
    begin_with,
    enough_to_normalise,
    follow,
    lagging_statistics,
    learner_of,
    measure_batch_norm,
    network_of,
    set_loss,
    train_mode,
)
from perpixel.training.not_finite import NotFinite, refuse
from perpixel.training.object_crops import object_crops
from perpixel.training.optimiser import flat, rate_of, unflatten
from perpixel.training.recipe import Recipe
from perpixel.training.run import SCORES, CheckProgress, Say, Sound, begin_session, claim, end_session, sound_data
from perpixel.training.shown import AT_THE_END, SHOWN_SECONDS, Page, RunNow, Shown, Stopwatch, sheet, worst_and_best
from perpixel.training.splits import splits_of
from perpixel.weights import model_file
from perpixel.weights.model_file import ModelCard

QUICK = 8.0  # seconds of a validation after a stop

Progress = Callable[[int, int, str], None]


class Clock:
    """How long a step still takes, by the last one of its kind: a step alone, or one with a validation after it."""

    def __init__(self) -> None:
        self.kind, self.began, self.took = "", time.monotonic(), dict[str, float]()

    def begin(self, kind: str) -> None:
        now = time.monotonic()
        self.took[self.kind] = now - self.began
        self.kind, self.began = kind, now

    def left(self) -> float:
        """Seconds; 0 where none of its kind was done yet."""
        return max(0.0, self.took.get(self.kind, 0.0) - (time.monotonic() - self.began))


def train(
    recipe: Recipe,
    out: Path,
    origins: Mapping[str, str] | None = None,
    say: Say = print,
    progress: Progress | None = None,
    checked: CheckProgress | None = None,
    judging: Callable[[], CheckProgress] | None = None,
    page: Page | None = None,
) -> Scores | None:
    """Trains into the run folder `out`, or continues there; returns the scores of the kept weights on `val`. `progress` is called
    after each step, `checked` after each picture of the data check; `judging` makes a function that is called after each judged
    picture of a long validation. `page` writes the page of the run, after each validation and at the end. The steps are those of
    the recipe: `plan` decides them by `minutes` or `epochs`.

    Under `torchrun` the processes share each batch; all but the first return None. Raises UsageError when `out` belongs to
    another recipe, DataError for an unsound data set, Interrupted (resumable) on SIGINT or SIGTERM, NotFinite when a loss,
    gradient or weight is not finite. `starts_from` is a run or a model file here; `stages` trains it when it is a recipe."""
    keep_freed_memory()
    training, validation = splits_of(recipe)
    # Raises for wrong names and arguments before the folder is touched.
    network = network_of(recipe, training.classes, bands_of(training))
    criterion = criterion_of(recipe, network, validation)
    with join(recipe.device) as team, claim(out, recipe, origins) if team.rank == 0 else nullcontext():
        if team.rank:  # the first process speaks for all
            say, progress, judging, page = _nothing, None, None, None
        run = _set_up(recipe, out, network, criterion, training, validation, team, say, checked, Shown(judging, page))
        learner, history, optimiser, scaler = run.learner, run.history, run.learner.optimiser, run.learner.scaler
        step, clock = run.start, Clock()
        with stop_after_step(say, clock.left) as stop, closing(run.batches()) as reader:
            train_mode(network, recipe)
            for step, parts in enumerate(reader, start=run.start + 1):
                clock.begin("validation" if validates(recipe, step) else "step")
                torch.manual_seed(_step_seed(recipe.seed, step, team.rank))
                rate = rate_of(recipe, step - 1)
                for group in optimiser.param_groups:
                    group["lr"] = rate * group["factor"]
                judged, stopping = team.sum(np.array([sum(part.judged for part in parts), bool(stop)], np.float64))
                means: dict[str, float] = {}
                optimiser.zero_grad(set_to_none=True)
                for part in parts:
                    images, targets = part.images.to(team.device), part.targets.to(team.device)
                    share = team.world * _share(recipe, part, judged)  # gradients are averaged over processes
                    with learner.autocast, enough_to_normalise(recipe, part, team):
                        terms = learner.losses(images, targets)
                    loss = torch.stack(list(terms.values())).sum() * share
                    if not math.isfinite(loss.item()):
                        refuse(out, step, part, network, team.device)
                    scaler.scale(loss).backward()
                    for name, term in terms.items():
                        means[name] = means.get(name, 0.0) + term.item() * part.judged / max(judged, 1)
                scaler.unscale_(optimiser)
                gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
                norm = nn.utils.get_total_norm(gradients)
                if not scaler.is_enabled() and not math.isfinite(norm.item()):
                    refuse(out, step, parts[-1], network, team.device)
                if recipe.clip:
                    nn.utils.clip_grads_with_norm_(network.parameters(), recipe.clip, norm)
                scaler.step(optimiser)
                scaler.update()
                if learner.average is not None:
                    follow(learner.average, network, min(recipe.ema, step / (step + 9)))
                history.add(step, rate, dict(zip(means, team.sum(np.array(list(means.values()))).tolist(), strict=True)))
                judged_now = validates(recipe, step)
                if judged_now:
                    run.validate(step)
                if progress is not None:
                    progress(step, recipe.steps, history.text())
                if judged_now or step % recipe.save_every == 0 or stopping:
                    run.keep(step)
                if history.over:
                    say(f"{out}: ends after step {step} of {recipe.steps}: {recipe.patience} validations brought nothing better.")
                    break
                if stopping and step < recipe.steps:
                    run.end_session(step)
                    raise Interrupted(
                        f"{out}: stopped after step {step} of {recipe.steps}; the same command continues. {run.left_behind(step)}"
                    )
        if team.rank:
            return None
        if run.start < step:
            run.end_session(step)
        return run.finish(step)


def _nothing(_: str) -> None: ...


@dataclass
class _Run:
    """A training in its folder: its data, its learner, its history. `start` is the step after which it continues, `began` the
    time when it continued. `class_weights` are the weights of the training split by the recipe's rule."""

    recipe: Recipe
    out: Path
    team: Team
    training: Dataset
    validation: Dataset
    sound: Sound
    class_weights: list[float] | None
    learner: Learner
    history: History
    start: int
    began: float
    shown: Shown

    def batches(self) -> Generator[list[Batch]]:
        network, team = self.learner.network, self.team
        context = network.border if has_border(network) else 0
        return batches(
            self.training, self.recipe, self.recipe.steps if self.history.over else self.start, team.rank, team.world, context,
            self.class_weights, finds_objects(network), not labels_pixels(network),
        )  # fmt: skip

    def validate(self, step: int) -> None:
        """Judges the kept network on val, adds the figures to the history, and saves the weights where they are the best so
        far."""
        recipe, team, network = self.recipe, self.team, self.learner.kept
        if recipe.statistics_batches:
            measure_batch_norm(network, self.training, recipe, team)
        judged = judge(
            network, self.validation, self.criterion.measure, recipe.scale, team, recipe.val_pictures, self.shown.progress()
        )  # fmt: skip
        train_mode(self.learner.network, recipe)
        better = self.history.add_validation(step, judged.summary)
        if team.rank:
            return
        if better:
            model_file.save_model(self.out, network.state_dict(), self._card(step, judged.summary))
        self.show(step, judged, better)

    def show(self, step: int, judged: Judgement[Any], better: bool, done: bool = False) -> None:
        """Writes the curves, some predictions of the kept weights where these are new, and the page."""
        write_curves(self.out, self.history.entries, self.criterion.drawn)
        lacking = self.shown.page is not None and not self.shown.pictures
        if (better or done or lacking) and os.path.isfile(self.out / MODEL_FILE):
            model = model_file.load(self.out, _nothing)
            seconds = Stopwatch(AT_THE_END if done else SHOWN_SECONDS)
            write_image(self.out, "val.png", sheet(model, self.validation, seconds))
            if self.shown.page is not None:
                self.shown.pictures = worst_and_best(model, self.validation, judged.by_picture(self.criterion.figure), seconds)
        if self.shown.page is not None:
            self.shown.page(RunNow(
                self.out, self.recipe, step, done, self.training.classes, self.sound.class_pixels, self.sound.pictures,
                self.history.entries, self.criterion, judged.summary, self.shown.pictures,
            ))  # fmt: skip

    def left_behind(self, step: int) -> str:
        """What the user has after a stop. Where no weights were judged yet, the last are, on as many pictures as are judged
        quickly; states stay as they are, so that the training continues as if nobody had stopped it."""
        what = f"`perpixel predict {self.out} PICTURES` works on what is there"
        if self.team.world > 1:
            return f"{what}."
        if self.history.best is None:
            network, measure, scale = self.learner.kept, self.criterion.measure, self.recipe.scale
            began = time.monotonic()
            judge(network, self.validation, measure, scale, count=1)
            count = max(1, min(self.recipe.val_pictures or len(self.validation), int(QUICK / (time.monotonic() - began))))
            judged = judge(network, self.validation, measure, scale, count=count)
            model_file.save_model(self.out, network.state_dict(), self._card(step, judged.summary, count))
            self.show(step, judged, better=True)
            value = self.criterion.text(judged.summary.figures[self.criterion.figure])
        else:
            value = self.criterion.text(self.history.best)
        return f"{what}: {value} on val so far."

    def keep(self, step: int) -> None:
        """Saves a state to resume from and the history; before the first validation also the weights."""
        if self.team.rank:
            return
        _save(self.out, step, self.learner, self.history)
        if self.history.best is None:  # so that an unfinished run can be used; its card has no score
            model_file.save_model(self.out, self.learner.kept.state_dict(), self._card(step, None))

    def finish(self, step: int) -> Scores:
        """Judges the kept weights on all of val; writes their figures, pictures and the page."""
        model = model_file.load(self.out, _nothing)
        measure = self.criterion.measure
        pairs = pairs_of(model, self.validation, measure)
        rows, digests = counted(pairs, self.shown.progress())
        scores = Scores(measure, measure.summary(rows, pairs.classes, pairs.names), pairs.protocol(digests), len(rows))
        write_whole(self.out, SCORES, json.dumps(scores.to_json(), indent=1).encode())
        self.show(step, Judgement(measure, scores.summary, dict(enumerate(rows))), better=True, done=True)
        return scores

    def end_session(self, step: int) -> None:
        if self.team.rank == 0:
            end_session(self.out, step, time.monotonic() - self.began)

    @property
    def criterion(self) -> Criterion:
        return self.history.criterion

    def _card(self, step: int, summary: Summary | None, count: int | None = None) -> ModelCard:
        """The card of the weights after `step`, with their figures on `count` pictures of val."""
        recipe, fingerprints, bands = self.recipe, self.sound.fingerprints, bands_of(self.validation)
        settings = recipe.to_json()
        settings.pop("cache_mb"), settings.pop("save_every")
        judged_on: dict[str, Any] = {"split": recipe.val_split, "data": fingerprints[recipe.val_split]}
        if (count := count or recipe.val_pictures or len(self.validation)) < len(self.validation):
            judged_on["pictures"] = count
        if self.criterion.measure.name != DEFAULT:
            judged_on["measure"] = self.criterion.measure.name
        return ModelCard(
            network=recipe.network,
            arguments=recipe.network_arguments() if bands is None else {**recipe.network_arguments(), "channels": len(bands)},
            classes=self.training.classes.to_json(),
            recipe=settings,
            scale=recipe.scale,
            step=step,
            score={} if summary is None else {**judged_on, self.criterion.figure: summary.figures[self.criterion.figure]},
            trained_on=fingerprints[recipe.train_split],
            licence="that of the training data and of the weights it started from; see recipe",
            bands={} if bands is None else bands.to_json(),
        )


def _set_up(
    recipe: Recipe, out: Path, network: Network, criterion: Criterion, training: Dataset, validation: Dataset, team: Team,
    say: Say, checked: CheckProgress | None, shown: Shown,
) -> _Run:  # fmt: skip
    """Checks the data, gives the network the weights of its start or of the last state, and begins a session in run.json."""
    if recipe.statistics_batches and recipe.statistics_batch % team.world:
        raise UsageError(f"statistics_batch = {recipe.statistics_batch}: must be a multiple of the processes, {team.world}.")
    sound = sound_data(recipe, out, team, say, checked, finds_objects(network))
    refuse_truth(criterion, validation)
    training = object_crops(training, recipe, sound.fingerprints[recipe.train_split], out, team, say)
    started_from = None
    if recipe.starts_from is not None and not states.state_folders(out):
        started_from = {"path": recipe.starts_from, "sha256": begin_with(network, recipe.starts_from, say, bands_of(validation))}
    weights = class_weights(recipe.class_weights, sound.class_pixels, training.classes.names)
    set_loss(network, recipe, weights, training.classes.void)
    learner = learner_of(network, recipe, team, say)
    history = History(recipe, criterion, out)
    start = _restore(out, learner, history, say)
    if start and team.rank == 0:
        # A kill may have come after the state of `start` was whole and before these two; after the last step no save repeats
        # them.
        states.remove_old_states(out, start)
        history.write()
    warning = None if start else lagging_statistics(network, recipe)
    if warning is not None:
        say(warning)
    if not start:
        for line in _first_lines(recipe, network, training, sound, team):
            say(line)
    if start < recipe.steps and not history.over and team.rank == 0:
        begin_session(out, recipe, team, sound, start, started_from, say)
    return _Run(recipe, out, team, training, validation, sound, weights, learner, history, start, time.monotonic(), shown)


def _first_lines(recipe: Recipe, network: Network, training: Dataset, sound: Sound, team: Team) -> Iterator[str]:
    """What the training is about: a line each on the data, the network and the machine; and what the user should know first."""
    splits = ", ".join(f"{split} {count:,}" for split, count in sound.pictures.items())
    names, pixels = training.classes.names, sound.class_pixels
    shown = {name: count for name, count in zip(names, pixels, strict=True) if count}
    rarest = min(shown, key=lambda name: shown[name], default="")
    share = f"; the rarest is {rarest}, {100 * shown[rarest] / sum(pixels):.2g} % of the pixels" if len(shown) > 1 else ""
    missing = f", {len(names) - len(shown)} of them without a pixel in {recipe.train_split}" if len(shown) < len(names) else ""
    yield f"data: {recipe.data}: pictures {splits}; {len(names)} {'class' if len(names) == 1 else 'classes'}{missing}{share}."
    if (bands := bands_of(training)) is not None:
        if recipe.band_ranges is None:  # else it was given, or the plan told
            yield f"bands: 0 to 1 are {bands.in_words()}."
        if recipe.colour:
            yield f"colour = {recipe.colour:g}: changes brightness and contrast alone, for bands have no hue."
    if recipe.crop is not None and (warning := _crop_too_large(recipe, sound.sizes)):
        yield warning
    parameters = sum(parameter.numel() for parameter in network.parameters())
    arguments = recipe.network_arguments()
    weights = "begins with random weights"
    if recipe.starts_from is not None:
        weights = f"begins with {recipe.starts_from}"
    elif begins_with_imagenet(recipe.network, arguments, recipe.weights):
        wide = "" if bands is None else f", their first filters made for {len(bands)} bands"
        weights = f"its trunk begins with weights of ImageNet{wide}, the rest with random ones"
    yield f"network: {title(recipe.network, arguments)}, {parameters / 1e6:.3g} million parameters; {weights}."
    threads, others = torch.get_num_threads(), f", {team.world} processes" if team.world > 1 else ""
    yield f"machine: {team.device}, {threads} {'thread' if threads == 1 else 'threads'}{others}."


def _crop_too_large(recipe: Recipe, sizes: Mapping[str, int]) -> str:
    """A warning where most pictures are smaller than the crop, even at the greatest scale; else empty."""
    assert recipe.crop is not None
    most = recipe.scale * recipe.scale_jitter[1]
    sides = [[int(side) for side in size.split("x")] for size, count in sizes.items() for _ in range(count)]
    small = [size for size in sides if size[0] * most < recipe.crop[0] or size[1] * most < recipe.crop[1]]
    if 2 * len(small) <= len(sides):
        return ""
    least = (min(math.floor(size[axis] * recipe.scale) for size in small) for axis in (0, 1))
    fits = [max(1, min(side, crop)) for side, crop in zip(least, recipe.crop, strict=True)]
    fits = [side // 32 * 32 or side for side in fits]
    return (
        f"warning: crop = {recipe.crop[0]}x{recipe.crop[1]}: is larger than {len(small)} of {len(sides)} pictures as the network "
        f"sees them, so that much of it is empty; `--crop {fits[0]} {fits[1]}` fits them."
    )


def _save(out: Path, step: int, learner: Learner, history: History) -> None:
    """Keeps the state after `step`. Raises NotFinite for a weight that is not finite, and writes nothing then."""
    bad = model_file.first_not_finite(learner.network.state_dict())
    if bad is not None:
        raise NotFinite(f"step {step}: weight {bad} is not finite; nothing was written. Lower the learning rate.")
    groups = {"network": learner.network.state_dict(), "optimiser": flat(learner.optimiser)}
    if learner.average is not None:
        groups["average"] = learner.average.state_dict()
    values = {
        "step": step, "best": history.best, "sums": history.sums, "history": history.entries,
        "scaler": learner.scaler.state_dict(),
    }  # fmt: skip
    states.save_state(out, step, groups, values)
    history.write()


def _restore(out: Path, learner: Learner, history: History, say: Say) -> int:
    """Puts the newest sound state back; returns its step, 0 without one."""
    state = states.load_state(out)
    if state is None:
        return 0
    recipe, (groups, values, complaints) = history.recipe, state
    for complaint in complaints:
        say(complaint)
    try:
        learner.network.load_state_dict(groups["network"])
        if learner.average is not None:
            learner.average.load_state_dict(groups["average"])
        unflatten(learner.optimiser, groups["optimiser"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise UntrustedFile(
            f"{out}: its state is of another version of {recipe.network}; start again with another --out."
        ) from error
    if values["scaler"]:
        learner.scaler.load_state_dict(values["scaler"])
    history.best, history.sums, history.entries = values["best"], values["sums"], values["history"]
    step = int(values["step"])
    if history.best is not None and step < recipe.steps:
        try:
            model_file.read(out, say)
        except PerpixelError as error:
            say(f"{error} It held the best weights so far: the next that are judged take their place.")
            history.best = None
    say(f"{out}: continues after step {step} of {recipe.steps}.")
    return step


def validates(recipe: Recipe, step: int) -> bool:
    """Whether `val` is judged after `step`: the validations are evenly spread over the steps, and the last one ends them."""
    nearest = round(step * recipe.validations / recipe.steps)
    return any(round(recipe.steps * n / recipe.validations) == step for n in range(max(1, nearest - 1), nearest + 2))


def _share(recipe: Recipe, part: Batch, judged: float) -> float:
    """The factor for the mean loss over the pixels of `part`, such that the losses of all parts sum to the loss of the whole
    batch.

    `judged` counts the batch's pixels. Caffe's un-normalised loss is the sum over the pixels of each picture, averaged over
    pictures; its normalised one, accumulated, averages the means of the parts."""
    if recipe.loss_mean == "pictures":
        return part.judged / recipe.batch
    if recipe.loss_mean == "parts":
        return len(part.names) / recipe.batch
    return part.judged / max(judged, 1)


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
