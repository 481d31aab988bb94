"""Predictions as annotations of labelling tools: `convert` brings back the labels that were predicted."""

from pathlib import Path

import numpy as np
import pytest
from fakes import draw_sample, make_folder, make_model
from PIL import Image

import perpixel
from perpixel.formats import FORMATS
from perpixel.images import write_image
from perpixel.prediction.pre_annotations import TO

NAMES = ("a", "deep/b")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    root = make_folder(tmp_path / "data", train=1, val=1)
    make_model(tmp_path / "run", perpixel.open_dataset(root, split="val").classes)
    for seed, name in enumerate(NAMES):
        write_image(tmp_path / "pictures", f"{name}.png", draw_sample(seed)[0])
    return tmp_path / "run"


def classes_of(path: Path, folder: Path, name: str) -> np.ndarray:
    """The names of the classes of a data set's picture, at each pixel."""
    dataset = perpixel.open_dataset(folder, split="all")
    index = next(index for index in range(len(dataset)) if dataset.name(index).endswith(Path(name).name))
    labels = dataset.sample(index).labels
    return np.array([*dataset.classes.names, *["void"] * 300])[labels]


@pytest.mark.parametrize("to", TO)
def test_what_comes_back_is_what_was_predicted(run: Path, tmp_path: Path, command, to: str) -> None:
    out = tmp_path / "out"
    code, _, err = command("predict", run, tmp_path / "pictures", "--to", to, "--out", out, "--device", "cpu")
    assert code == 0, err
    assert f"{out / to}: 2 pictures with annotations for {to}, 0 left out" in err
    code, told, err = command("convert", out / to, tmp_path / "back")
    assert code == 0, told + err
    model = perpixel.load(run)
    for name in NAMES:
        labels = perpixel.predict(model, tmp_path / f"pictures/{name}.png").labels
        expected = np.array([*model.classes.names, *["void"] * 300])[labels]
        found = classes_of(tmp_path / "back", tmp_path / "back", name)
        assert found.shape == expected.shape
        shown = found != "background"  # in a format of objects, pixels of none are background
        assert (found == expected)[shown].all()
        if FORMATS[to].holds.maps:
            assert (found == expected).all()


def test_corrections_are_not_overwritten_and_wrong_names_are_told(run: Path, tmp_path: Path, command) -> None:
    words = ("predict", run, tmp_path / "pictures", "--out", tmp_path / "out", "--device", "cpu", "--to")
    assert command(*words, "labelme")[0] == 0
    code, _, err = command(*words, "labelme")
    assert (code, "may hold corrections" in err) == (2, True)
    code, _, err = command(*words, "cvatt")
    assert (code, "cvat" in err) == (2, True)
    code, _, err = command(*words, "cvat", "--shard", "0/2")
    assert (code, "--to: needs the masks of all shards" in err) == (2, True)
    code, _, err = command("predict", run, "-", "--out", tmp_path / "stdin", "--to", "cvat")
    assert (code, "is no file of a picture" in err) == (2, True)


def test_a_picture_that_failed_is_left_out(run: Path, tmp_path: Path, command) -> None:
    (tmp_path / "pictures/broken.png").write_bytes(b"nothing")
    code, _, err = command("predict", run, tmp_path / "pictures", "--out", tmp_path / "out", "--device", "cpu", "--to", "coco")
    assert code == 3
    assert "2 pictures with annotations for coco, 1 left out" in err
    with Image.open(next((tmp_path / "out/coco").rglob("a.png"))) as picture:
        assert picture.size == (32, 24)
