"""check --fix: the copy is sound, the folder is as it was, and the plan says what was done."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from test_defects import MAKERS, labels, root  # noqa: F401

from perpixel.check import check
from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.datasets import open_dataset
from perpixel.errors import UsageError
from perpixel.images import read_labels
from perpixel.repair import MENDED, plan_repair, repair

REPAIRED = [
    *MENDED, "empty file", "damaged", "unreadable", "size mismatch", "photo as mask", "all void", "duplicate", "leak",
    "near leak", "rotated picture", "wrong extension", "empty class", "unpaired",
]  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", REPAIRED)
def test_the_copy_is_sound_and_the_folder_untouched(root: Path, tmp_path_factory: pytest.TempPathFactory, kind: str) -> None:  # noqa: F811
    MAKERS[kind][0](root)
    before, report = digests(root), check(root)
    steps = plan_repair(root, report)
    out = tmp_path_factory.mktemp("fixed") / "copy"
    pairs = repair(root, steps, out)
    assert digests(root) == before
    left = check(out)
    assert left.errors == ()
    assert kind not in {one.kind for one in left.problems}
    assert sum(left.pictures.values()) == pairs >= 5
    with (out / "plan.csv").open() as file:
        assert kind in {row["kind"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("kind", ["palette expanded", "three equal channels", "alpha mask"])
def test_the_mask_is_the_same_as_before(root: Path, tmp_path_factory: pytest.TempPathFactory, kind: str) -> None:  # noqa: F811
    MAKERS[kind][0](root)
    out = tmp_path_factory.mktemp("fixed") / "copy"
    repair(root, plan_repair(root, check(root)), out)
    assert (read_labels(out / "masks/train/0.png") == labels(0)).all()


def test_a_smoothed_mask_gets_back_its_shapes(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:  # noqa: F811
    MAKERS["interpolated mask"][0](root)
    out = tmp_path_factory.mktemp("fixed") / "copy"
    repair(root, plan_repair(root, check(root)), out)
    truth = np.where(labels(0) == 255, 0, labels(0))
    assert (open_dataset(out, split="train").sample(0).labels == truth).mean() > 0.97


def test_the_picture_that_leaks_leaves_train_not_val(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:  # noqa: F811
    MAKERS["leak"][0](root)
    out = tmp_path_factory.mktemp("fixed") / "copy"
    repair(root, plan_repair(root, check(root)), out)
    assert check(out).pictures == {"train": 3, "val": 2}


def test_a_folder_that_is_there_is_not_overwritten(root: Path) -> None:  # noqa: F811
    with pytest.raises(UsageError, match="is there already"):
        repair(root, [], root)


def test_the_command(root: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    MAKERS["0/255 mask"][0](root)
    out = tmp_path_factory.mktemp("fixed") / "copy"
    main(["check", str(root), "--fix", str(out)])
    told = capsys.readouterr()
    assert "255 written as 1" in told.out
    assert f"{out}: 6 pictures, 0 errors" in told.err
    assert ClassTable.read_csv(out / "classes.csv").names == ("background", "car")
