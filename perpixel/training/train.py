"""Recipe -> run folder. The loop is in `train`, top to bottom. `batches` makes the batches, `learner` the network and its
optimiser; `states` keeps the states to resume from, `history` the losses and scores.

The seed and n decide every random choice of step n: torch's generator is seeded anew for each step. So no state of a generator is
kept, and a run that was killed ends with the same bytes as a run that was not."""

from __future__ import annotations

import errno
import json
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from perpixel import draw
from perpixel.datasets import Dataset, open_dataset
from perpixel.errors import Interrupted, PerpixelError, UntrustedFile, UsageError
from perpixel.files import write_whole
from perpixel.images import write_image
from perpixel.judging.evaluate import evaluate, judge
from perpixel.judging.scores import Scores
from perpixel.losses import class_weights
from perpixel.machines.interrupts import stop_after_step
from perpixel.machines.memory import keep_freed_memory
from perpixel.machines.team import Team, join
from perpixel.measures import DEFAULT
from perpixel.measures.measure import Summary
from perpixel.networks import Network, finds_objects, has_border, labels_pixels
from perpixel.prediction.predict import predict
from perpixel.training import states
from perpixel.training.batches import Batch, batches
from perpixel.training.criterion import Criterion, criterion_of, refuse_truth
from perpixel.training.history import History, write_curves
from perpixel.training.learner import (
    Learner,
    begin_with,
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
from perpixel.training.run import HISTORY, SCORES, CheckProgress, Say, Sound, begin_session, claim, end_session, sound_data
from perpixel.weights import model_file
from perpixel.weights.model_file import ModelCard

SHOWN = 6  # pictures in the sheet of a run

Progress = Callable[[int, int, str], None]


def train(
    recipe: Recipe,
    out: Path,
    origins: Mapping[str, str] | None = None,
    say: Say = print,
    progress: Progress | None = None,
    checked: CheckProgress | None = None,
) -> Scores | None:
    """Trains into the run folder `out`, or continues there; returns the scores of the kept weights on `val`. `progress` is called
    after each step, `checked` after each picture of the data check.

    Under `torchrun` the processes share each batch; all but the first return None. Raises UsageError when `out` belongs to
    another recipe, DataError for an unsound data set, Interrupted (resumable) on SIGINT or SIGTERM, NotFinite when a loss,
    gradient or weight is not finite. `starts_from` is a run or a model file here; `stages` trains it when it is a recipe."""
    keep_freed_memory()
    training, validation = _splits(recipe)
    network = network_of(recipe, training.classes)  # raises for wrong names and arguments before the folder is touched
    criterion = criterion_of(recipe, network, validation)
    with join(recipe.device) as team, claim(out, recipe, origins) if team.rank == 0 else nullcontext():
        if team.rank:  # the first process speaks for all
            say, progress = _nothing, None
        run = _set_up(recipe, out, network, criterion, training, validation, team, say, checked)
        learner, history, optimiser, scaler = run.learner, run.history, run.learner.optimiser, run.learner.scaler
        with stop_after_step(say) as stop, closing(run.batches()) as reader:
            train_mode(network, recipe)
            for step, parts in enumerate(reader, start=run.start + 1):
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
                judging = validates(recipe, step)
                if judging:
                    run.validate(step)
                if progress is not None:
                    progress(step, recipe.steps, history.text())
                if judging or step % recipe.save_every == 0 or stopping:
                    run.keep(step)
                if stopping and step < recipe.steps:
                    run.end_session(step)
                    raise Interrupted(f"{out}: stopped after step {step} of {recipe.steps}; the same command continues.")
        if team.rank:
            return None
        if run.start < recipe.steps:
            run.end_session(recipe.steps)
        return _finish(out, validation, criterion)


def _nothing(_: str) -> None: ...


def _splits(recipe: Recipe) -> tuple[Dataset, Dataset]:
    """The split that is trained on, and the split that is judged on."""
    try:
        training, validation = (
            open_dataset(recipe.data, root=recipe.root, split=split) for split in (recipe.train_split, recipe.val_split)
        )
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        raise UsageError(f"data = {recipe.data[:100]!r}: {error.strerror}; name a data set or a folder.") from error
    return training, validation


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

    def batches(self) -> Generator[list[Batch]]:
        network, team = self.learner.network, self.team
        context = network.border if has_border(network) else 0
        return batches(
            self.training, self.recipe, self.start, team.rank, team.world, context, self.class_weights,
            finds_objects(network), not labels_pixels(network),
        )  # fmt: skip

    def validate(self, step: int) -> None:
        """Judges the kept network on val, adds the figures to the history, and saves the weights where they are the best so
        far."""
        recipe, team, network = self.recipe, self.team, self.learner.kept
        if recipe.statistics_batches:
            measure_batch_norm(network, self.training, recipe, team)
        summary = judge(network, self.validation, self.criterion.measure, recipe.scale, team)
        train_mode(self.learner.network, recipe)
        if self.history.add_validation(step, summary) and team.rank == 0:
            model_file.save_model(self.out, network.state_dict(), self._card(step, summary))
            write_curves(self.out, self.history.entries, self.criterion.drawn)

    def keep(self, step: int) -> None:
        """Saves a state to resume from and the history; before the first validation also the weights."""
        if self.team.rank:
            return
        _save(self.out, step, self.learner, self.history)
        if self.history.best is None:  # so that an unfinished run can be used; its card has no score
            model_file.save_model(self.out, self.learner.kept.state_dict(), self._card(step, None))

    def end_session(self, step: int) -> None:
        if self.team.rank == 0:
            end_session(self.out, step, time.monotonic() - self.began)

    @property
    def criterion(self) -> Criterion:
        return self.history.criterion

    def _card(self, step: int, summary: Summary | None) -> ModelCard:
        recipe, fingerprints = self.recipe, self.sound.fingerprints
        settings = recipe.to_json()
        settings.pop("cache_mb"), settings.pop("save_every")
        judged_on = {"split": recipe.val_split, "data": fingerprints[recipe.val_split]}
        if self.criterion.measure.name != DEFAULT:
            judged_on["measure"] = self.criterion.measure.name
        return ModelCard(
            network=recipe.network,
            arguments=recipe.network_arguments(),
            classes=self.training.classes.to_json(),
            recipe=settings,
            scale=recipe.scale,
            step=step,
            score={} if summary is None else {**judged_on, self.criterion.figure: summary.figures[self.criterion.figure]},
            trained_on=fingerprints[recipe.train_split],
            licence="that of the training data and of the weights it started from; see recipe",
        )


def _set_up(
    recipe: Recipe, out: Path, network: Network, criterion: Criterion, training: Dataset, validation: Dataset, team: Team,
    say: Say, checked: CheckProgress | None,
) -> _Run:  # fmt: skip
    """Checks the data, gives the network the weights of its start or of the last state, and begins a session in run.json."""
    if recipe.statistics_batches and recipe.statistics_batch % team.world:
        raise UsageError(f"statistics_batch = {recipe.statistics_batch}: must be a multiple of the processes, {team.world}.")
    sound = sound_data(recipe, out, team, say, checked, finds_objects(network))
    refuse_truth(criterion, validation)
    training = object_crops(training, recipe, sound.fingerprints[recipe.train_split], out, team, say)
    started_from = None
    if recipe.starts_from is not None and not states.state_folders(out):
        started_from = {"path": recipe.starts_from, "sha256": begin_with(network, recipe.starts_from, say)}
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
    if start < recipe.steps and team.rank == 0:
        begin_session(out, recipe, team, sound, start, started_from, say)
    return _Run(recipe, out, team, training, validation, sound, weights, learner, history, start, time.monotonic())


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


@contextmanager
def enough_to_normalise(recipe: Recipe, part: Batch, team: Team) -> Iterator[None]:
    """Raises UsageError where a layer of the network normalises over one value, for which torch raises a ValueError at the first
    step: the layer's map has one cell, and a part of the batch one picture."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1" not in str(error):
            raise
        parts = recipe.accumulate * team.world
        if "spatial" in str(error):  # the layer normalises each picture by itself
            remedy = "give a larger --crop"
        elif recipe.batch >= 2 * team.world:
            most = next(n for n in range(recipe.batch // (2 * team.world), 0, -1) if recipe.batch % (n * team.world) == 0)
            remedy = f"give --accumulate {most}, for parts of two pictures or more"
        else:
            remedy = f"give --batch {2 * parts} or more"
        size = "x".join(map(str, part.images.shape[-2:]))
        raise UsageError(
            f"batch = {recipe.batch}: {recipe.network} has a layer that normalises over the values of a part of the batch, and "
            f"of {len(part.names)} picture of {size} it has one value; {remedy}."
        ) from error


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


def _finish(out: Path, validation: Dataset, criterion: Criterion) -> Scores:
    """Judges the kept weights; writes their figures, a sheet of pictures and the curves."""
    model = model_file.load(out)
    scores = evaluate(model, validation, criterion.measure)
    write_whole(out, SCORES, json.dumps(scores.to_json(), indent=1).encode())
    rows = []
    for index in np.linspace(0, len(validation) - 1, min(SHOWN, len(validation))).astype(int):
        sample = validation.sample(int(index))
        assert sample.labels is not None
        predicted = predict(model, sample.image).labels
        rows.append([
            sample.image, draw.colours(sample.labels, model.classes), draw.colours(predicted, model.classes),
            draw.error_map(sample.labels, predicted, model.classes.void),
        ])  # fmt: skip
    write_image(out, "val.png", draw.sheet(rows, ("picture", "truth", "prediction", "errors in red")))
    history = [json.loads(line) for line in (out / HISTORY).read_text().splitlines()]
    write_curves(out, history, criterion.drawn)
    return scores


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
