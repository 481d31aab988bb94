"""Every network of the package as a graph in both engines: the labels of torch at six sizes, or a sentence why not."""

from dataclasses import replace

import pytest
import torch
from networks.test_networks import CASES, CLASSES, OF_OBJECTS, built
from networks_of_tests import tiny_model

import perpixel
from perpixel.classes import ClassTable
from perpixel.errors import DataError, UsageError
from perpixel.export.export import export, graph_of
from perpixel.machines.engines import open_engine
from perpixel.networks import labels_pixels
from perpixel.prediction.equal_labels import compare_sizes
from perpixel.weights.exported_file import serialized
from perpixel.weights.model_file import Model, ModelCard

# Unpooling puts values to the places of maxima. Where two values of a window are equal but for rounding, which thirty random
# layers make 100 times what it was, an engine may choose the other. So does torch in float64.
JUMPS = "deconvnet"
# Their pools of 3 x 3 come to a side of 1 in a picture of 5 x 7, where the graph has no branch for it.
REFUSED = {
    (case, engine)
    for case in ("fcn8s on alexnet, padding 1", "fcn32s on googlenet", "fcn8s on googlenet, learned")
    for engine in ("onnx", "openvino")
} - {("fcn8s on alexnet, padding 1", "onnx")}


def model_of(network, name: str, arguments: dict[str, object]) -> Model:
    classes = ClassTable.of([f"class {number}" for number in range(CLASSES)])
    return Model(network, classes, ModelCard(name, arguments, classes.to_json(), {}, 1.0, 0, {}, "", ""), "0" * 64)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize("case", CASES)
def test_labels_are_those_of_torch_at_six_sizes(case: str, engine: str) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    pytest.importorskip("openvino", reason="the extra `export` is not installed")
    model = model_of(built(case), *CASES[case])
    runs = open_engine(engine, serialized(graph_of(model)), torch.get_num_threads())
    try:
        comparison = compare_sizes(model, lambda pictures: runs.run(pictures)[0])
    except DataError:
        assert (case, engine) in REFUSED
        return
    if (case, engine) in REFUSED:
        assert not comparison.equal
        return
    most = comparison.pixels // 10_000 if case.startswith(JUMPS) else 0
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
