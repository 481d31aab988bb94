"""Objects of a class, and their measures: numbers worked by hand, dense counts as oracle."""


import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from places import SHARED
from scipy import ndimage

from perpixel.datasets import open_dataset
from perpixel.errors import UsageError
from perpixel.masks.components import components, instances_of, of_class, without_void
from perpixel.measures.objects import IOU_THRESHOLDS, Overlaps, merges, overlaps, precision, seg, splits
from perpixel.sample import Instances

NUCLEI = SHARED / "nuclei"
MAPS = arrays.arrays(np.int32, (6, 7), elements=st.integers(0, 4))
LABELS = arrays.arrays(np.uint8, (7, 9), elements=st.integers(0, 2))


def drawn(*rows: str) -> np.ndarray:
    """One character a pixel: digits are values, a dot is 0."""
    return np.array([[0 if c == "." else int(c) for c in row] for row in rows], np.int32)


def dense(numbers: np.ndarray) -> np.ndarray:
    """Numbers 1 .. N without gaps, so that every object has pixels."""
    return np.unique(np.concatenate([[0], numbers.ravel()]), return_inverse=True)[1][1:].reshape(numbers.shape).astype(np.int32)


class TestComponents:
    CORNERS = drawn("11.2", "1.1.", "..1.")

    def test_corners_join_with_connectivity_8_alone(self) -> None:
        assert np.array_equal(components(self.CORNERS, 1), drawn("11..", "1.2.", "..2."))
        assert np.array_equal(components(self.CORNERS, 1, connectivity=8), drawn("11..", "1.1.", "..1."))

    def test_small_objects_are_dropped_and_the_rest_numbered_anew(self) -> None:
        labels = drawn("1.11", "..11", "1...")
        assert np.array_equal(components(labels, 1, minimum_area=2), drawn("..11", "..11", "...."))
        assert np.array_equal(components(labels, 1, minimum_area=4), drawn("..11", "..11", "...."))
        assert not components(labels, 1, minimum_area=5).any()

    def test_a_hole_is_filled_whatever_it_was_before_areas_are_taken(self) -> None:
        ring = drawn("11111", "12..1", "1.1.1", "1...1", "11111")
        filled = components(ring, 1, minimum_area=25, fill_holes=True)
        assert (filled == 1).all()
        assert components(ring, 1).max() == 2

    def test_a_hole_that_opens_at_a_corner_is_one_where_corners_join_the_object(self) -> None:
        labels = drawn(".1.", "1.1", ".1.")
        assert components(labels, 1, connectivity=8, fill_holes=True)[1, 1] == 1
        assert components(labels, 1, connectivity=4, fill_holes=True)[1, 1] == 0

    @given(LABELS, st.sampled_from([4, 8]), st.integers(0, 6))
    def test_they_are_the_pieces_of_the_class_that_are_large_enough(self, labels, connectivity, area) -> None:
        found = components(labels, 1, connectivity, area)
        assert found.dtype == np.int32
        assert sorted(np.unique(found[found > 0])) == list(range(1, found.max() + 1))
        every, count = ndimage.label(labels == 1, np.ones((3, 3)) if connectivity == 8 else None)
        kept = [number for number in range(1, count + 1) if (every == number).sum() >= area]
        assert np.array_equal(found > 0, np.isin(every, kept))
        assert found.max() == len(kept)

    def test_rules_that_cannot_be(self) -> None:
        with pytest.raises(UsageError, match="connectivity = 6: pixels of an object share edges"):
            components(self.CORNERS, 1, connectivity=6)
        with pytest.raises(UsageError, match="minimum_area = -1: is in pixels"):
            components(self.CORNERS, 1, minimum_area=-1)

    def test_they_become_instances_and_come_back(self) -> None:
        numbers = components(self.CORNERS, 1)
        instances = instances_of(numbers, 1)
        assert instances.class_ids.tolist() == [1, 1]
        assert [mask.sum() for mask in instances.masks] == [3, 2]
        assert np.array_equal(of_class(instances, 1), numbers)
        assert not of_class(instances, 0).any()


def test_instances_of_a_class_are_numbered_by_themselves() -> None:
    instances = Instances.of_numbers(drawn("1233"), np.array([5, 6, 5]))
    assert of_class(instances, 5).tolist() == [[1, 0, 2, 2]]


def test_an_object_that_is_more_than_half_void_is_not_judged() -> None:
    void = np.array([[True, True, False, True, False, False, False]])
    assert without_void(drawn("1112233"), void).tolist() == [[0, 0, 0, 0, 1, 2, 2]]  # of 1 two of three, of 2 half


class TestOverlaps:
    TRUTH = drawn("11.22", "11.22", "11.22")  # 6 pixels each
    FOUND = drawn("11122", "11133", ".....")  # 6, 2, 2

    def test_pairs_areas_and_iou(self) -> None:
        found = overlaps(self.TRUTH, self.FOUND)
        assert (found.truth_areas.tolist(), found.predicted_areas.tolist()) == ([6, 6], [6, 2, 2])
        assert list(zip(found.truth, found.predicted, found.pixels, strict=True)) == [(0, 0, 4), (1, 1, 2), (1, 2, 2)]
        assert found.iou.tolist() == [4 / 8, 2 / 6, 2 / 6]

    def test_seg_wants_more_than_half_of_the_true_object(self) -> None:
        assert seg(overlaps(self.TRUTH, self.FOUND)).tolist() == [0.5, 0]
        half = overlaps(drawn("1111"), drawn("1122"))
        assert seg(half).tolist() == [0]
        assert seg(overlaps(drawn("111.."), drawn("11111"))).tolist() == [3 / 5]

    def test_precision_counts_an_iou_above_the_threshold(self) -> None:
        assert precision(overlaps(self.TRUTH, self.FOUND), 0.5) == 0  # an IoU of 0.5 is not above it
        one = overlaps(drawn("111.22"), drawn("1111.2"))  # IoU 3/4 and 1/2
        assert [precision(one, threshold) for threshold in (0.5, 0.7, 0.75)] == [1 / 3, 1 / 3, 0]

    def test_there_are_ten_thresholds_from_50_to_95_percent(self) -> None:
        assert [round(100 * threshold) for threshold in IOU_THRESHOLDS] == list(range(50, 100, 5))
        with pytest.raises(ValueError, match=r"below 0\.5"):
            precision(overlaps(self.TRUTH, self.FOUND), 0.4)

    def test_without_any_objects_precision_is_nan_and_without_true_ones_0(self) -> None:
        nothing = np.zeros((3, 5), np.int32)
        assert np.isnan(precision(overlaps(nothing, nothing), 0.5))
        assert precision(overlaps(nothing, self.FOUND), 0.5) == 0
        assert precision(overlaps(self.TRUTH, nothing), 0.5) == 0
        assert seg(overlaps(nothing, self.FOUND)).shape == (0,)

    def test_splits_and_merges(self) -> None:
        assert (splits(overlaps(self.TRUTH, self.FOUND)), merges(overlaps(self.TRUTH, self.FOUND))) == (1, 0)
        assert (splits(overlaps(self.FOUND, self.TRUTH)), merges(overlaps(self.FOUND, self.TRUTH))) == (0, 1)
        # Half of the second predicted object lies outside: it is not held.
        assert splits(overlaps(drawn("1111.."), drawn("1.22.."))) == 1
        assert splits(overlaps(drawn("1111.."), drawn("1.2222"))) == 0

    @given(MAPS, MAPS)
    def test_dense_masks_say_the_same(self, truth, predicted) -> None:
        truth, predicted = dense(truth), dense(predicted)
        found = overlaps(truth, predicted)
        ours = [truth == number for number in range(1, truth.max() + 1)]
        theirs = [predicted == number for number in range(1, predicted.max() + 1)]
        common = np.array([[(a & b).sum() for b in theirs] for a in ours]).reshape(len(ours), len(theirs))
        either = np.array([[(a | b).sum() for b in theirs] for a in ours]).reshape(len(ours), len(theirs))
        again = np.zeros_like(common)
        again[found.truth, found.predicted] = found.pixels
        assert np.array_equal(again, common)
        covers = common > 0.5 * found.truth_areas[:, None]
        expected = np.where(covers, common / np.maximum(either, 1), 0).sum(1)
        assert np.allclose(seg(found), expected)
        hits = (common / np.maximum(either, 1) > 0.5).sum()
        total = len(ours) + len(theirs) - hits
        assert precision(found, 0.5) == pytest.approx(hits / total if total else np.nan, nan_ok=True)

    @given(MAPS)
    def test_the_truth_itself_is_perfect(self, truth) -> None:
        found = overlaps(dense(truth), dense(truth))
        assert (seg(found) == 1).all()
        assert (splits(found), merges(found)) == (0, 0)
        assert all(precision(found, threshold) == 1 for threshold in IOU_THRESHOLDS) or not truth.any()


@pytest.mark.skipif(not NUCLEI.is_dir(), reason="the nuclei of the Data Science Bowl are not at ../shared/data/nuclei.")
def test_measures_of_real_nuclei_react_to_what_is_wrong() -> None:
    dataset = open_dataset(NUCLEI, split="val")
    samples = [dataset.sample(index) for index in range(0, 20, 4)]

    def judged(change) -> tuple[float, float, int, int]:  # mean SEG, AP50, splits, merges
        found: list[Overlaps] = []
        for sample in samples:
            assert sample.instances is not None
            truth = of_class(sample.instances, 1)
            found.append(overlaps(truth, components(change(truth, sample.labels == 1), 1)))
        values = np.concatenate([seg(one) for one in found])
        return values.mean(), np.mean([precision(one, 0.5) for one in found]), sum(map(splits, found)), sum(map(merges, found))

    whole = judged(lambda truth, cells: cells)
    grown = judged(lambda truth, cells: ndimage.binary_dilation(cells, iterations=2))
    cut = judged(lambda truth, cells: cells & (np.indices(cells.shape)[1] % 8 > 0))
    fewer = judged(lambda truth, cells: cells & (truth % 2 == 1))
    assert whole[0] > 0.9
    assert whole[1] > 0.9
    assert grown[3] > whole[3]
    assert grown[0] < 0.7 * whole[0]
    assert cut[2] > 10 * whole[2] + 10
    assert cut[1] < 0.5 * whole[1]
    assert 0.4 < fewer[0] / whole[0] < 0.6
