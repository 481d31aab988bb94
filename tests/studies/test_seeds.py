"""Means over seeds and the tests of differences, against scipy's and against numbers worked by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from perpixel.measures.confusion_matrix import ConfusionMatrix
from perpixel.studies.seeds import Mean, by_chance, differences, half_interval, mean_iou, rows_of


def test_the_interval_is_students() -> None:
    values = [0.4, 0.45, 0.43]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert half_interval(values) == pytest.approx((high - low) / 2)
    assert math.isnan(Mean.of([0.4]).half)


def test_the_mean_iou_is_that_of_the_confusion_matrix() -> None:
    counts = np.random.default_rng(0).integers(0, 50, (4, 3, 3))
    matrix = ConfusionMatrix(3, 255)
    matrix.counts += counts.sum(0)
    assert mean_iou(counts.sum(0)) == pytest.approx(matrix.mean_iou())


def test_p_is_that_of_all_exchanges() -> None:
    """Six pictures have 64 exchanges, which can all be made; the test draws 20,000 of them."""
    random = np.random.default_rng(1)
    first, second = random.integers(0, 30, (2, 6, 2, 2))
    second[:, 0, 0] += 9
    found = abs(mean_iou(first.sum(0)) - mean_iou(second.sum(0)))
    greater = 0
    for turned in itertools.product((False, True), repeat=6):
        kept = np.array(turned)[:, None, None]
        one, other = np.where(kept, first, second).sum(0), np.where(kept, second, first).sum(0)
        greater += abs(mean_iou(one) - mean_iou(other)) >= found - 1e-12
    assert by_chance([rows_of(first)], [rows_of(second)], 20_000) == pytest.approx(greater / 64, abs=0.01)


def test_a_difference_is_shown_where_pictures_and_seeds_both_say_so() -> None:
    good = np.broadcast_to(np.array([[90, 10], [10, 90]]), (20, 2, 2))
    bad = np.broadcast_to(np.array([[70, 30], [30, 70]]), (20, 2, 2))
    random = np.random.default_rng(2)
    noise = lambda counts: counts + random.integers(0, 3, counts.shape)  # noqa: E731
    sure = differences({"good": [noise(good) for _ in range(3)], "bad": [noise(bad) for _ in range(3)]}, exchanges=2000)[0]
    assert (sure.first, sure.second) == ("good", "bad")
    assert sure.shown
    assert sure.mean.mean == pytest.approx(90 / 110 - 70 / 130, abs=0.02)
    seeds_differ = {"one": [noise(good), noise(bad), noise(good)], "other": [noise(bad), noise(good), noise(bad)]}
    assert not differences(seeds_differ, exchanges=2000)[0].shown  # pictures agree, seeds do not
    assert not differences({"one": [good], "same": [good]}, exchanges=200)[0].shown
    assert not differences({"one": [good, bad], "same": [good, bad]}, exchanges=200)[0].shown


def test_a_test_that_is_known_is_not_made_again() -> None:
    counts = np.random.default_rng(3).integers(1, 9, (2, 5, 2, 2))
    known = {("a", "b", 1): 0.25}
    assert differences({"a": [counts[0]], "b": [counts[1]]}, known=known)[0].p == 0.25
