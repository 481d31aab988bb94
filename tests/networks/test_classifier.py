"""The classifier of whole pictures: torchvision's ResNet-50, and trunks that other networks begin with."""

from pathlib import Path

import pytest
import torch
from torchvision.models import resnet50

from perpixel import load, open_dataset, predict
from perpixel.datasets import scenes, things
from perpixel.networks import build
from perpixel.training.recipe import Recipe
from perpixel.training.train import train


def test_with_1000_classes_it_has_the_parameters_of_resnet_50():
    with torch.device("meta"):
        assert sum(weight.numel() for weight in build("classifier", 1000).parameters()) == 25_557_032


def test_with_torchvisions_state_it_gives_torchvisions_scores():
    torch.manual_seed(0)
    theirs = resnet50(weights=None, num_classes=7).eval()
    state = theirs.state_dict()
    ours = build("classifier", 7).eval()
    named = {f"trunk.{name}": tensor for name, tensor in state.items() if not name.startswith("fc.")}
    score = {"score.weight": state["fc.weight"][..., None, None], "score.bias": state["fc.bias"]}
    colours = {name: tensor for name, tensor in ours.state_dict().items() if name in ("trunk.mean", "trunk.std")}
    ours.load_state_dict({**named, **score, **colours})
    images = torch.rand(2, 3, 70, 96)
    with torch.inference_mode():
        wanted = theirs((images - colours["trunk.mean"]) / colours["trunk.std"])
        logits = ours(images)["logits"]
    assert logits.shape == (2, 7, 70, 96)
    torch.testing.assert_close(logits, wanted[..., None, None].expand_as(logits), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "arguments", "trunk"),
    [
        ("parsenet", {}, {"backbone": "vgg16_reduced"}),
        ("deeplabv2", {"backbone": "vgg16_reduced", "rates": (2,)}, {"backbone": "vgg16_reduced"}),
        ("fcn8s", {"padding": 1}, {"backbone": "vgg16"}),
        ("fpn", {}, {"backbone": "resnet50"}),
        ("pspnet", {"backbone": "resnet50"}, {"backbone": "resnet50", "stem": "deep"}),
        ("encnet", {"backbone": "resnet50"}, {"backbone": "resnet50", "stem": "deep"}),
        ("deeplabv3plus", {"backbone": "xception41"}, {"backbone": "xception41"}),
    ],
)
def test_a_network_begins_with_all_of_its_trunk(network, arguments, trunk):
    with torch.device("meta"):
        theirs = build(network, 5, width=0.125, **arguments).state_dict()
        ours = build("classifier", 24, width=0.125, **trunk).state_dict()
    fitting = {name for name, tensor in ours.items() if name in theirs and theirs[name].shape == tensor.shape}
    assert {name for name in ours if name.startswith("trunk.")} == fitting
    left_out = {"trunk.fc.0.weight", "trunk.fc.0.bias", "trunk.fc.3.weight", "trunk.fc.3.bias"} if network == "fcn8s" else set()
    assert {name for name in theirs if name.startswith("trunk.")} - fitting == left_out


def test_training_on_things_is_the_training_of_any_network_and_others_start_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, pictures in {"train": 48, "val": 24}.items():
        monkeypatch.setitem(things.SPLITS, split, pictures)
    said: list[str] = []
    small = {"batch": 16, "optimiser": "adamw", "lr": 3e-3, "schedule": "one_cycle", "validations": 1, "device": "cpu"}
    first = Recipe(data="things", network="classifier", backbone="resnet50", width=0.125, weights="none", steps=2, **small)
    scores = train(first, tmp_path / "trunk", say=said.append)
    assert scores is not None
    model, pictures = load(tmp_path / "trunk"), open_dataset("things", split="val")
    named = [set(predict(model, pictures.sample(index).image).labels.ravel().tolist()) for index in range(24)]
    # One label a picture, so that the accuracy of pixels is that of pictures.
    assert scores.figures["pixel_accuracy"] == sum(labels == {index} for index, labels in enumerate(named)) / 24
    network = Recipe(data="scenes", network="fpn", width=0.125, weights="none", starts_from=str(tmp_path / "trunk"),
                     train_split="tune", val_split="tune", steps=1, crop=(32, 32), **{**small, "batch": 2})  # fmt: skip
    monkeypatch.setitem(scenes.CUT, "tune", (500, 502))
    train(network, tmp_path / "run", say=said.append)
    told = next(line for line in said if "starts from" in line)
    assert "new: " in told
    assert "trunk." not in told.split("new: ")[1]
