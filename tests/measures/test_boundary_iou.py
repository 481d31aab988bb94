"""Boundary IoU: bands as the authors' code cuts them, numbers by hand, void, and what evaluate shows of them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from fakes import make_folder
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from perpixel.cli import main
from perpixel.datasets import open_dataset
from perpixel.errors import DataError, UsageError
from perpixel.judging.evaluate import evaluate
from perpixel.measures.boundary_iou import BoundaryIou, band, band_counts, boundary_iou, mask_band, width_of

approx = pytest.approx
VOID = 255
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30)
masks = shapes.flatmap(lambda shape: hnp.arrays(bool, shape))
pairs = shapes.flatmap(lambda shape: st.tuples(*[hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)) for _ in range(2)]))
holes = shapes.flatmap(lambda shape: st.tuples(
    *[hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)) for _ in range(3)], hnp.arrays(bool, shape),
))  # fmt: skip


def square(size: int, first: int, last: int) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[first:last, first:last] = True
    return mask


def test_two_squares_by_hand() -> None:
    """d is 1: the bands of 10 x 10 and 8 x 8 pixels have 36 and 28, and the second square lies within the first's band."""
    truth, found = square(20, 2, 12), square(20, 3, 11)
    assert width_of((20, 20)) == 1
    assert boundary_iou(truth, truth) == 1
    assert boundary_iou(truth, found) == 0  # where IoU is 64 / 100
    assert boundary_iou(truth, square(20, 2, 11)) == approx(17 / (36 + 32 - 17))  # two sides of 9 are shared, less a corner
    assert boundary_iou(truth, found, dilation=0.07) == approx(28 / (64 + 48 - 28))  # d is 2


def test_the_width_is_a_share_of_the_diagonal() -> None:
    assert width_of((480, 640)) == 16
    assert width_of((1024, 2048), 0.005) == 11
    assert width_of((3, 4)) == 1
    assert band(square(50, 10, 40), 0.03).sum() == 30**2 - 26**2 + 34**2 - 30**2 + 50**2 - 46**2  # 0 has a band on both sides


def test_empty_masks_have_none() -> None:
    empty = np.zeros((4, 4), bool)
    assert math.isnan(boundary_iou(empty, empty))
    assert boundary_iou(~empty, empty) == 0


@given(masks, st.sampled_from([0.02, 0.05, 0.1]))
def test_a_band_is_the_mask_without_what_opencv_erodes(mask: np.ndarray, dilation: float) -> None:
    cv2 = pytest.importorskip("cv2")
    padded = np.pad(mask.astype(np.uint8), 1)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width_of(mask.shape, dilation))[1:-1, 1:-1]
    assert np.array_equal(mask_band(mask, dilation), mask & (inner == 0))
    assert np.array_equal(band(np.where(mask, 0, -1), dilation), mask_band(mask, dilation))


@given(pairs)
def test_counts_of_a_class_are_those_of_its_mask(labels: tuple[np.ndarray, np.ndarray]) -> None:
    truth, found = labels
    hits, true_pixels, found_pixels = band_counts(truth, found, 3, VOID).reshape(3, 3)
    for class_id in range(3):
        union = true_pixels[class_id] + found_pixels[class_id] - hits[class_id]
        value = hits[class_id] / union if union else math.nan
        assert boundary_iou(truth == class_id, found == class_id) == approx(value, nan_ok=True)


@given(holes)
def test_what_is_predicted_on_void_changes_nothing(drawn: tuple[np.ndarray, ...]) -> None:
    truth, found, other, void = drawn
    truth = np.where(void, VOID, truth)
    assert np.array_equal(band_counts(truth, found, 3, VOID), band_counts(truth, np.where(void, other, found), 3, VOID))
    right = np.where(void, other, truth)
    hits, true_pixels, found_pixels = band_counts(truth, right, 3, VOID).reshape(3, 3)
    assert hits.tolist() == true_pixels.tolist() == found_pixels.tolist()


def test_mistakes() -> None:
    labels = np.zeros((4, 5), np.uint8)
    with pytest.raises(DataError, match=r"truth has the shape \(4, 5\), the prediction \(5, 4\)"):
        band_counts(labels, labels.T, 3, VOID)
    wrong = labels.copy()
    wrong[1, 2] = 7
    with pytest.raises(DataError, match="prediction has 7 at row 1, column 2, which is no class"):
        band_counts(labels, wrong, 3, VOID)
    with pytest.raises(DataError, match="truth has 7 at row 1, column 2"):
        band_counts(wrong, labels, 3, VOID)
    for dilation in (0, -1, 2, math.nan):
        with pytest.raises(UsageError, match="is a share of the picture's diagonal"):
            band(labels, dilation)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("folder"), train=1, val=4)


@pytest.fixture(scope="module")
def found(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks that are the truth moved by a pixel."""
    folder = tmp_path_factory.mktemp("found")
    for path in (root / "masks/val").iterdir():
        labels = np.array(Image.open(path))
        labels[:, -1] = labels[:, -2]
        Image.fromarray(np.roll(labels, 1, 0)).save(folder / path.name)
    return folder


class TestEvaluate:
    def test_counts_are_summed_over_pictures(self, root: Path, found: Path) -> None:
        dataset = open_dataset(root, split="val")
        scores = evaluate(found, dataset, BoundaryIou())
        total = sum(
            band_counts(sample.labels, np.array(Image.open(found / f"{sample.name}.png")), 3, VOID)
            for sample in map(dataset.sample, range(4))
        )
        assert np.array_equal(scores.totals, total)
        hits, truth, predicted = total.reshape(3, 3)
        assert scores.figures["boundary_mIoU"] == approx(np.mean(hits / (truth + predicted - hits)))
        assert 0 < scores.figures["boundary_mIoU"] < 1

    def test_the_truth_is_perfect_and_the_dilation_part_of_the_protocol(self, root: Path, found: Path) -> None:
        dataset = open_dataset(root, split="val")
        masks = root / "masks/val"
        for path in masks.iterdir():  # void is no prediction
            assert (np.array(Image.open(path)) == VOID).any()
        narrow, wide = (evaluate(found, dataset, BoundaryIou(dilation)) for dilation in (0.02, 0.2))
        assert narrow.protocol_hash != wide.protocol_hash
        assert narrow.figures["boundary_mIoU"] < wide.figures["boundary_mIoU"]

    def test_intervals_hold_the_figure(self, root: Path, found: Path) -> None:
        scores = evaluate(found, open_dataset(root, split="val"), BoundaryIou(), bootstrap=200, seed=1)
        assert scores.intervals is not None
        one = scores.intervals.figures["boundary_mIoU"]
        assert one.low < scores.figures["boundary_mIoU"] < one.high

    def test_the_command(self, root: Path, found: Path, capsys: pytest.CaptureFixture[str]) -> None:
        place = ["evaluate", str(found), "--data", str(root), "--boundary-iou"]
        main(place)
        lines = capsys.readouterr().out.splitlines()
        assert {line.split()[0] for line in lines[1:4]} == {"ground", "box", "disc"}
        assert lines[4].startswith("boundary_mIoU ")
        main([*place, "--dilation", "0.1", "--json", "--bootstrap", "20"])
        report = json.loads(capsys.readouterr().out)
        assert report["protocol"]["boundaries"]["dilation"] == 0.1
        assert [row["name"] for row in report["classes"]] == ["ground", "box", "disc"]
        assert report["bootstrap"]["replicates"] == 20

    @pytest.mark.parametrize(
        ("arguments", "part"),
        [
            (["--dilation", "0.1"], "--dilation belongs to --boundary-iou; give that too, or leave it out."),
            (["--boundary-iou", "--objects", "box"], "--objects and --boundary-iou are two judgements"),
            (["--boundary-iou", "--dilation", "3"], "dilation = 3.0: is a share of the picture's diagonal"),
        ],
    )
    def test_one_sentence_for_a_mistake(self, root: Path, found: Path, capsys, arguments: list[str], part: str) -> None:
        with pytest.raises(SystemExit) as left:
            main(["evaluate", str(found), "--data", str(root), *arguments])
        assert left.value.code == 2
        assert part in capsys.readouterr().err
