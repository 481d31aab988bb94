"""Engines that run a graph of ONNX beside torch: ONNX Runtime and OpenVINO. Both are packages of the extra `export`.

They compute in float32 on the CPU with as many threads as torch has, or as are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError, ResourceError, UntrustedFile, did_you_mean, printable

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}  # by engine
TITLES = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}
EXTRA = 'pip install "perpixel[export]"'


class Engine(Protocol):
    """A graph that is ready to run. `title` has name and version of the engine, `outputs` the names of what the graph gives."""

    title: str
    outputs: tuple[str, ...]

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """What the graph makes of its inputs. Raises DataError where the engine cannot run it on them."""


def open_engine(name: str, graph: bytes | Path, threads: int, where: str | Path = "the graph") -> Engine:
    """The engine of this name with a graph: the bytes of a file of ONNX, or for OpenVINO the path of its own `model.xml`.

    Raises UnknownName for an engine that does not exist, ResourceError where it is not installed, UntrustedFile where it cannot
    read the graph; `where` names it."""
    if name not in PACKAGES:
        raise did_you_mean("engine", name, PACKAGES)
    try:
        return _OnnxRuntime(graph, threads) if name == "onnx" else _OpenVino(graph, threads)
    except ModuleNotFoundError as error:
        if error.name != PACKAGES[name]:
            raise
        raise not_installed(f"--engine {name}", PACKAGES[name]) from None
    except MemoryError:
        raise
    except Exception as error:  # each engine has its own
        reason = printable(str(error).strip().splitlines()[0]) if str(error).strip() else type(error).__name__
        raise UntrustedFile(f"{printable(where)}: {TITLES[name]} cannot read it ({reason}); export it again.") from error


def installed() -> list[str]:
    """The engines that are installed here."""
    from importlib.util import find_spec

    return [name for name, package in PACKAGES.items() if find_spec(package) is not None]


def not_installed(subject: str, package: str) -> ResourceError:
    return ResourceError(f"{subject} needs {package}, which is not installed; {EXTRA} brings it.")


@contextmanager
def _failing(title: str) -> Iterator[None]:
    """Says in one sentence that an engine fails on a graph; each engine raises errors of its own."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = printable(str(error).strip().splitlines()[0]) if str(error).strip() else type(error).__name__
        raise DataError(f"{title} cannot run the graph on this picture ({reason}); predict with the run, in torch.") from error


class _OnnxRuntime:
    def __init__(self, graph: bytes | Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors
        options.enable_mem_pattern = False  # patterns are of one size of pictures
        source = graph if isinstance(graph, bytes) else os.fspath(graph)
        self._session: Any = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self.title = f"{TITLES['onnx']} {onnxruntime.__version__}"
        self._inputs = [one.name for one in self._session.get_inputs()]
        self.outputs = tuple(one.name for one in self._session.get_outputs())

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        with _failing(self.title):
            found: list[NDArray[Any]] = self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))
        return found


class _OpenVino:
    def __init__(self, graph: bytes | Path, threads: int) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(graph) if isinstance(graph, bytes) else core.read_model(os.fspath(graph))
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # else processors with half precision use it
            "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False,
            # Layers prepared for another size of pictures may come back for this one: SegFormer then gave other labels (2026.4).
            "CPU_RUNTIME_CACHE_CAPACITY": 0,
        }  # fmt: skip
        self._compiled: Any = core.compile_model(model, "CPU", settings)
        self._request: Any = self._compiled.create_infer_request()
        self.title = f"{TITLES['openvino']} {openvino.__version__.split('-')[0]}"
        self.outputs = tuple(output.get_any_name() for output in self._compiled.outputs)

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        with _failing(self.title):
            self._request.infer(list(inputs))
        return [np.array(self._request.get_output_tensor(number).data) for number in range(len(self.outputs))]

