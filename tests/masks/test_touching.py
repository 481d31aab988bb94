"""Borders between touching cells and U-Net's weight map: by hand, and against one distance transform for each cell."""

from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from perpixel.masks.touching import components, separation, touching, weight_map
from perpixel.sample import Instances

VOID = 255
sigmas = st.sampled_from([0.7, 1.0, 2.5, 5.0])


@st.composite
def cells(draw):
    """A few rectangles, later ones over earlier ones, and single pixels."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    numbers = np.zeros((height, width), np.int32)
    for number in range(1, 1 + draw(st.integers(0, 8))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        numbers[top : top + draw(st.integers(1, 9)), left : left + draw(st.integers(1, 9))] = number
    return numbers


def by_one_transform_for_each_cell(numbers, w0, sigma):
    distances = [ndimage.distance_transform_edt(numbers != number) for number in np.unique(numbers[numbers > 0])]
    if len(distances) < 2:
        return np.zeros(numbers.shape)
    reach = np.sum(np.sort(distances, axis=0)[:2], axis=0)
    return np.where((numbers == 0) & (reach <= 5 * sigma), w0 * np.exp(-(reach**2) / (2 * sigma**2)), 0)


def test_objects_that_touch_lose_one_pixel_each():
    assert touching(np.array([[1, 1, 2, 2, 0, 3]])).tolist() == [[False, True, True, False, False, False]]


def test_touching_at_a_corner_is_touching():
    assert touching(np.array([[1, 0], [0, 2]])).tolist() == [[True, False], [False, True]]
    assert touching(np.array([[0, 1], [2, 0]])).tolist() == [[False, True], [True, False]]


@given(cells())
def test_borders_are_the_pixels_with_another_object_around(numbers):
    padded = np.pad(numbers, 1)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).reshape(*numbers.shape, 9)
    other = ((around != 0) & (around != numbers[..., None])).any(2)
    assert (touching(numbers) == (other & (numbers != 0))).all()


@given(cells())
def test_without_borders_no_region_shows_two_objects(numbers):
    left = np.where(touching(numbers), 0, numbers)
    regions, count = ndimage.label(left, np.ones((3, 3)))
    assert all(len(np.unique(left[regions == region])) == 1 for region in range(1, count + 1))


def test_the_gap_between_two_cells_by_hand():
    # d1 and d2 of the three gap pixels: (1, 3), (2, 2), (3, 1); each sums to 4: 10 exp(-16 / 50)
    weights = separation(np.array([[1, 0, 0, 0, 2]]))
    assert weights[0].tolist() == pytest.approx([0, 10 * exp(-0.32), 10 * exp(-0.32), 10 * exp(-0.32), 0], rel=1e-6)
    # sqrt(1 + 1) to one, 1 to the other
    weights = separation(np.array([[1, 0], [0, 0], [2, 0]]), w0=3, sigma=2)
    assert weights[1].tolist() == pytest.approx([3 * exp(-(2**2) / 8), 3 * exp(-((2 * 2**0.5) ** 2) / 8)], rel=1e-6)
    assert weights[0, 1] == pytest.approx(3 * exp(-((1 + 5**0.5) ** 2) / 8), rel=1e-6)


def test_cells_farther_apart_than_5_sigma_are_not_separated():
    row = np.zeros((1, 31), np.int32)
    row[0, [2, 27]] = 1, 2
    assert separation(row)[0, 3] == pytest.approx(10 * exp(-(25**2) / 50), rel=1e-5)
    row[0, [27, 28]] = 0, 2
    assert not separation(row).any()


@pytest.mark.parametrize("numbers", [[[0, 0, 0]], [[0, 7, 0]], [[3, 0, 3]], [[1, 2, 1]]])
def test_there_is_nothing_between_less_than_two_cells(numbers):
    assert not separation(np.array(numbers)).any()


@given(cells(), sigmas)
def test_it_is_what_one_distance_transform_for_each_cell_gives(numbers, sigma):
    np.testing.assert_allclose(separation(numbers, 10, sigma), by_one_transform_for_each_cell(numbers, 10, sigma), atol=1e-5)


@given(cells(), st.integers(0, 2**32 - 1))
def test_which_number_a_cell_has_changes_nothing(numbers, seed):
    names = np.concatenate([[0], 1 + np.random.default_rng(seed).permutation(2000)[: numbers.max()]])
    assert (separation(names[numbers]) == separation(numbers)).all()


@given(cells())
def test_a_picture_that_is_turned_has_the_map_turned(numbers):
    expected = separation(numbers)
    assert (separation(numbers.T) == expected.T).all()
    assert (separation(numbers[::-1]) == expected[::-1]).all()


def test_the_map_balances_classes_and_leaves_void_out():
    labels = np.array([[1, 0, 1, 1, VOID, 2]], np.uint8)
    objects = Instances.of_numbers(np.array([[1, 0, 2, 2, 2, 3]]), np.array([1, 1, 2]))
    weights = weight_map(labels, objects, VOID, [0.5, 2.0, 4.0])
    assert weights.dtype == np.float32
    assert weights.tolist() == [[2, pytest.approx(0.5 + 10 * exp(-4 / 50), rel=1e-6), 2, 2, 0, 4]]


def test_a_drawn_border_is_a_gap():
    # The objects 1 1 1 and 2 2 2 touch; their labels show a gap of two pixels, whose d1 + d2 is 1 + 2.
    labels = np.array([[1, 1, 0, 0, 1, 1]], np.uint8)
    objects = Instances.of_numbers(np.array([[1, 1, 1, 2, 2, 2]]), np.array([1, 1]))
    gap = 1 + 10 * exp(-9 / 50)
    assert weight_map(labels, objects, VOID, [1, 1])[0].tolist() == pytest.approx([1, 1, gap, gap, 1, 1])


def test_regions_of_a_class_are_objects():
    labels = np.array([[1, 0, 1], [0, 1, VOID], [0, 1, 1]], np.uint8)
    objects = components(labels, 1)
    assert objects.class_ids.tolist() == [1, 1, 1]  # those that meet at a corner are two
    assert objects.numbers.tolist() == [[1, 0, 2], [0, 3, 0], [0, 3, 3]]
