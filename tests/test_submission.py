"""Submissions: masks as the servers take them, and nothing where one of them is not sound."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fakes import make_cityscapes, make_folder, make_voc
from PIL import Image

from perpixel.cli import main
from perpixel.datasets import Dataset, open_dataset
from perpixel.errors import DataError, UnknownName, UsageError
from perpixel.images import write_labels
from perpixel.submission import submission


def predicted(dataset: Dataset, folder: Path, tail: str = "") -> Path:
    """Masks of one class that rises with the pictures, as predict leaves them."""
    (folder / "masks").mkdir(parents=True)
    for index in range(len(dataset)):
        image = dataset.sample(index).image
        labels = np.full(image.shape[:2], (index + 1) % len(dataset.classes), np.uint8)
        write_labels(folder / "masks" / f"{dataset.name(index)}{tail}.png", labels, dataset.classes)
    return folder


def fill(path: Path, value: int) -> None:
    Image.fromarray(np.full(np.array(Image.open(path)).shape, value, np.uint8)).save(path)


@pytest.fixture
def voc(tmp_path: Path) -> Dataset:
    return open_dataset("voc2012", root=make_voc(tmp_path / "data"), split="test")


def test_voc_takes_a_tree_of_palette_masks(voc: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "mine.tar.gz"
    assert submission(predicted(voc, tmp_path / "found"), voc, out) == []
    with tarfile.open(out) as archive:
        names = archive.getnames()
        assert names == [f"results/VOC2012/Segmentation/comp6_test_cls/{voc.name(i)}.png" for i in range(len(voc))]
        file = archive.extractfile(names[0])
        assert file is not None
        mask = Image.open(io.BytesIO(file.read()))
    assert mask.mode == "P"
    assert (np.array(mask) == 1).all()
    palette = mask.getpalette()
    assert palette is not None
    assert palette[3:6] == [128, 0, 0]


def test_cityscapes_takes_label_ids(tmp_path: Path) -> None:
    dataset = open_dataset("cityscapes", root=make_cityscapes(tmp_path / "data"), split="test")
    out = tmp_path / "mine.zip"
    assert submission(predicted(dataset, tmp_path / "found", "_leftImg8bit"), dataset, out) == []
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == [f"{dataset.name(i)}_labelIds.png" for i in range(len(dataset))]
        values = {int(np.array(Image.open(io.BytesIO(archive.read(name)))).max()) for name in archive.namelist()}
    assert values <= {7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33}
    assert 8 in values  # sidewalk, whose train id is 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda path: path.unlink(), "has no mask; predict it"),
        (lambda path: Image.fromarray(np.zeros((3, 4), np.uint8)).save(path), r"is 3x4, its picture \d+x\d+"),
        (lambda path: fill(path, 77), "value 77 at row 0"),
        (lambda path: fill(path, 255), "is void at row 0, column 0"),
        (lambda path: path.write_bytes(b""), "is no PNG"),
        (lambda path: path.with_name("other.png").write_bytes(path.read_bytes()), "belongs to no picture of test"),
        (lambda path: path.with_suffix(".tif").write_bytes(path.read_bytes()), "has the masks"),
    ],
)
def test_one_mask_that_is_wrong_is_told_and_nothing_written(voc: Dataset, tmp_path: Path, wrong, said: str) -> None:
    folder, out = predicted(voc, tmp_path / "found"), tmp_path / "mine.tar.gz"
    wrong(folder / "masks" / f"{voc.name(0)}.png")
    (problem,) = submission(folder, voc, out)
    with pytest.raises(DataError, match=said):
        raise DataError(problem.message)
    assert not out.exists()


def test_what_cannot_be_submitted(voc: Dataset, tmp_path: Path) -> None:
    folder = predicted(voc, tmp_path / "found")
    with pytest.raises(UsageError, match=r"takes a \.tar\.gz file"):
        submission(folder, voc, tmp_path / "mine.zip")
    with pytest.raises(UnknownName, match="did you mean 'comp6'"):
        submission(folder, voc, tmp_path / "mine.tar.gz", "comp7")
    with pytest.raises(UsageError, match="only PASCAL VOC 2012 and Cityscapes have a server"):
        submission(folder, open_dataset(make_folder(tmp_path / "own")), tmp_path / "mine.zip")
    (tmp_path / "mine.tar.gz").write_bytes(b"old")
    with pytest.raises(UsageError, match="is there already"):
        submission(folder, voc, tmp_path / "mine.tar.gz")


def test_the_command(voc: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = predicted(voc, tmp_path / "found"), tmp_path / "mine.tar.gz"
    command = ["submission", str(folder), "--data", "voc2012", "--root", str(tmp_path / "data"), "--out", str(out)]
    (folder / "masks" / f"{voc.name(0)}.png").rename(tmp_path / "kept.png")
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 3
    assert "has no mask" in capsys.readouterr().out
    (tmp_path / "kept.png").rename(folder / "masks" / f"{voc.name(0)}.png")
    main(command)
    assert f"{out}: written" in capsys.readouterr().err
