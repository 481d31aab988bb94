"""`.caffemodel` files, read without Caffe: their layers, types and weights.

A `.caffemodel` is a NetParameter in protobuf's wire format. The few fields that hold weights are read by their numbers in
`src/caffe/proto/caffe.proto` of BVLC/caffe. All other fields are skipped by their length, and never entered:

    NetParameter       layer 100 (LayerParameter), or before 2015 layers 2 (V1LayerParameter)
    LayerParameter     name 1, type 2 (text), blobs 7          V1LayerParameter   name 4, type 5 (number), blobs 6
    BlobProto          shape 7, or num 1, channels 2, height 3, width 4; data 5, or double_data 8
    BlobShape          dim 1

Files come from strangers. Reading takes a few times the memory of the file, and every field counts towards `MOST_FIELDS`."""

from __future__ import annotations

import mmap
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError, UntrustedFile, printable
from perpixel.weights.protobuf import BYTES, FIXED32, FIXED64, MOST_FIELDS, VARINT, fields, varints

MOST_AXES = 32  # Caffe's own limit
LONGEST_NAME = 200
V1_TYPES = {
    1: "Accuracy", 2: "BNLL", 3: "Concat", 4: "Convolution", 5: "Data", 6: "Dropout", 7: "EuclideanLoss", 8: "Flatten",
    9: "HDF5Data", 10: "HDF5Output", 11: "Im2col", 12: "ImageData", 13: "InfogainLoss", 14: "InnerProduct", 15: "LRN",
    16: "MultinomialLogisticLoss", 17: "Pooling", 18: "ReLU", 19: "Sigmoid", 20: "Softmax", 21: "SoftmaxWithLoss", 22: "Split",
    23: "TanH", 24: "WindowData", 25: "Eltwise", 26: "Power", 27: "SigmoidCrossEntropyLoss", 28: "HingeLoss", 29: "MemoryData",
    30: "ArgMax", 31: "Threshold", 32: "DummyData", 33: "Slice", 34: "MVN", 35: "AbsVal", 36: "Silence", 37: "ContrastiveLoss",
    38: "Exp", 39: "Deconvolution",
    # From 40 on each branch of Caffe has its own numbers; these are of DeconvNet's authors.
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
    """The layers of a file in its order, also layers without weights. Both the old and the new layer format are read.

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
        for number, _, value in fields(data, budget, {100: (BYTES,), 2: (BYTES,)}):
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
    for number, _, value in fields(data, budget, wanted):
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
    """The weights of a BlobProto. With a shape in both formats the old format counts, as in Caffe."""
    shape: list[int] = []
    old_shape: dict[int, int] = {}
    parts: dict[int, list[NDArray[Any]]] = {5: [], 8: []}
    wanted: dict[int, tuple[int, ...]] = {axis: (VARINT,) for axis in (1, 2, 3, 4)}
    for number, wire, value in fields(data, budget, {**wanted, 5: (BYTES, FIXED32), 7: (BYTES,), 8: (BYTES, FIXED64)}):
        if number == 7:
            for _, kind, dims in fields(value, budget, {1: (BYTES, VARINT)}):
                shape += varints(dims, MOST_AXES - len(shape)) if kind == BYTES else [dims]
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
    numbers = parts[5] or parts[8]
    count = sum(part.size for part in numbers)
    if min(shape, default=1) < 0 or prod(shape) != count:
        raise ValueError(f"{where} has the shape {shape_text(shape)} and {count} weights")
    weights = np.empty(count, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        np.concatenate(numbers or [weights], out=weights, casting="same_kind")
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


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
