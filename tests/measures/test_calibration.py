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
from perpixel.measures.calibration import TEMPERATURES, Calibration, bin_counts
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
    plain = ("ECE", "classwise_ECE", "Brier")
    right, wrong = judged([0, 1], [0, 1]), judged([1, 0], [0, 1])
    assert [right[name] for name in plain] == [0, 0, 0]
    assert [wrong[name] for name in plain] == [1, 1, 2]
    assert right["temperature"] == TEMPERATURES[0]  # no end to being surer
    assert wrong["temperature"] == TEMPERATURES[-1]


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
    counts = bin_counts(labels[1:].ravel(), scores[:, 1:].reshape(4, -1), 15)[:-1].reshape(5, 15, 3)
    assert counts[..., 0].sum(1).tolist() == [35] * 5
    assert counts[1:, :, 2].sum() == 35  # each pixel is of one class
    assert counts[1:, :, 1].sum() == pytest.approx(35)  # probabilities sum to 1


def drawn(temperature: float, pictures: int, pixels: int = 4000) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures whose labels follow their probabilities (3, 1, pixels), which then were made surer: q = p^temperature."""
    rng = np.random.default_rng(3)
    made = []
    for _ in range(pictures):
        true = rng.dirichlet(np.ones(3), pixels).T
        labels = (rng.random(pixels) > true.cumsum(0)[:2]).sum(0)
        surer = true**temperature
        made.append((labels[None], (surer / surer.sum(0))[:, None]))
    return made


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_undoes_what_made_probabilities_too_sure(temperature: float) -> None:
    measure, rows = Calibration(), []
    for labels, scores in drawn(temperature, 4):
        truth = Sample("one", np.zeros((*labels.shape, 3), np.uint8), labels)
        rows.append(measure.count(truth, Prediction(scores.argmax(0), TWO, scores))[0])
    figures = measure.summary(rows, ("a", "b", "c"), list("1234")).figures
    assert figures["temperature"] == pytest.approx(temperature)
    assert figures["tempered_ECE"] < 0.015
    assert figures["tempered_Brier"] <= figures["Brier"] + 1e-9
    if temperature != 1:
        assert figures["ECE"] > 3 * figures["tempered_ECE"]
    else:
        assert figures["tempered_Brier"] == pytest.approx(figures["Brier"])


def test_each_half_of_the_pictures_has_the_temperature_of_the_other() -> None:
    """The first picture is best as it is, the second at 4: crossed, each is as wrong as the other's temperature makes it."""
    measure, rows, alone = Calibration(), [], []
    for temperature in (1.0, 4.0):
        ((labels, scores),) = drawn(temperature, 1)
        truth = Sample("one", np.zeros((*labels.shape, 3), np.uint8), labels)
        rows.append(measure.count(truth, Prediction(scores.argmax(0), TWO, scores))[0])
        alone.append((labels[0], scores[:, 0]))
    expected = 0.0
    for (labels, scores), other in zip(alone, (4.0, 1.0), strict=True):
        tempered = scores ** (1 / other)
        tempered /= tempered.sum(0)
        truth = np.eye(3)[labels].T
        expected += ((tempered - truth) ** 2).sum() / (2 * labels.size)
    figures = measure.summary(rows, ("a", "b", "c"), ["1", "2"]).figures
    assert figures["tempered_Brier"] == pytest.approx(expected)
    assert np.isnan(measure.summary(rows[:1], ("a", "b", "c"), ["1"]).figures["tempered_Brier"])  # has no other half


def test_two_sides_have_the_same_halves() -> None:
    """Three pictures: the figures of a side are the same, alone and as the second of two."""
    measure = Calibration()
    sides = []
    for temperature in (1.0, 2.0):
        rows = []
        for place, (labels, scores) in enumerate(drawn(temperature, 3, 500)):
            truth = Sample(str(place), np.zeros((*labels.shape, 3), np.uint8), labels)
            rows.append(measure.count(truth, Prediction(scores.argmax(0), TWO, scores))[0])
        sides.append(rows)
    alone = measure.figures(sides[1])(np.ones((1, 3), np.int64)).overall
    together = measure.figures(*sides)(np.array([[0, 0, 0, 1, 1, 1]])).overall
    assert {name: value[0] for name, value in alone.items()} == {name: value[0] for name, value in together.items()}


def test_a_model_is_judged_and_masks_are_refused(tmp_path: Path, command) -> None:
    root = make_folder(tmp_path / "data", val=3)
    make_model(tmp_path / "run", perpixel.open_dataset(root, split="val").classes)
    code, out, _ = command("evaluate", tmp_path / "run", "--data", root, "--calibration", "--json")
    content = json.loads(out)
    assert (code, set(content["figures"])) == (
        0, {"ECE", "classwise_ECE", "Brier", "temperature", "tempered_ECE", "tempered_Brier"}
    )
    assert sum(one["pixels"] for one in content["reliability"]) == sum(one["pixels"] for one in content["classes"])
    code, out, _ = command("compare", tmp_path / "run", tmp_path / "run", "--data", root, "--calibration", "--samples", 20)
    assert (code, "Brier" in out) == (0, True)
    (tmp_path / "masks").mkdir()
    code, _, message = command("evaluate", root / "masks/val", "--data", root, "--calibration")
    assert (code, "hold no probabilities; judge a model" in message) == (2, True)


def test_bins_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="give 1 or more"):
        Calibration(0)
