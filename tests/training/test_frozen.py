"""Parts that a recipe freezes keep weights and statistics to the bit, and all else learns."""

from pathlib import Path

import pytest
import torch
from fake_networks import OnResNet
from fakes import make_folder
from safetensors.torch import load_file
from torch import nn

from perpixel.datasets import open_dataset
from perpixel.errors import UsageError
from perpixel.files import MODEL_FILE
from perpixel.networks import NETWORKS
from perpixel.training.learner import network_of, train_mode
from perpixel.training.recipe import Recipe
from perpixel.training.train import train


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(NETWORKS, "on_resnet", OnResNet)
    return make_folder(tmp_path / "data")


def recipe_of(data: Path, **changes: object) -> Recipe:
    settings = {"data": str(data), "network": "on_resnet", "weights": "none", "batch": 2, "steps": 2, "validations": 1,
                "device": "cpu"}  # fmt: skip
    return Recipe(**{**settings, **changes})


def changed(data: Path, out: Path, **settings: object) -> set[str]:
    """The tensors that a training changes."""
    recipe = recipe_of(data, **settings)
    before = network_of(recipe, open_dataset(data).classes).state_dict()
    train(recipe, out, say=lambda _: None)
    after = load_file(out / MODEL_FILE)
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def of_norms(names: set[str]) -> set[str]:
    layers = {name for name, module in OnResNet(3).named_modules() if isinstance(module, nn.BatchNorm2d)}
    return {name for name in names if name.rpartition(".")[0] in layers}


def test_all_learns_without_these_settings(data: Path, tmp_path: Path) -> None:
    assert changed(data, tmp_path / "run") == set(OnResNet(3).state_dict()) - {"trunk.mean", "trunk.std"}


@pytest.mark.parametrize(
    ("stages", "frozen"), [(1, ("conv1", "bn1")), (2, ("conv1", "bn1", "layer1")), (3, ("conv1", "bn1", "layer1", "layer2"))]
)
def test_frozen_stages_keep_weights_and_statistics(data: Path, tmp_path: Path, stages: int, frozen: tuple[str, ...]) -> None:
    kept = set(OnResNet(3).state_dict()) - changed(data, tmp_path / "run", trunk_frozen=stages) - {"trunk.mean", "trunk.std"}
    assert kept == {name for name in OnResNet(3).state_dict() if name.startswith(tuple(f"trunk.{part}." for part in frozen))}


def test_frozen_normalisation_keeps_statistics_scale_and_shift(data: Path, tmp_path: Path) -> None:
    every = set(OnResNet(3).state_dict())
    found = changed(data, tmp_path / "run", freeze_norm=True)
    assert of_norms(found) == set()
    assert found == every - of_norms(every) - {"trunk.mean", "trunk.std"}


def test_a_frozen_normalisation_needs_no_second_picture(data: Path, tmp_path: Path) -> None:
    settings = {"network": "unet", "convolutions": "same", "norm": "batch", "width": 0.05, "batch": 1, "crop": (16, 16)}
    with pytest.raises(UsageError, match="has a layer that normalises"):
        train(recipe_of(data, **settings), tmp_path / "one", say=lambda _: None)
    assert train(recipe_of(data, **settings, freeze_norm=True), tmp_path / "two", say=lambda _: None) is not None


def test_training_mode_leaves_what_is_frozen_in_evaluation(data: Path) -> None:
    recipe = recipe_of(data, trunk_frozen=2)
    network = network_of(recipe, open_dataset(data).classes)
    train_mode(network, recipe)
    assert not network.trunk.layer1.training
    assert network.trunk.layer2.training
    assert network.training


def test_of_a_trunk_of_timm_what_its_features_of_a_stride_are_computed_by_is_frozen(data: Path) -> None:
    settings = {"network": "mask_rcnn", "backbone": "resnet18", "anchors": (8, 16, 32, 64, 96), "trunk_frozen": 2}
    recipe = recipe_of(data, **settings, freeze_norm=True)
    network = network_of(recipe, open_dataset(data).classes)
    train_mode(network, recipe)
    still = {name for name, weight in network.trunk.named_parameters() if weight.ndim == 4 and not weight.requires_grad}
    assert still == {
        name for name, weight in network.trunk.named_parameters()
        if weight.ndim == 4 and name.startswith(("body.conv1.", "body.layer1."))
    }  # fmt: skip
    body = network.trunk.body
    assert [part.training for part in (body.conv1, body.layer1, body.layer4, body.layer4[0].bn1)] == [False, False, True, False]
    assert network.mask_head.training


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"network": "unet", "trunk_frozen": 2},
            "trunk_frozen = 2: unet has no trunk with stages, which could be frozen; give --backbone resnet50",
        ),
        ({"network": "fcn32s", "width": 0.02, "freeze_norm": True}, "freeze_norm: fcn32s has no batch normalisation; leave it"),
        (
            {"network": "mask_rcnn", "backbone": "resnet18", "norm": "frozen"},
            "norm = 'frozen': is for our ResNets, not resnet18, whose normalisation `--freeze-norm` freezes",
        ),
        ({"freeze_norm": True, "statistics_batches": 2}, "statistics_batches = 2: on_resnet trains no batch normalisation"),
    ],
)
def test_what_cannot_be_frozen_is_refused(data: Path, settings: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        network_of(recipe_of(data, **settings), open_dataset(data).classes)
    assert says in str(caught.value)
