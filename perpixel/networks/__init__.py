"""The networks of the review. A new network is a file here and a line in `NETWORKS`.

A network keeps one of two contracts, or both: `PixelNetwork` gives every pixel a class, `InstanceNetwork` finds objects."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, Self, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from perpixel.backbones import WITHOUT_IMAGENET
from perpixel.errors import UsageError, did_you_mean
from perpixel.layers.first_convolution import take_bands
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import Mean, PixelLoss
from perpixel.networks.classifier import Classifier
from perpixel.networks.deconvnet import DeconvNet
from perpixel.networks.deeplabv1 import DeepLabV1
from perpixel.networks.deeplabv2 import DeepLabV2
from perpixel.networks.deeplabv3 import DeepLabV3
from perpixel.networks.deeplabv3plus import DeepLabV3Plus
from perpixel.networks.encnet import EncNet
from perpixel.networks.fcn import FCN
from perpixel.networks.fpn import FPN
from perpixel.networks.fpn_proposals import FPNProposals
from perpixel.networks.mask_rcnn import MaskRCNN
from perpixel.networks.panet import PANet
from perpixel.networks.parsenet import ParseNet
from perpixel.networks.pspnet import PSPNet
from perpixel.networks.segformer import SegFormer
from perpixel.networks.torchvision import ARCHITECTURES, PREFIX, TorchvisionNetwork
from perpixel.networks.unet import BackboneUNet, UNet, unet
from perpixel.networks.upernet import UPerNet
from perpixel.networks.vit_linear import ViTLinear
from perpixel.sample import Instances, Targets


class Network(Protocol):
    """The common part of both contracts: the losses, and the methods of `nn.Module` that callers use.

    `losses(images, targets)` -> named scalars, which training sums. `images` float32 (B, 3, H, W) in [0, 1], any H and W; built
    with `channels=N` it takes N bands in place of RGB. Pixels
    whose label is void change neither loss nor gradient. A batch that is all void gives 0. A network can be built on the meta
    device, where `perpixel networks` counts and `load` compares shapes. Without its argument `weights` it loads nothing."""

    training: bool

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]: ...
    def train(self, mode: bool = True) -> Self: ...
    def eval(self) -> Self: ...
    def to(self, *args: Any, **kwargs: Any) -> Self: ...
    def requires_grad_(self, requires_grad: bool = True) -> Self: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object: ...


class PixelNetwork(Network, Protocol):
    """A network that gives every pixel a class.

    `forward(images)` -> dict with the same keys in train and eval, `"logits"` (B, C, H, W) among them. `score_map(images)`: the
    scores before the last interpolation. Training may replace `loss`; the weights of the targets multiply its cross-entropy."""

    loss: PixelLoss

    def __call__(self, images: Tensor) -> dict[str, Tensor]: ...
    def score_map(self, images: Tensor) -> ScoreMap: ...


class BorderedNetwork(PixelNetwork, Protocol):
    """A pixel network of valid convolutions, which take `border` pixels from each side.

    `valid_score_map(images)`: the scores of the images without these pixels, which are the true surroundings of the rest."""

    border: int

    def valid_score_map(self, images: Tensor) -> ScoreMap: ...


class InstanceNetwork(Network, Protocol):
    """A network that finds objects, and learns from the instances of the targets.

    `detect(images, size)` -> the objects of each of the B images: masks bool (N, H, W), class ids, and scores in [0, 1]. All
    masks have `size` (height, width), by default that of the images."""

    def detect(self, images: Tensor, size: tuple[int, int] | None = None) -> list[Instances]: ...


class CountingNetwork(InstanceNetwork, Protocol):
    """A network of objects whose losses are means over examples, which it draws at random by the seeds of the targets.

    `means(images, targets)` -> `losses` with their numbers of examples, by which processes that share a batch normalise."""

    void: int

    def means(self, images: Tensor, targets: Targets) -> dict[str, Mean]: ...


class LabellingNetwork(Network, Protocol):
    """A graph in place of a network, which gives labels and keeps its scores to itself (`weights.exported_file`).

    `labels(image)`: of a picture, uint8 RGB (H, W, 3), the labels (H, W), and the probabilities (C, H, W) if it `gives_scores`.
    `engine` says what runs it."""

    engine: str
    gives_scores: bool

    def labels(self, image: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[np.float32] | None]: ...


# Later networks beside the review's systems. In lists and tables they stand behind the systems, in a group of their own.
YARDSTICKS: dict[str, Callable[..., nn.Module]] = {"vit_linear": ViTLinear, "segformer": SegFormer, "upernet": UPerNet}
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "fcn32s": partial(FCN, stride=32, at_once=False),
    "fcn16s": partial(FCN, stride=16, at_once=False),
    "fcn8s": partial(FCN, stride=8, at_once=False),
    "fcn8s_atonce": partial(FCN, stride=8, at_once=True),
    "parsenet": ParseNet,
    "deconvnet": DeconvNet,
    "unet": unet,
    "fpn": FPN,
    "fpn_proposals": FPNProposals,
    "pspnet": PSPNet,
    "mask_rcnn": MaskRCNN,
    "deeplabv1": DeepLabV1,
    "deeplabv2": DeepLabV2,
    "deeplabv3": DeepLabV3,
    "deeplabv3plus": DeepLabV3Plus,
    "panet": PANet,
    "encnet": EncNet,
    "classifier": Classifier,
    **{PREFIX + architecture: partial(TorchvisionNetwork, architecture=architecture) for architecture in ARCHITECTURES},
    **YARDSTICKS,
}


# Arguments whose values are clear without their name. A title has name and value of all others.
SPEAKING = ("variant", "backbone", "layer", "fusion", "convolutions", "norm", "head")
# Arguments that no title has: the start of training, and the channels of pictures.
UNNAMED = ("weights", "channels")


def build(name: str, classes: int = 21, *, bands: Sequence[str] | None = None, **arguments: Any) -> nn.Module:
    """The network `name` for `classes` classes; without arguments the paper's own, randomly initialised.

    Every network takes `channels`, the number of bands that pictures have in place of RGB; `bands` are their names, by which
    filters of red, green and blue that learned from ImageNet become theirs (`layers.first_convolution`).
    Raises UnknownName for a network or argument that does not exist, UsageError for one that does not fit."""
    _known(name, arguments)
    if classes < 1:
        raise UsageError(f"a network needs at least one class, not {classes}.")
    channels = len(bands) if bands is not None else arguments.get("channels")
    if name == "unet" and not arguments.get("backbone"):
        return NETWORKS[name](classes=classes, **{**arguments, **({} if channels is None else {"channels": channels})})
    network = NETWORKS[name](classes=classes, **{key: value for key, value in arguments.items() if key != "channels"})
    if channels is not None and channels < 1:
        raise UsageError(f"channels={channels}: pictures have 1 or more.")
    if bands is not None or channels not in (None, 3):
        names = bands or [f"band {number}" for number in range(1, 1 + (channels or 3))]
        take_bands(network, names, learned=arguments.get("weights") == "imagenet")
    return network


def title(name: str, arguments: Mapping[str, Any]) -> str:
    """The name of a network for people, with every argument that is not as published.

    Examples: "fcn8s", "unet same, batch", "fcn8s resnet18", "fcn8s width 0.25, padding 1".
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
    """The arguments that the network takes, with their defaults. Raises UnknownName for an unknown network or argument."""
    if name not in NETWORKS:
        raise did_you_mean("network", name, NETWORKS)
    known = {"channels": 3, **arguments_of(name, given)}
    for argument in given:
        if argument not in known:
            raise did_you_mean(f"argument of {name}", argument, known)
    return known


def arguments_of(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the network `name` takes, with their defaults. U-Net with a backbone takes other arguments."""
    maker: Any = NETWORKS[name]
    if name == "unet":
        maker = BackboneUNet if given.get("backbone") else UNet
    fixed = maker.keywords if isinstance(maker, partial) else {}
    parameters = inspect.signature(maker.func if isinstance(maker, partial) else maker).parameters
    known = {key: parameter.default for key, parameter in parameters.items() if key not in ("self", "classes", *fixed)}
    if name == "unet":  # as published on no backbone
        known = {**known, "backbone": None}
    return known


def begins_with_imagenet(name: str, arguments: Mapping[str, Any], weights: str, starts_from: str | None = None) -> bool:
    """Whether a network begins with ImageNet's weights, by the setting `weights`: imagenet, none, or auto, which takes them for a
    full-size trunk that has any, unless training starts from a run."""
    known = arguments_of(name, arguments) if name in NETWORKS else {}
    if "weights" not in known:
        return False
    backbone = arguments.get("backbone", known.get("backbone"))
    automatic = backbone not in WITHOUT_IMAGENET and arguments.get("width", 1) == 1 and starts_from is None
    return weights == "imagenet" or (weights == "auto" and automatic)


def as_network(module: nn.Module) -> Network:
    """`module` with the type of its contract. Raises UsageError when it keeps no contract."""
    if labels_pixels(module) or finds_objects(module):
        return module
    wanted = "score_map and loss to give pixels a class, or detect to find objects"
    raise UsageError(f"{type(module).__name__} is no network: it needs losses, and {wanted}.")


# Methods are compared by name: in Python 3.12 `isinstance` of a protocol does not see `loss`, which torch keeps as a submodule.
def labels_pixels(network: object) -> TypeGuard[PixelNetwork]:
    """Whether a network gives every pixel a class."""
    return all(hasattr(network, name) for name in ("losses", "score_map", "loss"))


def finds_objects(network: object) -> TypeGuard[InstanceNetwork]:
    """Whether a network finds objects."""
    return all(hasattr(network, name) for name in ("losses", "detect"))


def gives_labels(network: object) -> TypeGuard[LabellingNetwork]:
    """Whether a graph stands in place of a network."""
    return hasattr(network, "gives_scores")


def counts_examples(network: object) -> TypeGuard[CountingNetwork]:
    """Whether the losses of a network of objects come with their numbers of examples."""
    return finds_objects(network) and hasattr(network, "means")


def has_border(network: object) -> TypeGuard[BorderedNetwork]:
    """Whether a pixel network takes pixels from each side, and accepts pictures with their true surroundings."""
    return labels_pixels(network) and hasattr(network, "valid_score_map") and getattr(network, "border", 0) > 0


def pixel_network(network: Network, purpose: str) -> PixelNetwork:
    """`network`, if it gives every pixel a class. Else raises UsageError, whose message begins with the `purpose`."""
    if labels_pixels(network):
        return network
    if gives_labels(network):
        raise UsageError(f"{purpose}: an exported file labels whole pictures alone; name the run that it was made of.")
    raise UsageError(f"{purpose}: {type(network).__name__} finds objects and scores no pixels; name a model that scores pixels.")


def trunk_of(network: Network) -> nn.Module | None:
    """The backbone of a network, or none."""
    trunk: nn.Module | None = getattr(network, "trunk", None)
    return trunk


def mean_colour(network: Network) -> Tensor:
    """The colour (3, 1, 1) in [0, 1] that the network subtracts from pictures, of N bands (N, 1, 1); black, (1, 1, 1), by
    default."""
    trunk = trunk_of(network)
    for part in (trunk, network):
        mean = getattr(part, "mean", None)
        if isinstance(mean, Tensor) and mean.ndim == 3:
            return mean.detach()
    return torch.zeros(1, 1, 1)


def with_output_stride(network: Network, output_stride: int) -> Network:
    """A copy of the network with another output stride, which shares its weights. `network` itself is not changed.

    Raises UsageError for a network without a settable output stride, and for a stride that it cannot have."""
    known = getattr(type(network), "output_stride", None)
    if not isinstance(known, property) or known.fset is None:
        raise UsageError(
            f"output_stride = {output_stride}: {type(network).__name__} has no output stride to set, as networks with dilated "
            "stages have; leave output_stride out."
        )
    tensors = (tensor for module in network.modules() for tensor in (*module.parameters(False), *module.buffers(False)))
    other: Any = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    other.output_stride = output_stride
    return as_network(other)
