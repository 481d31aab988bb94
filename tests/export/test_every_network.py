"""Every network of the package as a graph in both engines: the labels of torch at six sizes, or a sentence why not.

    pytest -m slow -rP tests/export/test_every_network.py     also prints the ties of each"""

from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from networks.test_networks import CASES, CLASSES, OF_OBJECTS, built
from networks_of_tests import tiny_model

import perpixel
from perpixel.classes import ClassTable
from perpixel.errors import UsageError
from perpixel.export.export import export, graph_of
from perpixel.machines.engines import open_engine
from perpixel.networks import labels_pixels
from perpixel.prediction.equal_labels import compare_sizes
from perpixel.weights.exported_file import serialized
from perpixel.weights.model_file import Model, ModelCard

# Unpooling puts values to the places of maxima. Where two values of a window are equal but for rounding, which thirty random
# layers make 100 times what it was, an engine may choose the other. So does torch in float64.
JUMPS = "deconvnet"
JUMPED = 10_000  # pixels of which one may be another


def model_of(network, name: str, arguments: dict[str, object]) -> Model:
    classes = ClassTable.of([f"class {number}" for number in range(CLASSES)])
    return Model(network, classes, ModelCard(name, arguments, classes.to_json(), {}, 1.0, 0, {}, "", ""), "0" * 64)


@lru_cache(1)  # both engines run it
def model_and_graph(case: str) -> tuple[Model, bytes]:
    model = model_of(built(case), *CASES[case])
    return model, serialized(graph_of(model))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize("case", CASES)
def test_labels_are_those_of_torch_at_six_sizes(case: str, engine: str) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    pytest.importorskip("openvino", reason="the extra `export` is not installed")
    model, graph = model_and_graph(case)
    runs = open_engine(engine, graph, torch.get_num_threads())
    comparison = compare_sizes(model, lambda pictures: runs.run(pictures)[0])
    print(f"{case}, {engine}: {comparison.differ} of {comparison.pixels} pixels differ, {comparison.ties} are ties")
    most = comparison.pixels // JUMPED if case.startswith(JUMPS) else 0
    assert comparison.differ <= most, str(comparison)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize(("scale", "side"), [(0.5, None), (0.75, None), (1.5, None), (1.0, 100)])
def test_so_they_are_where_the_graph_resizes_pictures(scale: float, side: int | None, engine: str) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    pytest.importorskip("openvino", reason="the extra `export` is not installed")
    model = replace(tiny_model(ClassTable.of(["ground", "box", "disc"]), scale), side=side)
    runs = open_engine(engine, serialized(graph_of(model)), torch.get_num_threads())
    assert compare_sizes(model, lambda pictures: runs.run(pictures)[0]).equal


@pytest.mark.parametrize("name", sorted(OF_OBJECTS))
def test_networks_that_only_find_objects_say_why_not(name: str, tmp_path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    network = perpixel.build(name, 3, width=0.0625)
    if labels_pixels(network):
        pytest.skip(f"{name} labels pixels too.")
    with pytest.raises(UsageError, match="finds objects, whose number follows from each picture"):
        export(model_of(network, name, {}), tmp_path / "model.onnx")
