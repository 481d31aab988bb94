"""Intervals of scores, and the test of two sets of predictions, against enumeration, SciPy and numbers by hand."""

import itertools
import json
import math
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fakes import make_folder, make_instances
from PIL import Image
from places import ROOT, TESTS, python_path
from scipy import stats

from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.datasets import open_dataset
from perpixel.errors import UsageError
from perpixel.judging.answers import pairs_of
from perpixel.judging.compare import compare
from perpixel.judging.evaluate import counted, evaluate
from perpixel.judging.intervals import Draws, interval, weights_of
from perpixel.judging.protocol import refuse_other_protocol
from perpixel.measures.confusion_matrix import ConfusionMatrix, pixel_figures
from perpixel.measures.measure import weighted_sums
from perpixel.measures.objects import Objects, PictureObjects
from perpixel.measures.pixels import Pixels
from perpixel.sample import Sample

approx = pytest.approx


def counts_of(num_pictures: int, seed: int, classes: int = 3) -> np.ndarray:
    """Confusion matrices (N, C, C); the last class is in few pictures."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 30, (num_pictures, classes, classes)) + 40 * np.eye(classes, dtype=int)
    counts[num_pictures // 4 :, -1] = 0
    return counts


def class_counts(counts: np.ndarray) -> np.ndarray:
    """Those of the confusion matrix that holds `counts` (C, C)."""
    matrix = ConfusionMatrix(len(counts))
    matrix.counts += counts
    return matrix.class_counts()


def sums_of(counts: np.ndarray, samples: int, seed: int = 0) -> np.ndarray:
    """The class counts of each sample of the bootstrap, (R, 3 C), of matrices (N, C, C)."""
    return weighted_sums(weights_of(len(counts), samples, seed), map(class_counts, counts))


class TestDraws:
    def test_each_sample_draws_as_many_as_there_are(self) -> None:
        draws = Draws(7, 50, 3)
        assert (sum(draws.of(i) for i in range(7)) == 7).all()

    def test_every_sample_is_as_likely_as_it_should_be(self) -> None:
        draws = Draws(3, 60_000, 0)
        drawn = np.stack([draws.of(i) for i in range(3)], 1)
        for weights in itertools.product(range(4), repeat=3):
            if sum(weights) == 3:
                expected = stats.multinomial.pmf(weights, 3, [1 / 3] * 3)
                assert (drawn == weights).all(1).mean() == approx(expected, abs=0.006)

    def test_pictures_left_out_change_nothing_for_the_others(self) -> None:
        every, some = Draws(9, 20, 5), Draws(9, 20, 5)
        drawn = [every.of(i) for i in range(9)]
        assert all((some.of(i) == drawn[i]).all() for i in (1, 4, 5, 8))

    def test_too_few_samples_are_refused(self) -> None:
        with pytest.raises(UsageError, match="2 samples or more"):
            Draws(3, 1, 0)


class TestIntervals:
    def test_figures_are_those_of_the_confusion_matrix(self) -> None:
        counts = counts_of(4, 1).sum(0)
        matrix = ConfusionMatrix(3)
        matrix.counts += counts
        found = pixel_figures(class_counts(counts)[None])
        assert {name: float(value[0]) for name, value in found.items()} == approx({
            "mIoU": matrix.mean_iou(), "pixel_accuracy": matrix.pixel_accuracy(), "mean_accuracy": matrix.mean_accuracy(),
            "fwIoU": matrix.frequency_weighted_iou(), "mean_dice": matrix.mean_dice(),
        })  # fmt: skip

    def test_interval_by_hand(self) -> None:
        found = interval(np.array([*range(201), math.nan], float))
        assert (found.low, found.high, found.undefined) == (approx(5), approx(195), 1)

    def test_scipy_gives_the_same_interval(self) -> None:
        counts = counts_of(25, 2)

        def mean_iou(chosen: np.ndarray) -> float:
            return float(pixel_figures(class_counts(counts[chosen.astype(int)].sum(0))[None])["mIoU"][0])

        theirs = stats.bootstrap((np.arange(25),), mean_iou, method="percentile", n_resamples=4000, vectorized=False,
                                 rng=np.random.default_rng(1))  # fmt: skip
        ours = interval(pixel_figures(sums_of(counts, 20_000))["mIoU"])
        width = ours.high - ours.low
        assert ours.low == approx(theirs.confidence_interval.low, abs=0.06 * width)
        assert ours.high == approx(theirs.confidence_interval.high, abs=0.06 * width)
        assert ours.standard_error == approx(theirs.standard_error, rel=0.06)

    @pytest.mark.slow
    def test_intervals_hold_the_truth_about_as_often_as_they_say(self) -> None:
        """Populations of 2000 pictures, 300 samples of 60 of them: 95 % within what the percentile method is known to miss."""
        population = counts_of(2000, 3)[np.random.default_rng(4).permutation(2000)]
        true = pixel_figures(class_counts(population.sum(0))[None])["pixel_accuracy"][0]
        rng, held = np.random.default_rng(5), 0
        for trial in range(300):
            sums = sums_of(population[rng.integers(0, 2000, 60)], 1000, trial)
            found = interval(pixel_figures(sums)["pixel_accuracy"])
            held += found.low <= true <= found.high
        assert 0.90 <= held / 300 <= 0.98


class TestOtherScores:
    def test_objects_of_each_picture_once_have_the_figures_of_all(self) -> None:
        nan = np.full(10, math.nan)
        pictures = (
            PictureObjects("a", 2, 3, np.array([0.5, 1.0]), np.linspace(1, 0.1, 10), 1, 0),
            PictureObjects("b", 1, 0, np.array([0.0]), np.zeros(10), 0, 0),
            PictureObjects("c", 0, 0, np.array([]), nan, 0, 0),
        )
        measure = Objects("cell")
        found = measure.figures(pictures)(np.array([[1, 1, 1], [0, 0, 3], [2, 0, 1]])).overall
        assert {name: value[0] for name, value in found.items()} == approx(measure.summary(pictures, [], []).figures)
        assert [found["AP"][1], found["SEG"][1]] == approx([math.nan, math.nan], nan_ok=True)
        twice = measure.summary((pictures[0], pictures[0], pictures[2]), [], []).figures
        assert {name: value[2] for name, value in found.items()} == approx(twice)

    def test_objects_and_membranes_on_the_command_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        cells = make_instances(tmp_path / "cells", train=1, val=4)
        val = open_dataset(cells)
        (tmp_path / "found").mkdir()
        for index in range(4):
            sample = val.sample(index)
            found = np.roll(sample.labels, index, 1)
            Image.fromarray(found).save(tmp_path / "found" / f"{sample.name}.png")
        for kind, name in (("objects", "SEG"), ("membranes", "rand_error")):
            judged = [str(tmp_path / "found"), "--data", str(cells), f"--{kind}", "object"]
            main(["evaluate", *judged, "--bootstrap", "60", "--json"])
            told = json.loads(capsys.readouterr().out)
            score = told["figures"][name]
            one = told["bootstrap"]["figures"][name]
            assert one["low"] <= (score if kind == "objects" else score["value"]) <= one["high"]
            assert one["low"] < one["high"]


SIDE = 192  # pixels of a picture of 110 kB, whose mask has 37


class Endless:
    """As many pictures as asked for, made when they are read."""

    classes, split, splits = ClassTable.of(["a", "b"]), "val", ("val",)

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return str(index)

    def sample(self, index: int) -> Sample:
        labels = (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % (index % 7 + 2) == 0).astype(np.uint8)
        return Sample("one", np.zeros((SIDE, SIDE, 3), np.uint8), labels)


@pytest.fixture
def answers_one(tmp_path: Path) -> Path:
    Image.fromarray((np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 3 == 0).astype(np.uint8)).save(tmp_path / "one.png")
    return tmp_path


class TestStreaming:
    def test_no_picture_and_no_mask_is_kept(self, answers_one: Path) -> None:
        """The masks of 1,000 pictures more are 37 MB. Python's table of interned names grows by megabytes at a time: the limit is
        far above the half a kilobyte that a picture's counts take."""
        code = f"""
import sys, tracemalloc
from pathlib import Path
from judging.test_intervals import Endless, evaluate
evaluate(Path({str(answers_one)!r}), Endless(5), bootstrap=50)
for count in (200, 1200):
    tracemalloc.start()
    evaluate(Path({str(answers_one)!r}), Endless(count), bootstrap=50)
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""
        environment = {**os.environ, "PYTHONPATH": python_path(TESTS), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)
        fewer, more = map(int, done.stdout.split())
        assert more - fewer < 10 << 20, (fewer, more)

    def test_the_counts_and_the_digest_of_a_picture_are_kept_in_half_a_kilobyte(self, answers_one: Path) -> None:
        kept = []
        for count in (5, 200, 800):
            tracemalloc.start()
            rows, digests = counted(pairs_of(answers_one, Endless(count), Pixels()))
            ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, f"{ROOT}/perpixel/*")])
            tracemalloc.stop()
            assert len(rows) == len(digests) == count
            kept.append(sum(trace.size for trace in ours.traces))
        assert 600 * 64 < kept[2] - kept[1] < 600 * 512, kept

    @pytest.mark.needs_torch
    def test_two_processes_give_what_one_gives(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = make_folder(tmp_path / "data", val=5)
        spoil(data / "masks" / "val", tmp_path / "found", 1)
        arguments = ["evaluate", str(tmp_path / "found"), "--data", str(data), "--json", "--bootstrap", "100", "--device", "cpu"]
        main(arguments)
        alone = json.loads(capsys.readouterr().out)
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "perpixel"]
        environment = {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*start, *arguments], capture_output=True, text=True, timeout=120, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == alone


def spoil(truth: Path, out: Path, seed: int, share: float = 0.2) -> Path:
    """Masks as predicted: a share of the pixels of each is another class, and void is class 0."""
    out.mkdir()
    rng = np.random.default_rng(seed)
    for path in sorted(truth.iterdir()):
        labels = np.array(Image.open(path))
        labels[labels == 255] = 0
        wrong = rng.random(labels.shape) < share * rng.uniform(0.5, 1.5)
        labels[wrong] = (labels[wrong] + 1) % 3
        Image.fromarray(labels).save(out / path.name)
    return out


class TestCompare:
    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        return make_folder(tmp_path / "data", val=12)

    def test_a_clear_difference_and_none(self, data: Path, tmp_path: Path) -> None:
        good = spoil(data / "masks" / "val", tmp_path / "good", 1, 0.1)
        bad = spoil(data / "masks" / "val", tmp_path / "bad", 2, 0.4)
        val = open_dataset(data)
        found = compare([good, bad], val)
        for name, one in found.pairs[0].figures.items():
            scores = evaluate(good, val).figures[name], evaluate(bad, val).figures[name]
            assert (one.first, one.second) == approx(scores)
            assert one.interval.low < one.difference < one.interval.high < 0
            assert one.p_value < 0.01
        assert found.protocol_hash == evaluate(good, val).protocol_hash
        same = compare([good, good], val).pairs[0].figures["mIoU"]
        assert (same.difference, same.interval.low, same.interval.high, same.p_value) == (0, 0, 0, 1)

    def test_the_permutation_test_is_that_of_all_exchanges(self, data: Path, tmp_path: Path) -> None:
        """All 2 ** 4 exchanges of four pictures, against many random ones."""
        val = open_dataset(make_folder(tmp_path / "four", val=4))
        truth = tmp_path / "four" / "masks" / "val"
        both = [spoil(truth, tmp_path / name, seed, share) for name, seed, share in (("a", 3, 0.2), ("b", 4, 0.3))]
        pairs = []
        for index in range(4):
            sample = val.sample(index)
            matrices = [ConfusionMatrix(3) for _ in both]
            for matrix, folder in zip(matrices, both, strict=True):
                matrix.add(sample.labels, np.array(Image.open(folder / f"{sample.name}.png")))
            pairs.append([matrix.class_counts() for matrix in matrices])
        differences = []
        for swaps in itertools.product((0, 1), repeat=4):
            sums = [sum(pair[which ^ swap] for pair, swap in zip(pairs, swaps, strict=True)) for which in (0, 1)]
            one, other = (float(pixel_figures(total[None])["mIoU"][0]) for total in sums)
            differences.append(other - one)
        exact = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12)
        found = compare(both, val, samples_drawn=4000).pairs[0].figures["mIoU"]
        assert found.difference == approx(differences[0])
        assert found.p_value == approx(exact, abs=0.03)

    def test_other_protocols_are_refused_with_the_field(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"the protocols differ \(.*\) in 'split': val and train"):
            compare([tmp_path, tmp_path], [open_dataset(data), open_dataset(data, split="train")])
        with pytest.raises(UsageError, match="in 'tile': None and 572"):
            refuse_other_protocol({"split": "val", "weights": "a"}, {"split": "val", "weights": "b", "tile": 572})

    def test_command(self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        both = [str(spoil(data / "masks" / "val", tmp_path / name, seed)) for name, seed in (("a", 1), ("b", 2))]
        main(["compare", *both, "--data", str(data), "--samples", "99"])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("a and b: no difference can be shown; mIoU ")
        table = lines.index(next(line for line in lines if line.split()[:3] == ["figure", "a", "b"]))
        assert [line.split()[0] for line in lines[table : table + 3]] == ["figure", "mIoU", "pixel_accuracy"]
        main(["compare", *both, "--data", str(data), "--samples", "99", "--json"])
        told = json.loads(capsys.readouterr().out)
        keys = {"first", "second", "difference", "interval", "p_value", "p_holm"}
        assert set(told["pairs"][0]["figures"]["mIoU"]) == keys
        main(["evaluate", both[0], "--data", str(data), "--bootstrap", "99"])
        assert "95 % intervals, bootstrap of 99 samples of 12 pictures, seed 0:" in capsys.readouterr().out
