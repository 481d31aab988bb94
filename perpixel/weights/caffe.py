"""The authors' weights, read without Caffe: `.caffemodel` files, and which of their layers is which of our parameters.

A `.caffemodel` is a NetParameter in protobuf's wire format; the few fields that hold weights are read here by their numbers in
`src/caffe/proto/caffe.proto` of BVLC/caffe, and everything else is skipped by its length, never entered:

    NetParameter       layer 100 (LayerParameter), or before 2015 layers 2 (V1LayerParameter)
    LayerParameter     name 1, type 2 (text), blobs 7          V1LayerParameter   name 4, type 5 (number), blobs 6
    BlobProto          shape 7, or num 1, channels 2, height 3, width 4; data 5, or double_data 8
    BlobShape          dim 1

Files come from strangers: reading takes a few times the memory of the file, and every field counts towards `MOST_FIELDS`."""

from __future__ import annotations

import mmap
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from perpixel.errors import DataError, UntrustedFile, UsageError, did_you_mean, printable
from perpixel.networks.fcn import bilinear_kernel

MOST_FIELDS = 200_000  # ResNet-152 has about 25,000; a run of unpacked floats is one
MOST_AXES = 32  # Caffe's own limit
LONGEST_NAME = 200
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 are groups, which caffe.proto has none of
V1_TYPES = {
    1: "Accuracy", 2: "BNLL", 3: "Concat", 4: "Convolution", 5: "Data", 6: "Dropout", 7: "EuclideanLoss", 8: "Flatten",
    9: "HDF5Data", 10: "HDF5Output", 11: "Im2col", 12: "ImageData", 13: "InfogainLoss", 14: "InnerProduct", 15: "LRN",
    16: "MultinomialLogisticLoss", 17: "Pooling", 18: "ReLU", 19: "Sigmoid", 20: "Softmax", 21: "SoftmaxWithLoss", 22: "Split",
    23: "TanH", 24: "WindowData", 25: "Eltwise", 26: "Power", 27: "SigmoidCrossEntropyLoss", 28: "HingeLoss", 29: "MemoryData",
    30: "ArgMax", 31: "Threshold", 32: "DummyData", 33: "Slice", 34: "MVN", 35: "AbsVal", 36: "Silence", 37: "ContrastiveLoss",
    38: "Exp", 39: "Deconvolution",
    # From 40 on each branch of Caffe has its own; these are in the files of DeconvNet's authors.
    41: "EltwiseAccuracy", 42: "Unpooling", 43: "BN", 46: "ImageSegData", 47: "WindowSegData",
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A layer of a file; `blobs` are its weights, float32 in the shapes that the file gives them."""

    name: str
    type: str
    blobs: list[NDArray[np.float32]]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [blob.shape for blob in self.blobs]


def read_caffemodel(path: str | Path) -> list[Layer]:
    """The layers of a file in its order, those without weights too; of the old and of the new layer format.

    Raises DataError when there is no file, UntrustedFile when it is damaged, names a layer with weights twice, or holds a weight
    that is not finite."""
    path = Path(path)
    if not os.path.isfile(path):
        raise DataError(f"{printable(path)}: there is no such file; name a .caffemodel.")
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        budget = iter(range(MOST_FIELDS))
        layers = []
        for number, _, value in _fields(data, budget, {100: (BYTES,), 2: (BYTES,)}):
            layers.append(_layer(value, budget, *((1, 2, 7) if number == 100 else (4, 5, 6))))
        if not layers:
            raise ValueError("it has no layers")
        twice = [name for name, times in Counter(layer.name for layer in layers if layer.blobs).items() if times > 1]
        if twice:
            raise ValueError(f"these layers have weights twice: {', '.join(twice)}")
    except ValueError as error:
        raise UntrustedFile(f"{path}: is damaged or no .caffemodel ({error}); use another copy.") from error
    return layers


def _layer(data: memoryview, budget: Iterator[int], name_field: int, type_field: int, blobs_field: int) -> Layer:
    """A LayerParameter, or a V1LayerParameter by the numbers of its fields."""
    name, kind, blobs = "", "", []
    old = type_field == 5
    wanted = {name_field: (BYTES,), type_field: (VARINT if old else BYTES,), blobs_field: (BYTES,)}
    for number, _, value in _fields(data, budget, wanted):
        if number == name_field:
            name = _text(value)
        elif number == type_field:
            kind = V1_TYPES.get(value, f"type {value}") if old else _text(value)
        else:
            blobs.append(value)
    if blobs and not name:
        raise ValueError("a layer with weights has no name")
    return Layer(name, kind, [_blob(blob, budget, f"blob {index} of {name}") for index, blob in enumerate(blobs)])


def _blob(data: memoryview, budget: Iterator[int], where: str) -> NDArray[np.float32]:
    """The weights of a BlobProto. Where both shapes are given the old one counts, as in Caffe."""
    shape: list[int] = []
    old_shape: dict[int, int] = {}
    parts: dict[int, list[NDArray[Any]]] = {5: [], 8: []}
    wanted: dict[int, tuple[int, ...]] = {axis: (VARINT,) for axis in (1, 2, 3, 4)}
    for number, wire, value in _fields(data, budget, {**wanted, 5: (BYTES, FIXED32), 7: (BYTES,), 8: (BYTES, FIXED64)}):
        if number == 7:
            for _, kind, dims in _fields(value, budget, {1: (BYTES, VARINT)}):
                shape += _varints(dims, MOST_AXES - len(shape)) if kind == BYTES else [dims]
                if len(shape) > MOST_AXES:
                    raise ValueError(f"{where} has more than {MOST_AXES} axes")
        elif number in parts:
            width = 4 if number == 5 else 8
            if wire == BYTES:
                if len(value) % width:
                    raise ValueError(f"{where} ends within a number")
                value = np.frombuffer(value, f"<f{width}") if len(value) else np.empty(0, f"<f{width}")
            parts[number].append(value)
        else:
            old_shape[number] = value
    if old_shape:
        shape = [old_shape.get(axis, 0) for axis in (1, 2, 3, 4)]
    shape = [side - (side >> 63 << 64) for side in shape]  # int64
    if parts[5] and parts[8]:
        raise ValueError(f"{where} has weights in single and in double precision")
    found = parts[5] or parts[8]
    count = sum(part.size for part in found)
    if min(shape, default=1) < 0 or prod(shape) != count:
        raise ValueError(f"{where} has the shape {shape_text(shape)} and {count} weights")
    weights = np.empty(count, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        np.concatenate(found or [weights], out=weights, casting="same_kind")
    if not np.isfinite(weights).all():
        raise ValueError(f"{where} holds a weight that is not finite")
    return weights.reshape(shape)


def _text(data: memoryview) -> str:
    if len(data) > LONGEST_NAME:
        raise ValueError(f"a layer has a name of {len(data)} bytes")
    text = str(data, "utf-8")
    if not text.isprintable():
        raise ValueError(f"a layer has the name {text!r}")
    return text


def _fields(data: memoryview, budget: Iterator[int], wanted: Mapping[int, tuple[int, ...]]) -> Iterator[tuple[int, int, Any]]:
    """The wanted fields of a message: (number, wire type, value); others are skipped.

    `wanted` gives the wire types that a field may have. A value is an int, the bytes, or for numbers of fixed width an array of
    all that follow each other under the same number. Raises ValueError for what is not the wire format."""
    at, end = 0, len(data)
    while at < end:
        if next(budget, None) is None:
            raise ValueError(f"it has more than {MOST_FIELDS} fields")
        start = at
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29:
            raise ValueError(f"no field has the number {number}")
        value: Any
        if wire == VARINT:
            value, at = _varint(data, at)
        elif wire == BYTES:
            length, at = _varint(data, at)
            if length > end - at:
                raise ValueError(f"it ends {length - (end - at)} bytes early")
            value, at = data[at : at + length], at + length
        elif wire in (FIXED32, FIXED64):
            value, at = _run(data, start, at, 4 if wire == FIXED32 else 8)
        else:
            raise ValueError(f"a field has the wire type {wire}")
        if number in wanted:
            if wire not in wanted[number]:
                raise ValueError(f"field {number} has the wire type {wire}")
            yield number, wire, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The unsigned number of 64 bits that starts at `at`, and where the next begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, at
    raise ValueError("a number has more than 64 bits")


def _varints(data: memoryview, most: int) -> list[int]:
    """The numbers that fill `data`; no more than one after `most`."""
    found: list[int] = []
    at = 0
    while at < len(data) and len(found) <= most:
        value, at = _varint(data, at)
        found.append(value)
    return found


def _run(data: memoryview, start: int, at: int, width: int) -> tuple[NDArray[Any], int]:
    """The numbers of `width` bytes from the field at `start` on, whose own is at `at`, as long as the same tag precedes each;
    and where the next field begins."""
    tag, step = bytes(data[start:at]), at - start + width
    most = (len(data) - start) // step
    if most == 0:
        raise ValueError("it ends within a number")
    records = np.frombuffer(data, np.uint8, most * step, start).reshape(most, step)
    count, window = 1, 64  # looks ahead no further than twice what it takes, or many short runs would cost their square
    while count < most:
        differs = np.flatnonzero((records[count : count + window, : len(tag)] != list(tag)).any(axis=1))
        if differs.size:
            count += int(differs[0])
            break
        count, window = min(most, count + window), 2 * window
    numbers = np.ascontiguousarray(records[:count, len(tag) :]).view(f"<f{width}").ravel()
    return numbers, start + count * step


# What the authors' networks are called here. Sources: the `net.py` and prototxt files of shelhamer/fcn.berkeleyvision.org
# (voc-fcn32s, 16s, 8s, 8s-atonce, alexnet); for ParseNet a copy of VGG_VOC2012ext.prototxt in terrychenism/dl_toolbox, which
# keeps the names of the released one; DeconvNet_inference_deploy.prototxt of HyeonwooNoh/DeconvNet, and caffe.proto of
# HyeonwooNoh/caffe for its numbers of layers; for U-Net ports of phseg_v5-train.prototxt, of the release of 2 October 2015.
# For the classifiers of ImageNet: VGG_ILSVRC_16_layers of the model zoo and its fc_reduced; bvlc_reference_caffenet and
# bvlc_googlenet of BVLC/caffe.


@dataclass(frozen=True)
class Definition:
    """Layer name -> our parameters, one for each blob; # in a name is any number.

    `interpolations` are the deconvolutions from all classes to all, which the authors froze at bilinear interpolation: layer
    name -> our parameter where they are learned, and side of the kernel. `first` sees the picture in BGR from 0 to 255, its mean
    colour taken off; where there is none the picture is what ours is. `arguments` follow from the file. Layers `left_out` may be
    there and have no place here."""

    first: str | None
    layers: Mapping[str, tuple[str, ...]]
    interpolations: dict[str, tuple[str, int]] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()


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
_CONV1_1, _CONV1, _CONV1_7X7 = "trunk.features.0.weight", "trunk.conv1.weight", "trunk.conv1.7x7_s2.weight"
_UNET: dict[str, tuple[str, ...]] = {
    **{f"conv_d{level}{a}-{b}": _convolution(f"down.{level}.{i}") for level in range(5) for a, b, i in ("ab0", "bc2")},
    **{
        f"upconv_{below}_u{level}a": _convolution(f"up.{3 - level}")
        for level, below in ((3, "d4c"), (2, "u3d"), (1, "u2d"), (0, "u1d"))
    },
    **{f"conv_u{level}{a}-{b}": _convolution(f"join.{3 - level}.{i}") for level in (3, 2, 1, 0) for a, b, i in ("bc0", "cd2")},
    "conv_u0d-score": _convolution("classify"),
}


def _deconvnet() -> dict[str, tuple[str, ...]]:
    """Every layer with weights and its batch normalisation, of which the file has scale and shift."""
    found: dict[str, tuple[str, ...]] = {**_VGG16, "seg-score-voc": _convolution("score")}
    for index, layer in enumerate(_VGG16):
        found[f"bn{layer.removeprefix('conv')}"] = _convolution(f"trunk.norm.{index}")
    decoder = {"fc6-deconv": ("fc6-deconv-bn", "fc6_deconv")}
    for block, layers in enumerate((2, 2, 3, 3, 3), start=1):
        for layer in (f"{block}_{number}" for number in range(1, layers + 1)):
            decoder[f"deconv{layer}"] = (f"debn{layer}", f"deconv.{5 - block}.{int(layer[-1]) - 1}")
    for layer, (norm, module) in decoder.items():
        found |= {layer: _convolution(f"{module}.layer"), norm: _convolution(f"{module}.norm")}
    return found


DEFINITIONS: dict[tuple[str, str | None], Definition] = {  # by network, and by backbone or variant
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
    ("unet", "release"): Definition(None, _UNET, arguments={"channels": 1}),  # grey from 0 to 1
}
_HEADS = frozenset(f"loss{n}/{layer}" for n in (1, 2) for layer in ("conv", "fc", "classifier")) | {"loss3/classifier"}
CLASSIFIERS = {  # of ImageNet, by trunk: all but what tells ImageNet's classes apart
    "vgg16": Definition(_CONV1_1, _VGG16, left_out=frozenset({"fc8"})),
    "vgg16_reduced": Definition(_CONV1_1, _VGG16, left_out=frozenset({"fc8"})),
    "alexnet": Definition(_CONV1, _ALEXNET, left_out=frozenset({"fc8"})),
    "googlenet": Definition(_CONV1_7X7, _GOOGLENET, left_out=_HEADS),
}
# Mean colours that the authors take from pictures, BGR in 0..255, by class table: the data layers of the FCN repository.
VOC_MEAN = (104.00699, 116.66877, 122.67892)
CONTEXT_MEAN = (104.007, 116.669, 122.679)
SIFTFLOW_MEAN = (114.578, 115.294, 108.353)
MEANS = {
    "voc2012": VOC_MEAN, "context33": CONTEXT_MEAN, "context59": CONTEXT_MEAN, "context60": CONTEXT_MEAN,
    "siftflow": SIFTFLOW_MEAN, "siftflow_geometric": SIFTFLOW_MEAN, "nyud": (116.190, 97.203, 92.318),
}  # fmt: skip
TOLERANCE = 1e-6  # of bilinear kernels
# What the authors say in the repository of a network, where it is more than "as is".
LICENCES = {
    "deconvnet": "its authors' repository allows individual research use alone, and redistribution and commercial use by a "
    "licence of the Pohang University of Science and Technology"
}


def convert(
    path: Path, layers: Sequence[Layer], network: str, classes: int, mean: tuple[float, float, float] = VOC_MEAN, **arguments: Any
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments of `networks.build` and state of `network` for `classes` classes, from the layers of the file `path`.

    `mean` is the BGR colour in 0..255 that was taken from pictures; `arguments` are the network's. Interpolation is fixed where
    the file's is bilinear, and learned otherwise. Batch normalisation is scale and shift alone, as in the file.
    Raises UsageError when there is no such network in Caffe's format, UntrustedFile that names every layer that is unknown,
    missing or of another shape."""
    definition = _definition(network, arguments)
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
    what, asked = f"{network} with {classes} classes", "network, backbone and classes"
    state = _state(path, layers, definition, shapes, mean, what, asked, str(classes))
    if fixed:
        state = {name: tensor for name, tensor in state.items() if name not in sides}
    assert {name: tensor.shape for name, tensor in state.items()} == {name: tensor.shape for name, tensor in expected.items()}
    return arguments, state


def convert_trunk(path: Path, layers: Sequence[Layer], trunk: str, **arguments: Any) -> dict[str, Tensor]:
    """The state of the trunk `trunk`, as it is called in networks, from the layers of a classifier of ImageNet, the file `path`.

    Fully connected fc6 and fc7 become convolutions; classifiers are left out. Pictures lose `VOC_MEAN`, as in FCN's trainings.
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
        known = _key(layer.name, definition)
        if not layer.blobs or layer.name in definition.left_out:
            continue
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
    what: str,
    asked: str,
    classes: str = "#",
) -> dict[str, Tensor]:
    """The tensors of every layer of `definition`, in the `shapes` of our parameters, and what pictures lose.

    Raises UntrustedFile: the file does not hold `what`; the way out is to name the `asked`."""
    given, unknown = _given(layers, definition)
    interpolations = {name: (parameter,) for name, (parameter, _) in definition.interpolations.items()}
    needed = {name: {key: shapes[key] for key in keys} for name, keys in {**definition.layers, **interpolations}.items()}
    state: dict[str, Tensor] = {}
    misshapen = []
    for name, layer in given.items():
        wanted = list(needed[name].values())
        blobs = [_fitted(blob, shape, layer.type) for blob, shape in zip(layer.blobs, wanted, strict=False)]
        if len(layer.blobs) != len(wanted) or any(blob is None for blob in blobs):
            found, right = (" and ".join(map(shape_text, several)) for several in (layer.shapes, wanted))
            misshapen.append(f"{layer.name} ({found}, not {right})")
        else:
            state |= {parameter: torch.from_numpy(blob) for parameter, blob in zip(needed[name], blobs, strict=True)}
    missing = [name.replace("#", classes) for name in needed if name not in given]
    wrong = {"unknown layers": unknown, "missing layers": missing, "layers of another shape": misshapen}
    if any(wrong.values()):
        found = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in wrong.items() if names)
        raise UntrustedFile(f"{path}: does not hold {what} ({found}); name the {asked} that it was made for.")
    if definition.first is not None:
        state[definition.first] = state[definition.first].flip(1)
        state["trunk.mean"] = torch.tensor(mean[::-1]).view(3, 1, 1) / 255
        state["trunk.scale"] = torch.full((3, 1, 1), 255.0)
    for name, shape in shapes.items():  # statistics of batch normalisation are folded into its scale and shift
        if name.endswith("running_mean"):
            state[name] = torch.zeros(shape)
        elif name.endswith("running_var"):
            state[name] = torch.ones(shape)
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.zeros(shape, dtype=torch.long)
    return state


def _definition(network: str, arguments: dict[str, Any]) -> Definition:
    named = networks.title(network, arguments)
    known = {**networks.arguments_of(network, arguments), **arguments}
    definition = DEFINITIONS.get((network, known.get("backbone") or known.get("variant")))
    if definition is None:
        those = ", ".join(" ".join(filter(None, which)) for which in DEFINITIONS)
        raise UsageError(f"{named}: there are no weights of its authors in Caffe's format; there are of {those}.")
    decided = sorted({"weights", "learned_upsampling", "unpooling", *definition.arguments} & arguments.keys())
    if decided:
        raise UsageError(f"{' and '.join(decided)}: the file decides that; leave it out.")
    return definition


def _key(name: str, definition: Definition) -> str | None:
    """The name in the tables that stands for the layer `name`."""
    numberless = re.sub(r"\d+$", "#", name)
    return next((key for key in (name, numberless) if key in definition.layers or key in definition.interpolations), None)


def _fitted(blob: NDArray[np.float32], shape: tuple[int, ...], kind: str) -> NDArray[np.float32] | None:
    """`blob` in `shape`, if they differ in sides of 1 alone; the matrix of a fully connected layer has kernels in its rows."""
    longer = [side for side in blob.shape if side != 1]
    same = longer == [side for side in shape if side != 1]
    if not same and kind == "InnerProduct":
        same = [side for side in (shape[0], prod(shape[1:])) if side != 1] == longer
    return blob.reshape(shape) if same else None


def _is_bilinear(layer: Layer) -> bool:
    """Whether a deconvolution from all classes to all is bilinear interpolation of each. False for what is no such layer."""
    blob = layer.blobs[0]
    if blob.ndim != 4 or blob.shape[0] != blob.shape[1] or blob.shape[2] != blob.shape[3]:
        return False
    kernel = bilinear_kernel(blob.shape[2]).numpy()
    return bool(np.allclose(blob, np.eye(len(blob), dtype=np.float32)[:, :, None, None] * kernel, rtol=0, atol=TOLERANCE))


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
