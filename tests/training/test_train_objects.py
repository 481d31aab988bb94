"""A network of objects is trained as all others are: it learns, continues to the same bytes, and its batches can be divided."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_networks import Blobs, BlobsAndPixels, NormedBlobs
from fakes import make_folder, make_instances
from safetensors.torch import load_file

from perpixel.datasets.scenes import SPLITS
from perpixel.errors import Interrupted, UsageError
from perpixel.files import MODEL_FILE
from perpixel.measures.instances import FIGURES, AveragePrecision
from perpixel.networks import NETWORKS
from perpixel.training import train as module
from perpixel.training.not_finite import NotFinite
from perpixel.training.recipe import Recipe
from perpixel.training.run import HISTORY, SCORES
from perpixel.training.train import train
from perpixel.weights import model_file


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "blobs", Blobs)
    monkeypatch.setitem(NETWORKS, "blobs_and_pixels", BlobsAndPixels)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_instances(tmp_path / "data")


def small(data: Path | str, **changes: object) -> Recipe:
    return Recipe(**{"data": str(data), "network": "blobs", "batch": 4, "steps": 4, "validations": 1, "device": "cpu", **changes})


def quiet(_: str) -> None: ...


def losses_of(out: Path) -> list[dict[str, float]]:
    return [entry["losses"] for line in (out / HISTORY).read_text().splitlines() if "losses" in (entry := json.loads(line))]


@pytest.mark.parametrize(("network", "losses"), [("blobs", ["objects"]), ("blobs_and_pixels", ["objects", "cross_entropy"])])
def test_it_learns(data: Path, tmp_path: Path, network: str, losses: list[str]) -> None:
    recipe = small(data, network=network, steps=60, lr=0.1, ema=0.9, log_every=10, measure="pixels")
    scores = train(recipe, tmp_path / "run", say=quiet)
    assert scores is not None
    assert scores.mean_iou > 0.8
    history = losses_of(tmp_path / "run")
    assert all(list(entry) == losses for entry in history)
    assert history[-1]["objects"] < history[0]["objects"] / 2


@pytest.mark.parametrize(
    ("network", "more"),
    [
        ("blobs", {}), ("blobs_and_pixels", {}), ("blobs_and_pixels", {"measure": "surfaces", "figure": "hausdorff95"}),
        ("blobs", {"crop": None, "short_sides": (12, 20), "long_side": 30, "group_by_aspect": True}),
    ],
)
def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str, more: dict[str, object]
) -> None:
    settings = {"crop": (16, 20), "elastic": 2.0, "scale_jitter": (0.7, 1.4)}
    recipe = small(data, network=network, steps=6, save_every=2, validations=3, **{**settings, **more})
    train(recipe, tmp_path / "whole", say=quiet)

    class Stop(list):
        """True from the third step on."""

        asked = 0

        def __bool__(self) -> bool:
            self.asked += 1
            return self.asked >= 3

    with monkeypatch.context() as patch:
        patch.setattr(module, "stop_after_step", lambda *_: _manager(Stop()))
        with pytest.raises(Interrupted, match="stopped after step 3 of 6"):
            train(recipe, tmp_path / "parts", say=quiet)
    train(recipe, tmp_path / "parts", say=quiet)
    for name in (MODEL_FILE, HISTORY):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


class _manager:
    def __init__(self, value: object) -> None:
        self.value = value

    def __enter__(self) -> object:
        return self.value

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize(("network", "parts"), [(Blobs, (1, 2)), (NormedBlobs, (1,))])
def test_accumulated_parts_and_two_processes_give_the_weights_of_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: type[Blobs], parts: tuple[int, ...]
) -> None:
    """Of batch normalisation two processes: it is synchronised over processes, and a line says so; parts have their own."""
    monkeypatch.setitem(NETWORKS, "blobs", network)
    settings = {"optimiser": "sgd", "lr": 0.5, "steps": 3}
    for accumulate in parts:
        train(small(data, accumulate=accumulate, **settings), tmp_path / f"run{accumulate}", say=quiet)
    script = tmp_path / "two.py"
    script.write_text(
        "from pathlib import Path\n"
        f"from fake_networks import {network.__name__}\n"
        "from perpixel.networks import NETWORKS\n"
        "from perpixel.training.recipe import Recipe\n"
        "from perpixel.training.train import train\n"
        f"NETWORKS['blobs'] = {network.__name__}\n"
        f"train(Recipe(**{small(data, **settings).to_json()!r}), Path({str(tmp_path / 'two')!r}))\n"
    )
    places = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": places}
    done = subprocess.run(torchrun, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    line = "batch normalisation is synchronised: 1 layer takes its statistics from the whole batch of 4, over 2 processes."
    assert done.stdout.count(line) == (network is NormedBlobs)
    whole = load_file(tmp_path / "run1" / MODEL_FILE)
    for other in [*(f"run{accumulate}" for accumulate in parts[1:]), "two"]:
        for name, tensor in load_file(tmp_path / other / MODEL_FILE).items():
            assert torch.allclose(tensor, whole[name], atol=1e-5), (other, name)


REGIONS = {
    "backbone": "resnet18", "weights": "none", "width": 0.05, "trunk_frozen": 1, "freeze_norm": True, "min_size": (32, 40, 48),
    "max_size": 64, "anchors": (4, 8, 16, 24, 32),
}  # fmt: skip
OF_OBJECTS = {"mask_rcnn": REGIONS, "panet": REGIONS, "fpn_proposals": {"width": 0.05, "mask_side": 14, "freeze_norm": True}}


@pytest.mark.parametrize("network", OF_OBJECTS)
def test_two_processes_give_the_weights_of_one_where_examples_are_drawn(data: Path, tmp_path: Path, network: str) -> None:
    """Which examples of a picture are drawn follows from the picture, and losses are means over those of the whole batch."""
    recipe = small(data, network=network, optimiser="sgd", lr=1e-3, clip=1.0, steps=3, log_every=1, **OF_OBJECTS[network])
    script = tmp_path / "two.py"
    script.write_text(
        "from pathlib import Path\n"
        "from perpixel.training.recipe import Recipe\n"
        "from perpixel.training.train import train\n"
        f"train(Recipe(**{recipe.to_json()!r}), Path({str(tmp_path / 'two')!r}))\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(torchrun, capture_output=True, text=True, timeout=600, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    train(recipe, tmp_path / "one", say=quiet)
    for one, two in zip(*(losses_of(tmp_path / folder) for folder in ("one", "two")), strict=True):
        assert one == pytest.approx(two, rel=1e-4)
    alone, together = (load_file(tmp_path / folder / MODEL_FILE) for folder in ("one", "two"))
    for name, tensor in alone.items():
        assert torch.allclose(tensor.float(), together[name].float(), rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"loss": "dice"}, "loss = 'dice': blobs finds objects and has losses of its own; leave it out"),
        ({"class_weights": "inverse"}, "class_weights = 'inverse': blobs finds objects and has losses of its own"),
        ({"separation_weights": 10.0}, "separation_weights = 10.0: blobs finds objects and has losses of its own"),
        ({"crops": "objects", "crop": (8, 8)}, "crops = 'objects': shows no objects, which blobs learns from"),
        (
            {"network": "blobs_and_pixels", "separation_weights": 10.0, "separation_class": "object"},
            "separation_class = 'object': blobs_and_pixels learns from the objects of the data",
        ),
        ({"loss_mean": "pictures"}, "loss_mean = 'pictures': sums over pixels, and blobs learns from objects; leave it out"),
        ({"trunk_lr": 0.0}, "trunk_lr = 0: blobs has no trunk to freeze"),
        ({"statistics_batches": 2}, "statistics_batches = 2: blobs trains no batch normalisation"),
        (
            {"data": "scenes", "measure": "pixels"},
            "data = 'scenes': no class is called background, to which the pixels outside of the objects of blobs could belong, "
            "so pixels cannot judge val; leave measure out, and instances does",
        ),
        ({"measure": "calibration"}, "measure = 'calibration': predicts no probabilities; blobs needs another measure"),
        ({"measure": "panoptic"}, "measure = 'panoptic': predicts no segments; blobs needs another measure"),
    ],
)
def test_settings_that_it_does_not_listen_to_are_refused(
    data: Path, tmp_path: Path, settings: dict[str, object], says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        train(small(**{"data": data, **settings}), tmp_path / "run", say=quiet)
    assert says in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_network_of_both_listens_to_the_settings_of_pixels(data: Path, tmp_path: Path) -> None:
    recipe = small(data, network="blobs_and_pixels", class_weights="inverse", separation_weights=10.0)
    assert train(recipe, tmp_path / "run", say=quiet) is not None


def test_data_without_objects_are_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "data")
    table = (folder / "classes.csv").read_text().replace("ground", "background")
    (folder / "classes.csv").write_text(table)
    with pytest.raises(UsageError, match=r"numbers no objects in p0., which the network learns from"):
        train(small(folder), tmp_path / "run", say=quiet)


def test_a_batch_that_is_not_finite_is_kept_with_its_objects(data: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match=r"for the pictures c0., c0., c0., c0."):
        train(small(data, optimiser="sgd", lr=1e38, steps=20), tmp_path / "run", say=quiet)
    (kept,) = (tmp_path / "run/not_finite").iterdir()
    tensors = load_file(kept)
    assert tensors["targets"].shape == (4, 24, 32)
    assert tensors["instances.3.numbers"].shape == (24, 32)
    kept_of_first = {name.split(".")[-1] for name in tensors if name.startswith("instances.0")}
    assert kept_of_first == {"boxes", "numbers", "class_ids", "crowd"}


class TestJudgedByObjects:
    """A network that only finds objects is judged by mask AP, unless the recipe says otherwise."""

    def test_by_default_and_on_data_without_a_background(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(SPLITS, "train", 2)
        monkeypatch.setitem(SPLITS, "val", 2)
        scores = train(small("scenes", steps=2, batch=1, crop=(16, 16)), tmp_path / "run", say=quiet)
        assert scores is not None
        assert scores.measure == AveragePrecision("mask")
        assert 0 <= scores.figures["AP"] <= 1

    def test_history_card_scores_and_the_kept_weights_follow_it(self, data: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        recipe = small(data, steps=40, validations=8, lr=0.1, measure="instances=box", figure="AP50")
        scores = train(recipe, out, say=quiet)
        assert scores is not None
        judged = [entry for line in (out / HISTORY).read_text().splitlines() if "AP" in (entry := json.loads(line))]
        assert [entry["step"] for entry in judged] == [5, 10, 15, 20, 25, 30, 35, 40]
        assert set(judged[0]) == {"step", *FIGURES}
        best = max(entry["AP50"] for entry in judged)
        assert best > 0
        assert scores.figures["AP50"] == pytest.approx(best)
        card = model_file.load(out).card
        assert card.step == next(entry["step"] for entry in judged if entry["AP50"] == best)
        assert card.score["AP50"] == best
        scores_file = json.loads((out / SCORES).read_text())
        assert scores_file["protocol"]["instances"]["kind"] == "box"
        assert scores_file["figures"]["AP50"] == pytest.approx(best)
