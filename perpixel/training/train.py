"""Recipe -> run folder. The loop is in `train`, top to bottom; what it reads is in `batches`, what it keeps in `checkpoint`.

Every random choice of step n follows from the seed and n (torch's generator is seeded anew for each step), so nothing random
has to be kept, and a run that was killed anywhere ends with the same bytes as one that was not."""

from __future__ import annotations

import copy
import errno
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from perpixel import draw, networks
from perpixel.backbones import TRUNKS, WITHOUT_IMAGENET
from perpixel.datasets import Dataset, open_dataset
from perpixel.errors import Interrupted, PerpixelError, UntrustedFile, UsageError
from perpixel.files import write_whole
from perpixel.images import write_image
from perpixel.judging.evaluate import Scores, evaluate, judge
from perpixel.layers.batch_norm import measure_statistics, synchronise
from perpixel.losses import PixelLoss, class_weights
from perpixel.machines import device as machine
from perpixel.machines.interrupts import stop_after_step
from perpixel.machines.memory import keep_freed_memory
from perpixel.machines.team import Team, join
from perpixel.measures.confusion_matrix import ConfusionMatrix
from perpixel.networks import Network, as_network
from perpixel.prediction.predict import predict
from perpixel.sample import Targets
from perpixel.training import states
from perpixel.training.batches import Batch, batches
from perpixel.training.not_finite import NotFinite, refuse
from perpixel.training.object_crops import object_crops
from perpixel.training.optimiser import flat, optimiser_of, schedule, unflatten
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
    """Trains into the run folder `out`, or continues there; returns the scores of the kept weights on `val`. `progress` hears of
    steps, `checked` of the pictures that are looked at before.

    Under `torchrun` the processes share each batch; all but the first return None. Raises UsageError when `out` belongs to
    another recipe, DataError for an unsound data set, Interrupted (resumable) on SIGINT or SIGTERM, NotFinite when a loss,
    gradient or weight is not finite. `starts_from` is a run or a model file here; `stages` trains it when it is a recipe."""
    keep_freed_memory()
    splits = recipe.train_split, recipe.val_split
    try:
        training, validation = (open_dataset(recipe.data, root=recipe.root, split=split) for split in splits)
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        raise UsageError(f"data = {recipe.data[:100]!r}: {error.strerror}; name a data set or a folder.") from error
    network = _network(recipe, len(training.classes))  # before the folder is touched: names and arguments may be wrong
    with join(recipe.device) as team, claim(out, recipe, origins) if team.rank == 0 else nullcontext():
        if recipe.statistics_batches and recipe.statistics_batch % team.world:
            raise UsageError(f"statistics_batch = {recipe.statistics_batch}: must be a multiple of the processes, {team.world}.")
        if team.rank:  # one voice for all
            say, progress = _nothing, None
        sound = sound_data(recipe, out, team, say, checked)
        training = object_crops(training, recipe, sound.fingerprints[recipe.train_split], out, team, say)
        started_from = None
        if recipe.starts_from is not None and not states.state_folders(out):
            started_from = {"path": recipe.starts_from, "sha256": _begin_with(network, recipe.starts_from, say)}
        weights = class_weights(recipe.class_weights, sound.class_pixels, training.classes.names)
        in_map = recipe.separation_weights > 0  # then the classes are balanced there
        as_network(network).loss = PixelLoss(recipe.loss, None if in_map else weights, training.classes.void)
        context = getattr(network, "border", 0)
        if team.world > 1:
            synchronise(network)
        network = network.to(team.device)
        if recipe.channels_last:
            network = network.to(memory_format=torch.channels_last)
        average = copy.deepcopy(network).requires_grad_(False) if recipe.ema else None
        kept = average or network
        optimiser = optimiser_of(network, recipe)
        autocast, scaled = machine.precision(team.device, recipe.mixed_precision)
        scaler = torch.amp.GradScaler(team.device.type, enabled=scaled)
        lossy = _losses(network, team)
        progress_of = _Progress(recipe, out)
        start = progress_of.restore(network, average, optimiser, scaler, say)
        if start and team.rank == 0:
            progress_of.settle(start)
        if start < recipe.steps and team.rank == 0:
            begin_session(out, recipe, team, sound, start, started_from, say)
        began = time.monotonic()
        card = _card(recipe, training, sound)

        def keep(step: int) -> None:
            if team.rank == 0:
                progress_of.save(step, network, average, optimiser, scaler)
                if progress_of.best < 0:  # nothing was judged yet: what there is can be used, and says what it is
                    model_file.save_model(out, kept.state_dict(), card(step, None))

        reading = batches(training, recipe, start, team.rank, team.world, context, weights)
        with stop_after_step(say) as stop, closing(reading) as reader:
            _train_mode(network, recipe)
            for step, parts in enumerate(reader, start=start + 1):
                torch.manual_seed(_step_seed(recipe.seed, step, team.rank))
                rate = recipe.lr * schedule(recipe.schedule, step - 1, recipe.steps, recipe.step_size, recipe.gamma)
                for group in optimiser.param_groups:
                    group["lr"] = rate * group["factor"]
                judged, stopping = team.sum(np.array([sum(part.judged for part in parts), bool(stop)], np.float64))
                terms: dict[str, float] = {}
                optimiser.zero_grad(set_to_none=True)
                for part in parts:
                    images, targets = part.images.to(team.device), part.targets.to(team.device)
                    share = team.world * _share(recipe, part, judged)  # gradients are averaged over processes
                    with autocast, enough_to_normalise(recipe, part, team):
                        found = lossy(images, targets)
                    loss = torch.stack(list(found.values())).sum() * share
                    if not math.isfinite(loss.item()):
                        refuse(out, step, part, network, team.device)
                    scaler.scale(loss).backward()
                    for name, term in found.items():
                        terms[name] = terms.get(name, 0.0) + term.item() * part.judged / max(judged, 1)
                scaler.unscale_(optimiser)
                gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
                norm = nn.utils.get_total_norm(gradients)
                if not scaled and not math.isfinite(norm.item()):
                    refuse(out, step, parts[-1], network, team.device)
                if recipe.clip:
                    nn.utils.clip_grads_with_norm_(network.parameters(), recipe.clip, norm)
                scaler.step(optimiser)
                scaler.update()
                if average is not None:
                    _follow(average, network, min(recipe.ema, step / (step + 9)))
                progress_of.add(step, rate, dict(zip(terms, team.sum(np.array(list(terms.values()))).tolist(), strict=True)))
                judging = validates(recipe, step)
                if judging:
                    if recipe.statistics_batches:
                        _measure_statistics(kept, training, recipe, team)
                    matrix = _judge_together(as_network(kept), validation, recipe.scale, team)
                    _train_mode(network, recipe)
                    if progress_of.judged(step, matrix) and team.rank == 0:
                        model_file.save_model(out, kept.state_dict(), card(step, matrix))
                        write_image(out, "curves.png", _curves(progress_of.history))
                if progress is not None:
                    progress(step, recipe.steps, progress_of.text())
                if judging or step % recipe.save_every == 0 or stopping:
                    keep(step)
                if stopping and step < recipe.steps:
                    if team.rank == 0:
                        end_session(out, step, time.monotonic() - began)
                    raise Interrupted(f"{out}: stopped after step {step} of {recipe.steps}; the same command continues.")
        if team.rank:
            return None
        if start < recipe.steps:
            end_session(out, recipe.steps, time.monotonic() - began)
        return _finish(out, validation)


def _nothing(_: str) -> None: ...


def validates(recipe: Recipe, step: int) -> bool:
    """Whether `val` is judged after `step`: the validations are evenly spread over the steps, and the last one ends them."""
    nearest = round(step * recipe.validations / recipe.steps)
    return any(round(recipe.steps * n / recipe.validations) == step for n in range(max(1, nearest - 1), nearest + 2))


@contextmanager
def enough_to_normalise(recipe: Recipe, part: Batch, team: Team) -> Iterator[None]:
    """Says in a sentence that a layer of the network normalises over one value, of which torch makes an error at the first
    step: it has one cell where a part of the batch has one picture."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1" not in str(error):
            raise
        parts = recipe.accumulate * team.world
        if "spatial" in str(error):  # of each picture by itself
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
    """By what the mean loss over the pixels of `part` is multiplied, so that all parts sum to the loss of the whole batch.

    `judged` counts the batch's pixels. Caffe's un-normalised loss is the sum over the pixels of each picture, averaged over
    pictures; its normalised one, accumulated, averages the means of the parts."""
    if recipe.loss_mean == "pictures":
        return part.judged / recipe.batch
    if recipe.loss_mean == "parts":
        return len(part.names) / recipe.batch
    return part.judged / max(judged, 1)


class _Progress:
    """What the run has come to besides weights: history, running sums, best score; kept in and restored from states."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self.recipe, self.out = recipe, out
        self.history: list[dict[str, Any]] = []
        self.sums: dict[str, float] = {}
        self.best = -1.0

    def add(self, step: int, rate: float, terms: Mapping[str, float]) -> None:
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if step % self.recipe.log_every == 0 or step == self.recipe.steps:
            steps = (step - 1) % self.recipe.log_every + 1
            self.history.append({"step": step, "lr": rate, "losses": {name: total / steps for name, total in self.sums.items()}})
            self.sums = {}

    def judged(self, step: int, matrix: ConfusionMatrix) -> bool:
        """Notes a validation; True when it is the best so far."""
        score = matrix.mean_iou()
        better = not math.isnan(score) and score > self.best
        self.best = score if better else self.best
        self.history.append({"step": step, "mIoU": score, "pixel_accuracy": matrix.pixel_accuracy()})
        return better

    def text(self) -> str:
        losses: dict[str, float] = next((entry["losses"] for entry in reversed(self.history) if "losses" in entry), {})
        judged = next((f", val mIoU {100 * entry['mIoU']:.1f}" for entry in reversed(self.history) if "mIoU" in entry), "")
        return "loss " + " + ".join(f"{value:.3f}" for value in losses.values()) + judged if losses else "starting"

    def save(
        self, step: int, network: nn.Module, average: nn.Module | None, optimiser: torch.optim.Optimizer, scaler: Any
    ) -> None:
        bad = model_file.first_not_finite(network.state_dict())
        if bad is not None:
            raise NotFinite(f"step {step}: weight {bad} is not finite; nothing was written. Lower the learning rate.")
        groups: dict[str, Mapping[str, Tensor]] = {"network": network.state_dict(), "optimiser": flat(optimiser)}
        if average is not None:
            groups["average"] = average.state_dict()
        values = {
            "step": step, "best": self.best, "sums": self.sums, "history": self.history, "scaler": scaler.state_dict(),
        }  # fmt: skip
        states.save_state(self.out, step, groups, values)
        self.write_history()

    def write_history(self) -> None:
        lines = "".join(json.dumps(entry) + "\n" for entry in self.history)
        write_whole(self.out, HISTORY, lines.encode())

    def settle(self, step: int) -> None:
        """What a kill may have cut off after the state of `step` was whole: of the last step there is no next save to do it."""
        states.remove_old_states(self.out, step)
        self.write_history()

    def restore(
        self, network: nn.Module, average: nn.Module | None, optimiser: torch.optim.Optimizer, scaler: Any, say: Say
    ) -> int:
        """Puts the newest sound state back; returns its step, 0 without one."""
        found = states.load_state(self.out)
        if found is None:
            return 0
        groups, values, complaints = found
        for complaint in complaints:
            say(complaint)
        try:
            network.load_state_dict(groups["network"])
            if average is not None:
                average.load_state_dict(groups["average"])
            unflatten(optimiser, groups["optimiser"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise UntrustedFile(
                f"{self.out}: its state is of another version of {self.recipe.network}; start again with another --out."
            ) from error
        if values["scaler"]:
            scaler.load_state_dict(values["scaler"])
        self.best, self.sums, self.history = values["best"], values["sums"], values["history"]
        step = int(values["step"])
        if self.best >= 0 and step < self.recipe.steps:
            try:
                model_file.read(self.out, say)
            except PerpixelError as error:
                say(f"{error} It held the best weights so far: the next that are judged take their place.")
                self.best = -1.0
        say(f"{self.out}: continues after step {step} of {self.recipe.steps}.")
        return step


def _network(recipe: Recipe, classes: int) -> nn.Module:
    """The recipe's network. Weights "auto" are ImageNet's for a full-size trunk that has any, unless it starts from a run."""
    torch.manual_seed(recipe.seed)
    arguments = recipe.network_arguments()
    known = networks.arguments_of(recipe.network, arguments) if recipe.network in networks.NETWORKS else {}
    backbone = arguments.get("backbone", known.get("backbone"))
    automatic = backbone not in WITHOUT_IMAGENET and arguments.get("width", 1) == 1 and recipe.starts_from is None
    if "weights" in known and (recipe.weights == "imagenet" or (recipe.weights == "auto" and automatic)):
        arguments["weights"] = "imagenet"
    elif recipe.weights == "imagenet":
        raise UsageError(f"{recipe.network} without a backbone has no ImageNet weights; give --backbone, or `--weights none`.")
    network = networks.build(recipe.network, classes, **arguments)
    if recipe.trunk_lr == 0:
        if not hasattr(network, "trunk"):
            raise UsageError(f"trunk_lr = 0: {recipe.network} has no trunk to freeze; give --backbone, or another trunk_lr.")
        cast(nn.Module, network.trunk).requires_grad_(False)
    if recipe.statistics_batches and not _measured_layers(network, recipe):
        raise UsageError(
            f"statistics_batches = {recipe.statistics_batches}: {recipe.network} trains no batch normalisation; leave it out."
        )
    return network


def _train_mode(network: nn.Module, recipe: Recipe) -> None:
    """Training mode; but a frozen trunk is one function, without dropout and with the statistics that it came with."""
    network.train()
    if recipe.trunk_lr == 0:
        cast(nn.Module, network.trunk).eval()


def _begin_with(network: nn.Module, path: str, say: Say) -> str:
    """Copies what the model or trunk at `path` has under the same name and shape; returns the digest of its file.

    Raises UsageError when nothing of it fits, or when it is a trunk of which a layer has another shape here."""
    stored = model_file.read(path)
    card, theirs, ours = stored.card, stored.tensors, network.state_dict()
    known = [name for name in theirs if name in ours]
    fitting = {name: theirs[name] for name in known if ours[name].shape == theirs[name].shape}
    other = next((name for name in known if name not in fitting), None)
    if card.network in TRUNKS and other is not None:
        shapes = f"{tuple(theirs[other].shape)}, not {tuple(ours[other].shape)}"
        raise UsageError(f"{path}: is the {card.network} of another network ({other} is {shapes}); import the trunk of this one.")
    if not fitting.keys() & dict(network.named_parameters()).keys():  # the colours of any trunk fit any other
        raise UsageError(f"{path}: nothing of its {card.network} fits this network; start from one with the same trunk.")
    network.load_state_dict({**ours, **fitting})
    if any(name.endswith("running_var") and bool((tensor == 1).all()) for name, tensor in theirs.items()):
        say(
            f"warning: {path} has batch normalisation without statistics; where they are folded into scale and shift, as in the "
            "test-time weights of DeconvNet's authors, training begins far from what the weights did, so start from training's."
        )
    new = [name for name in ours if name not in fitting]
    say(f"starts from {path} ({card.title}, {stored.digest[:12]}); new: {', '.join(new) or 'nothing'}.")
    return stored.digest


class _Losses(nn.Module):
    """`network.losses` as a forward pass, which is what DistributedDataParallel watches."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        return as_network(self.network).losses(images, targets)


def _losses(network: nn.Module, team: Team) -> Callable[..., dict[str, Tensor]]:
    if team.world == 1:
        return as_network(network).losses
    ids = [team.device.index] if team.device.type == "cuda" else None
    # Statistics of batch normalisation are equal in all processes already: `synchronise` made them so.
    return cast(Callable[..., dict[str, Tensor]], DistributedDataParallel(_Losses(network), ids, broadcast_buffers=False))


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Moves the average towards the network: weights and running statistics alike; counters are copied."""
    ours, theirs = list(average.state_dict().values()), list(network.state_dict().values())
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - decay)
    for a, b in zip(ours, theirs, strict=True):
        if not a.is_floating_point():
            a.copy_(b)


def _measured_layers(network: nn.Module, recipe: Recipe) -> list[nn.BatchNorm2d]:
    """The layers of batch normalisation; those of a frozen trunk keep the statistics that they came with."""
    frozen = set(cast(nn.Module, network.trunk).modules()) if recipe.trunk_lr == 0 else set()
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d) and module not in frozen]


def _measure_statistics(network: nn.Module, dataset: Dataset, recipe: Recipe, team: Team) -> None:
    """Measures on pictures drawn and augmented as in training: the first of the sequence, whichever step this is."""
    drawn = replace(recipe, steps=recipe.statistics_batches, batch=recipe.statistics_batch, accumulate=1, cache_mb=0)
    passes = (
        as_network(network).losses(part.images.to(team.device), part.targets.to(team.device))
        for (part,) in batches(dataset, drawn, 0, team.rank, team.world)
    )
    measure_statistics(network, _measured_layers(network, recipe), passes)


def _judge_together(network: Network, dataset: Dataset, scale: float, team: Team) -> ConfusionMatrix:
    matrix = judge(network, dataset, range(team.rank, len(dataset), team.world), scale)
    matrix.counts = np.asarray(team.sum(matrix.counts))
    return matrix


def _card(recipe: Recipe, dataset: Dataset, sound: Sound) -> Callable[[int, ConfusionMatrix | None], ModelCard]:
    judged_on = {"split": recipe.val_split, "data": sound.fingerprints[recipe.val_split]}

    def card(step: int, matrix: ConfusionMatrix | None) -> ModelCard:
        settings = recipe.to_json()
        settings.pop("cache_mb"), settings.pop("save_every")
        return ModelCard(
            network=recipe.network,
            arguments=recipe.network_arguments(),
            classes=dataset.classes.to_json(),
            recipe=settings,
            scale=recipe.scale,
            step=step,
            score={} if matrix is None else {**judged_on, "mIoU": matrix.mean_iou()},
            trained_on=sound.fingerprints[recipe.train_split],
            licence="that of the training data and of the weights it started from; see recipe",
        )

    return card


def _finish(out: Path, validation: Dataset) -> Scores:
    """Judges the kept weights, and leaves figures, a sheet of pictures and curves."""
    model = model_file.load(out)
    scores = evaluate(model, validation)
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
    write_image(out, "curves.png", _curves(history))
    return scores


def _curves(history: list[dict[str, Any]]) -> Any:
    names = sorted({name for entry in history for name in entry.get("losses", {})})
    losses = {name: [(e["step"], e["losses"][name]) for e in history if name in e.get("losses", {})] for name in names}
    judged = {
        key: [(e["step"], e[key]) for e in history if key in e] for key in ("mIoU", "pixel_accuracy")
    }  # fmt: skip
    return np.concatenate([draw.curves(losses, "loss by step"), draw.curves(judged, "val by step")], axis=1)


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
