"""The names of arrays in the authors' TensorFlow checkpoints and frozen graphs, and their places in our networks.

DeepLab v3+ on aligned Xception as released (tensorflow/models, research/deeplab: core/xception.py, model.py), with separable
convolutions in pyramid and decoder. A convolution is SCOPE/weights, height x width x inputs x outputs; a depthwise one
SCOPE/depthwise_weights, height x width x channels x 1; batch normalisation SCOPE/BatchNorm/gamma, beta, moving_mean and
moving_variance. Arrays of an optimiser or of averages are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perpixel import networks
from perpixel.backbones.xception import XCEPTIONS
from perpixel.errors import UntrustedFile, UsageError

OF_TRAINING = ("/Momentum", "/ExponentialMovingAverage")  # endings of arrays of an optimiser or of averages
COUNTER = "global_step"
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
SHOWN = 8


def convert(
    path: Path, arrays: Mapping[str, NDArray[np.generic]], network: str, classes: int, **arguments: Any
) -> dict[str, Tensor]:
    """The state of `network` for `classes` classes, from the arrays of the file `path`. `arguments` are the network's.

    Raises UsageError for a network of which there are no such files, UntrustedFile that names arrays that are unknown, missing or
    of another shape."""
    known = {**networks.arguments_of(network, arguments), **arguments} if network in networks.NETWORKS else {}
    if network != "deeplabv3plus" or known["backbone"] not in XCEPTIONS or not known["separable"]:
        raise UsageError(
            f"{path}: files of TensorFlow are read of deeplabv3plus on {', '.join(XCEPTIONS)} with separable convolutions; "
            f"name that network."
        )
    with torch.device("meta"):
        expected = networks.build(network, classes, **arguments).state_dict()
    places = dict(_places(str(known["backbone"]), len(known["rates"]), bool(known["image_pooling"])))
    given = {name: array for name, array in arrays.items() if name != COUNTER and not name.endswith(OF_TRAINING)}
    state = {name: torch.full(tensor.shape, 0.5) for name, tensor in expected.items() if name in ("trunk.mean", "trunk.std")}
    state |= {name: torch.zeros((), dtype=torch.long) for name in expected if name.endswith("num_batches_tracked")}
    misshapen = []
    for theirs, ours in places.items():
        if theirs not in given:
            continue
        array, shape = _turned(theirs, given[theirs]), tuple(expected[ours].shape)
        if array.shape != shape:
            misshapen.append(f"{theirs} ({'x'.join(map(str, given[theirs].shape))})")
            continue
        with np.errstate(over="ignore"):
            state[ours] = torch.from_numpy(np.array(array, np.float32, order="C"))
        if not torch.isfinite(state[ours]).all():
            raise UntrustedFile(f"{path}: {theirs} holds a number that float32 cannot hold; use another copy.")
    wrong = {
        "unknown": [name for name in given if name not in places],
        "missing": [name for name in places if name not in given],
        "of another shape": misshapen,
    }
    if any(wrong.values()):
        listed = "; ".join(f"{fault}: {_listed(names)}" for fault, names in wrong.items() if names)
        raise UntrustedFile(
            f"{path}: does not hold {networks.title(network, arguments)} with {classes} classes ({listed}); name the network, "
            f"backbone and classes that it was made for."
        )
    if known["image_pooling"]:  # the first of the joined branches in their file, the last of ours
        joined = state["aspp.project.0.weight"]
        state["aspp.project.0.weight"] = joined.roll(-joined.shape[0], 1)
    assert {name: tensor.shape for name, tensor in state.items()} == {name: tensor.shape for name, tensor in expected.items()}
    return state


def _turned(name: str, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """A kernel in torch's order: outputs, inputs, height, width. A depthwise kernel has channels, 1, height, width."""
    if array.ndim != 4:
        return array
    return array.transpose((2, 3, 0, 1) if name.endswith("depthwise_weights") else (3, 2, 0, 1))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _places(kind: str, rates: int, image_pooling: bool) -> Iterator[tuple[str, str]]:
    """The name of each array in their files, and its name in our network."""
    scope = kind.replace("xception", "xception_")
    for number in (0, 1):
        yield from _convolution(f"{scope}/entry_flow/conv1_{number + 1}", f"trunk.stem.{number}.conv", f"trunk.stem.{number}.bn")
    for number, (flow, block) in enumerate(zip(_units(kind), XCEPTIONS[kind], strict=True)):
        theirs, ours = f"{scope}/{flow}/xception_module", f"trunk.blocks.{number}"
        if block.shortcut == "projection":
            yield from _convolution(f"{theirs}/shortcut", f"{ours}.shortcut.conv", f"{ours}.shortcut.bn")
        for place in (1, 2, 3):
            layer = f"{ours}.stack.conv{place}"
            parts = (f"{layer}.conv_dw", f"{layer}.bn_dw", f"{layer}.conv_pw", f"{layer}.bn_pw")
            yield from _separable(f"{theirs}/separable_conv{place}", *parts)
    yield from _convolution("aspp0", "aspp.point.0", "aspp.point.1")
    for number in range(rates):
        yield from _separable(f"aspp{number + 1}", *(f"aspp.atrous.{number}.{layer}" for layer in (0, 1, 3, 4)))
    if image_pooling:
        yield from _convolution("image_pooling", "aspp.pooled.conv", "aspp.pooled.norm")
    yield from _convolution("concat_projection", "aspp.project.0", "aspp.project.1")
    yield from _convolution("decoder/feature_projection0", "low_level.0", "low_level.1")
    for number in (0, 1):
        yield from _separable(f"decoder/decoder_conv{number}", *(f"decoder.{number}.{layer}" for layer in (0, 1, 3, 4)))
    yield "logits/semantic/weights", "score.weight"
    yield "logits/semantic/biases", "score.bias"


def _units(kind: str) -> Iterator[str]:
    """The scopes of the blocks in their order. All middle blocks are units of one scope."""
    blocks = XCEPTIONS[kind]
    middle = [block.shortcut == "identity" for block in blocks]
    entry = middle.index(True)
    for number in range(1, entry + 1):
        yield f"entry_flow/block{number}/unit_1"
    for number in range(1, sum(middle) + 1):
        yield f"middle_flow/block1/unit_{number}"
    for number in (1, 2):
        yield f"exit_flow/block{number}/unit_1"


def _convolution(theirs: str, convolution: str, norm: str, weights: str = "weights") -> Iterator[tuple[str, str]]:
    yield f"{theirs}/{weights}", f"{convolution}.weight"
    for name, ours in NORM.items():
        yield f"{theirs}/BatchNorm/{name}", f"{norm}.{ours}"


def _separable(theirs: str, *parts: str) -> Iterator[tuple[str, str]]:
    depthwise, depthwise_norm, pointwise, pointwise_norm = parts
    yield from _convolution(f"{theirs}_depthwise", depthwise, depthwise_norm, "depthwise_weights")
    yield from _convolution(f"{theirs}_pointwise", pointwise, pointwise_norm)
