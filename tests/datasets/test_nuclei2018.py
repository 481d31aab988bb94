"""Nuclei of 2018: one file for each nucleus, overlaps, empty masks, folds, and the same from a folder of instances."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import draw_cells, make_nuclei2018, put_picture
from places import SHARED

from perpixel.datasets import open_dataset
from perpixel.datasets.nuclei2018 import PICTURES, Nuclei2018
from perpixel.errors import DataError, UnknownName, UsageError
from perpixel.images import read_image, read_labels

REAL = SHARED / "nuclei"  # numbered nuclei


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that change nothing."""
    return make_nuclei2018(tmp_path_factory.mktemp("nuclei"))


@pytest.fixture
def mine(root: Path, tmp_path: Path) -> Path:
    """For tests that break something."""
    shutil.copytree(root, tmp_path / "data")
    return tmp_path / "data"


def masks_of(root: Path, index: int) -> list[Path]:
    return sorted((root / "stage1_train" / Nuclei2018(root).name(index) / "masks").iterdir())


def test_each_file_is_a_nucleus(root: Path) -> None:
    sample = Nuclei2018(root).sample(3)
    image, numbers = draw_cells(3)
    assert np.array_equal(sample.image, np.repeat(image[..., None], 3, -1))  # the RGBA picture without its alpha
    assert np.array_equal(sample.labels, numbers > 0)
    assert sample.instances.class_ids.tolist() == [1] * 6
    assert np.array_equal(sample.instances.numbers, numbers)
    assert Nuclei2018(root / "stage1_train").sample(3).name == sample.name


def test_the_splits(root: Path, mine: Path) -> None:
    assert Nuclei2018(root).splits == ("train", "fold1of5", "rest1of5", "test")
    assert [len(Nuclei2018(root, split)) for split in ("train", "fold1of5", "rest1of5", "rest2of3", "test")] == [10, 2, 8, 7, 2]
    assert (PICTURES["train"], PICTURES["fold1of5"] + PICTURES["rest1of5"]) == (670, 670)
    test = Nuclei2018(root, "test")
    assert test.sample(0).labels is None
    assert len(test.files()) == 2
    shutil.rmtree(mine / "stage1_test")
    assert "test" not in Nuclei2018(mine).splits
    with pytest.raises(DataError, match=r"stage1_test: holds no folder ID/images/"):
        Nuclei2018(mine, "test")
    with pytest.raises(UnknownName, match="no split of nuclei2018 'trian'; did you mean 'train'"):
        Nuclei2018(mine, "trian")
    with pytest.raises(UsageError, match="10 pictures make 2 to 10 folds, not 11"):
        Nuclei2018(mine, "fold1of11")


def test_a_pixel_of_two_is_of_the_later_and_what_shows_nothing_is_no_object(mine: Path) -> None:
    first, second, *_ = paths = masks_of(mine, 0)
    put_picture(first, np.zeros((24, 32)))
    put_picture(second, np.full((24, 32), 1))  # inside is anything but 0
    sample = Nuclei2018(mine).sample(0)
    numbers = draw_cells(0)[1].astype(int)
    assert (sample.labels == 1).all()
    assert np.array_equal(sample.instances.numbers, np.where(numbers > 2, numbers - 1, 1))  # 2 is the first, and behind the rest
    put_picture(paths[-1], np.full((24, 32), 255))
    assert np.array_equal(Nuclei2018(mine).sample(0).instances.numbers, np.ones((24, 32)))


def test_what_is_wrong_or_missing_is_named(mine: Path) -> None:
    first = masks_of(mine, 0)[0]
    put_picture(first, np.zeros((24, 31)))
    with pytest.raises(DataError, match=rf"^{first}: is 24x31, its picture 00e+\.png is 24x32"):
        Nuclei2018(mine).sample(0)
    shutil.rmtree(first.parent)
    with pytest.raises(DataError, match=rf"^{first.parent}: holds no mask of a nucleus; unpack stage1_train.zip again"):
        Nuclei2018(mine).sample(0)
    shutil.rmtree(mine / "stage1_train")
    (mine / "stage1_train").mkdir()
    with pytest.raises(DataError, match=r"stage1_train: holds no folder ID/images/"):
        Nuclei2018(mine)


@pytest.mark.skipif(not REAL.is_dir(), reason="the nuclei are not at ../shared/data/nuclei.")
def test_real_nuclei_in_files_of_their_own_are_those_of_numbered_masks(tmp_path: Path) -> None:
    names = sorted(path.stem for path in (REAL / "images/val").iterdir())[:4]
    for name in names:
        numbers = read_labels(REAL / f"instances/val/{name}.png")
        put_picture(tmp_path / "stage1_train" / name / "images" / f"{name}.png", read_image(REAL / f"images/val/{name}.png"))
        for number in np.unique(numbers[numbers > 0]):
            put_picture(tmp_path / f"stage1_train/{name}/masks/{number:05}.png", np.where(numbers == number, 255, 0))
    folder, ours = open_dataset(REAL, split="val"), Nuclei2018(tmp_path)
    for index, name in enumerate(names):
        sample = ours.sample(index)
        theirs = folder.sample([folder.name(place) for place in range(len(folder))].index(name))
        assert np.array_equal(sample.image, theirs.image)
        assert np.array_equal(sample.instances.numbers, theirs.instances.numbers)
        assert np.array_equal(sample.labels > 0, theirs.instances.numbers > 0)
