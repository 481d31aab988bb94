"""The networks of the review. Adding one costs a file here and a line in `NETWORKS`; a user's own keeps `Network`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

from torch import Tensor, nn

from perpixel.errors import UsageError, did_you_mean
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.networks.deconvnet import DeconvNet
from perpixel.networks.fcn import FCN
from perpixel.networks.parsenet import ParseNet
from perpixel.networks.torchvision import ARCHITECTURES, PREFIX, TorchvisionNetwork
from perpixel.networks.unet import BackboneUNet, UNet, unet
from perpixel.sample import Targets


@runtime_checkable
class Network(Protocol):
    """What train, evaluate and predict ask of a network.

    `forward(images)`: float32 (B, 3, H, W) in [0, 1], any H and W -> dict with the same keys in train and eval, `"logits"`
    (B, C, H, W) among them. `losses(images, targets)` -> named scalars that train sums; pixels whose label is void change
    neither loss nor gradient, and the weights of the targets multiply each pixel's cross-entropy.
    `score_map(images)`: the scores before the last interpolation. `loss` is replaceable."""

    loss: PixelLoss

    def __call__(self, images: Tensor) -> dict[str, Tensor]: ...
    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]: ...
    def score_map(self, images: Tensor) -> ScoreMap: ...


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "fcn32s": partial(FCN, stride=32, at_once=False),
    "fcn16s": partial(FCN, stride=16, at_once=False),
    "fcn8s": partial(FCN, stride=8, at_once=False),
    "fcn8s_atonce": partial(FCN, stride=8, at_once=True),
    "parsenet": ParseNet,
    "deconvnet": DeconvNet,
    "unet": unet,
    **{PREFIX + architecture: partial(TorchvisionNetwork, architecture=architecture) for architecture in ARCHITECTURES},
}


# Arguments whose values say what they are; any other is named with its value.
SPEAKING = ("variant", "backbone", "layer", "fusion", "convolutions", "norm")
# Arguments that are named nowhere: where training begins, and what pictures are.
UNNAMED = ("weights", "channels")


def build(name: str, classes: int = 21, **arguments: Any) -> nn.Module:
    """The network `name` for `classes` classes; without arguments the paper's own, randomly initialised.

    Raises UnknownName for a network or argument that does not exist, UsageError for one that does not fit."""
    _known(name, arguments)
    if classes < 1:
        raise UsageError(f"a network needs at least one class, not {classes}.")
    return NETWORKS[name](classes=classes, **arguments)


def title(name: str, arguments: Mapping[str, Any]) -> str:
    """What a network is called before people: its name alone as published, else with every argument that differs from that.

    "unet same, batch", "fcn8s resnet18", "fcn8s width 0.25, padding 1".
    Raises UnknownName as `build` does."""
    known = _known(name, arguments)
    given = {key: arguments[key] for key in known if key in arguments and key not in UNNAMED}
    words = [_words(key, value) for key, value in given.items() if _words(key, value) != _words(key, known[key])]
    return f"{name} {', '.join(words)}" if words else name


def _words(argument: str, value: Any) -> str:
    named = argument.replace("_", " ")
    if value is None or isinstance(value, bool):
        return named if value else f"no {named}"
    if isinstance(value, (list, tuple)):
        return f"{named} {'-'.join(map(str, value))}"
    return str(value) if argument in SPEAKING else f"{named} {value:g}" if isinstance(value, float) else f"{named} {value}"


def _known(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the network takes, with their defaults. Raises UnknownName for a network or argument that is not."""
    if name not in NETWORKS:
        raise did_you_mean("network", name, NETWORKS)
    known = arguments_of(name, given)
    for argument in given:
        if argument not in known:
            raise did_you_mean(f"argument of {name}", argument, known)
    return known


def arguments_of(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that `name` takes, with their defaults; U-Net takes others with a backbone."""
    maker: Any = NETWORKS[name]
    if name == "unet":
        maker = BackboneUNet if given.get("backbone") else UNet
    fixed = maker.keywords if isinstance(maker, partial) else {}
    parameters = inspect.signature(maker.func if isinstance(maker, partial) else maker).parameters
    known = {key: parameter.default for key, parameter in parameters.items() if key not in ("self", "classes", *fixed)}
    if name == "unet":  # as published on no backbone
        known = {**known, "backbone": None}
    return known


def as_network(module: nn.Module) -> Network:
    """`module` seen through the contract. Raises UsageError when it does not keep it."""
    if not isinstance(module, Network):
        raise UsageError(f"{type(module).__name__} is no network: it needs forward, losses, score_map and loss.")
    return cast(Network, module)
