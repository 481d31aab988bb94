"""How often intervals hold the truth: the benchmark's parts, its table in the documents, and slowly a part of the table."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import ROOT
from scipy import stats

from perpixel.judging.intervals import Samples
from perpixel.measures.pixels import PixelCounts, Pixels

sys.path.append(str(ROOT / "benchmarks"))

import interval_coverage
from populations import POPULATIONS, confusions

approx = pytest.approx


def held(measure: str, classes: int, rarest: float, pictures: int, repetitions: int) -> dict[str, dict[str, Any]]:
    """Of each figure: how often intervals of samples of so many of 5,000 pictures hold the truth."""
    population = POPULATIONS[measure](np.random.default_rng(3), classes, rarest, 5000)
    return interval_coverage.cell(population, pictures, repetitions, 200, ["halves", "percentile"], 4)["figures"]


@pytest.mark.parametrize("measure", [*POPULATIONS])
def test_a_sample_of_all_pictures_has_the_figures_of_the_population(measure: str) -> None:
    population = POPULATIONS[measure](np.random.default_rng(0), 4, 0.2, 60)
    found = population.sample(np.arange(60))(np.ones((1, 60), np.int64))
    assert {name: values[0] for name, values in found.overall.items()} == approx(
        {name: values[0] for name, values in population.truth.overall.items()}, nan_ok=True
    )
    twice = population.sample(np.repeat([3, 1, 4], 2))(np.ones((1, 6), np.int64))
    once = population.sample(np.array([3, 1, 4]))(np.full((1, 3), 2))
    for name in found.overall:
        assert twice.overall[name] == approx(once.overall[name], nan_ok=True)


@pytest.mark.parametrize("kind", ["percentile", "basic", "BCa"])
def test_intervals_of_the_bootstrap_are_those_of_scipy(kind: str) -> None:
    scores = np.random.default_rng(1).exponential(size=40)
    theirs = stats.bootstrap((scores,), np.mean, method=kind, n_resamples=4000, rng=np.random.default_rng(2))
    left = np.array([np.delete(scores, place).mean() for place in range(40)])
    ours = interval_coverage.by_bootstrap(kind.lower(), float(scores.mean()), theirs.bootstrap_distribution, left)
    assert ours == approx((theirs.confidence_interval.low, theirs.confidence_interval.high), abs=1e-3)


def test_a_cell_that_is_done_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "interval_coverage.json"
    few = ["--pictures", "12", "--repetitions", "3", "--samples", "9", "--pool", "50"]
    command = ["interval_coverage.py", "--measure", "panoptic", *few, "--out", str(out), "--classes"]
    for classes in (["2"], ["2", "3"]):
        monkeypatch.setattr(sys, "argv", [*command, *classes])
        interval_coverage.main()
    assert capsys.readouterr().out.count("panoptic, 2 classes, 12 pictures") == 1
    cells = json.loads(out.read_text())["cells"]
    assert [one["classes"] for one in cells] == [2, 3]
    assert [line.split(" | ")[:3] for line in interval_coverage.table(cells)[2:]] == [["| PQ", "2", "12"], ["| PQ", "3", "12"]]


def test_the_documents_have_the_table_that_was_measured() -> None:
    cells = json.loads((ROOT / "benchmarks/results/interval_coverage.json").read_text())["cells"]
    assert "\n".join(interval_coverage.table(cells)) in (ROOT / "docs/scores.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("measure", "classes", "rarest", "pictures", "figures"),
    [
        ("pixels", 20, 0.2, 30, ("mIoU", "pixel_accuracy", "IoU of classes")),
        ("boundary_iou", 20, 0.2, 100, ("boundary_mIoU", "IoU of classes")),
        ("panoptic", 20, 0.2, 100, ("PQ",)),
        ("instances", 5, 0.1, 100, ("AP", "AP75", "AR_100")),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    measure: str, classes: int, rarest: float, pictures: int, figures: tuple[str, ...]
) -> None:
    """95 %, within three standard deviations of as many repetitions, and more often than percentiles of the bootstrap do."""
    repetitions = 300
    found = held(measure, classes, rarest, pictures, repetitions)
    chance = 3 * math.sqrt(0.95 * 0.05 / repetitions)
    for name in figures:
        kinds = found[name]["kinds"]
        assert kinds["halves"]["holds"] == approx(0.955, abs=0.005 + chance), name
        assert kinds["halves"]["holds"] > kinds["percentile"]["holds"], name


def corrected(rows: list[PixelCounts], random: np.random.Generator) -> list[PixelCounts]:
    """What a better network predicts: in each picture a share of the errors, half of them on average, is right."""
    better = []
    for row in rows:
        wrong = np.flatnonzero(row.places // row.num_classes != row.places % row.num_classes)
        right = random.binomial(row.counts[wrong], random.beta(1, 1))
        truth = row.places[wrong] // row.num_classes
        counts = row.counts.copy()
        counts[wrong] -= right
        places, cells = np.unique(np.concatenate([row.places, truth * (row.num_classes + 1)]), return_inverse=True)
        sums = np.bincount(cells, np.concatenate([counts, right])).astype(np.int64)
        better.append(PixelCounts(row.num_classes, row.void, places, sums))
    return better


@pytest.mark.slow
@pytest.mark.parametrize("pictures", [30, 100])
def test_intervals_of_differences_hold_the_truth_as_often_as_they_say(pictures: int) -> None:
    random, measure = np.random.default_rng(6), Pixels()
    rows = [PixelCounts(10, 255, places.astype(np.int32), counts)
            for places, counts in confusions(random, 10, 0.2, 4000, 2.0, 60_000)]  # fmt: skip
    sides = rows, corrected(rows, random)
    true = [measure.figures(side)(np.ones((1, len(rows)), np.int64)).overall for side in sides]
    held = {"mIoU": 0, "pixel_accuracy": 0}
    for repetition in range(300):
        chosen = random.integers(0, len(rows), pictures)
        samples = Samples.drawn(pictures, 200, repetition)
        made = [measure.figures([side[place] for place in chosen.tolist()])(samples.weights).overall for side in sides]
        for name in held:
            one = samples.interval(made[1][name] - made[0][name], "difference")
            held[name] += one.low <= true[1][name][0] - true[0][name][0] <= one.high
    for name, times in held.items():
        assert times / 300 == approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 300)), name
