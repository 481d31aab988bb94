"""SIFT Flow: two views of the same pictures, values and void as the authors' layer reads them, and files that are wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import SIFTFLOW_LISTS, draw_grid, make_siftflow, put_list, put_mat

from perpixel.datasets import ON_DISK, open_dataset
from perpixel.datasets.siftflow import ALBUM, GEOMETRIC, PICTURES, SEMANTIC, VIEWS, SiftFlow
from perpixel.errors import DataError, UnknownName


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that change nothing."""
    return make_siftflow(tmp_path_factory.mktemp("siftflow"))


@pytest.fixture
def mine(root: Path, tmp_path: Path) -> Path:
    """For tests that break something."""
    shutil.copytree(root, tmp_path / "data")
    return tmp_path / "data"


def test_the_classes_are_those_of_classes_txt() -> None:
    assert (len(SEMANTIC), list(SEMANTIC)) == (33, sorted(SEMANTIC))
    numbers = {1: "awning", 9: "cow", 11: "desert", 16: "moon", 22: "road", 28: "sky", 33: "window"}
    assert {number: SEMANTIC[number - 1] for number in numbers} == numbers
    assert GEOMETRIC == ("sky", "horizontal", "vertical")
    assert [len(table) for table in VIEWS.values()] == [33, 3]


def test_the_published_numbers() -> None:
    unlabelled = ("highway_bost181", "street_urb506")
    assert (PICTURES["trainval"], PICTURES["test"]) == (2488 - len(unlabelled), 200)
    assert ON_DISK["siftflow"].judged == ("trainval", "test")


def test_labels_are_the_values_less_one_and_0_is_void(root: Path) -> None:
    dataset = SiftFlow(root, "test")
    assert [dataset.name(0), dataset.name(1)] == SIFTFLOW_LISTS["test"]
    _, values, _ = draw_grid(4, range(1, 34))
    labels = dataset.sample(0).labels
    assert np.array_equal(labels[:, :-1], values[:, :-1] - 1)
    assert (labels[:, -1] == 255).all()


def test_the_geometric_view_is_void_where_the_file_holds_minus_1(root: Path) -> None:
    semantic, geometric = (open_dataset(name, root=root, split="trainval").sample(0) for name in VIEWS)
    assert np.array_equal(semantic.image, geometric.image)
    _, _, cells = draw_grid(1, range(1, 34))
    assert np.array_equal(geometric.labels[:, :-1], cells[:, :-1] % 3)
    assert (geometric.labels[:, -1] == 255).all()


def test_the_folder_may_be_named_or_given_itself(root: Path, tmp_path: Path) -> None:
    (tmp_path / "SiftFlowDataset").symlink_to(root / "sift-flow")
    for place in (root / "sift-flow", tmp_path):
        assert len(SiftFlow(place, "trainval")) == 3


def test_a_value_that_is_no_class_is_reported(mine: Path) -> None:
    mask = mine / "sift-flow" / "SemanticLabels" / ALBUM / "coast_d4.mat"
    put_mat(mask, S=np.full((24, 40), 34, np.uint8))
    with pytest.raises(DataError, match=rf"^{mask}: value 34 at row 0, column 0 \(960 pixels\) is in no class"):
        SiftFlow(mine, "test").sample(0)
    put_mat(mask, S=np.full((24, 40), -2, np.int16))
    with pytest.raises(DataError, match=rf"^{mask}: S is no label map \(H, W\) of whole numbers 0\.\.65535"):
        SiftFlow(mine, "test").sample(0)


def test_what_is_missing_is_named(mine: Path) -> None:
    folder = mine / "sift-flow"
    put_list(folder / "test.txt", ["coast_d4", "coast_x9"])
    with pytest.raises(DataError, match=rf"^{folder}/Images/{ALBUM}/coast_x9.jpg: there is no such file"):
        SiftFlow(mine, "test").sample(1)
    (folder / "trainval.txt").unlink()
    with pytest.raises(DataError, match=rf"^{folder}/trainval.txt: there is no such file; it is needed to list the pictures"):
        SiftFlow(mine)
    shutil.rmtree(folder / "GeoLabels")
    assert len(SiftFlow(mine, "test")) == 2
    with pytest.raises(DataError, match=rf"holds no Images/{ALBUM}/ and GeoLabels/{ALBUM}/; unpack SiftFlowDataset.zip there"):
        SiftFlow(mine, "test", view="siftflow_geometric")


def test_an_unknown_view_names_the_nearest(root: Path) -> None:
    with pytest.raises(UnknownName, match="no view of SIFT Flow 'geometric'; did you mean 'siftflow_geometric'"):
        SiftFlow(root, view="geometric")
