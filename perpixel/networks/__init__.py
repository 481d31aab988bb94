"""The networks of the review. Adding one costs a file here and a line in `NETWORKS`.

A network keeps one of two contracts, or both: `PixelNetwork` gives every pixel a class, `InstanceNetwork` finds objects."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol, Self, TypeGuard

import torch
from torch import Tensor, nn

from perpixel.errors import UsageError, did_you_mean
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import Mean, PixelLoss
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
    """What the contracts have in common: the losses, and those methods of `nn.Module` that others call.

    `losses(images, targets)` -> named scalars that train sums. `images` float32 (B, 3, H, W) in [0, 1], any H and W. Pixels whose
    label is void change neither loss nor gradient; a batch that is all void gives 0. It can be built on the meta device:
    `perpixel networks` counts there, and `load` compares shapes there. Without its argument `weights` it loads nothing."""

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

    `valid_score_map(images)`: the scores of the images without these pixels, which are their true surroundings."""

    border: int

    def valid_score_map(self, images: Tensor) -> ScoreMap: ...


class InstanceNetwork(Network, Protocol):
    """A network that finds objects, and learns from the instances of the targets.

    `detect(images, size)` -> the objects of each of the B images: masks bool (N, H, W), class ids, and scores in [0, 1]. `size`
    (height, width) is that of the masks, the images' own without it; every image has it."""

    def detect(self, images: Tensor, size: tuple[int, int] | None = None) -> list[Instances]: ...


class CountingNetwork(InstanceNetwork, Protocol):
    """A network of objects whose losses are means over examples, which it draws at random by the seeds of the targets.

    `means(images, targets)` -> `losses` with their numbers of examples, by which processes that share a batch normalise."""

    void: int

    def means(self, images: Tensor, targets: Targets) -> dict[str, Mean]: ...


# What today's reader expects beside the review's systems. In lists and tables they stand behind these, in a group of their own.
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
    **{PREFIX + architecture: partial(TorchvisionNetwork, architecture=architecture) for architecture in ARCHITECTURES},
    **YARDSTICKS,
}


# Arguments whose values say what they are; any other is named with its value.
SPEAKING = ("variant", "backbone", "layer", "fusion", "convolutions", "norm", "head")
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
    """`module` seen through its contract; it may keep both. Raises UsageError when it keeps none."""
    if labels_pixels(module) or finds_objects(module):
        return module
    wanted = "score_map and loss to give pixels a class, or detect to find objects"
    raise UsageError(f"{type(module).__name__} is no network: it needs losses, and {wanted}.")


# By the names of methods: `isinstance` of a protocol does not see `loss`, which torch keeps among submodules, in Python 3.12.
def labels_pixels(network: object) -> TypeGuard[PixelNetwork]:
    """Whether a network gives every pixel a class."""
    return all(hasattr(network, name) for name in ("losses", "score_map", "loss"))


def finds_objects(network: object) -> TypeGuard[InstanceNetwork]:
    """Whether a network finds objects."""
    return all(hasattr(network, name) for name in ("losses", "detect"))


def counts_examples(network: object) -> TypeGuard[CountingNetwork]:
    """Whether the losses of a network of objects come with their numbers of examples."""
    return finds_objects(network) and hasattr(network, "means")


def has_border(network: object) -> TypeGuard[BorderedNetwork]:
    """Whether a pixel network takes pixels from each side, and can be given true surroundings instead."""
    return labels_pixels(network) and hasattr(network, "valid_score_map") and getattr(network, "border", 0) > 0


def pixel_network(network: Network, purpose: str) -> PixelNetwork:
    """`network`, which must give every pixel a class. Raises UsageError, with the `purpose`, for one that only finds objects."""
    if labels_pixels(network):
        return network
    raise UsageError(f"{purpose}: {type(network).__name__} finds objects and scores no pixels; name a model that scores pixels.")


def trunk_of(network: Network) -> nn.Module | None:
    """The part that a backbone is, where a network has one."""
    trunk: nn.Module | None = getattr(network, "trunk", None)
    return trunk


def mean_colour(network: Network) -> Tensor:
    """The colour (3, 1, 1) in [0, 1] that the network subtracts from pictures; black where it subtracts none."""
    trunk = trunk_of(network)
    for part in (trunk, network):
        mean = getattr(part, "mean", None)
        if isinstance(mean, Tensor) and mean.numel() == 3:
            return mean.detach().view(3, 1, 1)
    return torch.zeros(3, 1, 1)


def with_output_stride(network: Network, output_stride: int) -> Network:
    """A copy of the network that shares its weights and has another output stride; `network` stays as it is.

    Raises UsageError for a network whose output stride cannot be set, or not to this."""
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
