"""The authors' weights: which layer of their Caffe files is which of our parameters. `caffe_file` reads the files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perpixel import networks
from perpixel.backbones import TRUNKS
from perpixel.backbones.googlenet import INCEPTION
from perpixel.backbones.resnet import KINDS
from perpixel.errors import UntrustedFile, UsageError, did_you_mean
from perpixel.networks.deeplabv1 import MSC_FEATURES
from perpixel.networks.deeplabv2 import RATES
from perpixel.networks.fcn import bilinear_kernel
from perpixel.weights.caffe_file import Layer, shape_text

# The names of the authors' networks here. Sources: the `net.py` and prototxt files of shelhamer/fcn.berkeleyvision.org
# (voc-fcn32s, 16s, 8s, 8s-atonce, alexnet); for ParseNet a copy of VGG_VOC2012ext.prototxt in terrychenism/dl_toolbox, which
# keeps the names of the released one; DeconvNet_inference_deploy.prototxt of HyeonwooNoh/DeconvNet, and caffe.proto of
# HyeonwooNoh/caffe for its numbers of layers; for U-Net ports of phseg_v5-train.prototxt, of the release of 2 October 2015;
# for DeepLab v1 copies of its prototxts in TheLegendAli/DeepLab-Context (config/), for v2 on VGG-16 a copy in xmojiao/deeplab_v2,
# for v2 on ResNet-101 the prototxt of KaimingHe/deep-residual-networks and convert.py of kazuto1011/deeplab-pytorch, which loads
# the authors' file.
# For the classifiers of ImageNet: VGG_ILSVRC_16_layers of the model zoo and its fc_reduced; bvlc_reference_caffenet and
# bvlc_googlenet of BVLC/caffe.


@dataclass(frozen=True)
class Definition:
    """Layer name -> our parameters, one for each blob.

    In a name # stands for any number, and * for nothing or "_" and the name of a data set.
    `interpolations` are the deconvolutions from all classes to all, which the authors froze at bilinear interpolation: layer
    name -> our parameter where they are learned, and side of the kernel. `first` are the weights that see the picture in BGR from
    0 to 255, less its mean colour; without them the picture is that of our networks. `mean` is that colour where all data sets
    have the same. `arguments` of the network follow from the file. Layers whose names match `left_out` are not read."""

    first: tuple[str, ...]
    layers: Mapping[str, tuple[str, ...]]
    interpolations: dict[str, tuple[str, int]] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    left_out: str = "(?!)"
    mean: tuple[float, float, float] | None = None


def _convolution(module: str) -> tuple[str, str]:
    return f"{module}.weight", f"{module}.bias"


_VGG16 = {
    "conv1_1": _convolution("trunk.features.0"), "conv1_2": _convolution("trunk.features.2"),
    "conv2_1": _convolution("trunk.features.5"), "conv2_2": _convolution("trunk.features.7"),
    "conv3_1": _convolution("trunk.features.10"), "conv3_2": _convolution("trunk.features.12"),
    "conv3_3": _convolution("trunk.features.14"), "conv4_1": _convolution("trunk.features.17"),
    "conv4_2": _convolution("trunk.features.19"), "conv4_3": _convolution("trunk.features.21"),
    "conv5_1": _convolution("trunk.features.24"), "conv5_2": _convolution("trunk.features.26"),
    "conv5_3": _convolution("trunk.features.28"), "fc6": _convolution("trunk.fc.0"), "fc7": _convolution("trunk.fc.3"),
}  # fmt: skip
_ALEXNET = {name: _convolution(f"trunk.{name}") for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")}
_GOOGLENET = {
    **{f"{block}/{name}": _convolution(f"trunk.{block}.{name}")
       for block, name in (("conv1", "7x7_s2"), ("conv2", "3x3_reduce"), ("conv2", "3x3"))},
    **{f"inception_{block}/{name}": _convolution(f"trunk.inception_{block}.{name}")
       for block in INCEPTION for name in ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")},
}  # fmt: skip
_SCORE32 = {"score_fr": _convolution("score.fc7")}
_SCORE16 = {**_SCORE32, "score_pool4": _convolution("score.pool4")}
_SCORE8 = {**_SCORE16, "score_pool3": _convolution("score.pool3")}
_UP8 = {
    "upscore2": ("upsample.fc7.weight", 4),
    "upscore_pool4": ("upsample.pool4.weight", 4),
    "upscore8": ("upsample.final.weight", 16),
}
_CONV1_1, _CONV1, _CONV1_7X7 = ("trunk.features.0.weight",), ("trunk.conv1.weight",), ("trunk.conv1.7x7_s2.weight",)
_UNET: dict[str, tuple[str, ...]] = {
    **{f"conv_d{level}{a}-{b}": _convolution(f"down.{level}.{i}") for level in range(5) for a, b, i in ("ab0", "bc2")},
    **{
        f"upconv_{below}_u{level}a": _convolution(f"up.{3 - level}")
        for level, below in ((3, "d4c"), (2, "u3d"), (1, "u2d"), (0, "u1d"))
    },
    **{f"conv_u{level}{a}-{b}": _convolution(f"join.{3 - level}.{i}") for level in (3, 2, 1, 0) for a, b, i in ("bc0", "cd2")},
    "conv_u0d-score": _convolution("classify"),
}


DEEPLAB_MEAN = (104.008, 116.669, 122.675)  # BGR in 0..255, of every data set: the data layers of DeepLab's prototxts
_SMALLER = "res0(75|5)"  # in the names of layers that see the picture at 0.75 or 0.5 with the weights of the others
LARGE_FOV_RATES = (12,)
_HEAD_OF_SIDE = {3: "large_fov", 4: "4x4", 7: "7x7"}


def _deeplab_v1(path: Path, layers: Sequence[Layer]) -> Definition:
    """DeepLab v1: the side of fc6 tells its classifier, and the layer data_conv that it has MSc.

    Raises UsageError for a classifier of 4x4 or 7x7 without MSc."""
    side = next((layer.blobs[0].shape[-1] for layer in layers if layer.name == "fc6" and layer.blobs and layer.blobs[0].ndim), 3)
    head, msc = _HEAD_OF_SIDE.get(side, "large_fov"), any(layer.name == "data_conv" for layer in layers)
    if head != "large_fov" and not msc:
        raise UsageError(
            f"{path}: holds DeepLab with a classifier of {head} and pools of 2x2, and deeplabv1 has pools of 3x3; import "
            f"DeepLab-LargeFOV, DeepLab-MSc or DeepLab-MSc-LargeFOV."
        )
    places = {**_VGG16, "fc8*": _convolution("score")}
    arguments: dict[str, Any] = {} if head == "large_fov" else {"head": head}
    if msc:
        arguments["msc"] = True
        for feature in MSC_FEATURES:
            theirs = "data" if feature == "image" else feature
            for layer, ours in (("conv", "conv"), ("fc", "fc"), ("ms", "score")):
                places[f"{theirs}_{layer}"] = _convolution(f"msc.{feature}.{ours}")
    first = (*_CONV1_1, "msc.image.conv.weight") if msc else _CONV1_1
    return Definition(first, places, arguments=arguments, mean=DEEPLAB_MEAN)


def _deeplab_v2_vgg16(path: Path, layers: Sequence[Layer]) -> Definition:
    """DeepLab v2 on VGG-16: fc6_1, fc7_1 ... of four branches (ASPP), or fc6 and fc7 alone (LargeFOV)."""
    places = {name: parameters for name, parameters in _VGG16.items() if not name.startswith("fc")}
    arguments: dict[str, Any] = {"scales": _scales(layers)}
    if any(layer.name == "fc6" for layer in layers):
        places |= {"fc6": _VGG16["fc6"], "fc7": _VGG16["fc7"], "fc8*": _convolution("score.0")}
        arguments["rates"] = LARGE_FOV_RATES
    else:
        for branch in range(len(RATES)):
            for layer, ours in (("fc6", f"trunk.fc.{branch}.0"), ("fc7", f"trunk.fc.{branch}.3"), ("fc8*", f"score.{branch}")):
                places[f"{layer}_{branch + 1}"] = _convolution(ours)
    return Definition(_CONV1_1, places, arguments=arguments, left_out=_SMALLER, mean=DEEPLAB_MEAN)


def _deeplab_v2_resnet101(path: Path, layers: Sequence[Layer]) -> Definition:
    """DeepLab v2 on ResNet-101: batch normalisation is a layer of statistics (bn) and one of scale and shift (scale)."""
    places: dict[str, tuple[str, ...]] = {}

    def add(theirs: str, name: str, convolution: str, norm: str) -> None:
        places[theirs] = (f"{convolution}.weight",)
        places[f"bn{name}"] = (f"{norm}.running_mean", f"{norm}.running_var")
        places[f"scale{name}"] = (f"{norm}.weight", f"{norm}.bias")

    add("conv1", "_conv1", "trunk.conv1", "trunk.bn1")
    for stage, blocks in enumerate(KINDS["resnet101"][0], start=2):
        for block in range(blocks):
            name = f"{stage}{'abc'[block] if blocks == 3 else f'b{block}' if block else 'a'}"
            ours = f"trunk.layer{stage - 1}.{block}"
            for number, letter in enumerate("abc", start=1):
                add(f"res{name}_branch2{letter}", f"{name}_branch2{letter}", f"{ours}.conv{number}", f"{ours}.bn{number}")
            if block == 0:
                add(f"res{name}_branch1", f"{name}_branch1", f"{ours}.downsample.0", f"{ours}.downsample.1")
    for number in range(len(RATES)):
        places[f"fc1*_c{number}"] = _convolution(f"score.{number}")
    arguments = {"stride_in": "1x1", "scales": _scales(layers)}
    return Definition(_CONV1, places, arguments=arguments, left_out=_SMALLER, mean=DEEPLAB_MEAN)


def _scales(layers: Sequence[Layer]) -> tuple[float, ...]:
    """The scales at which the network of a file sees the picture."""
    names = [layer.name for layer in layers]
    return (1.0, *(scale for scale, mark in ((0.75, "res075"), (0.5, "res05")) if any(mark in name for name in names)))


def _deconvnet() -> dict[str, tuple[str, ...]]:
    """Every layer with weights, and its batch normalisation, of which the file has scale and shift alone."""
    places: dict[str, tuple[str, ...]] = {**_VGG16, "seg-score-voc": _convolution("score")}
    for index, layer in enumerate(_VGG16):
        places[f"bn{layer.removeprefix('conv')}"] = _convolution(f"trunk.norm.{index}")
    decoder = {"fc6-deconv": ("fc6-deconv-bn", "fc6_deconv")}
    for block, layers in enumerate((2, 2, 3, 3, 3), start=1):
        for layer in (f"{block}_{number}" for number in range(1, layers + 1)):
            decoder[f"deconv{layer}"] = (f"debn{layer}", f"deconv.{5 - block}.{int(layer[-1]) - 1}")
    for layer, (norm, module) in decoder.items():
        places |= {layer: _convolution(f"{module}.layer"), norm: _convolution(f"{module}.norm")}
    return places


# By network, and by backbone or variant: the definition, or a function of the file's path and layers that makes it.
DEFINITIONS: dict[tuple[str, str | None], Definition | Callable[[Path, Sequence[Layer]], Definition]] = {
    ("fcn32s", "vgg16"): Definition(_CONV1_1, {**_VGG16, **_SCORE32}, {"upscore": ("upsample.final.weight", 64)}),
    ("fcn32s", "alexnet"): Definition(_CONV1, {**_ALEXNET, **_SCORE32}, {"upscore": ("upsample.final.weight", 63)}),
    ("fcn16s", "vgg16"): Definition(
        _CONV1_1,
        {**_VGG16, **_SCORE16},
        {"upscore2": ("upsample.fc7.weight", 4), "upscore16": ("upsample.final.weight", 32)},
    ),
    ("fcn8s", "vgg16"): Definition(_CONV1_1, {**_VGG16, **_SCORE8}, _UP8),
    ("fcn8s_atonce", "vgg16"): Definition(
        _CONV1_1,
        {**_VGG16, **_SCORE8, "scale_pool4": ("skip_scale.pool4",), "scale_pool3": ("skip_scale.pool3",)},
        _UP8,
    ),
    ("parsenet", "vgg16_reduced"): Definition(
        _CONV1_1,
        {
            **_VGG16,
            "fc7_norm": ("normalize.fc7.scale",),
            "pool6_1x1_norm": ("normalize.pool6.scale",),
            "fc7_norm_score#": _convolution("score.fc7"),
            "pool6_1x1_norm_score#": _convolution("score.pool6"),
            "upscore#": _convolution("upscore"),
        },
    ),
    ("deconvnet", None): Definition(_CONV1_1, _deconvnet()),
    ("deeplabv1", "vgg16_reduced"): _deeplab_v1,
    ("deeplabv2", "vgg16_reduced"): _deeplab_v2_vgg16,
    ("deeplabv2", "resnet101"): _deeplab_v2_resnet101,
    ("unet", "release"): Definition((), _UNET, arguments={"channels": 1}),  # grey from 0 to 1
}
_HEADS = "^loss[12]/(conv|fc|classifier)$|^loss3/classifier$"
CLASSIFIERS = {  # of ImageNet, by trunk, without the layers that tell ImageNet's classes apart
    "vgg16": Definition(_CONV1_1, _VGG16, left_out="^fc8$"),
    "vgg16_reduced": Definition(_CONV1_1, _VGG16, left_out="^fc8$"),
    "alexnet": Definition(_CONV1, _ALEXNET, left_out="^fc8$"),
    "googlenet": Definition(_CONV1_7X7, _GOOGLENET, left_out=_HEADS),
}
# Mean colours that the authors subtract from pictures, BGR in 0..255, by class table: the data layers of the FCN repository.
VOC_MEAN = (104.00699, 116.66877, 122.67892)
CONTEXT_MEAN = (104.007, 116.669, 122.679)
SIFTFLOW_MEAN = (114.578, 115.294, 108.353)
MEANS = {
    "voc2012": VOC_MEAN, "context33": CONTEXT_MEAN, "context59": CONTEXT_MEAN, "context60": CONTEXT_MEAN,
    "siftflow": SIFTFLOW_MEAN, "siftflow_geometric": SIFTFLOW_MEAN, "nyud": (116.190, 97.203, 92.318),
}  # fmt: skip
TOLERANCE = 1e-6  # of bilinear kernels
DECIDED = ("weights", "learned_upsampling", "unpooling", "head", "msc", "stride_in")  # arguments that follow from a file
# Conditions that the authors state in the repository of a network.
LICENCES = {
    "deconvnet": "its authors' repository allows individual research use alone, and redistribution and commercial use by a "
    "licence of the Pohang University of Science and Technology"
}


def convert(
    path: Path, layers: Sequence[Layer], network: str, classes: int, mean: tuple[float, float, float] = VOC_MEAN, **arguments: Any
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments of `networks.build` and state of `network` for `classes` classes, from the layers of the file `path`.

    `mean` is the BGR colour in 0..255 that was subtracted from pictures; `arguments` are the network's. Interpolation is fixed
    where that of the file is bilinear, and learned otherwise. Batch normalisation without statistics in the file is scale and
    shift alone.
    Raises UsageError when there is no such network in Caffe's format, UntrustedFile that names every layer that is unknown,
    missing or of another shape."""
    layers = [_normalised(layer) for layer in layers]
    definition = _definition(path, layers, network, arguments)
    mean = definition.mean or mean
    arguments = {**definition.arguments, **arguments}
    given, _ = _given(layers, definition)
    fixed = all(_is_bilinear(given[name]) for name in definition.interpolations if name in given)
    if not fixed:
        arguments = {**arguments, "learned_upsampling": "all"}
    with torch.device("meta"):
        expected = networks.build(network, classes, **arguments).state_dict()
    for parameters in definition.layers.values():
        if not expected.keys() >= set(parameters):
            raise UsageError(f"{network} with {arguments} is no network of the authors in Caffe's format; leave arguments out.")
    sides = {parameter: (classes, classes, side, side) for parameter, side in definition.interpolations.values()}
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()} | sides
    contents, named = f"{network} with {classes} classes", "network, backbone and classes"
    state = _state(path, layers, definition, shapes, mean, contents, named, str(classes))
    if fixed:
        state = {name: tensor for name, tensor in state.items() if name not in sides}
    assert {name: tensor.shape for name, tensor in state.items()} == {name: tensor.shape for name, tensor in expected.items()}
    return arguments, state


def convert_trunk(path: Path, layers: Sequence[Layer], trunk: str, **arguments: Any) -> dict[str, Tensor]:
    """The state of the trunk `trunk`, by the names that it has in networks, from the layers of a classifier of ImageNet.

    Fully connected fc6 and fc7 become convolutions; classifiers are left out. `VOC_MEAN` is subtracted from pictures, as in FCN's
    trainings. `path` is the file, for messages.
    Raises UnknownName for another trunk, UntrustedFile that names every layer that is unknown, missing or of another shape."""
    if trunk not in CLASSIFIERS:
        raise did_you_mean("trunk", trunk, CLASSIFIERS)
    definition = CLASSIFIERS[trunk]
    with torch.device("meta"):
        expected = TRUNKS[trunk](**arguments).state_dict()
    shapes = {f"trunk.{name}": tuple(tensor.shape) for name, tensor in expected.items()}
    state = _state(path, layers, definition, shapes, VOC_MEAN, f"the trunk {trunk}", "trunk")
    assert {name: tensor.shape for name, tensor in state.items()} == shapes
    return state


def _given(layers: Sequence[Layer], definition: Definition) -> tuple[dict[str, Layer], list[str]]:
    """The layers with weights that have a place, by their names in the tables, and the names of those that have none."""
    given: dict[str, Layer] = {}
    unknown = []
    for layer in layers:
        if not layer.blobs or _left_out(layer.name, definition):
            continue
        known = _key(layer.name, definition)
        if known is None or known in given:
            unknown.append(layer.name)
        else:
            given[known] = layer
    return given, unknown


def _state(
    path: Path,
    layers: Sequence[Layer],
    definition: Definition,
    shapes: Mapping[str, tuple[int, ...]],
    mean: tuple[float, float, float],
    contents: str,
    named: str,
    classes: str = "#",
) -> dict[str, Tensor]:
    """The tensors of every layer of `definition` in the `shapes` of our parameters, and the mean colour of pictures.

    Raises UntrustedFile when the file does not hold `contents`; its message asks for the `named`."""
    given, unknown = _given(layers, definition)
    interpolations = {name: (parameter,) for name, (parameter, _) in definition.interpolations.items()}
    needed = {name: {key: shapes[key] for key in keys} for name, keys in {**definition.layers, **interpolations}.items()}
    state: dict[str, Tensor] = {}
    misshapen = []
    for name, layer in given.items():
        wanted = list(needed[name].values())
        blobs = [_fitted(blob, shape, layer.type) for blob, shape in zip(layer.blobs, wanted, strict=False)]
        if len(layer.blobs) != len(wanted) or any(blob is None for blob in blobs):
            given_shapes, right_shapes = (" and ".join(map(shape_text, shapes)) for shapes in (layer.shapes, wanted))
            misshapen.append(f"{layer.name} ({given_shapes}, not {right_shapes})")
        else:
            state |= {parameter: torch.from_numpy(blob) for parameter, blob in zip(needed[name], blobs, strict=True)}
    missing = [name.replace("#", classes).replace("*", "") for name in needed if name not in given]
    wrong = {"unknown layers": unknown, "missing layers": missing, "layers of another shape": misshapen}
    if any(wrong.values()):
        listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in wrong.items() if names)
        raise UntrustedFile(f"{path}: does not hold {contents} ({listed}); name the {named} that it was made for.")
    for name in definition.first:
        state[name] = state[name].flip(1)
    if definition.first:
        state["trunk.mean"] = torch.tensor(mean[::-1]).view(3, 1, 1) / 255
        if "trunk.scale" in shapes:
            state["trunk.scale"] = torch.full((3, 1, 1), 255.0)
        else:
            state["trunk.std"] = torch.full((3, 1, 1), 1 / 255)
    for name, shape in shapes.items():
        if name.endswith("running_mean"):  # a file without statistics has them in scale and shift
            state.setdefault(name, torch.zeros(shape))
        elif name.endswith("running_var"):
            state.setdefault(name, torch.ones(shape))
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.zeros(shape, dtype=torch.long)
    return state


def _normalised(layer: Layer) -> Layer:
    """A BatchNorm layer of Caffe with its mean and variance. Its file has sums, and in a third blob the divisor of both.

    With the divisor 0, mean and variance are 0, as in Caffe. Any other layer is returned as it is."""
    if layer.type != "BatchNorm" or [blob.size for blob in layer.blobs[2:]] != [1]:
        return layer
    divisor = float(layer.blobs[2].flat[0])
    share = 1 / divisor if divisor else 0.0
    return replace(layer, blobs=[(blob.astype(np.float64) * share).astype(np.float32) for blob in layer.blobs[:2]])


def _definition(path: Path, layers: Sequence[Layer], network: str, arguments: dict[str, Any]) -> Definition:
    named = networks.title(network, arguments)
    known = {**networks.arguments_of(network, arguments), **arguments}
    definition = DEFINITIONS.get((network, known.get("backbone") or known.get("variant")))
    if definition is None:
        known_networks = ", ".join(" ".join(filter(None, names)) for names in DEFINITIONS)
        raise UsageError(f"{named}: there are no weights of its authors in Caffe's format; there are of {known_networks}.")
    if callable(definition):
        definition = definition(path, layers)
    decided = sorted({*DECIDED, *definition.arguments} & arguments.keys())
    if decided:
        raise UsageError(f"{' and '.join(decided)}: the file decides that; leave it out.")
    return definition


def _left_out(name: str, definition: Definition) -> bool:
    return re.search(definition.left_out, name) is not None


def _key(name: str, definition: Definition) -> str | None:
    """The name in the tables that stands for the layer `name`."""
    keys = [*definition.layers, *definition.interpolations]
    return name if name in keys else next((key for key in keys if re.fullmatch(_pattern(key), name)), None)


@cache
def _pattern(key: str) -> str:
    """A name of the tables as a regular expression."""
    return re.escape(key).replace(re.escape("#"), r"\d+").replace(re.escape("*"), r"(_[A-Za-z0-9]+)?")


def _fitted(blob: NDArray[np.float32], shape: tuple[int, ...], kind: str) -> NDArray[np.float32] | None:
    """`blob` in `shape` if their sides differ in ones alone, else none. The rows of a fully connected layer are kernels."""
    longer = [side for side in blob.shape if side != 1]
    same = longer == [side for side in shape if side != 1]
    if not same and kind == "InnerProduct":
        same = [side for side in (shape[0], prod(shape[1:])) if side != 1] == longer
    return blob.reshape(shape) if same else None


def _is_bilinear(layer: Layer) -> bool:
    """Whether a deconvolution from all classes to all is bilinear interpolation of each class. False for any other layer."""
    blob = layer.blobs[0]
    if blob.ndim != 4 or blob.shape[0] != blob.shape[1] or blob.shape[2] != blob.shape[3]:
        return False
    kernel = bilinear_kernel(blob.shape[2]).numpy()
    return bool(np.allclose(blob, np.eye(len(blob), dtype=np.float32)[:, :, None, None] * kernel, rtol=0, atol=TOLERANCE))
