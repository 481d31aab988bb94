"""ISBI 2012: pages of stacks, folds of slices, pieces of the inside as objects, and stacks that are wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import draw_cells, make_isbi2012, put_stack
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from places import SHARED

from perpixel.datasets import open_dataset
from perpixel.datasets.isbi2012 import CLASSES, INSIDE, PICTURES, Isbi2012, segments
from perpixel.errors import DataError, UsageError
from perpixel.images import read_image, read_labels

MEMBRANE = SHARED / "membrane"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_isbi2012(tmp_path)


def names(dataset: Isbi2012) -> list[str]:
    return [dataset.name(index) for index in range(len(dataset))]


def test_the_published_numbers_fit_each_other() -> None:
    assert PICTURES["fold1of5"] + PICTURES["rest1of5"] == PICTURES["train"] == PICTURES["test"] == 30
    assert (CLASSES.names, CLASSES.values) == (("membrane", "inside"), ((0,), (255,)))


def test_a_sample_is_a_page_of_either_stack(root: Path) -> None:
    dataset = Isbi2012(root)
    assert names(dataset) == [f"{page:02}" for page in range(10)]
    for page in (0, 3, 9):
        image, numbers = draw_cells(page)
        sample = dataset.sample(page)
        assert np.array_equal(sample.image, image[..., None].repeat(3, 2))
        assert np.array_equal(sample.labels, (numbers > 0).astype(np.uint8))


def test_test_has_no_labels_and_need_not_be_there(root: Path) -> None:
    sample = Isbi2012(root, "test").sample(2)
    assert (sample.labels, sample.instances) == (None, None)
    assert np.array_equal(sample.image[..., 0], draw_cells(12)[0])
    (root / "test-volume.tif").unlink()
    assert Isbi2012(root).splits == ("train", "fold1of5", "rest1of5")
    with pytest.raises(DataError, match=r"test-volume\.tif: there is no such file"):
        Isbi2012(root, "test")


def test_folds_of_any_number_are_splits(root: Path) -> None:
    assert names(Isbi2012(root, "fold2of5")) == ["01", "06"]
    assert names(Isbi2012(root, "rest2of5")) == ["00", "02", "03", "04", "05", "07", "08", "09"]
    assert names(open_dataset("isbi2012", root=root, split="fold3of3")) == ["02", "05", "08"]
    assert np.array_equal(Isbi2012(root, "fold2of5").sample(1).image, Isbi2012(root).sample(6).image)
    with pytest.raises(UsageError, match="split 'fold1of11': 10 pictures make 2 to 10 folds"):
        Isbi2012(root, "fold1of11")


class TestSegments:
    def test_pieces_that_share_an_edge_are_one_and_those_that_share_a_corner_are_two(self, root: Path) -> None:
        objects = Isbi2012(root).sample(0).instances
        assert objects is not None
        numbers = draw_cells(0)[1]
        ours = {tuple(np.unique(numbers[mask])) for mask in objects.masks}
        assert ours == {(1, 2), (3,), (4,), (5,), (6,)}
        assert [mask.sum() for mask in objects.masks] == [96, 48, 48, 48, 48]

    @given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 1)))
    def test_they_divide_the_inside_and_no_two_share_an_edge(self, labels: np.ndarray) -> None:
        objects = segments(labels)
        assert np.array_equal(objects.masks.sum(0), labels == INSIDE)
        assert objects.class_ids.tolist() == [INSIDE] * len(objects.masks)
        for mask in objects.masks:
            grown = np.zeros(np.array(labels.shape) + 2, bool)
            for down, right in ((0, 1), (1, 0), (1, 2), (2, 1)):
                grown[down : down + labels.shape[0], right : right + labels.shape[1]] |= mask
            assert not (grown[1:-1, 1:-1] & ~mask & (labels == INSIDE)).any()

    def test_a_slice_without_inside_has_none(self) -> None:
        objects = segments(np.zeros((4, 5), np.uint8))
        assert (objects.masks.shape, objects.class_ids.shape) == ((0, 4, 5), (0,))


def test_stacks_that_do_not_fit_are_reported(root: Path) -> None:
    labels = [(draw_cells(page)[1] > 0).astype(np.uint8) * 255 for page in range(10)]
    put_stack(root / "train-labels.tif", labels[:9])
    with pytest.raises(DataError, match=r"train-labels\.tif: has 9 pages, train-volume\.tif has 10; take both"):
        Isbi2012(root)
    put_stack(root / "train-labels.tif", [*labels[:4], labels[4] // 2, *labels[5:]])
    with pytest.raises(DataError, match=r"train-labels.tif, page 4: value 127 at row 1, column 1 \(288 pixels\) is in no class"):
        Isbi2012(root).sample(4)
    put_stack(root / "train-labels.tif", [*labels[:9], labels[9][:, :-1]])
    with pytest.raises(DataError, match=r"train-labels\.tif: is 24x31, its picture train-volume\.tif is 24x32"):
        Isbi2012(root).sample(9)


def test_the_stacks_may_lie_in_a_folder_of_that_name(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "more" / "isbi2012")
    assert len(Isbi2012(tmp_path / "more")) == 10


@pytest.mark.skipif(not MEMBRANE.is_dir(), reason="the slices of ISBI 2012 are not at ../shared/data/membrane.")
def test_a_real_slice_shows_about_a_hundred_neurites_most_of_them_larger_than_200_pixels(tmp_path: Path) -> None:
    pictures, masks = (sorted((MEMBRANE / kind).glob("*.png"))[::6] for kind in ("images", "masks"))
    put_stack(tmp_path / "train-volume.tif", [read_image(path)[..., 0] for path in pictures])
    put_stack(tmp_path / "train-labels.tif", [255 * read_labels(path) for path in masks])
    dataset = Isbi2012(tmp_path)
    for index in range(len(dataset)):
        sample = dataset.sample(index)
        assert sample.labels is not None
        assert sample.instances is not None
        areas = sample.instances.masks.sum((1, 2))
        assert areas.sum() == (sample.labels == INSIDE).sum()
        assert 80 < len(areas) < 150
        assert (areas > 200).mean() > 0.7
