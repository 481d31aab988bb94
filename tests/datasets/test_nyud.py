"""NYU Depth V2: the table, lists that add up, void, the folder of FCN's authors, and files that are wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import NYUD_LISTS, draw_grid, make_nyud, put_mat

from perpixel.datasets.nyud import CLASSES, PICTURES, Nyud
from perpixel.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_nyud(tmp_path)


def names(dataset: Nyud) -> list[str]:
    return [dataset.name(index) for index in range(len(dataset))]


def test_the_classes_are_those_of_classes_txt() -> None:
    numbers = {1: "wall", 2: "floor", 5: "chair", 20: "floor mat", 24: "refridgerator", 31: "person", 38: "otherstructure",
               39: "otherfurniture", 40: "otherprop"}  # fmt: skip
    assert {number: CLASSES.names[number - 1] for number in numbers} == numbers
    assert len(CLASSES) == 40


def test_the_published_numbers_fit_each_other() -> None:
    assert PICTURES["train"] + PICTURES["val"] == PICTURES["trainval"]
    assert PICTURES["trainval"] + PICTURES["test"] == 1449  # of the whole set


def test_trainval_is_train_then_val(root: Path) -> None:
    assert names(Nyud(root, "trainval")) == NYUD_LISTS["train"] + NYUD_LISTS["val"]
    assert [path.name for path in Nyud(root, "trainval").files()[:2]] == ["train.txt", "val.txt"]


def test_labels_are_the_values_less_one_and_0_is_void(root: Path) -> None:
    _, values, _ = draw_grid(5001, range(1, 41))
    labels = Nyud(root, "test").sample(0).labels
    assert np.array_equal(labels[:, :-1], values[:, :-1] - 1)
    assert (labels[:, -1] == 255).all()


def test_the_folder_may_be_given_itself(root: Path) -> None:
    assert names(Nyud(root / "nyud", "test")) == names(Nyud(root, "test")) == NYUD_LISTS["test"]


def test_a_wrong_file_is_named(root: Path) -> None:
    mask = root / "nyud" / "segmentation" / "img_5001.mat"
    put_mat(mask, segmentation=np.full((24, 40), 41, np.uint16))
    with pytest.raises(DataError, match=rf"^{mask}: value 41 at row 0, column 0"):
        Nyud(root, "test").sample(0)
    put_mat(mask, segmentation=np.ones((24, 41), np.uint16))
    with pytest.raises(DataError, match=rf"^{mask}: is 24x41, its picture img_5001.png is 24x40"):
        Nyud(root, "test").sample(0)
    put_mat(mask, labels=np.ones((24, 40), np.uint16))
    with pytest.raises(DataError, match=rf"^{mask}: segmentation cannot be read"):
        Nyud(root, "test").sample(0)
    shutil.rmtree(root / "nyud" / "segmentation")
    with pytest.raises(DataError, match=r"holds no data/images/ and segmentation/; unpack the FCN authors' nyud.tar.gz"):
        Nyud(root)
