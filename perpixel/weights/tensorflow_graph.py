"""Frozen graphs of TensorFlow (`frozen_inference_graph.pb`), read without TensorFlow: the weights in them, as named arrays.

A frozen graph is a GraphDef in protobuf's wire format. A node of the operation "Const" holds each variable under its name:

    GraphDef      node 1 (NodeDef)
    NodeDef       name 1, op 2, attr 5 (an entry of a map: key 1, value 2 (AttrValue))
    AttrValue     tensor 8 (TensorProto)
    TensorProto   dtype 1, tensor_shape 2 (TensorShapeProto), tensor_content 4, or float_val 5, or double_val 6

Field numbers are those of tensorflow/core/framework/graph.proto, node_def.proto, attr_value.proto and tensor.proto. A list of
values that is shorter than the tensor repeats its last value.
Files come from strangers. Edges between nodes are not read, so a circle of nodes costs nothing. Constants that are no weights are
skipped by their length. Names are limited, and all arrays together have at most twice the bytes of the file."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError, UntrustedFile, printable
from perpixel.weights.protobuf import BYTES, FIXED32, FIXED64, MOST_FIELDS, VARINT, fields
from perpixel.weights.tensorflow_files import LONGEST_NAME, TYPES, shape_of

CONSTANT, VALUE = "Const", "value"
WEIGHTS = ("weights", "biases", "depthwise_weights", "gamma", "beta", "moving_mean", "moving_variance")  # the last word of a name
FLOATS = {1: 5, 2: 6, 19: None}  # numbers of TensorFlow's types, and of the field with a list of such values
LARGEST_RATIO = 2  # bytes of all arrays over bytes of the file


def read_frozen_graph(path: str | Path) -> dict[str, NDArray[np.generic]]:
    """The weights of a frozen graph by their names. They cannot be written to.

    Raises DataError when there is no file, UntrustedFile when it is damaged, has no weights, has two of one name, or a weight has
    another type than float16, float32 and float64."""
    path = Path(path)
    if not os.path.isfile(path):
        raise DataError(f"{printable(path)}: there is no such file; name a frozen_inference_graph.pb.")
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        budget = iter(range(MOST_FIELDS))
        left = LARGEST_RATIO * len(data)
        arrays: dict[str, NDArray[np.generic]] = {}
        for _, _, node in fields(data, budget, {1: (BYTES,)}):
            name, operation, attributes = _node(node, budget)
            if operation != CONSTANT or name.rpartition("/")[2] not in WEIGHTS:
                continue
            if name in arrays:
                raise ValueError(f"it has two weights of the name {name}")
            arrays[name] = _tensor(name, _value(name, attributes, budget), budget, left)
            left -= arrays[name].nbytes
        if not arrays:
            raise ValueError("it has no constants that are weights")
    except ValueError as error:
        raise UntrustedFile(f"{path}: is damaged or no frozen graph of TensorFlow ({error}); use another copy.") from error
    return arrays


def _node(data: memoryview, budget: Iterator[int]) -> tuple[str, str, list[memoryview]]:
    """Name, operation and entries of the attributes of a NodeDef."""
    texts, attributes = {1: "", 2: ""}, []
    for number, _, value in fields(data, budget, {1: (BYTES,), 2: (BYTES,), 5: (BYTES,)}):
        if number == 5:
            attributes.append(value)
        else:
            texts[number] = _text(value)
    return texts[1], texts[2], attributes


def _value(name: str, attributes: list[memoryview], budget: Iterator[int]) -> memoryview:
    """The TensorProto of a constant."""
    for attribute in attributes:
        entry = {number: value for number, _, value in fields(attribute, budget, {1: (BYTES,), 2: (BYTES,)})}
        if 1 in entry and _text(entry[1]) == VALUE and 2 in entry:
            for _, _, tensor in fields(entry[2], budget, {8: (BYTES,)}):
                return memoryview(tensor)
    raise ValueError(f"{name} has no value")


def _tensor(name: str, data: memoryview, budget: Iterator[int], most: int) -> NDArray[np.generic]:
    """The array of a TensorProto. Raises ValueError when it has more than `most` bytes."""
    kind, shape, content = 0, memoryview(b""), memoryview(b"")
    lists: dict[int, list[NDArray[np.generic]]] = {5: [], 6: []}
    wanted = {1: (VARINT,), 2: (BYTES,), 4: (BYTES,), 5: (BYTES, FIXED32), 6: (BYTES, FIXED64)}
    for number, wire, value in fields(data, budget, wanted):
        if number == 1:
            kind = value
        elif number == 2:
            shape = value
        elif number == 4:
            content = value
        else:
            lists[number].append(_packed(name, value, number) if wire == BYTES else value)
    if kind not in FLOATS:
        raise ValueError(f"{name} has the type {kind}, which is no float16, float32 or float64")
    dtype, sides = np.dtype(TYPES[kind]), shape_of(name, shape, budget)
    count = prod(sides)
    size = count * dtype.itemsize
    if size > most:
        raise ValueError(f"its weights claim more than {LARGEST_RATIO} times its bytes")
    parts = lists.get(FLOATS[kind] or 0, [])
    if content and parts:
        raise ValueError(f"{name} has its values twice")
    if len(content) % dtype.itemsize:
        raise ValueError(f"{name} ends within a number")
    values = np.frombuffer(content, dtype) if content else np.concatenate([np.empty(0, dtype), *parts])
    if len(values) > count or (len(values) < count and (content or not len(values))):
        raise ValueError(f"{name} has the shape {list(sides)} and {len(values)} values, which do not fit")
    if len(values) < count:  # the last value stands for all that follow
        values = np.concatenate([values, np.full(count - len(values), values[-1], dtype)])
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds a number that is not finite")
    array: NDArray[np.generic] = values.reshape(sides)
    array.flags.writeable = False
    return array


def _packed(name: str, data: memoryview, number: int) -> NDArray[np.generic]:
    width = 4 if number == 5 else 8
    if len(data) % width:
        raise ValueError(f"{name} ends within a number")
    return np.frombuffer(data, f"<f{width}")


def _text(data: memoryview) -> str:
    if len(data) > LONGEST_NAME:
        raise ValueError(f"a node has a name of {len(data)} bytes")
    text = str(data, "utf-8")
    if not text.isprintable():
        raise ValueError(f"a node has the name {text!r}")
    return text
