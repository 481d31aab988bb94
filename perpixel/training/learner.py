"""Recipe -> all that the steps of a training change: the network, the moving average of its weights, the optimiser's state."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from perpixel import networks
from perpixel.backbones import TRUNKS
from perpixel.backbones.trunks import freeze
from perpixel.bands import Bands
from perpixel.classes import ClassTable
from perpixel.datasets import Dataset
from perpixel.errors import UsageError
from perpixel.layers.batch_norm import measure_statistics, synchronise
from perpixel.layers.first_convolution import widened_state
from perpixel.losses import Mean, PixelLoss
from perpixel.machines import device as machine
from perpixel.machines.team import Team
from perpixel.networks import Network, as_network, counts_examples, finds_objects, labels_pixels, trunk_of
from perpixel.networks.mask_rcnn import RegionNetwork
from perpixel.sample import Targets
from perpixel.training.batches import Batch, batches
from perpixel.training.optimiser import optimiser_of
from perpixel.training.recipe import Recipe
from perpixel.training.run import Say
from perpixel.weights import model_file

Losses = Callable[[Tensor, Targets], dict[str, Tensor]]
USUAL_MOMENTUM = 0.1  # torch's
NEGLIGIBLE = 0.1  # share of the first statistics that may be left after all steps
OF_PIXELS = ("loss", "class_weights", "separation_weights")  # settings of the loss; only networks that label pixels use it


@dataclass
class Learner:
    """`losses` computes the losses of the network, within `autocast`; through DistributedDataParallel where processes share a
    batch. `average` is the network with the moving average of the weights, or None where the recipe asks for no average."""

    network: Network
    average: Network | None
    optimiser: torch.optim.Optimizer
    losses: Losses
    autocast: AbstractContextManager[object]
    scaler: torch.amp.GradScaler

    @property
    def kept(self) -> Network:
        """The network whose weights are judged and kept."""
        return self.network if self.average is None else self.average


def learner_of(network: Network, recipe: Recipe, team: Team, say: Say) -> Learner:
    """`network` on the device of the team, with its optimiser, its losses, and the average of its weights, as `recipe` says.

    Where processes share a batch, batch normalisation is synchronised, and `say` gets a line about this."""
    if team.world > 1:
        synchronise(network.modules())
        if layers := _measured_layers(network, recipe):
            taking = "1 layer takes its" if len(layers) == 1 else f"{len(layers)} layers take their"
            say(
                f"batch normalisation is synchronised: {taking} statistics from the whole batch of {recipe.batch}, over "
                f"{team.world} processes."
            )
    network = network.to(team.device)
    if recipe.channels_last:
        network = network.to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).requires_grad_(False) if recipe.ema else None
    optimiser = optimiser_of(network, recipe)
    autocast, scaled = machine.precision(team.device, recipe.mixed_precision)
    scaler = torch.amp.GradScaler(team.device.type, enabled=scaled)
    return Learner(network, average, optimiser, _losses(network, recipe, team), autocast, scaler)


def network_of(recipe: Recipe, classes: ClassTable, bands: Bands | None = None) -> Network:
    """The recipe's network, for pictures of these bands, or RGB. Weights "auto" are ImageNet's where the trunk has its full size
    and ImageNet weights exist for it, unless the training starts from a run.

    Raises UsageError or UnknownName for a setting that does not fit the network."""
    torch.manual_seed(recipe.seed)
    arguments = recipe.network_arguments()
    if networks.begins_with_imagenet(recipe.network, arguments, recipe.weights, recipe.starts_from):
        arguments["weights"] = "imagenet"
    elif recipe.weights == "imagenet":
        raise UsageError(f"{recipe.network} without a backbone has no ImageNet weights; give --backbone, or `--weights none`.")
    channels = arguments.get("channels")
    if bands is not None and channels not in (None, len(bands)):
        raise UsageError(f"channels = {channels}: the pictures have {bands}; leave channels out, or choose bands with --bands.")
    own = recipe.network == "unet" and not arguments.get("backbone")
    if bands is None and channels not in ((None, 1, 3) if own else (None, 3)):
        grey = ", or 1 for U-Net's grey" if own else ""
        raise UsageError(f"channels = {channels}: pictures are RGB, 3 channels{grey}; name other bands in a bands.csv.")
    names = None if bands is None else bands.names
    network = as_network(networks.build(recipe.network, len(classes), bands=names, **arguments))
    if recipe.trunk_lr == 0:
        trunk = trunk_of(network)
        if trunk is None:
            raise UsageError(f"trunk_lr = 0: {recipe.network} has no trunk to freeze; give --backbone, or another trunk_lr.")
        trunk.requires_grad_(False)
    if recipe.trunk_frozen:
        _freeze_stages(network, recipe)
    if recipe.freeze_norm:
        _freeze_norm(network, recipe)
    if recipe.statistics_batches and not _measured_layers(network, recipe):
        raise UsageError(
            f"statistics_batches = {recipe.statistics_batches}: {recipe.network} trains no batch normalisation; leave it out."
        )
    if finds_objects(network):
        _refuse_settings_of_pixels(network, recipe)
    if isinstance(network, RegionNetwork) and classes.background:
        raise UsageError(
            f"data = {recipe.data!r}: background is class {classes.background}, and class 0 to {recipe.network}; name it first "
            "in the class table."
        )
    return network


def _refuse_settings_of_pixels(network: Network, recipe: Recipe) -> None:
    """Raises UsageError for a setting that a network that finds objects does not use."""
    if recipe.crops != "none":
        raise UsageError(f"crops = {recipe.crops!r}: shows no objects, which {recipe.network} learns from; leave it out.")
    if recipe.separation_class is not None:
        raise UsageError(
            f"separation_class = {recipe.separation_class!r}: {recipe.network} learns from the objects of the data; leave it out."
        )
    if recipe.loss_mean == "pictures":
        raise UsageError(f"loss_mean = 'pictures': sums over pixels, and {recipe.network} learns from objects; leave it out.")
    if labels_pixels(network):
        return
    for name in OF_PIXELS:
        value = getattr(recipe, name)
        if value != getattr(Recipe, name):
            raise UsageError(f"{name} = {value!r}: {recipe.network} finds objects and has losses of its own; leave it out.")


def _freeze_stages(network: Network, recipe: Recipe) -> None:
    trunk = trunk_of(network)
    if trunk is None or not freeze(trunk, recipe.trunk_frozen):
        raise UsageError(
            f"trunk_frozen = {recipe.trunk_frozen}: {recipe.network} has no trunk with stages, which could be frozen; give "
            f"--backbone resnet50, or --trunk-lr 0, which freezes any trunk."
        )


def _freeze_norm(network: Network, recipe: Recipe) -> None:
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        raise UsageError(f"freeze_norm: {recipe.network} has no batch normalisation; leave it out.")
    for layer in layers:
        layer.requires_grad_(False)


def set_loss(network: Network, recipe: Recipe, class_weights: Sequence[float] | None, void: int) -> None:
    """Gives a network that labels pixels the loss of the recipe. A network that only finds objects has its own losses."""
    if labels_pixels(network):
        in_map = recipe.separation_weights > 0  # then the weight map balances the classes
        network.loss = PixelLoss(recipe.loss, None if in_map else class_weights, void)


def train_mode(network: Network, recipe: Recipe) -> None:
    """Training mode; but frozen layers stay in evaluation mode: they have no dropout, and their statistics do not move."""
    network.train()
    for part in _frozen(network, recipe):
        part.eval()


def _frozen(network: Network, recipe: Recipe) -> list[nn.Module]:
    """The parts of a network that the recipe freezes: its trunk, the trunk's first parts, layers of batch normalisation."""
    trunk = trunk_of(network)
    parts: list[nn.Module] = []
    if trunk is not None and recipe.trunk_lr == 0:
        parts.append(trunk)
    elif trunk is not None and recipe.trunk_frozen:
        weights = ((part, [*part.parameters()]) for part in trunk.modules())
        parts += [part for part, of_part in weights if of_part and not any(weight.requires_grad for weight in of_part)]
    if recipe.freeze_norm:
        parts += [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return parts


def begin_with(network: Network, path: str, say: Say, bands: Bands | None = None) -> str:
    """Copies the tensors of the model or trunk at `path` that have the same name and shape here; returns the digest of its file.

    Where the network sees `bands`, and the model saw RGB, first filters are widened (`layers.first_convolution`). Raises
    UsageError where it saw other bands.

    Raises UsageError when no tensor fits, or when a layer of a trunk has another shape here."""
    stored = model_file.read(path)
    card, theirs, ours = stored.card, stored.tensors, network.state_dict()
    before = Bands.from_json(card.bands) if card.bands else None
    if before is not None and (bands is None or before.names != bands.names):
        here = "RGB" if bands is None else str(bands)
        raise UsageError(f"{path}: was trained on {before}, and pictures here are {here}; start from a model of the same bands.")
    if bands is not None and before is None:
        theirs = widened_state(theirs, ours, bands.names)
    known = [name for name in theirs if name in ours]
    fitting = {name: theirs[name] for name in known if ours[name].shape == theirs[name].shape}
    other = next((name for name in known if name not in fitting), None)
    if card.network in TRUNKS and other is not None:
        shapes = f"{tuple(theirs[other].shape)}, not {tuple(ours[other].shape)}"
        raise UsageError(f"{path}: is the {card.network} of another network ({other} is {shapes}); import the trunk of this one.")
    if not fitting.keys() & dict(network.named_parameters()).keys():  # the mean colour of a trunk fits every network
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


class _Forward(nn.Module):
    """The losses of a network as a forward pass, which is what DistributedDataParallel watches; with `whole`, those that are
    means over examples are normalised by the examples of all processes."""

    def __init__(self, network: Network, whole: bool, team: Team) -> None:
        super().__init__()
        self.network, self.whole, self.team = network, whole, team

    def forward(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        if self.whole and counts_examples(self.network):
            return _over_processes(self.network.means(images, targets), targets, self.network.void, self.team)
        return self.network.losses(images, targets)


def _over_processes(means: Mapping[str, Mean], targets: Targets, void: int, team: Team) -> dict[str, Tensor]:
    """Losses whose mean over processes, weighted by judged pixels as training weighs them, is that over the examples of all."""
    judged = (targets.labels != void).sum()
    counts = torch.stack([judged.double(), *(mean.examples.double() for mean in means.values())]).cpu().numpy()
    of_all = team.sum(counts)
    shares = counts[1:] / of_all[1:].clip(1e-9) * of_all[0] / max(counts[0], 1)
    return {name: mean.value * float(share) for (name, mean), share in zip(means.items(), shares, strict=True)}


def _losses(network: Network, recipe: Recipe, team: Team) -> Losses:
    if team.world == 1:
        return network.losses
    ids = [team.device.index] if team.device.type == "cuda" else None
    forward = _Forward(network, recipe.loss_mean != "parts", team)
    # Statistics of batch normalisation are equal in all processes already: `synchronise` made them so.
    losses: Losses = DistributedDataParallel(forward, ids, broadcast_buffers=False)
    return losses


@torch.no_grad()
def follow(average: Network, network: Network, decay: float) -> None:
    """Moves the average towards the network: weights and running statistics. Counters are copied."""
    ours, theirs = list(average.state_dict().values()), list(network.state_dict().values())
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - decay)
    for a, b in zip(ours, theirs, strict=True):
        if not a.is_floating_point():
            a.copy_(b)


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


def _measured_layers(network: Network, recipe: Recipe) -> list[nn.BatchNorm2d]:
    """The layers of batch normalisation whose statistics are measured: all that are not frozen."""
    frozen = {module for part in _frozen(network, recipe) for module in part.modules()}
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d) and module not in frozen]


def lagging_statistics(network: Network, recipe: Recipe) -> str | None:
    """A warning where running statistics move so slowly that their first values still count after all steps; else None."""
    momenta = [layer.momentum for layer in _measured_layers(network, recipe) if layer.momentum is not None]
    slowest = min(momenta, default=1.0)
    left = (1 - slowest) ** recipe.steps
    if recipe.statistics_batches or slowest >= USUAL_MOMENTUM or left < NEGLIGIBLE:
        return None
    known = networks.arguments_of(recipe.network, recipe.network_arguments())
    faster = "`--norm-momentum 0.1` or " if "norm_momentum" in known else ""
    return (
        f"warning: batch normalisation moves its statistics by {slowest:g} a step, so that after {recipe.steps} steps {left:.0%} "
        f"of what they began with is left and scores mislead; give {faster}`--statistics-batches 20`, or more steps."
    )


def measure_batch_norm(network: Network, dataset: Dataset, recipe: Recipe, team: Team) -> None:
    """Measures the statistics of batch normalisation on pictures drawn and augmented as in training. At every step these are the
    first pictures of the sequence."""
    drawn = replace(recipe, steps=recipe.statistics_batches, batch=recipe.statistics_batch, accumulate=1, cache_mb=0,
                    group_by_aspect=False)  # fmt: skip
    passes = (
        network.losses(part.images.to(team.device), part.targets.to(team.device))
        for (part,) in batches(
            dataset, drawn, 0, team.rank, team.world, instances=finds_objects(network), objects_alone=not labels_pixels(network)
        )
    )
    measure_statistics(network.modules(), _measured_layers(network, recipe), passes)
