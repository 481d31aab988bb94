"""Weights of others become our model files. The verb is `import`, which no Python module can be named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perpixel import networks
from perpixel.classes import ClassTable
from perpixel.datasets import DATASETS, ON_DISK, coco
from perpixel.errors import UsageError, did_you_mean
from perpixel.files import CARD_FILE, LOCK, MODEL_FILE, PARTIAL, digest, locked, new_folder, remove_partial
from perpixel.networks.segformer import hub_state
from perpixel.networks.torchvision import torchvision_state
from perpixel.weights import caffe_file, caffe_layers, tensorflow_layers
from perpixel.weights.model_file import ModelCard, save_model
from perpixel.weights.tensorflow_files import read_checkpoint
from perpixel.weights.tensorflow_graph import read_frozen_graph
from perpixel.weights.torch_files import read_state

CAFFE, TORCH = ".caffemodel", (".pth", ".pt", ".bin")
TENSORFLOW = {".index": read_checkpoint, ".pb": read_frozen_graph}
CLASS_TABLES = {
    **{name: open_split("train").classes for name, open_split in DATASETS.items()},
    **{name: stored.classes for name, stored in ON_DISK.items()},
}
MOST_CLASSES = 65535
OUTPUTS = (  # of torchvision's Mask R-CNN: the layers with outputs for each class
    "roi_heads.box_predictor.cls_score.", "roi_heads.box_predictor.bbox_pred.", "roi_heads.mask_predictor.mask_fcn_logits.",
)  # fmt: skip


def import_weights(path: str | Path, network: str, classes: str | int, out: str | Path, **arguments: Any) -> Path:
    """Writes the weights in `path` as a model file in the folder `out`, and says where; `perpixel.load` reads it.

    The file is a .caffemodel of a paper's authors, the .index of a TensorFlow checkpoint or a frozen graph (.pb) of theirs, or a
    state dict (.pth, .pt, .bin) of one of torchvision's networks, or of a SegFormer by the names of the common hub. With the
    classes "coco" the 91 outputs of torchvision's Mask R-CNN become 81.
    `classes` is the name of a class table or a number, `arguments` are those of `networks.build`. Raises UsageError for names and
    for an `out` that holds other things, DataError and UntrustedFile for the file: see `caffe_file`, `tensorflow_files`,
    `tensorflow_graph` and `torch_files`."""
    path, out = Path(path), Path(out)
    _require_free(out)
    table = class_table(classes)
    if kind_of(path) == CAFFE:
        mean = caffe_layers.MEANS.get(str(classes), caffe_layers.VOC_MEAN)
        arguments, state = caffe_layers.convert(path, caffe_file.read_caffemodel(path), network, len(table), mean, **arguments)
    elif kind_of(path) in TENSORFLOW:
        state = tensorflow_layers.convert(path, TENSORFLOW[path.suffix](path), network, len(table), **arguments)
    else:
        renamed = hub_state if network == "segformer" else torchvision_state
        theirs = of_coco(read_state(path)) if str(classes) == "coco" else read_state(path)
        state = renamed(networks.build(network, len(table), **arguments), theirs, str(path))
    return _write(out, path, state, network, arguments, table.to_json())


def of_coco(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of torchvision's Mask R-CNN with outputs for background and COCO's 80 things, from 91 outputs by category id.

    Any other state is returned as it is."""
    outputs = state.get(OUTPUTS[0] + "bias")
    if outputs is None or len(outputs) != max(coco.THINGS) + 1:
        return dict(state)
    ids = torch.tensor([0, *coco.THINGS])
    kept = {}
    for name, tensor in state.items():
        if name.startswith(OUTPUTS):
            tensor = tensor.unflatten(0, (len(outputs), -1))[ids].flatten(0, 1)  # of boxes each class has four
        kept[name] = tensor
    return kept


def import_trunk(path: str | Path, trunk: str, out: str | Path, **arguments: Any) -> Path:
    """Writes the trunk of a classifier of ImageNet, a .caffemodel, as a model file in the folder `out`, and says where.

    It has no scores of classes: trainings start from it (`starts_from`). `trunk` is vgg16, vgg16_reduced (VGG_ILSVRC_16_layers
    and its fc_reduced), alexnet (CaffeNet) or googlenet, `arguments` are its own. Raises as `import_weights` does."""
    path, out = Path(path), Path(out)
    _require_free(out)
    if kind_of(path) != CAFFE:
        raise UsageError(f"{path}: trunks are imported from {CAFFE} files; those of torchvision are fetched by trainings.")
    state = caffe_layers.convert_trunk(path, caffe_file.read_caffemodel(path), trunk, **arguments)
    return _write(out, path, state, trunk, arguments, {})


def _require_free(out: Path) -> None:
    names = {item.name for item in out.iterdir() if item.suffix != PARTIAL} if os.path.isdir(out) else set()
    if names - {MODEL_FILE, CARD_FILE, LOCK}:
        raise UsageError(f"{out}: holds other things than an imported model; choose another --out.")


def _write(
    out: Path, path: Path, state: dict[str, Tensor], network: str, arguments: dict[str, Any], classes: dict[str, Any]
) -> Path:
    conditions = [caffe_layers.LICENCES[network]] if network in caffe_layers.LICENCES else []
    card = ModelCard(
        network=network,
        arguments=arguments,
        classes=classes,
        recipe={},
        scale=1.0,
        step=0,
        score={},
        trained_on="",
        licence="; ".join([f"that of the weights imported from {path.name}, SHA-256 {digest(path)}", *conditions]),
    )
    if os.path.isdir(out) and not any(out.iterdir()):
        out.rmdir()
    if not os.path.isdir(out):
        with new_folder(out) as partial:
            save_model(partial, state, card)
        return out / MODEL_FILE
    with locked(out):
        remove_partial(out)
        (out / CARD_FILE).unlink(missing_ok=True)  # the card of another model must not lie beside this model
        save_model(out, state, card)
    (out / LOCK).unlink()
    return out / MODEL_FILE


def contents(path: str | Path) -> list[tuple[str, str, list[tuple[int, ...]]]]:
    """The contents of a file of weights: name, type and shapes of each layer, or name, dtype and shape of each tensor."""
    path = Path(path)
    if kind_of(path) == CAFFE:
        return [(layer.name, layer.type, layer.shapes) for layer in caffe_file.read_caffemodel(path)]
    if kind_of(path) in TENSORFLOW:
        return [(name, str(array.dtype), [array.shape]) for name, array in TENSORFLOW[path.suffix](path).items()]
    return [(name, str(tensor.dtype).removeprefix("torch."), [tuple(tensor.shape)]) for name, tensor in read_state(path).items()]


def kind_of(path: Path) -> str:
    """The suffix, which says how a file is read. Raises UsageError for an unknown suffix."""
    if path.suffix not in (CAFFE, *TENSORFLOW, *TORCH):
        known = f"{', '.join((CAFFE, *TENSORFLOW, *TORCH[:-1]))} and {TORCH[-1]}"
        raise UsageError(f"{path}: only {known} files can be imported; rename it if it is one.")
    return path.suffix


def class_table(name_or_count: str | int) -> ClassTable:
    """The class table of a name, or for a number a table of so many classes named "class 0", "class 1" ..."""
    text = str(name_or_count)
    if text in CLASS_TABLES:
        return CLASS_TABLES[text]
    if not text.isdecimal():
        raise did_you_mean("class table", text, CLASS_TABLES)
    if not 1 <= int(text[:9]) <= MOST_CLASSES:
        raise UsageError(f"{text} classes: give a number from 1 to {MOST_CLASSES}, or the name of a class table.")
    return ClassTable.of([f"class {number}" for number in range(int(text))])
