"""Calibration: numbers by hand, and laws of probabilities."""

import json
from pathlib import Path

import numpy as np
import pytest
from fakes import make_folder, make_model
from hypothesis import given
from hypothesis import strategies as st

import perpixel
from perpixel.classes import ClassTable
from perpixel.errors import UsageError
from perpixel.measures.calibration import Calibration, bin_counts
from perpixel.sample import Prediction, Sample

TWO = ClassTable.of(("a", "b"))


def judged(labels: list[int], of_b: list[float], bins: int = 10) -> dict[str, float]:
    """The figures of one row of pixels, with the probabilities of the class b."""
    measure, scores = Calibration(bins), np.array([[1 - np.array(of_b)], [of_b]], np.float32)
    truth = Sample("one", np.zeros((1, len(labels), 3), np.uint8), np.array([labels]))
    row, _ = measure.count(truth, Prediction(scores.argmax(0), TWO, scores))
    return measure.summary([row], TWO.names, ["one"]).figures


def test_four_pixels_by_hand() -> None:
    """Confidences 0.9, 0.9, 0.6, 0.6; right, wrong, right, void: |1 - 1.8| + |1 - 0.6| over three pixels."""
    figures = judged([1, 0, 1, 255], [0.9, 0.9, 0.6, 0.6])
    assert figures["ECE"] == pytest.approx((0.8 + 0.4) / 3)
    assert figures["Brier"] == pytest.approx((2 * 0.01 + 2 * 0.81 + 2 * 0.16) / 3, rel=1e-6)
    assert figures["classwise_ECE"] == pytest.approx((0.8 + 0.4) / 3)  # of two classes one mirrors the other


def test_sure_and_right_is_perfect_sure_and_wrong_is_worst() -> None:
    assert judged([0, 1], [0, 1]) == {"ECE": 0, "classwise_ECE": 0, "Brier": 0}
    assert judged([1, 0], [0, 1]) == {"ECE": 1, "classwise_ECE": 1, "Brier": 2}


@given(st.integers(0, 100), st.integers(1, 20))
def test_one_bin_compares_accuracy_with_mean_confidence(seed: int, pixels: int) -> None:
    rng = np.random.default_rng(seed)
    labels, of_b = rng.integers(0, 2, pixels), rng.random(pixels).astype(np.float32)
    right, confidence = ((of_b > 0.5) == labels).mean(), np.maximum(of_b, 1 - of_b).mean()
    assert judged(labels.tolist(), of_b.tolist(), 1)["ECE"] == pytest.approx(abs(right - confidence), abs=1e-6)
    assert judged(labels.tolist(), of_b.tolist(), 15)["ECE"] >= abs(right - confidence) - 1e-6  # bins can only show more


def test_every_pixel_is_in_one_bin_of_each_class() -> None:
    rng = np.random.default_rng(1)
    scores = rng.dirichlet(np.ones(4), (6, 7)).transpose(2, 0, 1)
    labels = rng.integers(0, 4, (6, 7))
    labels[0] = 255
    counts = bin_counts(labels, scores, 255, 15)[:-1].reshape(5, 15, 3)
    assert counts[..., 0].sum(1).tolist() == [35] * 5
    assert counts[1:, :, 2].sum() == 35  # each pixel is of one class
    assert counts[1:, :, 1].sum() == pytest.approx(35)  # probabilities sum to 1


def test_a_model_is_judged_and_masks_are_refused(tmp_path: Path, command) -> None:
    root = make_folder(tmp_path / "data", val=3)
    make_model(tmp_path / "run", perpixel.open_dataset(root, split="val").classes)
    code, out, _ = command("evaluate", tmp_path / "run", "--data", root, "--calibration", "--json")
    content = json.loads(out)
    assert (code, set(content["figures"])) == (0, {"ECE", "classwise_ECE", "Brier"})
    assert sum(one["pixels"] for one in content["reliability"]) == sum(one["pixels"] for one in content["classes"])
    code, out, _ = command("compare", tmp_path / "run", tmp_path / "run", "--data", root, "--calibration", "--samples", 20)
    assert (code, "Brier" in out) == (0, True)
    (tmp_path / "masks").mkdir()
    code, _, message = command("evaluate", root / "masks/val", "--data", root, "--calibration")
    assert (code, "hold no probabilities; judge a model" in message) == (2, True)


def test_bins_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="give 1 or more"):
        Calibration(0)
