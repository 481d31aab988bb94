"""PASCAL-Context: three views of 459 labels by their names, against the numbers that others use."""

import shutil

import numpy as np
import pytest
from fakes import CONTEXT_LISTS, CONTEXT_NUMBERS, draw_grid, make_context, put_list, put_mat

from perpixel.datasets import open_dataset
from perpixel.datasets.context import NAMES_OF_33, NAMES_OF_59, NAMES_OF_VOC, PICTURES, VIEWS, Context
from perpixel.datasets.voc import CLASSES
from perpixel.errors import DataError, UnknownName

# Of PyTorch-Encoding, mmsegmentation and others: the numbers of the 59 classes in labels.txt, and 0 for the background.
COMMON_NUMBERS = {
    0, 2, 259, 260, 415, 324, 9, 258, 144, 18, 19, 22, 23, 397, 25, 284, 158, 159, 416, 33, 162, 420, 454, 295, 296, 427, 44, 45,
    46, 308, 59, 440, 445, 31, 232, 65, 354, 424, 68, 326, 72, 458, 34, 207, 80, 355, 85, 347, 220, 349, 360, 98, 187, 104, 105,
    366, 189, 368, 113, 115}  # fmt: skip
EVERY_LABEL = np.arange(460, dtype=np.uint16).reshape(20, 23)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """For tests that change nothing."""
    return make_context(tmp_path_factory.mktemp("context"))


@pytest.fixture
def mine(root, tmp_path):
    """For tests that break something."""
    shutil.copytree(root, tmp_path / "data")
    return tmp_path / "data"


def of_every_label(root, view):
    """The class id, or void, of the labels 0..459."""
    return Context(root, view=view)._stored.decode(EVERY_LABEL).ravel()


def test_the_views_have_the_classes_of_their_names():
    assert [len(VIEWS[view]) for view in ("context59", "context60", "context33")] == [59, 60, 33]
    assert VIEWS["context60"].names == ("background", *VIEWS["context59"].names)
    assert set(NAMES_OF_33) < set(NAMES_OF_59)
    assert CLASSES.names[1:] == NAMES_OF_VOC


def test_classes_stand_in_the_order_of_the_authors_lists():
    assert [NAMES_OF_59.index(name) + 1 for name in ("aeroplane", "tvmonitor", "bag", "clothes", "bedcloth", "wood")] == [
        1, 20, 21, 28, 52, 59]  # fmt: skip
    assert [NAMES_OF_33.index(name) + 1 for name in ("tvmonitor", "sky", "keyboard", "ceiling")] == [20, 21, 32, 33]


def test_the_59_are_the_numbers_that_others_use(root):
    classes = of_every_label(root, "context60")
    assert {int(number) for number in np.flatnonzero(classes)} == COMMON_NUMBERS - {0}
    assert np.bincount(classes).tolist() == [460 - 59] + [1] * 59


def test_every_class_is_the_label_of_its_name(root):
    classes = of_every_label(root, "context60")
    for name, number in CONTEXT_NUMBERS.items():
        ours = {"table": "diningtable", "bedclothes": "bedcloth", "cloth": "clothes"}.get(name, name)
        assert VIEWS["context60"].names[classes[number]] == (ours if ours in NAMES_OF_59 else "background")


def test_what_is_background_in_60_is_void_in_59(root):
    sixty, fifty_nine = of_every_label(root, "context60"), of_every_label(root, "context59")
    assert np.array_equal(fifty_nine, np.where(sixty == 0, 255, sixty - 1))
    assert VIEWS["context60"].void not in sixty


def test_the_33_agree_with_the_59_by_name(root):
    of_59, of_33 = of_every_label(root, "context59"), of_every_label(root, "context33")
    assert (of_33 != 255).sum() == 33
    for number in np.flatnonzero(of_33 != 255):
        assert VIEWS["context33"].names[of_33[number]] == VIEWS["context59"].names[of_59[number]]


@pytest.mark.parametrize("split", ["train", "val"])
def test_splits_are_vocs_lists_of_2010(root, split):
    dataset = open_dataset("context60", root=root, split=split)
    assert [dataset.name(index) for index in range(2)] == CONTEXT_LISTS[split]
    assert sum(PICTURES.values()) == 10103  # as the data set's site says


def test_a_sample_has_the_labels_that_were_drawn(root):
    drawn = draw_grid(3, [*list(CONTEXT_NUMBERS.values())[:59], CONTEXT_NUMBERS["sand"]])[1]
    drawn[:, -1] = CONTEXT_NUMBERS["unknown"]
    labels = Context(root, "val").sample(0).labels
    assert np.array_equal(labels, of_every_label(root, "context60")[drawn])
    assert (labels[:, -1] == 0).all()
    assert (Context(root, "val", "context59").sample(0).labels[:, -1] == 255).all()


def test_masks_are_written_as_the_sites_own_pngs():
    """0 for labels in no class, then 1, 2, ... in the order of 59_labels.txt."""
    assert VIEWS["context59"].encode(np.array([[0, 58, 255]], np.uint8)).tolist() == [[1, 59, 0]]
    assert VIEWS["context60"].encode(np.array([[0, 1, 59]], np.uint8)).tolist() == [[0, 1, 59]]


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2010"])
def test_the_root_may_be_any_of_three_folders(root, below):
    assert Context(root / below).annotations == root / "pascal-context"


@pytest.mark.parametrize("place", [".", "VOCdevkit", "VOCdevkit/VOC2010"])
def test_the_labels_may_lie_beside_the_pictures(mine, place):
    for name in ("labels.txt", "trainval"):
        shutil.move(mine / "pascal-context" / name, mine / place / name)
    assert Context(mine).annotations == mine / place
    assert Context(mine).sample(0).labels.shape == (24, 40)


def test_what_is_missing_is_named(mine):
    shutil.move(mine / "pascal-context", mine / "elsewhere")
    with pytest.raises(DataError, match=r"holds no pascal-context/ with labels\.txt and trainval/"):
        Context(mine)
    shutil.move(mine / "elsewhere", mine / "pascal-context")
    (mine / "VOCdevkit/VOC2010/ImageSets/Main/val.txt").unlink()
    with pytest.raises(DataError, match=r"ImageSets/Main/val\.txt: there is no such file"):
        Context(mine, "val")
    (mine / "pascal-context/trainval/2008_000001.mat").unlink()
    with pytest.raises(DataError, match=r"trainval/2008_000001\.mat: there is no such file"):
        Context(mine).sample(0)


def test_labels_that_lost_a_name_or_a_number_are_refused(mine):
    path = mine / "pascal-context" / "labels.txt"
    lines = path.read_text().splitlines()
    put_list(path, [line.replace(": table", ": desk") for line in lines])
    with pytest.raises(DataError, match=r"labels\.txt: has no label 'table'"):
        Context(mine)
    put_list(path, ["1: accordion", "two: aeroplane"])
    with pytest.raises(DataError, match=r"labels\.txt, line 2: expected `number: name`, found 'two: aeroplane'"):
        Context(mine)


def test_a_label_that_does_not_exist_is_refused(mine):
    put_mat(mine / "pascal-context/trainval/2008_000001.mat", LabelMap=np.full((24, 40), 460, np.uint16))
    with pytest.raises(DataError, match=r"2008_000001\.mat: value 460 at row 0, column 0 \(960 pixels\)"):
        Context(mine).sample(0)


def test_a_map_of_another_size_is_refused(mine):
    put_mat(mine / "pascal-context/trainval/2008_000001.mat", LabelMap=np.full((40, 24), 2, np.uint16))
    with pytest.raises(DataError, match=r"2008_000001\.mat: is 40x24, its picture 2008_000001\.jpg is 24x40"):
        Context(mine).sample(0)


def test_an_unknown_view_names_the_nearest(root):
    with pytest.raises(UnknownName, match="no view of PASCAL-Context 'context6'; did you mean 'context60'"):
        Context(root, view="context6")
