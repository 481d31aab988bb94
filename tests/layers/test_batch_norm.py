"""Statistics of batch normalisation for test time, as DeconvNet's authors measure them: by hand, and in a training."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import make_folder
from safetensors.torch import load_file
from torch import nn

import perpixel
from perpixel.errors import UsageError
from perpixel.layers.batch_norm import PooledBatchNorm, measure_statistics
from perpixel.machines.team import Team
from perpixel.training import states
from perpixel.training.batches import batches
from perpixel.training.recipe import Recipe
from perpixel.training.train import train
from perpixel.weights import model_file


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def measured(network: nn.Module, *images: torch.Tensor) -> None:
    measure_statistics(network.modules(), norms(network), (network(batch) for batch in images))


def plane(*values: float) -> torch.Tensor:
    """A batch of one channel and one pixel."""
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None]


class TestByHand:
    def test_means_of_the_batches_means_and_biased_variances(self) -> None:
        """1 and 3 have mean 2 and variance 1; 0, 3 and 6 have mean 3 and variance 6."""
        layer = nn.BatchNorm2d(1)
        measured(layer, plane(1, 3), plane(0, 3, 6))
        assert (layer.running_mean.item(), layer.running_var.item()) == (2.5, 3.5)

    def test_the_next_layer_sees_what_each_batchs_own_statistics_leave(self) -> None:
        """Each batch comes out of the first layer as -1 and 1, times 2 and plus 5: mean 5, variance 4."""
        first, second = nn.BatchNorm2d(1, eps=0), nn.BatchNorm2d(1, eps=0)
        nn.init.constant_(first.weight, 2)
        nn.init.constant_(first.bias, 5)
        measured(nn.Sequential(first, second), plane(1, 3), plane(10, 30))
        assert (first.running_mean.item(), first.running_var.item()) == (11, 50.5)
        assert (second.running_mean.item(), second.running_var.item()) == (5, 4)

    def test_rows_columns_and_pictures_count_alike(self) -> None:
        x = torch.randn(3, 4, 5, 6, dtype=torch.float64).float() * 7 + 100
        layer = nn.BatchNorm2d(4)
        measured(layer, x)
        values = x.double().numpy().transpose(1, 0, 2, 3).reshape(4, -1)
        assert layer.running_mean.numpy() == pytest.approx(values.mean(1), rel=1e-6)
        assert layer.running_var.numpy() == pytest.approx(values.var(1), rel=1e-5)

    def test_weights_modes_and_other_layers_stay_as_they_are(self) -> None:
        network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.BatchNorm2d(1)).train()
        network[2].eval()
        measure_statistics(network.modules(), [network[0]], (network(plane(2, 4)) for _ in range(3)))
        assert [module.training for module in network] == [True, True, False]
        assert (network[0].running_mean.item(), network[0].running_var.item()) == (3, 1)
        assert (network[2].running_mean.item(), network[2].running_var.item()) == (0, 1)
        assert not network[0]._forward_pre_hooks
        assert not any(parameter.requires_grad and parameter.grad is not None for parameter in network.parameters())

    def test_modes_come_back_after_an_error(self) -> None:
        network = nn.Sequential(nn.BatchNorm2d(1)).train()
        with pytest.raises(IndexError):
            measured(network, torch.zeros(3))
        assert network.training
        assert not network[0]._forward_pre_hooks


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("deconvnet", {"side": 64}), ("unet", {"convolutions": "same", "norm": "batch", "dropout": 0.0})],
)
def test_on_one_batch_evaluation_becomes_what_training_was(name: str, arguments: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = perpixel.build(name, 3, width=0.05, **arguments).train()
    for layer in network.modules():
        if isinstance(layer, nn.ConvTranspose2d):  # at its 0.01, a thin DeconvNet's variances come near to its eps
            nn.init.kaiming_normal_(layer.weight)
    images = torch.rand(6, 3, 64, 64) * torch.linspace(0.2, 1, 6)[:, None, None, None]
    with torch.no_grad():
        expected = network(images)["logits"]
        measured(network, images)
        found = network.eval()(images)["logits"]
    assert (found - expected).abs().max() < 1e-3 * expected.std()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data")


def recipe_for(data: Path, **changes: Any) -> Recipe:
    settings = {"data": str(data), "network": "unet", "convolutions": "same", "norm": "batch", "width": 0.05, "batch": 4,
                "steps": 4, "validations": 2, "crop": (16, 16), "device": "cpu"}  # fmt: skip
    return Recipe(**{**settings, **changes})


class TestInTraining:
    def test_the_kept_model_is_judged_with_them(self, data: Path, tmp_path: Path) -> None:
        """The first layer's, worked out in NumPy from the model's own weights and the pictures that are drawn."""
        recipe = recipe_for(data, statistics_batches=3, statistics_batch=5)
        scores = train(recipe, tmp_path / "run", say=lambda _: None)
        model = model_file.load(tmp_path / "run")
        assert scores is not None
        assert scores.protocol["weights"] == model.digest
        convolution, norm = model.network.down[0][:2]
        drawn = batches(perpixel.open_dataset(data, split="train"), replace(recipe, steps=3, batch=5), 0)
        moments = []
        for (part,) in drawn:
            assert len(part.names) == 5
            with torch.no_grad():
                values = convolution(part.images).double().numpy().transpose(1, 0, 2, 3).reshape(norm.num_features, -1)
            moments.append((values.mean(1), values.var(1)))
        mean, variance = np.mean(moments, axis=0)
        assert norm.running_mean.numpy() == pytest.approx(mean, rel=1e-5, abs=1e-6)
        assert norm.running_var.numpy() == pytest.approx(variance, rel=1e-5)

    @pytest.mark.parametrize("ema", [0.0, 0.9])
    def test_what_is_learned_stays_the_same(self, data: Path, tmp_path: Path, ema: float) -> None:
        runs = {number: tmp_path / f"run{number}" for number in (0, 2)}
        for number, out in runs.items():
            train(recipe_for(data, statistics_batches=number, statistics_batch=4, ema=ema), out, say=lambda _: None)
        plain, anew = (load_file(max(states.state_folders(out)) / "network.safetensors") for out in runs.values())
        learned = [name for name in plain if "running" not in name]
        assert len(learned) < len(plain)
        assert all(torch.equal(plain[name], anew[name]) for name in learned)

    def test_a_frozen_trunk_keeps_its_own(self, data: Path, tmp_path: Path) -> None:
        recipe = recipe_for(data, convolutions=None, norm=None, width=None, backbone="resnet18", weights="none", decoder=(8,))
        measuring = {"trunk_lr": 0.0, "statistics_batches": 2, "statistics_batch": 4, "steps": 1, "validations": 1}
        train(replace(recipe, **measuring), tmp_path / "run", say=lambda _: None)
        network = model_file.load(tmp_path / "run").network
        assert all((layer.running_var == 1).all() for layer in norms(network.trunk))
        assert all((layer.running_var != 1).any() for layer in norms(network.join))

    def test_a_network_without_batch_normalisation_is_refused(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="statistics_batches = 2: unet trains no batch normalisation; leave it out"):
            train(recipe_for(data, norm=None, statistics_batches=2), tmp_path / "run", say=lambda _: None)

    def test_batches_divide_among_the_processes(self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        @contextmanager
        def three(_device: str) -> Any:
            yield Team(0, 3, "cpu")

        monkeypatch.setattr("perpixel.training.train.join", three)
        with pytest.raises(UsageError, match="statistics_batch = 28: must be a multiple of the processes, 3"):
            train(recipe_for(data, batch=3, statistics_batches=1), tmp_path / "run", say=lambda _: None)


class TestPooledBatchNorm:
    def layer(self) -> PooledBatchNorm:
        layer = PooledBatchNorm(2)
        for tensor, values in ((layer.running_mean, (1.0, 2)), (layer.running_var, (4.0, 9)), (layer.weight, (1.0, 3))):
            tensor.data.copy_(torch.tensor(values))
        return layer.train()

    def test_one_value_of_each_channel_is_normalised_by_the_running_statistics(self) -> None:
        layer = self.layer()
        found = layer(torch.tensor([5.0, 5]).view(1, 2, 1, 1)).flatten()
        assert found.tolist() == pytest.approx([(5 - 1) / 2, 3 * (5 - 2) / 3], rel=1e-5)
        assert (layer.running_mean.tolist(), layer.running_var.tolist()) == ([1, 2], [4, 9])
        found.sum().backward()
        assert layer.weight.grad.tolist() == pytest.approx([2, 1], rel=1e-5)

    @pytest.mark.parametrize("shape", [(2, 2, 1, 1), (1, 2, 1, 2), (3, 2, 4, 4)])
    def test_more_values_are_normalised_as_by_torch(self, shape: tuple[int, ...]) -> None:
        ours, theirs, x = self.layer(), nn.BatchNorm2d(2).train(), torch.randn(shape)
        theirs.load_state_dict(ours.state_dict())
        assert torch.equal(ours(x), theirs(x))
        assert torch.equal(ours.running_var, theirs.running_var)
