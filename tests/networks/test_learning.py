"""How published recipes learn: summed losses, rates and decay by kind of parameter, frozen trunks, stages upon stages."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import make_folder
from safetensors.torch import load_file
from torch.nn import functional as F

import perpixel
from perpixel.cli import main
from perpixel.errors import UnknownName, UsageError
from perpixel.files import MODEL_FILE
from perpixel.training.batches import batches, index_of_all
from perpixel.training.recipe import Recipe
from perpixel.training.stages import stages, train_stages
from perpixel.training.train import train
from perpixel.weights import model_file

FCN = {"network": "fcn32s", "backbone": "vgg16", "weights": "none", "width": 0.02, "padding": 1, "dropout": 0.0}
HEAVY = {"batch": 1, "flip": False, "optimiser": "sgd", "momentum": 0.99, "decay": 5e-4, "bias_lr": 2.0, "schedule": "constant"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data")


def quiet(_: str) -> None: ...


def recipe_of(data: Path, **changes: object) -> Recipe:
    return Recipe(**{"data": str(data), **FCN, "steps": 3, "validations": 1, "device": "cpu", **changes})


def by_hand(recipe: Recipe, loss_of_batch) -> dict[str, torch.Tensor]:
    """The recipe as a plain loop over the same batches, with torch's own SGD and two groups of parameters."""
    dataset = perpixel.open_dataset(recipe.data, split="train")
    torch.manual_seed(recipe.seed)
    network = perpixel.build(recipe.network, 3, **recipe.network_arguments()).train()
    biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
    weights = [p for name, p in network.named_parameters() if not name.endswith("bias")]
    optimiser = torch.optim.SGD(
        [{"params": weights, "weight_decay": recipe.decay}, {"params": biases, "lr": recipe.lr * recipe.bias_lr}],
        recipe.lr, recipe.momentum,
    )  # fmt: skip
    for parts in batches(dataset, recipe, 0):
        optimiser.zero_grad()
        loss_of_batch(network, parts).backward()
        optimiser.step()
    return network.state_dict()


def assert_close(found: Path, expected: dict[str, torch.Tensor]) -> None:
    tensors = load_file(found / MODEL_FILE)
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(tensors[name], tensor, rtol=1e-4, atol=1e-7), name


def summed(network: torch.nn.Module, part) -> torch.Tensor:
    return F.cross_entropy(network(part.images)["logits"], part.targets.labels, ignore_index=255, reduction="sum")


def test_heavy_learning_is_a_summed_loss_with_twice_the_rate_for_biases(data: Path, tmp_path: Path) -> None:
    recipe = recipe_of(data, **HEAVY, lr=1e-6, loss_mean="pictures")
    train(recipe, tmp_path / "run", say=quiet)
    assert_close(tmp_path / "run", by_hand(recipe, lambda network, parts: summed(network, parts[0])))


def test_a_batch_by_accumulation_is_the_mean_of_its_pictures_sums(data: Path, tmp_path: Path) -> None:
    recipe = recipe_of(data, **{**HEAVY, "batch": 4, "accumulate": 2}, lr=1e-6, loss_mean="pictures")
    train(recipe, tmp_path / "run", say=quiet)
    assert_close(tmp_path / "run", by_hand(recipe, lambda network, parts: sum(summed(network, part) for part in parts) / 4))


def test_a_normalised_loss_by_accumulation_is_the_mean_of_the_parts_means(data: Path, tmp_path: Path) -> None:
    """Crops that hang over the edge have different numbers of judged pixels, so this is not the mean over all pixels."""
    settings = {**HEAVY, "batch": 2, "accumulate": 2, "crop": (20, 24), "scale_jitter": (0.5, 1.5)}
    recipe = recipe_of(data, **settings, lr=1e-2, loss_mean="parts")
    differences = []

    def loss(network: torch.nn.Module, parts: list) -> torch.Tensor:
        differences.append(parts[0].judged - parts[1].judged)
        return sum(F.cross_entropy(network(p.images)["logits"], p.targets.labels, ignore_index=255) for p in parts) / 2

    train(recipe, tmp_path / "run", say=quiet)
    assert_close(tmp_path / "run", by_hand(recipe, loss))
    assert any(differences)


def test_only_cross_entropy_can_be_summed_over_pixels(data: Path) -> None:
    with pytest.raises(UsageError, match="only cross_entropy"):
        recipe_of(data, loss="cross_entropy+dice", loss_mean="pictures")


def test_a_frozen_trunk_keeps_its_bytes_and_its_statistics(data: Path, tmp_path: Path) -> None:
    recipe = recipe_of(data, backbone="resnet18", width=None, padding=None, dropout=None, trunk_lr=0.0, lr=1e-2, validations=3)
    train(recipe, tmp_path / "run", say=quiet)
    torch.manual_seed(recipe.seed)
    fresh = perpixel.build("fcn32s", 3, **recipe.network_arguments()).state_dict()
    found = load_file(tmp_path / "run" / MODEL_FILE)
    moved = {name for name in fresh if not torch.equal(fresh[name], found[name])}
    assert moved == {"score.stride32.weight", "score.stride32.bias"}


def test_a_network_without_a_trunk_has_none_to_freeze(data: Path, tmp_path: Path) -> None:
    recipe = Recipe(data=str(data), network="unet", width=0.05, trunk_lr=0.0, steps=1, device="cpu")
    with pytest.raises(UsageError, match="no trunk to freeze"):
        train(recipe, tmp_path / "run", say=quiet)


def test_score_layers_have_their_own_rate(data: Path, tmp_path: Path) -> None:
    """One step of plain SGD moves a score layer ten times as far, its bias twenty times."""
    moved = []
    for factors in ({}, {"score_lr": 10.0, "bias_lr": 2.0}):
        out = tmp_path / f"run{len(moved)}"
        plain = {"steps": 1, "optimiser": "sgd", "momentum": 0.0, "decay": 0.0, "lr": 1e-3, "schedule": "constant"}
        train(recipe_of(data, **plain, **factors), out, say=quiet)
        moved.append(load_file(out / MODEL_FILE))
    assert torch.allclose(moved[1]["score.fc7.weight"], 10 * moved[0]["score.fc7.weight"], rtol=1e-3)
    assert torch.allclose(moved[1]["score.fc7.bias"], 20 * moved[0]["score.fc7.bias"], rtol=1e-3)
    assert moved[0]["score.fc7.bias"].abs().max() > 0
    assert torch.equal(moved[0]["trunk.features.0.weight"], moved[1]["trunk.features.0.weight"])  # score layers start at zero


def test_drawing_from_all_leaves_a_third_of_an_epoch_undrawn() -> None:
    """1 - 1/e of many pictures are met in as many draws; and a draw depends on its position alone."""
    drawn = [index_of_all(position, 1000, seed=7) for position in range(1000)]
    assert len(set(drawn)) / 1000 == pytest.approx(1 - np.exp(-1), abs=0.03)
    assert drawn[500] == index_of_all(500, 1000, seed=7)


class TestStartingFromAnotherRun:
    def test_what_fits_is_taken_and_the_rest_is_named(self, data: Path, tmp_path: Path) -> None:
        train(recipe_of(data), tmp_path / "first", say=quiet)
        messages: list[str] = []
        recipe = recipe_of(data, network="fcn16s", starts_from=str(tmp_path / "first"), optimiser="sgd", lr=1e-12)
        train(recipe, tmp_path / "second", say=messages.append)
        before, after = (load_file(tmp_path / name / MODEL_FILE) for name in ("first", "second"))
        assert all(torch.allclose(tensor, after[name], atol=1e-6) for name, tensor in before.items())
        assert after.keys() - before.keys() == {"score.pool4.weight", "score.pool4.bias"}
        digest = model_file.load(tmp_path / "first").digest
        first = f"{tmp_path / 'first'} (fcn32s width 0.02, padding 1, dropout 0, {digest[:12]})"
        assert f"starts from {first}; new: score.pool4.weight, score.pool4.bias." in messages
        assert f'"sha256": "{digest}"' in (tmp_path / "second" / "run.json").read_text()

    def test_a_continued_run_needs_it_no_more(self, data: Path, tmp_path: Path) -> None:
        train(recipe_of(data), tmp_path / "first", say=quiet)
        recipe = recipe_of(data, network="fcn16s", starts_from=str(tmp_path / "first"))
        train(recipe, tmp_path / "second", say=quiet)
        (tmp_path / "first" / MODEL_FILE).unlink()
        assert train(recipe, tmp_path / "second", say=quiet) is not None

    def test_a_model_of_which_nothing_fits(self, data: Path, tmp_path: Path) -> None:
        other = Recipe(data=str(data), network="unet", width=0.05, steps=1, validations=1, device="cpu")
        train(other, tmp_path / "unet", say=quiet)
        with pytest.raises(UsageError, match="nothing of its unet fits"):
            train(recipe_of(data, starts_from=str(tmp_path / "unet")), tmp_path / "run", say=quiet)


class TestStages:
    @pytest.fixture
    def chain(self, data: Path, tmp_path: Path) -> Path:
        """b.toml starts from a.toml."""
        common = f'data = "{data}"\nbackbone = "vgg16"\nweights = "none"\nwidth = 0.02\npadding = 1\nsteps = 2\nvalidations = 1\n'
        (tmp_path / "a.toml").write_text(f'{common}network = "fcn32s"\n')
        (tmp_path / "b.toml").write_text(f'{common}network = "fcn16s"\nstarts_from = "{tmp_path / "a.toml"}"\n')
        return tmp_path / "b.toml"

    def test_the_stage_before_is_trained_first_and_only_once(self, chain: Path, tmp_path: Path) -> None:
        out, messages = tmp_path / "run", []
        planned = stages(chain, {}, {})
        assert [(stage.name, stage.recipe.network) for stage in planned] == [("a", "fcn32s"), ("", "fcn16s")]
        assert train_stages(planned, out, say=messages.append) is not None
        first = model_file.load(out / "stages" / "a")
        assert model_file.load(out).card.network == "fcn16s"
        begun = f"starts from {out / 'stages' / 'a'} (fcn32s width 0.02, padding 1, {first.digest[:12]})"
        assert any(begun in text for text in messages)
        messages.clear()
        train_stages(planned, out, say=messages.append)
        assert messages[0] == f"{out / 'stages' / 'a'}: is done."

    def test_flags_change_every_stage_but_not_where_the_first_starts(self, chain: Path) -> None:
        planned = stages(chain, {"steps": 7}, {"PERPIXEL_LR": "0.5"})
        assert [(stage.recipe.steps, stage.recipe.lr) for stage in planned] == [(7, 0.5), (7, 0.5)]
        assert [stage.name for stage in stages(chain, {"starts_from": "some/run"}, {})] == [""]

    def test_a_circle_is_told(self, chain: Path, tmp_path: Path) -> None:
        (tmp_path / "a.toml").write_text(f'starts_from = "{chain}"\n')
        with pytest.raises(UsageError, match="starts from itself"):
            stages(chain, {}, {})

    def test_the_command_takes_a_recipe_and_continues_it(
        self, chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = str(tmp_path / "run")
        main(["train", "--recipe", str(chain), "--out", out, "--device", "cpu"])
        main(["train", "--recipe", str(chain), "--out", out, "--device", "cpu"])
        assert "is done" in capsys.readouterr().err

    def test_a_recipe_that_does_not_exist(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as left:
            main(["train", "--recipe", "fcn8s_voc2021"])
        assert left.value.code == UnknownName.exit_code
        assert "did you mean 'fcn8s_voc2012'" in capsys.readouterr().err
