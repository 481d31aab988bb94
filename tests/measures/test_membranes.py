"""Measures of membranes: by hand, by counting all pairs, and against scikit-image."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from places import SHARED
from scipy import ndimage

from perpixel.errors import UsageError
from perpixel.images import read_labels
from perpixel.measures.membranes import THRESHOLDS, figures, information_score, pair_counts, rand_score, segments, sweep, thinned

MEMBRANE = SHARED / "membrane"
MAPS = arrays.arrays(np.int32, (5, 6), elements=st.integers(0, 3))
approx = pytest.approx


def row(*values: int) -> np.ndarray:
    return np.array([values], np.int32)


def alone(numbers: np.ndarray) -> np.ndarray:
    """Every 0 as a segment of its own: how a peer is told what membrane means here."""
    found = numbers.copy()
    found[numbers == 0] = numbers.max() + 1 + np.arange((numbers == 0).sum())
    return found


class TestPairs:
    def test_a_merge(self) -> None:
        # Of 4 pixels inside, 2 pairs are together in truth, all 6 in the prediction.
        assert pair_counts(row(1, 1, 0, 2, 2), row(1, 1, 1, 1, 1)) == (2, 4, 0)

    def test_a_split_by_a_membrane_whose_pixel_is_alone(self) -> None:
        assert pair_counts(row(1, 1, 1, 1), row(1, 0, 2, 2)) == (1, 0, 5)

    @given(MAPS, MAPS)
    def test_they_are_all_pairs(self, truth, predicted) -> None:
        pixels = [(t, p) for t, p in zip(truth.ravel(), alone(predicted).ravel(), strict=True) if t]
        both = [(a[0] == b[0], a[1] == b[1]) for a, b in combinations(pixels, 2)]
        assert pair_counts(truth, predicted) == tuple(both.count(kind) for kind in ((True, True), (False, True), (True, False)))

    @given(MAPS.filter(lambda truth: (truth > 0).sum() > 1), MAPS)
    def test_f_is_scikit_images_adapted_rand_error(self, truth, predicted) -> None:
        metrics = pytest.importorskip("skimage.metrics", reason="scikit-image, the oracle of this measure, is not installed")
        true, false, missed = pair_counts(truth, predicted)
        if not true + missed or not true + false:
            return  # scikit-image divides by 0
        error, *of_truth_and_found = metrics.adapted_rand_error(truth, alone(predicted), ignore_labels=(0,))
        assert 1 - 2 * true / (2 * true + false + missed) == approx(error)
        assert (true / (true + missed), true / (true + false)) == approx(tuple(of_truth_and_found))

    def test_a_large_picture_does_not_overflow(self) -> None:
        truth = np.ones((600, 600), np.int32)
        pairs = 360_000 * 359_999 // 2
        assert pair_counts(truth, truth) == (pairs, 0, 0)


class TestScores:
    def test_rand_by_hand(self) -> None:
        assert rand_score(row(1, 1, 0, 2, 2), row(1, 1, 1, 1, 1)) == approx(8 / (0.5 * 16 + 0.5 * 8))
        assert rand_score(row(1, 1, 1, 1), row(1, 0, 2, 2)) == approx(6 / (0.5 * 6 + 0.5 * 16))

    def test_information_by_hand(self) -> None:
        assert information_score(row(1, 1, 0, 2, 2), row(1, 1, 1, 1, 1)) == 0
        # H(T) = ln 2, H(S) = 1.5 ln 2, I = ln 2: the prediction halves the second segment.
        assert information_score(row(1, 1, 2, 2), row(1, 1, 2, 3)) == approx(1 / 1.25)
        assert information_score(row(1, 1, 2, 2), row(1, 1, 2, 0)) == approx(information_score(row(1, 1, 2, 2), row(1, 1, 2, 3)))
        assert information_score(row(1, 1, 0), row(4, 4, 0)) == 1

    def test_without_a_pixel_inside_they_are_nan(self) -> None:
        assert math.isnan(rand_score(row(0, 0), row(1, 1)))
        assert math.isnan(information_score(row(0, 0), row(1, 1)))

    @given(MAPS.filter(np.any), MAPS)
    def test_rand_is_the_formula_over_shares(self, truth, predicted) -> None:
        inside = truth > 0
        shares = np.zeros((100, 100))
        np.add.at(shares, (truth[inside], alone(predicted)[inside]), 1 / inside.sum())
        expected = (shares**2).sum() / (0.5 * (shares.sum(0) ** 2).sum() + 0.5 * (shares.sum(1) ** 2).sum())
        assert rand_score(truth, predicted) == approx(expected)

    @given(MAPS.filter(np.any), MAPS)
    def test_information_is_scikit_images_variation_of_information(self, truth, predicted) -> None:
        metrics = pytest.importorskip("skimage.metrics", reason="scikit-image, the oracle of this measure, is not installed")
        variation = sum(metrics.variation_of_information(truth, alone(predicted), ignore_labels=(0,)))
        inside = truth > 0
        entropies = 0.0
        for numbers in (truth[inside], alone(predicted)[inside]):
            share = np.unique(numbers, return_counts=True)[1] / inside.sum()
            entropies -= (share * np.log2(share)).sum()
        expected = 1 - variation / entropies if entropies > 1e-9 else 1.0
        assert information_score(truth, predicted) == approx(expected, abs=1e-9)

    @given(MAPS.filter(np.any))
    def test_the_truth_itself_is_perfect(self, truth) -> None:
        assert rand_score(truth, truth) == approx(1)
        assert information_score(truth, truth) == approx(1)


class TestThinned:
    def test_a_membrane_becomes_a_line_in_its_middle(self) -> None:
        assert thinned(row(1, 0, 0, 0, 2)).tolist() == [[1, 1, 0, 2, 2]]
        assert thinned(row(1, 0, 0, 2)).tolist() == [[1, 1, 0, 2]]
        assert thinned(row(0, 0, 3, 0)).tolist() == [[3, 3, 3, 3]]
        assert not thinned(row(0, 0)).any()

    @given(arrays.arrays(np.bool_, (8, 9)))
    def test_segments_grow_whole_and_only_lines_between_them_are_left(self, inside) -> None:
        numbers = segments(inside)
        grown = thinned(numbers)
        assert np.array_equal(grown[inside], numbers[inside])
        for number in range(1, numbers.max() + 1):
            assert ndimage.label(grown == number)[1] == 1
        framed = np.pad(grown, 1)
        for y, x in np.argwhere(grown == 0):
            beside = {framed[y, x + 1], framed[y + 2, x + 1], framed[y + 1, x], framed[y + 1, x + 2]} - {0}
            assert len(beside) != 1
        assert np.array_equal(segments(grown > 0) > 0, grown > 0)
        assert segments(grown > 0).max() == numbers.max()


class TestSweep:
    TRUTH = np.array([[1, 1, 1, 0, 1, 1, 1]] * 3, bool)

    def test_the_challenge_tried_ten_thresholds(self) -> None:
        assert THRESHOLDS == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

    def test_the_best_threshold_of_each_measure_is_taken(self) -> None:
        probabilities = np.where(self.TRUTH, 0.85, 0.35)
        probabilities[:, 2] = 0.55
        found = figures([sweep(self.TRUTH, probabilities)])
        assert {name: best.value for name, best in found.items()} == approx(
            {"pixel_error": 0, "rand_error": 0, "warping_error": 0, "topology_error": 0, "v_rand": 1, "v_info": 1})  # fmt: skip
        assert found["pixel_error"].threshold == 0.4
        (low, middle, high) = (sweep(self.TRUTH, probabilities, [threshold]) for threshold in (0.3, 0.5, 0.6))
        # 18 pixels inside: all 21 are; at 0.6 the column of 3 is not.
        assert low.pixels.tolist() == [[18, 3, 0]]
        assert middle.pixels.tolist() == [[18, 0, 0]]
        assert high.pixels.tolist() == [[15, 0, 3]]
        assert figures([low], [0.3])["pixel_error"].value == approx(1 - 36 / 39)
        assert figures([low], [0.3])["warping_error"].value == approx(3 / 21)
        assert figures([low], [0.3])["rand_error"].value == approx(1 - 2 * 72 / (153 + 72))  # pairs: 2 x 36 of 153
        assert figures([high], [0.6])["rand_error"].value == approx(1 - 2 * 51 / (51 + 72))  # 36 + 15
        # Thinned, the column of 3 is a segment's again: only the line beside it would be left, and it is membrane in truth.
        assert figures([high], [0.6])["v_rand"].value == 1

    def test_after_thinning_a_wide_membrane_costs_less(self) -> None:
        truth = np.array([[1] * 9 + [0] + [1] * 9] * 9, bool)
        wide = sweep(truth, ndimage.binary_erosion(truth, iterations=2, border_value=1).astype(float), [0.5])
        assert figures([wide], [0.5])["rand_error"].value > 0.2
        assert figures([wide], [0.5])["v_rand"].value == 1

    def test_counts_are_summed_over_slices_and_scores_averaged(self) -> None:
        perfect, merged = sweep(self.TRUTH, self.TRUTH.astype(float), [0.5]), sweep(self.TRUTH, np.ones((3, 7)), [0.5])
        found = figures([perfect, merged], [0.5])
        assert found["pixel_error"].value == approx(1 - 2 * 36 / (2 * 36 + 3))
        assert found["rand_error"].value == approx(1 - 2 * 144 / (2 * 144 + 81))
        assert found["warping_error"].value == approx(3 / 42)
        assert found["v_rand"].value == approx((1 + rand_score(segments(self.TRUTH), np.ones((3, 7), np.int32))) / 2)
        assert found["v_info"].value == approx(1 / 2)

    def test_what_is_undefined_is_nan_and_leaves_the_mean(self) -> None:
        nothing = sweep(np.zeros((3, 7), bool), np.zeros((3, 7)), [0.5])
        found = figures([nothing], [0.5])
        undefined = {name for name, best in found.items() if math.isnan(best.value)}
        assert undefined == {"pixel_error", "rand_error", "v_rand", "v_info"}
        assert figures([nothing, sweep(self.TRUTH, self.TRUTH.astype(float), [0.5])], [0.5])["v_rand"].value == 1

    @given(arrays.arrays(np.bool_, (6, 7)), arrays.arrays(np.float32, (6, 7), elements=st.floats(0, 1, width=32)))
    def test_every_measure_lies_in_0_to_1(self, truth, probabilities) -> None:
        for best in figures([sweep(truth, probabilities, [0.0, 0.5])], [0.0, 0.5]).values():
            assert math.isnan(best.value) or -1e-9 <= best.value <= 1 + 1e-9

    @pytest.mark.parametrize("thresholds", [[], [1.0], [-0.1, 0.5]])
    def test_thresholds_that_cannot_be(self, thresholds) -> None:
        with pytest.raises(UsageError, match="give at least one, each from 0 to below 1"):
            sweep(self.TRUTH, self.TRUTH.astype(float), thresholds)


@pytest.mark.skipif(not MEMBRANE.is_dir(), reason="the slices of ISBI 2012 are not at ../shared/data/membrane.")
def test_measures_of_a_real_slice_react_to_what_is_wrong() -> None:
    truth = read_labels(sorted((MEMBRANE / "masks").glob("*.png"))[0])[:256, :256] == 1

    def judged(probabilities: np.ndarray) -> dict[str, float]:
        return {name: best.value for name, best in figures([sweep(truth, probabilities, [0.5])], [0.5]).items()}

    wide, wall, gaps = judged(ndimage.binary_erosion(truth).astype(float)), truth.astype(float), truth.astype(float)
    wall[124:127] = 0
    for y, x in np.argwhere(~truth)[::500]:
        gaps[max(0, y - 5) : y + 6, max(0, x - 5) : x + 6] = 1
    split, merged = judged(wall), judged(gaps)
    assert wide["pixel_error"] > 2 * split["pixel_error"] > 0  # what looks worst by pixels separates well
    assert wide["v_rand"] > split["v_rand"] > merged["v_rand"]
    assert merged["warping_error"] > split["warping_error"] > 0
    assert merged["rand_error"] > 0.1
