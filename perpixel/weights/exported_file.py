"""Files that `perpixel export` writes: a graph from pictures to labels, with a card as in a model file.

`.onnx` is a file of ONNX; the card is its entry `perpixel` of `metadata_props`. `.xml` is OpenVINO's own form, whose weights lie
beside it in `.bin`; the card is the entry `perpixel` of `rt_info`. The card has the SHA-256 of its file, computed while the 64
digits of this digest are zeros, and that of the `.bin`. Nothing of a file reaches an engine before its digests are right."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from perpixel.errors import DataError, ResourceError, UntrustedFile, UsageError, printable
from perpixel.files import EXPORTED, digest, read_bytes
from perpixel.machines.engines import Engine, installed, not_installed, open_engine
from perpixel.sample import Targets
from perpixel.weights import protobuf

FORM = 1  # of the card; a reader refuses files of a later form
KEY, DIGEST, NO_DIGEST = "perpixel", "sha256", "0" * 64
LARGEST = 2**31 - 1  # bytes of a protobuf message
_METADATA = 14  # of ONNX's ModelProto: pairs of a key and a value
_IN_XML = re.compile(rb'<perpixel value="([^"]*)"')


@dataclass(frozen=True)
class ExportCard:
    """The description in an exported file.

    `model` are the values of the model's card, `weights` is the digest of its file. The network sees pictures at the card's
    scale, or with their shorter side of `side` pixels. `int8` says by which pictures the graph was calibrated, or is empty.
    `proof` is what was compared with the network in torch. `bin` is the digest of OpenVINO's file of weights."""

    model: dict[str, Any]
    weights: str
    side: int | None
    version: str
    int8: str = ""
    proof: dict[str, Any] = field(default_factory=dict)
    bin: str = ""
    form: int = FORM

    def text(self) -> str:
        """JSON with zeros for the digest."""
        return json.dumps({DIGEST: NO_DIGEST, **vars(self)})


@dataclass(frozen=True)
class Exported:
    """A file that was read: its card, the SHA-256 of the file, and what an engine opens."""

    card: ExportCard
    digest: str
    graph: bytes | Path


class ExportedNetwork(nn.Module):
    """A graph that gives labels, in place of a network. `engine` is the title of what runs it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self.engine, self.gives_scores = engine.title, "scores" in engine.outputs

    def labels(self, image: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Of a picture, uint8 RGB (H, W, 3): the labels (H, W), and the probabilities (C, H, W) where the graph gives them."""
        found = self.batch(image[None])
        return found[0][0], found[1][0] if self.gives_scores else None

    def batch(self, images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """The labels (B, H, W) of pictures (B, H, W, 3), and if the graph gives them the probabilities (B, C, H, W).

        Raises DataError where the engine gives labels of other pictures: OpenVINO may stop without an error."""
        found = self._engine.run(np.ascontiguousarray(images))
        if found[0].shape != images.shape[:3]:
            raise DataError(
                f"{self.engine} gives labels of the shape {found[0].shape} for pictures of the shape {images.shape[:3]}; predict "
                "with the run, in torch."
            )
        return found

    def losses(self, images: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
        raise UsageError("an exported file cannot be trained; train the run that it was made of.")


def serialized(graph: Any, card: ExportCard | None = None) -> bytes:
    """The bytes of a graph, with a card. Raises ResourceError above the 2 GB of such a file."""
    del graph.metadata_props[:]
    if card is not None:
        entry = graph.metadata_props.add()
        entry.key, entry.value = KEY, card.text()
    size = graph.ByteSize()
    if size > LARGEST:
        raise ResourceError(f"the graph has {size:,} bytes, and files of ONNX at most 2 GB; export a narrower network.")
    data: bytes = graph.SerializeToString()
    return data if card is None else stamped(data)


def stamped(data: bytes) -> bytes:
    """A file with the digest of its bytes in place of the zeros of its card."""
    blank = f'"{DIGEST}": "{NO_DIGEST}"'.encode()
    if data.count(blank) != 1:
        blank = html.escape(blank.decode()).encode()  # as in XML
    return data.replace(blank, blank.replace(NO_DIGEST.encode(), hashlib.sha256(data).hexdigest().encode()), 1)


def is_exported(path: str | Path) -> bool:
    """Whether a path has the suffix of an exported file."""
    return Path(path).suffix.lower() in EXPORTED


def read_exported(path: Path) -> Exported:
    """Raises DataError where there is no such file, UntrustedFile where it is damaged, foreign or of a later form."""
    if not path.is_file():
        raise DataError(f"{printable(path)}: there is no such file; name one that `perpixel export` wrote.")
    data = read_bytes(path)
    is_xml = EXPORTED[path.suffix.lower()] == "openvino"
    text = _text_in_xml(data) if is_xml else _text_in_onnx(data)
    if text is None:
        raise UntrustedFile(
            f"{printable(path)}: holds no card of perpixel; only whole files that `perpixel export` wrote can be used."
        )
    try:
        values: dict[str, Any] = json.loads(text)
        form = values["form"]
        if isinstance(form, int) and form > FORM:
            raise UntrustedFile(
                f"{printable(path)}: was written by perpixel {values.get('version')} in a form that this version does not know; "
                "export the model again here, or update perpixel."
            )
        stated = values.pop(DIGEST)
        card = _sound(ExportCard(**values))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UntrustedFile(f"{printable(path)}: its card cannot be read ({error}); use another copy.") from error
    blank = data.replace(str(stated).encode(), NO_DIGEST.encode(), 1)
    if hashlib.sha256(blank).hexdigest() != stated:
        raise _damaged(path)
    weights = path.with_suffix(".bin")
    if is_xml:
        if not weights.is_file():
            raise DataError(f"{printable(weights)}: there is no such file; it belongs to {printable(path.name)}, copy both.")
        if digest(weights) != card.bin:
            raise _damaged(weights)
    return Exported(card, hashlib.sha256(data).hexdigest(), path if is_xml else data)


def opened(path: Path, exported: Exported, engine: str | None = None, threads: int | None = None) -> ExportedNetwork:
    """The graph of an exported file in an engine: the one that it was made for, or the other for ONNX where that is missing here.

    Raises UsageError for an engine that does not read such files, ResourceError where none is installed."""
    made_for = EXPORTED[path.suffix.lower()]
    readers = ["openvino"] if made_for == "openvino" else ["onnx", "openvino"]
    if engine is not None and engine not in readers:
        raise UsageError(f"engine = {engine!r}: {printable(path)} runs on {' or '.join(readers)}; name that, or give the run.")
    here = [name for name in readers if name in installed()]
    if engine is None and not here:
        raise not_installed(str(path), "onnxruntime" if made_for == "onnx" else "openvino")
    name = engine or here[0]
    return ExportedNetwork(open_engine(name, exported.graph, threads or torch.get_num_threads(), path))


def _damaged(path: Path) -> UntrustedFile:
    return UntrustedFile(f"{printable(path)}: is damaged, its bytes are not those that were written; use another copy.")


def _text_in_xml(data: bytes) -> str | None:
    found = _IN_XML.search(data)
    return None if found is None else html.unescape(found[1].decode("utf-8", "replace"))


def _text_in_onnx(data: bytes) -> str | None:
    """The value of the key `perpixel` among the metadata of a file of ONNX."""
    budget = iter(range(protobuf.MOST_FIELDS))
    try:
        for _, _, entry in protobuf.fields(memoryview(data), budget, {_METADATA: (protobuf.BYTES,)}):
            pair = {number: bytes(text) for number, _, text in
                    protobuf.fields(entry, budget, {1: (protobuf.BYTES,), 2: (protobuf.BYTES,)})}  # fmt: skip
            if pair.get(1) == KEY.encode():
                return pair.get(2, b"").decode("utf-8", "replace")
    except ValueError:
        return None
    return None


def _sound(card: ExportCard) -> ExportCard:
    """`card`, if its values are of the types that are written. Raises TypeError otherwise."""
    types: Mapping[str, Any] = {
        "model": dict, "weights": str, "side": int | None, "version": str, "int8": str, "proof": dict, "bin": str, "form": int,
    }  # fmt: skip
    for name, kind in types.items():
        if not isinstance(getattr(card, name), kind):
            raise TypeError(f"{name} is {getattr(card, name)!r}")
    return card
