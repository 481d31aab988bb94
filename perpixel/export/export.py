"""A model -> a file that ONNX Runtime or OpenVINO runs: bytes of RGB in, labels out; written only when its labels are torch's.

    export(model, Path("model.onnx")).sentence
    perpixel.predict(perpixel.load("model.onnx"), "street.jpg")"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perpixel.datasets import Dataset
from perpixel.errors import DataError, UsageError, did_you_mean
from perpixel.export.int8 import quantised
from perpixel.export.proof import Proof, prove
from perpixel.files import EXPORTED, digest, require_file_or_nothing, write_whole
from perpixel.machines.engines import PACKAGES, TITLES, installed, not_installed, open_engine
from perpixel.networks import finds_objects, gives_labels, labels_pixels
from perpixel.version import VERSION
from perpixel.weights.exported_file import KEY, ExportCard, ExportedNetwork, serialized, stamped
from perpixel.weights.graph import Labels, as_onnx
from perpixel.weights.model_file import Model, refuse_bands

SUFFIX_OF = {engine: suffix for suffix, engine in EXPORTED.items()}
MOST_LOSS = 1.0  # points of mean IoU that 8 bits may cost


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written, what it was compared by, and its size in bytes, weights included."""

    path: Path
    proof: Proof
    size: int


def export(
    model: Model,
    out: Path,
    to: str = "onnx",
    scores: bool = False,
    data: Dataset | None = None,
    most_pictures: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    calibration: Sequence[NDArray[np.uint8]] = (),
    most_loss: float = MOST_LOSS,
) -> ExportedFile:
    """Writes the file `out` (for OpenVINO also its weights beside it, as `.bin`), with the engine `to` in mind.

    The graph takes batches of pictures of any size, and gives labels; with `scores` probabilities too. It is compared with torch
    on drawn pictures of six sizes, and on the pictures of `data`, at most `most_pictures`, which the measure of the training
    judges too. Raises UsageError for a model that cannot be exported, ResourceError where a package is missing, and DataError,
    with places and scores, where a label differs by more than a tie. Then no file is written.

    With pictures for `calibration` the graph computes with 8 bits. Then labels may differ, and the mean IoU on `data`, which must
    be given, may be lower by at most `most_loss`, in points; else DataError is raised, with the loss of each class."""
    check_destination(out, to)
    _refuse(model)
    if calibration and data is None:
        raise UsageError("int8: 8 bits change labels, so a data set must judge the file; name one with --data.")
    graph = graph_of(model, scores)
    if calibration:
        graph = quantised(graph, calibration)
    network = ExportedNetwork(open_engine(to, serialized(graph), torch.get_num_threads()))
    proof = prove(model, network, data, most_pictures, progress, by_pixels=bool(calibration))
    if calibration and proof.loss > most_loss:
        raise DataError(
            f"{out}: not written, for 8 bits cost {proof.loss:.2f} points of mean IoU, and at most {most_loss:g} may be lost: "
            f"{proof.losses}; calibrate with more pictures, or allow more with --most-loss."
        )
    if not calibration and not proof.comparison.equal:
        raise DataError(f"{out}: not written, for {network.engine} gives other labels than torch: {proof.comparison}.")
    words = f"calibrated by {len(calibration)} pictures" if calibration else ""
    card = ExportCard(model.card.to_json(), model.digest, model.side, VERSION, words, proof.to_json(network.engine))
    write = write_onnx if to == "onnx" else write_openvino
    return ExportedFile(out, proof, write(out, graph, card))


def check_destination(out: Path, to: str) -> None:
    """Raises UnknownName for an engine that does not exist, UsageError for a name with another suffix, ResourceError where a
    package is missing; all before minutes of work."""
    if to not in PACKAGES:
        raise did_you_mean("form of export", to, PACKAGES)
    suffix = SUFFIX_OF[to]
    if out.suffix.lower() != suffix:
        raise UsageError(f"{out}: a file for {TITLES[to]} ends in {suffix}; name it so.")
    require_file_or_nothing(out)
    if to not in installed():
        raise not_installed(f"--to {to}", PACKAGES[to])


def _refuse(model: Model) -> None:
    network = model.network
    if gives_labels(network):
        raise UsageError("this is an exported file already; name the run that it was made of.")
    refuse_bands(model, "export")
    if finds_objects(network) and not labels_pixels(network):
        raise UsageError(
            f"{model.card.title} finds objects, whose number follows from each picture: its graph would have no labels to give; "
            "export a network that labels pixels."
        )


def graph_of(model: Model, scores: bool = False) -> Any:
    """The graph of a model as an `onnx.ModelProto`. Raises UsageError where torch cannot trace the network, and ResourceError."""
    model.network.to("cpu")
    dtype = torch.uint8 if len(model.classes) <= 255 else torch.uint16
    network: Any = model.network.eval()
    return as_onnx(Labels(network, model.scale, model.side, dtype, scores), ["labels", "scores"][: 1 + scores])


def write_onnx(out: Path, graph: Any, card: ExportCard) -> int:
    data = serialized(graph, card)
    write_whole(out.parent, out.name, data)
    return len(data)


def write_openvino(out: Path, graph: Any, card: ExportCard) -> int:
    """Writes weights first, then the graph, whose card has the digest of the weights."""
    import openvino

    model = openvino.Core().read_model(serialized(graph))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.xml"
        openvino.save_model(model, str(file), compress_to_fp16=False)
        weights = file.with_suffix(".bin")
        model.set_rt_info(replace(card, bin=digest(weights)).text(), [KEY])
        openvino.save_model(model, str(file), compress_to_fp16=False)
        text, data = stamped(file.read_bytes()), weights.read_bytes()
    write_whole(out.parent, out.with_suffix(".bin").name, data)
    write_whole(out.parent, out.name, text)
    return len(text) + len(data)
