"""The Cell Tracking Challenge: which frames are read, cells as objects, markers of cells that were not segmented, wrong files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import CELLS, draw_cells, make_cell_tracking, put_stack

from perpixel.datasets import ON_DISK, open_dataset
from perpixel.datasets.cell_tracking import CELL, PICTURES, CellTracking
from perpixel.errors import DataError, UsageError

FRAMES = ["01/t001", "01/t004", "01/t006", "02/t000", "02/t002"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that change nothing."""
    return make_cell_tracking(tmp_path_factory.mktemp("cell_tracking"))


@pytest.fixture
def mine(root: Path, tmp_path: Path) -> Path:
    """For tests that break something."""
    shutil.copytree(root / "PhC-C2DH-U373", tmp_path / "PhC-C2DH-U373")
    return tmp_path


def names(dataset: CellTracking) -> list[str]:
    return [dataset.name(index) for index in range(len(dataset))]


def test_the_numbers_of_the_paper_of_unet() -> None:
    assert PICTURES == {"phc_u373": {"train": 35}, "dic_hela": {"train": 20}}
    assert ON_DISK["phc_u373"].judged == ("01", "02")


def test_only_frames_with_a_segmentation_are_read(root: Path) -> None:
    assert names(CellTracking(root)) == FRAMES
    assert names(CellTracking(root, "01")) + names(CellTracking(root, "02")) == FRAMES
    assert names(CellTracking(root, "fold1of5")) == FRAMES[:1]
    assert names(open_dataset("dic_hela", root=root, split="rest2of2")) == FRAMES[::2]
    with pytest.raises(UsageError, match="split 'fold3of2': there is no fold 3 of 2"):
        CellTracking(root, "fold3of2")


def test_each_set_is_read_from_its_own_folder(root: Path) -> None:
    for place, name in enumerate(("phc_u373", "dic_hela")):
        picture = draw_cells(100 * place + 24 - 2)[0]
        assert np.array_equal(open_dataset(name, root=root, split="02").sample(1).image[..., 0], picture)
    assert names(CellTracking(root / "DIC-C2DH-HeLa", name="dic_hela")) == FRAMES
    with pytest.raises(DataError, match="holds no PhC-C2DH-U373/ with 01/, 01_GT/, 02/ and 02_GT/; unpack"):
        CellTracking(root / "DIC-C2DH-HeLa")


def test_cells_that_touch_are_one_class_and_two_objects(root: Path) -> None:
    sample = CellTracking(root).sample(0)
    numbers = draw_cells(11)[1]
    assert sample.instances is not None
    assert sample.labels is not None
    assert np.array_equal(sample.instances.masks, [numbers == cell for cell in range(1, 6)])
    assert sample.instances.class_ids.tolist() == [CELL] * 5
    assert np.array_equal(sample.labels == CELL, (numbers > 0) & (numbers < 6))


def test_the_marker_of_a_cell_that_is_not_segmented_is_void(mine: Path) -> None:
    top, left = CELLS[5]
    void = np.zeros((24, 32), bool)
    void[top + 2 : top + 4, left + 3 : left + 5] = True
    assert np.array_equal(CellTracking(mine).sample(0).labels == 255, void)
    track = mine / "PhC-C2DH-U373" / "01_GT" / "TRA" / "man_track001.tif"
    assert track in CellTracking(mine).files()
    track.unlink()
    assert track not in CellTracking(mine).files()
    assert CellTracking(mine).sample(0).labels.max() == CELL


def test_a_marker_that_reaches_over_its_cell_is_no_void(mine: Path) -> None:
    truth = mine / "PhC-C2DH-U373" / "01_GT"
    markers = np.zeros((24, 32), np.uint16)
    markers[0:2, 0:3] = 700  # of the cell that begins at row 1, column 1
    put_stack(truth / "TRA" / "man_track001.tif", [markers])
    assert CellTracking(mine).sample(0).labels.max() == CELL


def test_numbers_above_255_are_cells_of_their_own(mine: Path) -> None:
    cells = np.zeros((24, 32), np.uint16)
    cells[:3], cells[5:7] = 44, 300  # 300 and 44 are equal in 8 bits
    put_stack(mine / "PhC-C2DH-U373" / "01_GT" / "SEG" / "man_seg001.tif", [cells])
    objects = CellTracking(mine).sample(0).instances
    assert objects is not None
    assert objects.masks.sum((1, 2)).tolist() == [96, 64]


def test_a_frame_without_cells_has_no_objects(mine: Path) -> None:
    put_stack(mine / "PhC-C2DH-U373" / "01_GT" / "SEG" / "man_seg001.tif", [np.zeros((24, 32), np.uint16)])
    objects = CellTracking(mine).sample(0).instances
    assert objects is not None
    assert (objects.masks.shape, objects.class_ids.shape) == ((0, 24, 32), (0,))


def test_what_is_missing_or_does_not_fit_is_named(mine: Path) -> None:
    folder = mine / "PhC-C2DH-U373"
    put_stack(folder / "01_GT" / "TRA" / "man_track004.tif", [np.zeros((24, 31), np.uint16)])
    with pytest.raises(DataError, match=r"man_track004.tif: is 24x31, its picture t004.tif is 24x32"):
        CellTracking(mine).sample(1)
    put_stack(folder / "01_GT" / "SEG" / "man_seg004.tif", [np.zeros((23, 32), np.uint16)])
    with pytest.raises(DataError, match=r"man_seg004.tif: is 23x32, its picture t004.tif is 24x32"):
        CellTracking(mine).sample(1)
    (folder / "01" / "t004.tif").unlink()
    with pytest.raises(DataError, match=r"01/t004.tif: there is no such file"):
        CellTracking(mine).sample(1)
    shutil.rmtree(folder / "02_GT" / "SEG")
    with pytest.raises(DataError, match=r"02_GT/SEG: holds no man_segNNN.tif; unpack the challenge's training archive"):
        CellTracking(mine, "01")
