"""Every network of the contract table by tiles: labels equal those of the whole picture, or a sentence says why there are none.

Pictures of few rows are cut into columns alone. The slow test cuts both ways."""

import re

import numpy as np
import pytest
import torch
from test_networks import CASES, CLASSES, built

import perpixel
from perpixel.classes import ClassTable
from perpixel.errors import UsageError
from perpixel.prediction.equal_labels import Comparison, drawn
from perpixel.prediction.inference import Inference
from perpixel.prediction.tiles import labels_by_tiles, tiling_of
from perpixel.weights.model_file import Model, ModelCard

# Networks without tiles, and why. All others of the table have them.
WITHOUT = {
    "deconvnet": "it resizes every picture to one size",
    "classifier": "its scores are not those of cells of the picture",
    "vit_linear": "as attention does",
    "segformer": "joins the whole picture in a way that parts cannot add to",
}
# The passes over all tiles that a network makes first, for its operations over the whole picture.
PASSES = {"parsenet": 1, "pspnet": 1, "encnet": 1, "deeplabv3": 1, "deeplabv3plus": 1, "fpn": 3, "upernet": 1, "torchvision": 9}
WITHOUT_PASSES = ("pspnet, no pyramid", "deeplabv3, 8, no image_pooling", "fpn, batch, no top_down")
# Cases of the table that are compared in every run of the tests: one of each kind of operation, on the lightest networks.
QUICK = (
    "fcn16s, learned, padding 1", "fcn32s on alexnet", "parsenet, early, all features", "unet, same, batch", "deeplabv1 with msc",
    "deeplabv2 on three scales",
)  # fmt: skip
MORE = {"deeplabv2 on three scales": ("deeplabv2", dict(backbone="vgg16_reduced", width=0.05, rates=(1, 2)))}
WITH_TILES = [case for case, (name, _) in {**CASES, **MORE}.items() if name not in WITHOUT]


def model_of(case: str) -> Model:
    name, arguments = {**CASES, **MORE}[case]
    if case in MORE:
        torch.manual_seed(0)
        network = perpixel.build(name, CLASSES, **arguments).eval()
    else:
        network = built(case)
    classes = ClassTable.of([str(number) for number in range(CLASSES)])
    return Model(network, classes, ModelCard(name, arguments, classes.to_json(), {}, 1.0, 0, {}, "", ""), "digest")


def least_side(model: Model) -> int:
    """The side that the refusal of a side of 1 tells."""
    with pytest.raises(UsageError, match=r"^tile = 1: ") as refusal:
        tiling_of(model.network, 1)
    (side,) = re.findall(r"has (\d+) pixels a side or more|at least (\d+), such", str(refusal.value))
    return int("".join(side))


def compare(model: Model, size: tuple[int, int], side: int) -> None:
    """Compares labels, and scores interpolated at every pixel."""
    (image,) = drawn(1, size)
    labels = np.full(size, 255, np.uint8)
    for (top, left, bottom, right), part in labels_by_tiles(model, lambda w: image[w[0] : w[2], w[1] : w[3]], size, side):
        labels[top:bottom, left:right] = part
    comparison = Comparison()
    comparison.add(model, f"{size[0]} x {size[1]} by {side}", image, labels)
    assert comparison.equal, str(comparison)
    assert comparison.ties <= size[0] * size[1] // 1000


@pytest.mark.parametrize("case", QUICK)
def test_labels_by_columns_equal_those_of_the_whole_picture(case: str) -> None:
    model = model_of(case)
    side = least_side(model)
    compare(model, (37, side + 61), side)


@pytest.mark.slow
@pytest.mark.parametrize("case", WITH_TILES)
def test_labels_by_tiles_equal_those_of_the_whole_picture(case: str) -> None:
    model = model_of(case)
    side = least_side(model)
    compare(model, (side + 30, side + 47) if side < 600 else (side + 30, 47), side)
    compare(model, (45, side + 130), side + 16)


@pytest.mark.parametrize("case", [case for case, (name, _) in CASES.items() if name in WITHOUT])
def test_a_network_without_tiles_is_refused_in_a_sentence(case: str) -> None:
    model, (name, _) = model_of(case), CASES[case]
    with pytest.raises(UsageError, match=rf"^tile = 512: tiles of .*{WITHOUT[name]}; leave tile out, or give window\.$"):
        perpixel.predict(model, np.zeros((8, 8, 3), np.uint8), inference=Inference(tile=512))


@pytest.mark.parametrize("case", ["parsenet", "fpn on resnet18", "torchvision", "pspnet", "encnet", "unet", *WITHOUT_PASSES])
def test_the_record_says_how_the_whole_picture_was_summed(case: str) -> None:
    model = model_of(case)
    side = 1500 if case != "unet" else 572
    window = Inference(tile=side).predictor(model).rules["window"]
    passes = 0 if case in WITHOUT_PASSES else PASSES.get(case.split(" ")[0].split(",")[0], 0)
    if case == "unet":
        assert window == "tiles of 572, overlapping by the border, mirrored beyond the picture"
    else:
        number = "a pass" if passes == 1 else f"{passes} passes"
        summed = f"; operations over the whole picture summed in {number} before" if passes else ""
        assert window == f"tiles of 1500, overlapping by the reach of scores, which equal those of the whole picture{summed}"
