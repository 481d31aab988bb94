"""The network of a run in an engine beside torch: `perpixel predict --engine`.

The graph of the network alone is made once, and compared with torch once for each engine. Everything around it is that of torch:
reading, resizing, joining, argmax. Both are kept in `engines/` beside the model, and so is what `auto` measured, by machine:

    run/engines/graph.onnx      the network, with the digest of its weights
    run/engines/engines.json    by machine and engine the seconds of a picture, and which labels were compared"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from perpixel.errors import DataError, PerpixelError, UsageError, did_you_mean
from perpixel.files import write_whole
from perpixel.layers.score_map import ScoreMap
from perpixel.machines.engines import PACKAGES, Engine, installed, not_installed, open_engine
from perpixel.networks import gives_labels, labels_pixels, pixel_network
from perpixel.prediction.equal_labels import compare_sizes
from perpixel.prediction.score_maps import score_map
from perpixel.terminal import say
from perpixel.version import VERSION
from perpixel.weights.exported_file import ExportCard, read_exported, serialized
from perpixel.weights.graph import Cells, Grid, as_onnx
from perpixel.weights.model_file import Model

FOLDER, GRAPH, MEMORY = "engines", "graph.onnx", "engines.json"
AUTO, TORCH = "auto", "torch"
ENGINES = (AUTO, TORCH, *PACKAGES)
ROUNDS = 5  # times that `auto` runs each engine; the first is not counted
ENOUGH = 2.0  # seconds after which it begins no further round

Say = Callable[[str], None]


class EngineNetwork(nn.Module):
    """A network whose scores an engine computes; all else is that of the network itself. `engine` is the title of the engine."""

    def __init__(self, network: nn.Module, engine: Engine, grid: Grid) -> None:
        super().__init__()
        self.network, self._engine, self._grid = network, engine, grid
        self.engine = engine.title

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)

    def score_map(self, images: Tensor) -> ScoreMap:
        """The scores of the network for images float32 (B, 3, H, W) in [0, 1]."""
        scores, span = self._engine.run(np.ascontiguousarray(images.numpy()))
        return self._grid.score_map(torch.from_numpy(scores), (int(span[0]), int(span[1])))


def in_engine(model: Model, engine: str, image: NDArray[np.uint8], beside: Path | None = None, say: Say = say) -> Model:
    """The model with its network in an engine: "torch", "onnx", "openvino", or the fastest of them for pictures like `image`.

    `beside` is the folder of the model, where graph and measurements are kept; without it, or where it cannot be written, they
    are made anew in each call. `say` is told what `auto` measured and took, and when a graph is made.
    Raises UnknownName for an engine that does not exist, ResourceError for one that is not installed, UsageError for a network
    that it cannot run, and DataError where its labels are not those of torch."""
    names = choices(model, engine, say)
    if names == [TORCH]:
        return model
    engines = Engines(model, beside, say)
    return engines.fastest(image, names) if engine == AUTO else engines.model_in(engine)


def choices(model: Model, engine: str, say: Say = say) -> list[str]:
    """The engines that `engine` stands for: itself, or with "auto" all that can run the model; why others cannot is said.

    Raises the errors of `in_engine`."""
    if engine not in ENGINES:
        raise did_you_mean("engine", engine, ENGINES)
    if gives_labels(model.network):
        raise UsageError(f"engine = {engine!r}: an exported file is opened in an engine; name that when it is loaded.")
    if engine == TORCH:
        return [TORCH]
    reason = _why_torch_alone(model)
    if engine != AUTO:
        if reason:
            raise UsageError(f"engine = {engine!r}: {reason}; leave engine out.")
        if engine not in installed():
            raise not_installed(f"engine {engine}", PACKAGES[engine])
        return [engine]
    if not reason and not installed():
        reason = 'no other engine is installed (pip install "perpixel[export]" brings two)'
    if reason:
        say(f"engine torch: {reason}.")
        return [TORCH]
    return [TORCH, *installed()]


def _why_torch_alone(model: Model) -> str:
    """Why no other engine can run a network; empty where they can."""
    if not labels_pixels(model.network):
        return f"{type(model.network).__name__} finds objects, which torch alone does"
    if model.bands is not None:
        return f"the model takes {model.bands}, and other engines run RGB alone"
    device = next(model.network.parameters()).device
    return "" if device.type == "cpu" else f"other engines compute on the CPU, and the network is on {device}"


class Engines:
    """The engines of one model: its graph, and what is remembered of them on this machine with so many `threads`."""

    def __init__(self, model: Model, beside: Path | None, say: Say) -> None:
        self.model, self.say, self.folder = model, say, None if beside is None else beside / FOLDER
        self._graph: tuple[bytes, Grid] | None = None
        self._memory: dict[str, dict[str, Any]] = self._remembered()

    @property
    def threads(self) -> int:
        return torch.get_num_threads()

    def model_in(self, engine: str) -> Model:
        """The model in one engine, whose labels have been compared. Raises DataError where they are not equal."""
        if engine == TORCH:
            return self.model
        graph, grid = self.graph()
        opened = open_engine(engine, graph, self.threads)
        model = replace(self.model, network=EngineNetwork(self.model.ready(), opened, grid))  # type: ignore[arg-type]
        if not self.entry(opened.title).get("equal"):
            network = pixel_network(model.network, "engine")

            def labels_of(pictures: NDArray[np.uint8]) -> NDArray[Any]:
                size = pictures.shape[1], pictures.shape[2]
                return np.stack([score_map(network, one, model.scale_for(size)).labels(size) for one in pictures])

            comparison = compare_sizes(self.model, labels_of)
            if not comparison.equal:
                raise DataError(f"engine {engine}: gives other labels than torch: {comparison}; use --engine torch.")
            self.note(opened.title, equal=str(comparison))
        return model

    def models_in(self, engines: Sequence[str]) -> dict[str, Model]:
        """The model in each of these engines. Why an engine is left out is said."""
        models = {}
        for engine in engines:
            try:
                models[engine] = self.model_in(engine)
            except PerpixelError as error:
                self.say(f"{str(error).rstrip('.')}; it is left out.")
        return models

    def fastest(self, image: NDArray[np.uint8], names: Sequence[str]) -> Model:
        """The model in the fastest engine for such a picture, by what is remembered of this machine or by measuring now."""
        models = self.models_in(names)
        titles = {engine: title_of(model) for engine, model in models.items()}
        size = f"{image.shape[0]}x{image.shape[1]}"
        if not all(size in self.entry(title).get("seconds", {}) for title in titles.values()):
            for engine, took in timed({engine: _labelling(model, image) for engine, model in models.items()}).items():
                known = self.entry(titles[engine]).get("seconds", {})
                self.note(titles[engine], seconds={**known, size: min(took)})
        seconds = {engine: self.entry(title)["seconds"][size] for engine, title in titles.items()}
        taken = min(seconds, key=lambda engine: seconds[engine])
        measured = ", ".join(f"{titles[engine]} {1000 * value:.1f} ms" for engine, value in seconds.items())
        self.say(f"engine {taken}: {measured} for a picture of {size} on this machine, {self.threads} threads.")
        return models[taken]

    def graph(self) -> tuple[bytes, Grid]:
        """The graph of the network alone: kept from a former call, or made now."""
        if self._graph is None:
            self._graph = self._kept() or self._made()
        return self._graph

    def _kept(self) -> tuple[bytes, Grid] | None:
        path = None if self.folder is None else self.folder / GRAPH
        if path is None or not path.is_file():
            return None
        try:
            found = read_exported(path)
            grid = Grid(**found.card.proof)
        except (PerpixelError, OSError, TypeError):
            return None  # it is made again
        fits = (found.card.weights, found.card.version) == (self.model.digest, VERSION)
        return (found.graph, grid) if fits and isinstance(found.graph, bytes) else None

    def _made(self) -> tuple[bytes, Grid]:
        self.say("a graph of the network is made for other engines, once.")
        cells = Cells(self.model.ready())  # type: ignore[arg-type]
        graph = as_onnx(cells, ["scores", "span"])
        data = serialized(graph, ExportCard({}, self.model.digest, None, VERSION, proof=asdict(cells.grid)))
        self._keep(GRAPH, data)
        return data, cells.grid

    def _remembered(self) -> dict[str, dict[str, Any]]:
        """By machine and title of an engine what was noted of it for these weights."""
        try:
            found = json.loads((self.folder / MEMORY).read_text()) if self.folder is not None else {}
            noted = found["machines"] if found.get("weights") == self.model.digest else {}
            return {str(machine): dict(entries) for machine, entries in noted.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def entry(self, title: str) -> dict[str, Any]:
        """What is remembered of the engine of this title: "equal", what its labels were compared by, "seconds" and
        "slowest", by size."""
        entry = self._memory.get(self._machine(), {}).get(title, {})
        sound = isinstance(entry, dict) and all(isinstance(entry.get(kind, {}), dict) for kind in ("seconds", "slowest"))
        return entry if sound else {}

    def note(self, title: str, **values: Any) -> None:
        """Remembers these values of the engine of this title."""
        machine = self._memory.setdefault(self._machine(), {})
        machine[title] = {**self.entry(title), **values}
        self._keep(MEMORY, json.dumps({"weights": self.model.digest, "machines": self._memory}, indent=1).encode())

    def _machine(self) -> str:
        return f"{platform.node()}, {platform.machine()}, {os.cpu_count()} processors, {self.threads} threads"

    def _keep(self, name: str, data: bytes) -> None:
        if self.folder is None:
            return
        try:
            write_whole(self.folder, name, data)
        except OSError:
            self.folder = None  # a folder that cannot be written remembers nothing


def title_of(model: Model) -> str:
    """The name and version of what runs its network."""
    return getattr(model.network, "engine", f"torch {torch.__version__}")


def _labelling(model: Model, image: NDArray[np.uint8]) -> Callable[[], object]:
    size = image.shape[0], image.shape[1]
    network = pixel_network(model.ready(), "engine")
    return lambda: score_map(network, image, model.scale_for(size)).labels(size)


def timed(calls: Mapping[str, Callable[[], object]], enough: float = ENOUGH) -> dict[str, list[float]]:
    """Seconds of each in a few rounds, in turn, the first of which is not counted. No round begins after `enough` seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    for number in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - start)
        if number and time.perf_counter() - began > enough:
            break
    return seconds
