"""The released weights of DeepLab v1 and v2: an imported file gives the scores of its prototxt, in double precision."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from caffe_deeplab import MEAN, random_weights, run, v1, v2_resnet101, v2_vgg16
from caffe_files import V1_NUMBERS, Rows, Weights, write_caffemodel

import perpixel
from perpixel.errors import UntrustedFile, UsageError
from perpixel.files import CARD_FILE
from perpixel.weights import caffe_layers
from perpixel.weights.caffe_file import Layer
from perpixel.weights.import_weights import import_weights

CLASSES = 3
# What each release is called here: its layers, our network, its width in tests, and the arguments that follow from the file.
RELEASES: dict[str, tuple[Callable[[int, float], Rows], str, dict[str, Any], float, dict[str, Any]]] = {
    "DeepLab-LargeFOV": (v1, "deeplabv1", {}, 0.05, {}),
    "DeepLab-MSc-LargeFOV": (
        lambda classes, width: v1(classes, width, msc=True), "deeplabv1", {}, 0.05, {"msc": True},
    ),
    "DeepLab-MSc": (
        lambda classes, width: v1(classes, width, "4x4", msc=True, data="pascal"), "deeplabv1", {}, 0.02,
        {"head": "4x4", "msc": True},
    ),
    "deeplabv2_vgg16": (v2_vgg16, "deeplabv2", {"backbone": "vgg16_reduced"}, 0.05, {"scales": [1.0]}),
    "deeplabv2_vgg16, LargeFOV": (
        lambda classes, width: v2_vgg16(classes, width, (12,)), "deeplabv2", {"backbone": "vgg16_reduced"}, 0.05,
        {"rates": [12], "scales": [1.0]},
    ),
    "deeplabv2_resnet101": (
        v2_resnet101, "deeplabv2", {}, 0.05, {"stride_in": "1x1", "scales": [1.0, 0.75, 0.5]},
    ),
    "deeplabv2_resnet101 at one scale": (
        lambda classes, width: v2_resnet101(classes, width, "coco", [""]), "deeplabv2", {}, 0.05,
        {"stride_in": "1x1", "scales": [1.0]},
    ),
}  # fmt: skip


def rows_of(name: str, classes: int = CLASSES) -> Rows:
    return RELEASES[name][0](classes, RELEASES[name][3])


def written(path: Path, name: str, weights: list[Weights] | None = None) -> Path:
    """A file of that release: v1 in the old format, in which layers of DeepLab's own Caffe have numbers that are not known."""
    weights = random_weights(rows_of(name)) if weights is None else weights
    old = RELEASES[name][1] == "deeplabv1"
    return write_caffemodel(path, [row for row in weights if not old or row[1] in V1_NUMBERS], old=old, legacy=old)


def import_(path: Path, name: str, out: Path, classes: int = CLASSES, **more: Any) -> Any:
    _, network, arguments, width, _ = RELEASES[name]
    return perpixel.load(import_weights(path, network, classes, out, width=width, **arguments, **more))


@pytest.mark.parametrize("name", RELEASES)
@torch.inference_mode()
def test_an_imported_file_gives_the_scores_of_its_prototxt(name: str, tmp_path: Path) -> None:
    rows = rows_of(name)
    weights = random_weights(rows)
    model = import_(written(tmp_path / "train2_iter_8000.caffemodel", name), name, tmp_path / "model")
    *_, width, arguments = RELEASES[name]
    assert model.card.arguments == {**RELEASES[name][2], **arguments, "width": width}
    # Like 321, of which 0.75 and 0.5 are sides of 8 k + 1 too.
    images = torch.rand(1, 3, 33, 65, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pixels = 255 * images.flip(1) - torch.tensor(MEAN, dtype=torch.float64)[:, None, None]
    expected = run(rows, weights, pixels)[rows[-1].name]
    found = model.network.double().score_map(images)
    stride = 8 if found.scores.shape[-1] == 9 else 1
    if stride == 1:
        assert found.scores.shape == expected.shape == (1, CLASSES, 33, 65)
    elif expected.shape[-1] == 65:  # enlarged by the last layer of the prototxt
        expected = expected[..., ::8, ::8]
    assert (found.stride, found.shift) == (stride, 0)
    assert expected.std() > 0.01
    assert (found.scores - expected).abs().max() < 1e-5 * expected.std()


@pytest.mark.parametrize(("name", "parameters"), [
    ("DeepLab-LargeFOV", 20_505_429), ("DeepLab-MSc-LargeFOV", 20_505_429 + 1_206_121), ("DeepLab-MSc", 65_140_565 + 1_206_121),
    ("deeplabv2_vgg16", 37_877_652), ("deeplabv2_resnet101 at one scale", 44_048_532),
])  # fmt: skip
def test_at_the_authors_width_every_blob_has_its_place(name: str, parameters: int) -> None:
    """On shapes alone; ResNet-101 has statistics besides: the mean and variance of 52,672 channels, and 104 divisors."""
    build, network, arguments, _, _ = RELEASES[name]
    layers = [Layer(row.name, row.type, [np.zeros(shape, np.float32) for shape in row.blobs]) for row in build(21, 1.0)]
    statistics, divisors = (2 * 52_672, 104) if "resnet" in name else (0, 0)
    assert sum(blob.size for layer in layers for blob in layer.blobs) == parameters + statistics + divisors
    found, state = caffe_layers.convert(Path("net"), layers, network, 21, **arguments)
    with torch.device("meta"):
        expected = perpixel.build(network, 21, **found).state_dict()
    assert {key: tensor.shape for key, tensor in state.items()} == {key: tensor.shape for key, tensor in expected.items()}
    assert sum(tensor.numel() for tensor in state.values()) == parameters + statistics + 6  # mean and scale of the picture


def test_pictures_are_seen_less_the_mean_of_the_authors(tmp_path: Path) -> None:
    for name, scale in (("DeepLab-LargeFOV", "trunk.scale"), ("deeplabv2_resnet101", "trunk.std")):
        state = import_(written(tmp_path / "net.caffemodel", name), name, tmp_path / name).network.state_dict()
        assert (255 * state["trunk.mean"]).flatten().tolist() == pytest.approx([122.675, 116.669, 104.008])
        assert state[scale].flatten().tolist() == pytest.approx([255 if scale == "trunk.scale" else 1 / 255] * 3)


def test_statistics_are_divided_once_and_none_are_zero(tmp_path: Path) -> None:
    name = "deeplabv2_resnet101"
    weights = random_weights(rows_of(name))
    given = {row[0]: row[2] for row in weights}
    given["bn2a_branch1"][2][:] = 0  # Caffe: mean and variance 0
    state = import_(written(tmp_path / "net.caffemodel", name, weights), name, tmp_path / "model").network.state_dict()
    mean, variance, divisor = given["bn_conv1"]
    torch.testing.assert_close(state["trunk.bn1.running_mean"], torch.from_numpy(mean / divisor))
    torch.testing.assert_close(state["trunk.bn1.running_var"], torch.from_numpy(variance / divisor))
    assert torch.equal(state["trunk.bn1.weight"], torch.from_numpy(given["scale_conv1"][0]))
    assert not state["trunk.layer1.0.downsample.1.running_mean"].any()
    assert not state["trunk.layer1.0.downsample.1.running_var"].any()
    assert torch.equal(state["trunk.layer3.22.conv3.weight"], torch.from_numpy(given["res4b22_branch2c"][0]))


@pytest.mark.parametrize("data", ["coco", "pascal", "context", "voc12"])
def test_the_classifier_is_called_by_its_data_set(data: str, tmp_path: Path) -> None:
    for number, rows in enumerate((v1(CLASSES, 0.02, data=data), v2_vgg16(CLASSES, 0.02, data=data))):
        path = write_caffemodel(tmp_path / "net.caffemodel", random_weights(rows))
        arguments = {"backbone": "vgg16_reduced"} if number else {}
        import_weights(path, f"deeplabv{number + 1}", CLASSES, tmp_path / str(number), width=0.02, **arguments)


@pytest.mark.parametrize("name", RELEASES)
def test_a_layer_that_is_missing_or_of_another_shape_is_named(name: str, tmp_path: Path) -> None:
    weights = random_weights(rows_of(name))
    places = [place for place, (called, _, blobs) in enumerate(weights) if blobs and "_res0" not in called and called != "fc6"]
    for place in places[:: max(1, len(places) // 8)]:
        called = weights[place][0]
        shown = called.replace("_voc12", "").replace("_pascal", "").replace("_coco", "")
        if called == "data_conv":  # which tells that there is MSc
            continue
        for change, says in ((None, f"missing layers: {shown}"), (2, f"layers of another shape: {called} (")):
            changed = list(weights)
            if change is None:
                del changed[place]
            else:
                changed[place] = (called, weights[place][1], [np.concatenate([blob, blob]) for blob in weights[place][2]])
            with pytest.raises(UntrustedFile) as told:
                import_(written(tmp_path / "net.caffemodel", name, changed), name, tmp_path / "model")
            assert says in str(told.value)


def test_an_unknown_layer_and_another_number_of_classes(tmp_path: Path) -> None:
    name = "DeepLab-LargeFOV"
    weights = random_weights(rows_of(name))
    path = written(tmp_path / "net.caffemodel", name, [*weights, ("ip", "InnerProduct", [np.ones((2, 3), np.float32)])])
    with pytest.raises(UntrustedFile, match="unknown layers: ip\\)"):
        import_(path, name, tmp_path / "model")
    with pytest.raises(UntrustedFile, match=r"fc8_voc12 \(3x51x1x1 and 1x1x1x3, not 21x51x1x1 and 21\)\); name the"):
        import_(written(path, name), name, tmp_path / "model", 21)


@pytest.mark.parametrize("head", ["4x4", "7x7"])
def test_the_networks_of_other_pools_are_refused(head: str, tmp_path: Path) -> None:
    path = write_caffemodel(tmp_path / "net.caffemodel", random_weights(v1(CLASSES, 0.02, head, data="pascal")))
    with pytest.raises(UsageError, match=f"holds DeepLab with a classifier of {head} and pools of 2x2, and deeplabv1 has"):
        import_weights(path, "deeplabv1", CLASSES, tmp_path / "model", width=0.02)


@pytest.mark.parametrize(("name", "arguments"), [
    ("DeepLab-LargeFOV", {"msc": True}), ("DeepLab-LargeFOV", {"head": "4x4"}), ("deeplabv2_resnet101", {"stride_in": "3x3"}),
    ("deeplabv2_resnet101", {"scales": (1.0,)}),
])  # fmt: skip
def test_what_the_file_decides(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(arguments))}: the file decides that; leave it out"):
        import_(written(tmp_path / "net.caffemodel", name), name, tmp_path / "model", **arguments)


def test_a_file_of_v2_is_not_v1(tmp_path: Path) -> None:
    path = written(tmp_path / "net.caffemodel", "deeplabv2_vgg16")
    with pytest.raises(UntrustedFile, match=r"hold deeplabv1 with 3 classes \(unknown layers: fc6_1, fc7_1, fc8_voc12_1"):
        import_weights(path, "deeplabv1", CLASSES, tmp_path / "model", width=0.05)


def test_a_smaller_pyramid_by_name(tmp_path: Path) -> None:
    """ASPP-S has the layers of ASPP-L; in Python its rates are named."""
    path = written(tmp_path / "net.caffemodel", "deeplabv2_vgg16")
    model = import_(path, "deeplabv2_vgg16", tmp_path / "model", rates=(2, 4, 8, 12))
    assert [branch[0].dilation[0] for branch in model.network.trunk.fc] == [2, 4, 8, 12]
    assert json.loads((tmp_path / "model" / CARD_FILE).read_text())["arguments"]["rates"] == [2, 4, 8, 12]
