"""ADE20K: 150 classes whose values count from 1, 0 is void, and files that are wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import ADE20K_PICTURES, draw_grid, make_ade20k, put_picture

from perpixel.datasets.ade20k import CLASSES, PICTURES, Ade20k
from perpixel.errors import DataError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that change nothing."""
    return make_ade20k(tmp_path_factory.mktemp("ade20k"))


@pytest.fixture
def mine(root: Path, tmp_path: Path) -> Path:
    """For tests that break something."""
    shutil.copytree(root, tmp_path / "data")
    return tmp_path / "data"


def test_the_table_is_that_of_object_info_150() -> None:
    numbers = {1: "wall", 2: "building", 3: "sky", 13: "person", 21: "car", 46: "counter", 75: "computer", 76: "swivel chair",
               100: "buffet", 117: "minibike", 125: "microwave", 131: "screen", 137: "traffic light", 142: "crt screen",
               150: "flag"}  # fmt: skip
    assert len(CLASSES) == 150
    assert {number: CLASSES.names[CLASSES.values.index((number,))] for number in numbers} == numbers
    assert (CLASSES.void, CLASSES.void_values) == (255, (0,))
    assert PICTURES == {"train": 20210, "val": 2000}


def test_labels_are_the_values_less_one_and_0_is_void(root: Path) -> None:
    (name,) = ADE20K_PICTURES["validation"]
    sample = Ade20k(root, "val").sample(0)
    _, values, _ = draw_grid(sum(map(ord, name)), range(1, 151), (48, 64))
    assert sample.name == name
    assert np.array_equal(sample.labels[:, :-1], values[:, :-1] - 1)
    assert (sample.labels[:, -1] == 255).all()


def test_the_folder_may_be_given_itself(root: Path) -> None:
    assert len(Ade20k(root / "ADEChallengeData2016")) == len(Ade20k(root)) == 2


def test_what_is_wrong_or_missing_is_named(mine: Path) -> None:
    (name,) = ADE20K_PICTURES["validation"]
    mask = mine / "ADEChallengeData2016" / "annotations" / "validation" / f"{name}.png"
    put_picture(mask, np.full((48, 64), 151))
    with pytest.raises(DataError, match=rf"^{mask}: value 151 at row 0, column 0 \(3072 pixels\) is in no class"):
        Ade20k(mine, "val").sample(0)
    put_picture(mask, np.ones((48, 63)))
    with pytest.raises(DataError, match=rf"^{mask}: is 48x63, its picture {name}.jpg is 48x64"):
        Ade20k(mine, "val").sample(0)
    mask.unlink()
    with pytest.raises(DataError, match=rf"^{mask}: there is no such file"):
        Ade20k(mine, "val").sample(0)
    shutil.rmtree(mine / "ADEChallengeData2016" / "images" / "validation")
    with pytest.raises(DataError, match=r"images/validation: holds no picture NAME\.jpg; unpack ADEChallengeData2016\.zip"):
        Ade20k(mine, "val")
    assert len(Ade20k(mine, "train")) == 2
