"""scenes: same seed same picture, disjoint splits, labels and instances that agree, and colours that do not show the class."""

import numpy as np
import pytest

from perpixel.datasets.scenery import CAR, COUNTED, PERSON, POLE, VOID, Canvas, truth
from perpixel.datasets.scenes import CLASSES, LABELS, Scenes, choose_street, draw_scene
from perpixel.errors import UnknownName

NUM_CLASSES = len(CLASSES)


@pytest.fixture(scope="module")
def samples():
    return [Scenes("train").sample(index) for index in range(100)]


def test_a_sample_depends_on_split_and_index_only():
    first, again = Scenes("val", count=8).sample(5), Scenes("val").sample(5)
    assert first.name == again.name == Scenes("val").name(5) == "val_00005"
    assert first.image.tobytes() == again.image.tobytes()
    assert first.labels.tobytes() == again.labels.tobytes()
    assert (first.instances.masks == again.instances.masks).all()


def test_a_seed_and_its_generator_draw_the_same():
    for drawn, again in zip(draw_scene(3, (64, 80)), draw_scene(np.random.default_rng(3), (64, 80)), strict=True):
        assert drawn.tobytes() == again.tobytes()


def test_splits_share_no_picture():
    pictures = [Scenes(split).sample(index).image.tobytes() for split in Scenes.splits for index in range(4)]
    assert len(set(pictures)) == len(pictures) == 12


def test_default_lengths():
    assert [len(Scenes(split)) for split in ("train", "val", "test")] == [600, 100, 100]
    assert len(Scenes("test", count=3)) == 3


@pytest.mark.parametrize("size", [(64, 80), (128, 160), (101, 75), (256, 320)])
def test_any_size(size):
    image, labels, numbers = draw_scene(1, size)
    assert (image.shape, labels.shape, numbers.shape) == ((*size, 3), size, size)
    assert (image.dtype, labels.dtype, numbers.dtype) == (np.uint8, np.uint8, np.uint16)


def test_a_row_of_the_table_stands_at_its_class_id():
    assert [class_id for class_id, _, _ in LABELS] == list(range(NUM_CLASSES))
    assert CLASSES.void == VOID


def test_labels_are_classes_or_void(samples):
    assert {int(value) for sample in samples for value in np.unique(sample.labels)} == {*range(NUM_CLASSES), VOID}


def test_every_class_is_in_most_pictures(samples):
    present = np.array([[(sample.labels == class_id).any() for class_id in range(NUM_CLASSES)] for sample in samples])
    assert (present.mean(axis=0) > 0.5).all()


def test_void_is_a_thin_border(samples):
    assert np.mean([(sample.labels == VOID).mean() for sample in samples]) < 0.08


def test_instances_are_the_visible_cars_and_persons(samples):
    for sample in samples:
        masks, class_ids = sample.instances.masks, sample.instances.class_ids
        assert masks.dtype == bool
        assert masks.shape == (len(class_ids), *sample.labels.shape)
        assert masks.any(axis=(1, 2)).all()
        assert all((sample.labels[mask] == class_id).all() for mask, class_id in zip(masks, class_ids, strict=True))
        assert (masks.sum(axis=0) == np.isin(sample.labels, COUNTED)).all()


def test_some_pictures_show_many_objects_and_some_few(samples):
    counts = [len(sample.instances.class_ids) for sample in samples]
    assert min(counts) <= 2
    assert max(counts) >= 12


def drawn_rectangles(*rectangles):
    """The truth of a canvas of 10 x 20 pixels, road everywhere, then (class, left, top, right, bottom) in picture pixels."""
    canvas = Canvas((10, 20), choose_street(np.random.default_rng(0), (10, 20), (200, 200, 200)))
    for class_id, left, top, right, bottom in ((2, 0, 0, 20, 10), *rectangles):
        ink = canvas.ink(canvas.thing(class_id), (90, 90, 90))
        canvas.draw.rectangle((2 * left, 2 * top, 2 * right - 1, 2 * bottom - 1), ink)
    return truth(canvas, np.asarray(canvas.pixels))


def test_void_border_is_one_pixel_on_each_side_of_an_object():
    labels, numbers = drawn_rectangles((CAR, 4, 2, 12, 8))
    assert (labels[5, :14] == [2, 2, 2, VOID, VOID, CAR, CAR, CAR, CAR, CAR, CAR, VOID, VOID, 2]).all()
    assert (numbers == (labels == CAR)).all()
    assert (labels == CAR).sum() == 6 * 4


def test_touching_cars_have_a_border_between_them():
    labels, numbers = drawn_rectangles((CAR, 2, 0, 9, 10), (CAR, 9, 0, 16, 10))
    assert (numbers[5, 2:16] == [0, 1, 1, 1, 1, 1, 0, 0, 2, 2, 2, 2, 2, 0]).all()
    assert (labels[5, 8:10] == VOID).all()


def test_small_and_thin_things_lose_nothing_to_the_border():
    labels, numbers = drawn_rectangles((CAR, 4, 2, 12, 8), (POLE, 7, 0, 8, 10), (PERSON, 15, 2, 17, 7))
    assert (labels[:, 7] == POLE).all()
    assert (labels[2:7, 15:17] == PERSON).all()
    assert (numbers[2:7, 15:17] == 2).all()
    assert (labels[2:7, 17] == VOID).all()


def test_a_few_pixels_of_a_person_are_void():
    labels, numbers = drawn_rectangles((PERSON, 5, 5, 7, 8))
    assert (labels[5:8, 5:7] == VOID).all()
    assert not numbers.any()


def test_colour_alone_does_not_solve_it(samples):
    pixels = np.concatenate([sample.image[::2, ::2].reshape(-1, 3) for sample in samples]).astype(np.float32)
    labels = np.concatenate([sample.labels[::2, ::2].ravel() for sample in samples])
    means = np.stack([pixels[labels == class_id].mean(axis=0) for class_id in range(NUM_CLASSES)])
    nearest = np.stack([((pixels - mean) ** 2).sum(axis=1) for mean in means]).argmin(axis=0)
    ious = [
        ((nearest == class_id) & (labels == class_id)).sum()
        / ((nearest == class_id) & (labels != VOID) | (labels == class_id)).sum()
        for class_id in range(NUM_CLASSES)
    ]
    assert np.mean(ious) < 0.2  # judged on the very pictures it was fitted to


def test_unknown_split_names_the_nearest():
    with pytest.raises(UnknownName, match="no split of scenes 'vall'; did you mean 'val'"):
        Scenes("vall")


@pytest.mark.parametrize("index", [-1, 3])
def test_index_outside_the_split(index):
    with pytest.raises(IndexError, match="scenes/val has 3 pictures"):
        Scenes("val", count=3).sample(index)


def test_a_sample_that_was_changed_is_drawn_as_before() -> None:
    sample = Scenes("val").sample(3)
    before = sample.image.copy()
    sample.image[:] = 0
    assert np.array_equal(Scenes("val").sample(3).image, before)
