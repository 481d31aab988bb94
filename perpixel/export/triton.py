"""A folder for NVIDIA's Triton Inference Server, whose backend `onnxruntime` runs an exported file:

    NAME/config.pbtxt     names, types and dimensions of pictures, labels and scores; the classes as the parameter `classes`
    NAME/1/model.onnx     the file, which is version 1 of the model

The configuration is a `ModelConfig` as text (model_config.proto of Triton's repository `common`). Triton adds the dimension of
the batch itself. Requests with pictures of one size are joined into batches."""

from __future__ import annotations

import json
import re
from pathlib import Path

from perpixel.classes import ClassTable
from perpixel.errors import UsageError
from perpixel.files import write_whole

MODEL, CONFIG, VERSION = "model.onnx", "config.pbtxt", "1"
LARGEST_BATCH = 8


def name_of(run: Path) -> str:
    """The name of a run for Triton: letters, digits, "_", "-" and "." of that of its folder."""
    place = run.resolve()
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", place.name if place.is_dir() or not place.exists() else place.parent.name) or "model"


def check_triton(folder: Path, to: str) -> None:
    """Raises UsageError for a file of another engine, or where a file is in the way; before minutes of work."""
    if to != "onnx":
        raise UsageError(f"--for triton: its backend runs files of ONNX; leave --to {to} out.")
    for place in (folder.parent, folder, folder / VERSION):
        if place.exists() and not place.is_dir():
            raise UsageError(f"{place}: is a file, where --for triton writes a folder; move it away.")


def write_triton(folder: Path, file: Path, classes: ClassTable, scores: bool) -> Path:
    """Writes `folder` for the exported `file`, whose graph gives `scores` or labels alone. Returns its configuration."""
    write_whole(folder / VERSION, MODEL, file.read_bytes())
    write_whole(folder, CONFIG, config(folder.name, classes, scores).encode())
    return folder / CONFIG


def config(name: str, classes: ClassTable, scores: bool) -> str:
    """The text of the configuration."""
    labels = "TYPE_UINT8" if len(classes) <= 255 else "TYPE_UINT16"
    outputs = [("labels", labels, "-1, -1")] + [("scores", "TYPE_FP32", f"{len(classes)}, -1, -1")] * scores
    lines = [
        f"name: {_quoted(name)}",
        'backend: "onnxruntime"',
        f"default_model_filename: {_quoted(MODEL)}",
        f"max_batch_size: {LARGEST_BATCH}",
        "dynamic_batching { }",
        'input [ { name: "pictures" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] } ]',
        *(f'output [ {{ name: "{output}" data_type: {kind} dims: [ {dims} ] }} ]' for output, kind, dims in outputs),
        f'parameters [ {{ key: "classes" value: {{ string_value: {_quoted(json.dumps(list(classes.names)))} }} }} ]',
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Text in quotation marks; other bytes than printable ones of ASCII are written in octal digits."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'
