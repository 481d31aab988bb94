"""Training end to end on tiny folders: it learns, it divides, it refuses."""

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import make_folder
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import perpixel
from perpixel.cli import main
from perpixel.errors import DataError, UnknownName, UsageError
from perpixel.files import MODEL_FILE
from perpixel.images import read_image
from perpixel.judging.evaluate import judge, pixels
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.networks import NETWORKS
from perpixel.sample import Targets
from perpixel.training import states
from perpixel.training.batches import batches
from perpixel.training.not_finite import NotFinite, first_bad
from perpixel.training.optimiser import rate_of, schedule
from perpixel.training.recipe import Recipe, merge
from perpixel.training.run import HISTORY, RECIPE
from perpixel.training.train import train, validates
from perpixel.weights import model_file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data")


def small(data: Path, **changes: object) -> Recipe:
    settings = {"data": str(data), "network": "unet", "convolutions": "same", "norm": "batch", "width": 0.05, "batch": 4,
                "steps": 4, "validations": 1, "device": "cpu"}  # fmt: skip
    return Recipe(**{**settings, **changes})


def quiet(_: str) -> None: ...


def test_it_learns_what_a_person_sees_at_once(data: Path, tmp_path: Path) -> None:
    scores = train(small(data, steps=60, width=0.1, lr=1e-2, dropout=0.0), tmp_path / "run", say=quiet)
    assert scores is not None
    assert scores.mean_iou > 0.8


def test_a_run_folder_holds_what_the_design_says(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(small(data), out, say=quiet)
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert names == {
        "recipe.toml", "run.json", "data.json", "history.jsonl", "model.safetensors", "model.json", "last", "scores.json",
        "val.png", "curves.png",
    }  # fmt: skip
    assert merge(out / RECIPE, {}, {})[0] == small(data)
    facts = json.loads((out / "run.json").read_text())
    assert facts["sessions"][0]["to"] == 4
    scores = json.loads((out / "scores.json").read_text())
    assert scores["protocol"]["weights"] == model_file.load(out).digest
    assert read_image(out / "val.png").shape[1] > 4 * 32


def test_the_kept_model_is_the_best_validation(data: Path, tmp_path: Path) -> None:
    scores = train(small(data, steps=12, validations=6, lr=3e-2), tmp_path / "run", say=quiet)
    assert scores is not None
    judged = [json.loads(line)["mIoU"] for line in (tmp_path / "run" / HISTORY).read_text().splitlines() if "mIoU" in line]
    assert len(judged) == 6
    assert scores.mean_iou == pytest.approx(max(judged))


def test_accumulating_parts_gives_the_gradient_of_the_whole_batch(data: Path, tmp_path: Path) -> None:
    """Without batch normalisation and dropout, which see parts; void makes the parts' pixel counts differ."""
    settings = {"norm": None, "dropout": 0.0, "optimiser": "sgd", "lr": 0.1, "steps": 3, "crop": (40, 40),
                "separation_weights": 10.0, "separation_class": "box"}  # fmt: skip
    weights = []
    for accumulate in (1, 2, 4):
        train(small(data, accumulate=accumulate, **settings), tmp_path / f"run{accumulate}", say=quiet)
        weights.append(load_file(tmp_path / f"run{accumulate}" / MODEL_FILE))
    for name, whole in weights[0].items():
        for parts in weights[1:]:
            assert torch.allclose(whole, parts[name], atol=1e-5), name


STATISTICS = ["--statistics-batches", "2", "--statistics-batch", "6"]


@pytest.mark.parametrize(
    "more", [["--norm", "batch"], [], ["--norm", "batch", *STATISTICS]], ids=["batch", "none", "batch, statistics measured"]
)
def test_two_processes_give_the_weights_of_one(data: Path, tmp_path: Path, more: list[str]) -> None:
    """At a low rate: at a high one a unit near the kink of its ReLU soon falls on either side by rounding alone."""
    flags = ["--data", str(data), "--network", "unet", "--convolutions", "same", "--width", "0.05", "--dropout", "0",
             "--steps", "5", "--batch", "4", "--crop", "24", "24", "--optimiser", "sgd", "--lr", "0.001", "--validations", "1",
             "--ema", "0.9", "--elastic", "2", "--separation-weights", "10", "--separation-class", "disc",
             "--class-weights", "inverse", *more]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    one = [sys.executable, "-m", "perpixel", "train", *flags, "--out", str(tmp_path / "one")]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    two = [*torchrun, "-m", "perpixel", "train", *flags, "--out", str(tmp_path / "two")]
    for command in (one, two):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
        assert done.returncode == 0, done.stderr
    alone, together = (load_file(tmp_path / name / MODEL_FILE) for name in ("one", "two"))
    moved = 0.0
    for name, tensor in alone.items():
        assert torch.allclose(tensor.float(), together[name].float(), atol=1e-5), name
        moved += tensor.float().abs().sum().item()
    assert moved > 0
    histories = [(tmp_path / name / HISTORY).read_text().splitlines()[-1] for name in ("one", "two")]
    assert json.loads(histories[0])["mIoU"] == pytest.approx(json.loads(histories[1])["mIoU"], abs=1e-6)


def test_class_weights_are_in_the_weight_map_and_nowhere_else(data: Path, tmp_path: Path) -> None:
    """With a single object there is no gap, so that the map holds the class weights alone."""
    settings = {"norm": None, "dropout": 0.0, "optimiser": "sgd", "lr": 0.1, "steps": 2, "class_weights": "inverse"}
    for name, more in (("classes", {}), ("map", {"separation_weights": 10.0, "separation_class": "box"})):
        train(small(data, **settings, **more), tmp_path / name, say=quiet)
    ours, theirs = (load_file(tmp_path / name / MODEL_FILE) for name in ("classes", "map"))
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], atol=1e-6), name


def test_a_network_with_a_border_gets_context(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two valid 3x3 convolutions: crops come with 2 pixels more on each side, whole pictures as they are."""
    seen = []

    class Bordered(nn.Module):
        border = 2

        def __init__(self, classes: int) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, classes, 3))
            self.loss = PixelLoss()

        def score_map(self, images: torch.Tensor) -> ScoreMap:
            return self.valid_score_map(nn.functional.pad(images, (2, 2, 2, 2), "reflect"))

        def valid_score_map(self, images: torch.Tensor) -> ScoreMap:
            return ScoreMap.of_cells(self.layers(images), 1)

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.score_map(images).scores}

        def losses(self, images: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
            sizes = tuple(images.shape[2:]), tuple(targets.labels.shape[1:])
            seen.append(sizes)
            return self.loss(self.layers(images) if sizes[0] != sizes[1] else self(images)["logits"], targets)

    monkeypatch.setitem(NETWORKS, "bordered", Bordered)
    recipe = Recipe(data=str(data), network="bordered", batch=2, steps=2, validations=1, device="cpu")
    assert train(recipe, tmp_path / "whole", say=quiet) is not None
    assert train(replace(recipe, crop=(10, 12), elastic=2.0), tmp_path / "crops", say=quiet) is not None
    assert seen == [((24, 32), (24, 32))] * 2 + [((14, 16), (10, 12))] * 2


def test_unet_learns_the_same_from_a_crop_that_is_the_whole_picture(data: Path, tmp_path: Path) -> None:
    """Its context is then what the network itself mirrors around a picture without a crop."""
    settings = {"convolutions": "valid", "norm": None, "dropout": 0.0, "width": 0.02, "optimiser": "sgd", "steps": 2, "lr": 0.1}
    for name, crop in (("whole", None), ("crop", (24, 32))):
        train(small(data, crop=crop, **settings), tmp_path / name, say=quiet)
    ours, theirs = (load_file(tmp_path / name / MODEL_FILE) for name in ("whole", "crop"))
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], atol=1e-6), name


@given(st.integers(1, 400), st.integers(1, 500))
def test_validations_are_evenly_spread_and_the_last_step_is_one(steps: int, validations: int) -> None:
    recipe = Recipe(steps=steps, validations=validations)
    found = {step for step in range(1, steps + 1) if validates(recipe, step)}
    assert found == {round(steps * (n + 1) / validations) for n in range(validations)} - {0}
    assert steps in found


@pytest.mark.parametrize("name", ["poly", "one_cycle", "constant"])
def test_schedules_start_and_end_where_they_should(name: str) -> None:
    rates = [schedule(name, step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(1, abs=1e-3)
    assert rates == sorted(rates, reverse=True) or name == "one_cycle"
    if name == "poly":
        assert rates[50] == pytest.approx(0.5**0.9)
    if name == "one_cycle":
        assert rates.index(max(rates)) == 20
        assert rates[0] == pytest.approx(0.04)
        assert rates[-1] < 0.01


def test_the_rate_of_step_falls_after_each_step_size() -> None:
    """As Caffe's: gamma to the power of floor(step / step_size)."""
    rates = [schedule("step", step, 7, 3, 0.1) for step in range(7)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])


def test_the_rate_falls_after_each_milestone() -> None:
    """Detectron's schedule "1x": 0.02, a tenth of it after 60,000 steps, a hundredth after 80,000."""
    recipe = Recipe(steps=90_000, lr=0.02, schedule="milestones", milestones=(60_000, 80_000))
    rates = [rate_of(recipe, step) for step in (0, 59_999, 60_000, 79_999, 80_000, 89_999)]
    assert rates == pytest.approx([0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002])


def test_the_rate_warms_up_to_that_of_any_schedule() -> None:
    """Detectron's: linear from a third at the first step to the whole after 500 steps."""
    recipe = Recipe(steps=90_000, lr=0.03, schedule="constant", warm_up=500)
    assert [rate_of(recipe, step) for step in (0, 250, 499, 500, 501)] == pytest.approx([0.01, 0.02, 0.02996, 0.03, 0.03])
    warm, plain = (Recipe(steps=100, schedule="poly", warm_up=warm_up, warm_up_from=0.5) for warm_up in (10, 0))
    factors = [rate_of(warm, step) / rate_of(plain, step) for step in range(100)]
    assert factors == pytest.approx([0.5 + step / 20 for step in range(10)] + [1.0] * 90)


def test_the_history_of_a_run_tells_the_rates_of_warm_up_and_milestones(data: Path, tmp_path: Path) -> None:
    recipe = small(data, steps=6, lr=1e-3, schedule="milestones", milestones=(4,), warm_up=2, warm_up_from=0.1, log_every=1)
    train(recipe, tmp_path / "run", say=quiet)
    entries = [json.loads(line) for line in (tmp_path / "run" / HISTORY).read_text().splitlines()]
    assert [entry["lr"] for entry in entries if "lr" in entry] == pytest.approx([1e-4, 5.5e-4, 1e-3, 1e-3, 1e-4, 1e-4])


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"batch": 1, "crop": (16, 16)}, "--batch 2 or more"),
        ({"batch": 4, "accumulate": 4, "crop": (16, 16)}, "--accumulate 2, for parts of two pictures or more"),
        ({"batch": 3, "accumulate": 3, "crop": (16, 16)}, "--accumulate 1, for parts of two pictures or more"),
        ({"batch": 1, "convolutions": None, "norm": None, "width": None, "backbone": "resnet18", "crop": (32, 32)}, "--batch 2"),
        ({"batch": 1, "convolutions": None, "norm": None, "width": None, "network": "torchvision_deeplabv3_mobilenet_v3_large"},
         "--batch 2"),
    ],
)  # fmt: skip
def test_batch_normalisation_of_one_value_is_told_at_the_first_step_with_what_works(
    data: Path, tmp_path: Path, settings: dict[str, object], remedy: str
) -> None:
    recipe = small(data, weights="none", **settings)
    with pytest.raises(UsageError, match=rf"^batch = .* has one value; give {remedy}"):
        train(recipe, tmp_path / "run", say=quiet)
    assert not states.state_folders(tmp_path / "run")
    works = replace(recipe, batch=max(recipe.batch, 2), accumulate=max(1, recipe.accumulate // 2), steps=1)
    assert train(works, tmp_path / "run", say=quiet) is not None


def test_patience_ends_a_training_that_does_not_get_better(data: Path, tmp_path: Path) -> None:
    """The first figure is the best, and the next two are equal to it. The same command has nothing left to do."""
    recipe = small(data, steps=12, validations=6, lr=1e-12, dropout=0.0, norm=None, patience=2)
    messages: list[str] = []
    scores = train(recipe, tmp_path / "run", say=messages.append)
    assert f"{tmp_path / 'run'}: ends after step 6 of 12: 2 validations brought nothing better." in messages
    before = (tmp_path / "run" / HISTORY).read_bytes()
    again = train(recipe, tmp_path / "run", say=messages.append)
    assert scores is not None
    assert again is not None
    assert again.to_json() == scores.to_json()
    assert (tmp_path / "run" / HISTORY).read_bytes() == before
    assert json.loads((tmp_path / "run/run.json").read_text())["sessions"][-1]["to"] == 6


def test_some_pictures_are_judged_in_training_and_all_at_the_end(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    scores = train(small(data, val_pictures=2), out, say=quiet)
    assert scores is not None
    assert scores.pictures == 4
    assert model_file.load(out).card.score["pictures"] == 2
    val = perpixel.open_dataset(data, split="val")
    found = judge(model_file.load(out).network, val, pixels(), 1.0, count=2)
    assert [*found.rows] == [0, 3]
    assert found.by_picture("mIoU").keys() == {0, 3}


def test_what_a_training_is_about_is_said_at_its_start(data: Path, tmp_path: Path) -> None:
    table = (data / "classes.csv").read_text()
    (data / "classes.csv").write_text(table.replace("255,void", "7,ghost,9,9,9\n255,void"))
    messages: list[str] = []
    train(small(data, crop=(64, 16), steps=1), tmp_path / "run", say=messages.append)
    said = "\n".join(messages)
    classes = r"4 classes, 1 of them without a pixel in train; the rarest is disc, [\d.]+ % of the pixels"
    assert re.search(rf"^data: .*: pictures train 8, val 4; {classes}\.$", said, re.M)
    assert "class 'ghost' has no pixel in any mask" in said
    assert "crop = 64x16: is larger than 12 of 12 pictures as the network sees them" in said
    assert "`--crop 24 16` fits them" in said
    assert re.search(r"^network: unet .*, 0\.0\d+ million parameters; begins with random weights\.$", said, re.M)
    assert re.search(r"^machine: cpu, \d+ threads?\.$", said, re.M)


class TestNotFinite:
    def test_a_rate_that_is_far_too_high_stops_with_the_step_and_the_pictures(self, data: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        with pytest.raises(NotFinite, match=r"step \d+: .* is not finite, for the pictures p\d\d") as caught:
            train(small(data, steps=40, norm=None, optimiser="sgd", lr=1e30, save_every=1), out, say=quiet)
        kept = next((out / "not_finite").iterdir())
        assert str(kept) in str(caught.value)
        with safe_open(kept, framework="pt") as file:
            assert file.get_tensor("images").shape == (4, 3, 24, 32)
            assert len(json.loads(file.metadata()["names"])) == 4
        for state in states.state_folders(out):
            assert model_file.first_not_finite(load_file(state / "network.safetensors")) is None

    def test_the_first_bad_tensor_is_named(self, data: Path) -> None:
        part = next(batches(perpixel.open_dataset(data, split="train"), small(data), 0))[0]
        network = perpixel.build("unet", 3, convolutions="same", norm="batch", width=0.05)
        cpu = torch.device("cpu")
        with torch.no_grad():
            network.get_parameter("classify.weight").fill_(float("nan"))
        assert first_bad(network, part, cpu) == "weight classify.weight"
        with torch.no_grad():
            network.get_parameter("classify.weight").fill_(3e38)
        assert first_bad(network, part, cpu) == "the output of layer classify"
        part.images[0, 0, 0, 0] = float("inf")
        assert first_bad(network, part, cpu) == "the batch of images"

    def test_the_command_says_it_in_one_sentence(self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        flags = ["--data", str(data), "--network", "unet", "--width", "0.02", "--optimiser", "sgd", "--lr", "1e30"]
        with pytest.raises(SystemExit) as left:
            main(["train", *flags, "--steps", "20", "--out", str(tmp_path / "run")])
        assert left.value.code == 3
        error = capsys.readouterr().err
        assert "is not finite" in error
        assert "Traceback" not in error


class TestRefusals:
    def test_unknown_network(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(UnknownName, match="no network 'unett'; did you mean 'unet'"):
            train(small(data, network="unett"), tmp_path / "run", say=quiet)
        assert not (tmp_path / "run").exists()

    def test_an_argument_of_another_network(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(UnknownName, match="no argument of unet 'padding'"):
            train(small(data, padding=1), tmp_path / "run", say=quiet)

    def test_imagenet_weights_where_there_are_none(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no ImageNet weights"):
            train(small(data, weights="imagenet"), tmp_path / "run", say=quiet)

    def test_an_unsound_data_set(self, data: Path, tmp_path: Path) -> None:
        mask = data / "masks" / "train" / "p03.png"
        values = np.array(Image.open(mask))
        values[5, 6] = 9
        Image.fromarray(values).save(mask)
        with pytest.raises(DataError, match=r"p03\.png.*value 9.*row 5.*column 6"):
            train(small(data), tmp_path / "run", say=quiet)
        values[5, 6] = 0
        Image.fromarray(values).save(mask)
        assert train(small(data, steps=1), tmp_path / "run", say=quiet) is not None  # nothing was begun, so nothing is in the way

    def test_data_that_changed_since_the_run_began(self, data: Path, tmp_path: Path) -> None:
        train(small(data), tmp_path / "run", say=quiet)
        mask = data / "masks" / "val" / "p00.png"
        Image.fromarray(255 - np.zeros((24, 32), np.uint8)).save(mask)
        with pytest.raises(DataError, match="changed since"):
            train(small(data), tmp_path / "run", say=quiet)

    def test_a_folder_in_use(self, data: Path, tmp_path: Path) -> None:
        def second(_done: int, _total: int, _text: str) -> None:
            with pytest.raises(UsageError, match="another process is writing here"):
                train(small(data, steps=1), tmp_path / "run", say=quiet)

        train(small(data, steps=1), tmp_path / "run", say=quiet, progress=second)

    def test_a_full_disk_loses_nothing(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "run"
        flags = ["--data", str(data), "--network", "unet", "--convolutions", "same", "--width", "0.05", "--steps", "6",
                 "--save-every", "2", "--validations", "1", "--batch", "4", "--out", str(out)]  # fmt: skip
        fsync, calls = os.fsync, 0

        def full(handle: int) -> None:
            nonlocal calls
            calls += len(states.state_folders(out)) > 0
            if calls > 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))
            fsync(handle)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(SystemExit) as left:
            main(["train", *flags])
        assert left.value.code == 5
        assert "no space left; free some and give the same command again" in capsys.readouterr().err
        assert not list(out.rglob("*.partial"))
        monkeypatch.setattr(os, "fsync", fsync)
        main(["train", *flags])
        assert "continues after step 2 of 6" in capsys.readouterr().err
