"""The confusion matrix counts what numpy counts, and every figure follows from it by its formula."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpixel.errors import DataError
from perpixel.measures import confusion_matrix
from perpixel.measures.confusion_matrix import ConfusionMatrix

V = 255


@pytest.fixture(scope="module", autouse=True, params=[2**40, 0], ids=["NumPy", "compiled code"])
def _counted_by(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every fact of this file holds for few pixels, which NumPy counts, and for many, which compiled code counts."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(confusion_matrix, "FEW", request.param)
        yield


def from_labels(truth, predicted, num_classes):
    matrix = ConfusionMatrix(num_classes)
    matrix.add(truth, predicted)
    return matrix


def from_counts(counts):
    matrix = ConfusionMatrix(len(counts))
    matrix.counts += np.array(counts)
    return matrix


def bincount(truth, predicted, num_classes, void):
    judged = truth != void
    pairs = truth[judged].astype(np.int64) * num_classes + predicted[judged]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


# Three classes: IoU 2/3, 1/2 and, for the third that occurs nowhere, nothing.
ABSENT_CLASS = dict(truth=[[0, 0], [1, 1]], predicted=[[0, 0], [1, 0]], num_classes=3)


def two_toy_pictures():
    """Four classes; the last occurs nowhere, class 2 is only predicted."""
    truth = np.zeros((3, 4), np.uint8)
    truth[2, 3] = 1
    predicted = np.zeros((3, 4), np.uint8)
    predicted[2, 1] = 2
    matrix = from_labels([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, V, V]], [[0, 0, 0, 1], [0, 0, 1, 1], [1, 2, 2, 0]], 4)
    matrix.add(truth, predicted)
    return matrix


def test_rows_are_truth_and_columns_prediction():
    assert from_labels([[0, 0, 0]], [[0, 1, 1]], 2).counts.tolist() == [[1, 2], [0, 0]]


def test_the_toy_pictures_by_hand():
    matrix = two_toy_pictures()
    assert matrix.counts.tolist() == [[15, 1, 1, 0], [1, 3, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert matrix.iou() == pytest.approx([15 / 18, 3 / 6, 0, np.nan], nan_ok=True)
    assert 100 * matrix.mean_iou() == pytest.approx(44.4, abs=0.05)
    assert matrix.pixel_accuracy() == pytest.approx(18 / 22)
    assert matrix.accuracy() == pytest.approx([15 / 17, 3 / 5, np.nan, np.nan], nan_ok=True)
    assert matrix.mean_accuracy() == pytest.approx((15 / 17 + 3 / 5) / 2)
    assert matrix.precision() == pytest.approx([15 / 16, 3 / 4, 0, np.nan], nan_ok=True)
    assert matrix.frequency_weighted_iou() == pytest.approx(17 / 22 * 15 / 18 + 5 / 22 * 3 / 6)
    assert matrix.dice() == pytest.approx([30 / 33, 6 / 9, 0, np.nan], nan_ok=True)
    assert matrix.mean_dice() == pytest.approx((30 / 33 + 6 / 9) / 3)


def test_absent_class_is_nan_and_leaves_the_mean():
    matrix = from_labels(**ABSENT_CLASS)
    assert np.isnan(matrix.iou()[2])
    assert matrix.mean_iou() == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_class_that_is_only_predicted_counts_as_0():
    matrix = from_labels([[0, 0, 0, 0]], [[0, 0, 0, 1]], 2)
    assert matrix.iou() == pytest.approx([3 / 4, 0])
    assert matrix.mean_iou() == pytest.approx(3 / 8)
    assert np.isnan(matrix.accuracy()[1])
    assert matrix.mean_accuracy() == pytest.approx(3 / 4)


def test_class_that_is_never_found_counts_as_0():
    assert from_labels([[0, 1]], [[0, 0]], 2).iou() == pytest.approx([1 / 2, 0])


def test_void_in_truth_is_not_judged_whatever_was_predicted_there():
    assert from_labels([[0, V, V]], [[0, 1, 200]], 2).counts.tolist() == [[1, 0], [0, 0]]


def test_an_empty_matrix_has_no_score():
    matrix = from_labels([[V, V]], [[0, 1]], 2)
    scores = [matrix.pixel_accuracy(), matrix.mean_accuracy(), matrix.mean_iou(), matrix.frequency_weighted_iou()]
    assert np.isnan([*scores, matrix.mean_dice(), *matrix.iou(), *matrix.precision()]).all()


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from([np.uint8, np.uint16, np.int64]),
    num_classes=st.integers(1, 40),
    shape=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_counts_are_those_of_bincount(seed, kind, num_classes, shape):
    random = np.random.default_rng(seed)
    truth, predicted = random.integers(0, num_classes, (2, *shape)).astype(kind)
    truth[random.random(shape) < 0.3] = V
    assert (from_labels(truth, predicted, num_classes).counts == bincount(truth, predicted, num_classes, V)).all()


def test_more_than_255_classes_in_uint16():
    truth, predicted = np.random.default_rng(0).integers(0, 300, (2, 50, 60)).astype(np.uint16)
    truth[:5] = 65535
    matrix = ConfusionMatrix(300, void=65535)
    matrix.add(truth, predicted)
    assert (matrix.counts == bincount(truth, predicted, 300, 65535)).all()


@given(seed=st.integers(0, 2**32 - 1))
def test_renaming_the_classes_permutes_the_scores(seed):
    random = np.random.default_rng(seed)
    truth, predicted = random.integers(0, 4, (2, 6, 6))
    new_name = random.permutation(5)
    before, after = from_labels(truth, predicted, 5), from_labels(new_name[truth], new_name[predicted], 5)
    assert after.iou()[new_name] == pytest.approx(before.iou(), nan_ok=True)
    assert after.mean_iou() == pytest.approx(before.mean_iou())
    assert after.frequency_weighted_iou() == pytest.approx(before.frequency_weighted_iou())


@given(seed=st.integers(0, 2**32 - 1))
def test_swapping_truth_and_prediction_keeps_iou(seed):
    one, other = np.random.default_rng(seed).integers(0, 3, (2, 5, 5))
    assert from_labels(one, other, 4).iou() == pytest.approx(from_labels(other, one, 4).iou(), nan_ok=True)


@given(counts=st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=3, max_size=3))
def test_dice_is_2_iou_over_1_plus_iou(counts):
    matrix = from_counts(counts)
    iou = matrix.iou()
    assert matrix.dice() == pytest.approx(2 * iou / (1 + iou), nan_ok=True)


def test_matrices_add_up_to_one():
    truth, predicted = np.random.default_rng(0).integers(0, 3, (2, 8, 8))
    top, bottom = from_labels(truth[:3], predicted[:3], 3), from_labels(truth[3:], predicted[3:], 3)
    top += bottom
    assert (top.counts == from_labels(truth, predicted, 3).counts).all()


def test_matrices_of_different_classes_do_not_add():
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match="different class sets"):
        matrix += ConfusionMatrix(4)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64])
def test_a_value_in_no_class_is_named_and_nothing_is_counted(kind):
    matrix = ConfusionMatrix(4)
    fine, wrong = np.zeros((2, 3), kind), np.array([[0, 0, 7], [0, 7, 0]], kind)
    with pytest.raises(DataError, match=r"truth: value 7 at \(0, 2\) \(2 pixels like it\) is not 0\.\.3 or void 255"):
        matrix.add(wrong, fine)
    with pytest.raises(DataError, match=r"prediction: value 7 at \(0, 2\) \(2 pixels like it\) is not 0\.\.3;"):
        matrix.add(fine, wrong)
    assert not matrix.counts.any()


@pytest.mark.parametrize("value", [-1, -256, 4, 256 + 255, 65535, 65536 + 255, 2**40])
def test_a_value_that_would_wrap_around_to_a_class_or_void(value):
    with pytest.raises(DataError, match=rf"truth: value {value} at \(0, 1\) \(1 pixels like it\)"):
        from_labels([[0, value]], [[0, 0]], 4)
    with pytest.raises(DataError, match=rf"prediction: value {value} at \(0, 1\) \(1 pixels like it\)"):
        from_labels([[0, 0]], [[0, value]], 4)


def test_void_is_no_prediction():
    with pytest.raises(DataError, match=r"prediction: value 255 at \(0, 0\)"):
        from_labels([[0, 1]], [[V, 1]], 2)


def test_shapes_must_agree():
    with pytest.raises(DataError, match=r"truth has the shape \(2, 3\), the prediction \(3, 2\)"):
        from_labels(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)


def test_labels_are_whole_numbers():
    with pytest.raises(DataError, match="float64"):
        from_labels([[0.0]], [[0]], 2)


@pytest.mark.parametrize(("num_classes", "void"), [(0, 255), (4, 3), (300, 255), (4, -1), (4, 65536)])
def test_void_lies_above_the_classes(num_classes, void):
    with pytest.raises(ValueError, match="do not go together"):
        ConfusionMatrix(num_classes, void)
