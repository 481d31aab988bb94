"""Pictures -> masks. `predict` answers for one picture; the verb reads, computes and writes many at the same time."""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from perpixel import draw
from perpixel.checkpoint import MODEL_FILE, Model
from perpixel.errors import DataError, PerpixelError, UsageError
from perpixel.files import locked, remove_partial, write_whole
from perpixel.images import BYTES_NAME, PICTURE_SUFFIXES, encode_image, encode_labels, read_image
from perpixel.inference import PLAIN, Inference, infer
from perpixel.memory import keep_freed_memory
from perpixel.sample import Prediction

JOURNAL = "predictions.jsonl"
SUFFIXES = {"masks": ".png", "overlays": ".png", "scores": ".npy"}
STDIN = "-"


def predict(
    model: Model, picture: str | Path | bytes | NDArray[np.uint8], scores: bool = False, inference: Inference = PLAIN
) -> Prediction:
    """Class ids for every pixel of `picture`: a file, its bytes, or uint8 RGB (H, W, 3). `scores` adds probabilities (C, H, W).

    Raises DataError when the picture cannot be read, UsageError for an array of another kind, and for an `inference` that does
    not fit the model."""
    image = picture if isinstance(picture, np.ndarray) else read_image(picture)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UsageError(f"a picture is an array of uint8 RGB (height, width, 3), not {image.dtype} {image.shape}; convert it.")
    return infer(model, image, inference.fitted(model), scores)()


@dataclass(frozen=True)
class Source:
    """A picture to predict: where it is (or `-`), and the name of its results."""

    path: str
    name: str


@dataclass(frozen=True)
class Outcome:
    """What became of one picture: "done", "skipped" (done before) or the sentence of its error."""

    source: Source
    status: str


def model_and_pictures(inputs: Sequence[str]) -> tuple[str | None, list[str]]:
    """What `perpixel predict` was given, told apart: the first is the model unless it is a picture.

    A picture is `-`, a name with a picture's suffix, a pattern, or a folder that stands alone and holds no model.
    Raises UsageError where a model is given and no picture."""
    first = Path(inputs[0])
    folder = first.is_dir()
    pattern = glob.has_magic(inputs[0]) and not first.exists()
    named = inputs[0] == STDIN or pattern or (first.suffix.lower() in PICTURE_SUFFIXES and not folder)
    if named or (folder and len(inputs) == 1 and not (first / MODEL_FILE).exists()):
        return None, list(inputs)
    if len(inputs) == 1:
        raise UsageError(f"{first}: is taken for the model; name pictures behind it: files, folders, patterns or -.")
    return inputs[0], list(inputs[1:])


def find_sources(inputs: Sequence[str], out: Path | None = None) -> list[Source]:
    """Files, folders (searched for pictures), patterns with * and `-` for standard input, as pictures with distinct names.

    What lies in `out/masks` and `out/overlays` is no picture: a former call may have written into a folder of `inputs`.
    Raises DataError when an input names nothing, UsageError when two pictures would be written to one name."""
    found: dict[str, Source] = {}
    results = tuple(os.path.abspath(out / folder) + os.sep for folder in ("masks", "overlays")) if out else ()
    for text in inputs:
        for path, name in _expand(text):
            place = os.path.abspath(path)
            if place.startswith(results):
                continue
            if name in found and os.path.abspath(found[name].path) != place:
                raise UsageError(f"{found[name].path} and {path} would both be written as {name}; predict them into two folders.")
            found.setdefault(name, Source(path, name))
    return list(found.values())


def _expand(text: str) -> Iterator[tuple[str, str]]:
    if text == STDIN:
        yield STDIN, "stdin"
        return
    path = Path(text)
    if path.is_dir():
        shown = (p for p in sorted(path.rglob("*")) if not p.name.startswith("."))
        inside = [p for p in shown if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file()]
        if not inside:
            raise DataError(f"{path}: holds no PNG, JPEG, WEBP, TIFF or BMP pictures; name another folder.")
        yield from ((str(p), p.relative_to(path).with_suffix("").as_posix()) for p in inside)
    elif path.exists() or not glob.has_magic(text):
        yield text, path.stem
    else:
        matches = sorted(glob.glob(text, recursive=True))
        if not matches:
            raise DataError(f"{text}: no file fits this pattern.")
        yield from ((match, Path(match).stem) for match in matches if Path(match).is_file())


def predict_all(
    model: Model, sources: Iterable[Source], out: Path, scores: bool = False, overlays: bool = True, inference: Inference = PLAIN
) -> Iterator[Outcome]:
    """Writes `out/masks/NAME.png`, `out/overlays/NAME.png` and, if asked, `out/scores/NAME.npy` for every picture.

    Reading, computing and writing overlap; at most a handful of pictures is in memory. A picture that fails is reported and
    the rest go on. What a former call finished with the same model, picture and options is skipped; the journal tells.
    Raises UsageError when `out` holds predictions of another model, or `inference` does not fit this one."""
    kinds = {"masks": True, "overlays": overlays, "scores": scores}
    folders = [out / name for name, wanted in kinds.items() if wanted]
    out.mkdir(parents=True, exist_ok=True)
    prepare(model)
    inference = inference.fitted(model)
    head: dict[str, Any] = {"model": inference.weights(model), "folders": [folder.name for folder in folders]}
    if not inference.plain:
        head["inference"] = inference.rules(model)
    with (
        locked(out), _Journal(out, folders, head) as journal,
        ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer,
    ):  # fmt: skip
        reading: list[tuple[Source, Future[tuple[str, NDArray[np.uint8] | None]]]] = []
        writing: list[tuple[Source, Future[str]]] = []
        remaining = iter(sources)

        def read_ahead() -> None:
            while len(reading) < 3 and (source := next(remaining, None)) is not None:
                reading.append((source, reader.submit(_read, source, journal)))

        read_ahead()
        while reading:
            source, future = reading.pop(0)
            read_ahead()
            try:
                key, image = future.result()
                if image is None:
                    yield Outcome(source, "skipped")
                    continue
                finish = infer(model, image, inference, scores)
                writing.append((source, writer.submit(_write, source, image, finish, out, overlays, journal, key)))
            except PerpixelError as error:
                yield Outcome(source, str(error))
            while len(writing) > 2 or (writing and writing[0][1].done()):
                yield _written(*writing.pop(0))
        for item in writing:
            yield _written(*item)


def prepare(model: Model) -> torch.nn.Module:
    """The network as bulk prediction runs it: evaluation mode, channels last, memory kept between pictures."""
    keep_freed_memory()
    return model.network.eval().to(memory_format=torch.channels_last)


def _read(source: Source, journal: _Journal) -> tuple[str, NDArray[np.uint8] | None]:
    """The picture's digest and pixels; no pixels where the journal says that it is done."""
    try:
        data = sys.stdin.buffer.read() if source.path == STDIN else Path(source.path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{source.path}: there is no such file.") from error
    except OSError as error:
        raise DataError(f"{source.path}: cannot be read ({error.strerror}).") from error
    key = hashlib.sha256(data).hexdigest()
    if journal.has(source.name, key):
        return key, None
    try:
        return key, read_image(data)
    except DataError as error:
        where = "standard input" if source.path == STDIN else source.path
        raise DataError(str(error).replace(BYTES_NAME, where)) from error


def _write(
    source: Source, image: NDArray[np.uint8], finish: Callable[[], Prediction], out: Path, overlays: bool, journal: _Journal,
    key: str,
) -> str:  # fmt: skip
    found = finish()
    parts = {"masks": encode_labels(found.labels, found.classes)}
    if overlays:
        picture = Image.fromarray(draw.overlay(image, found.labels, found.classes))
        parts["overlays"] = encode_image(picture, SUFFIXES["overlays"])
    if found.scores is not None:
        buffer = io.BytesIO()
        np.save(buffer, found.scores)
        parts["scores"] = buffer.getvalue()
    for folder, data in parts.items():
        write_whole(out / folder, f"{source.name}{SUFFIXES[folder]}", data, durable=False)
    journal.add(source.name, key)
    return "done"


def _written(source: Source, future: Future[str]) -> Outcome:
    return Outcome(source, future.result())


class _Journal:
    """`predictions.jsonl`: first the model, the folders written and how, then name and picture digest of each that is done."""

    def __init__(self, out: Path, folders: list[Path], head: dict[str, Any]) -> None:
        self.path, self.folders = out / JOURNAL, folders
        self._done: dict[str, str] = {}
        for folder in folders:
            for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
                remove_partial(place)
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        if lines:
            self._check(lines[0], head, out)
            for line in lines[1:]:
                try:
                    entry = json.loads(line)
                    self._done[entry["name"]] = entry["picture"]
                except (ValueError, KeyError, TypeError):
                    continue  # the last line of a killed process; its picture is predicted again
            # A broken last line must not swallow the next entry.
            text = "".join(json.dumps({"name": name, "picture": key}) + "\n" for name, key in self._done.items())
            write_whole(out, JOURNAL, (json.dumps(head) + "\n" + text).encode())
        else:
            if any((out / folder).exists() for folder in ("masks", "overlays", "scores")):
                raise UsageError(f"{out}: holds masks or overlays from elsewhere; choose another --out.")
            write_whole(out, JOURNAL, (json.dumps(head) + "\n").encode())
        self._file = self.path.open("a")

    @staticmethod
    def _check(line: str, head: dict[str, Any], out: Path) -> None:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if found != head:
            raise UsageError(f"{out}: holds predictions of another model or with other options; choose another --out.")

    def has(self, name: str, key: str) -> bool:
        files = (folder / f"{name}{SUFFIXES[folder.name]}" for folder in self.folders)
        return self._done.get(name) == key and all(file.is_file() and file.stat().st_size > 0 for file in files)

    def add(self, name: str, key: str) -> None:
        self._file.write(json.dumps({"name": name, "picture": key}) + "\n")
        self._file.flush()

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
