"""A stranger's folder becomes a data set by `perpixel init FOLDER --fix COPY`: every pixel, every split, no file changed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from doctor.raw_folders import CHOSEN, FLAGS, RAW, Truth

from perpixel.datasets import open_dataset
from perpixel.doctor.check import check


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_shows(folder: Path, truth: Truth) -> None:
    """Each picture of `truth` is in its split, with a class for each of its ids and void for its void."""
    class_of: dict[int, int] = {}
    shown: dict[str, str] = {}
    for split in open_dataset(folder, split="all").splits:
        dataset = open_dataset(folder, split=split)
        for index in range(len(dataset)):
            name = dataset.name(index)
            (path,) = [
                path for path in truth if f"/{Path(path).with_suffix('').as_posix()}".endswith(f"/{name}") and path not in shown
            ]
            given_split, labels = truth[path]
            assert given_split in (None, split), f"{path} is in {split}"
            sample = dataset.sample(index).labels
            assert sample is not None
            assert sample.shape == labels.shape
            for value in np.unique(labels).tolist():
                (found,) = np.unique(sample[labels == value]).tolist()
                assert class_of.setdefault(value, found) == found
            shown[path] = split
    assert shown.keys() == truth.keys()
    assert len(set(class_of.values())) == len(class_of)
    assert {value for value, found in class_of.items() if found == 255} <= {255}
    assert class_of.get(255, 255) == 255


@pytest.mark.parametrize("shape", [*RAW, *CHOSEN])
def test_the_copy_shows_every_pixel_and_the_folder_is_untouched(
    tmp_path: Path, command: Callable[..., tuple[int, str, str]], shape: str
) -> None:
    truth = {**RAW, **CHOSEN}[shape](tmp_path / "raw")
    before = files(tmp_path / "raw")
    code, out, err = command("init", tmp_path / "raw", "--fix", tmp_path / "copy", *FLAGS.get(shape, ()))
    assert code == 0, out + err
    assert files(tmp_path / "raw") == before
    assert_shows(tmp_path / "copy", truth)
    assert check(tmp_path / "copy").errors == ()
