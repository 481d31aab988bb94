"""Intervals of scores, and the test of two sets of predictions, against enumeration, SciPy and numbers by hand."""

import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fakes import make_folder, make_instances
from PIL import Image
from places import ROOT, TESTS, python_path
from scipy import special, stats

from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.datasets import open_dataset
from perpixel.errors import UsageError
from perpixel.judging.answers import pairs_of
from perpixel.judging.compare import compare
from perpixel.judging.evaluate import counted, evaluate
from perpixel.judging.intervals import GROUPS, KIND, Samples, Scale, halves, intervals_from, intervals_of
from perpixel.judging.protocol import refuse_other_protocol
from perpixel.measures.confusion_matrix import ConfusionMatrix, class_iou, pixel_figures
from perpixel.measures.measure import Figures, weighted_sums
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


def mean_iou(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) of samples (R, N) of matrices (N, C, C)."""
    return pixel_figures(weighted_sums(weights, map(class_counts, counts)))["mIoU"]


class TestHalves:
    def test_each_holds_half_of_the_pictures_and_none_twice(self) -> None:
        for pictures in (2, 7, 8, 101):
            held = halves(pictures, 50, 3)
            assert held.shape == (50, pictures)
            assert ((held == 0) | (held == 1)).all()
            assert (held.sum(1) == pictures // 2).all()

    def test_every_half_is_as_likely(self) -> None:
        drawn = halves(5, 60_000, 0)
        for chosen in itertools.combinations(range(5), 2):
            wanted = np.isin(np.arange(5), chosen)
            assert (drawn == wanted).all(1).mean() == approx(1 / 10, abs=0.006)

    def test_samples_are_all_pictures_halves_and_all_but_a_group(self) -> None:
        few, many = Samples.drawn(7, 5, 0).weights, Samples.drawn(205, 5, 0).weights
        assert (few[0] == 1).all()
        assert (few[6:] == 1 - np.eye(7)).all()
        assert many.shape == (1 + 5 + GROUPS, 205)
        assert [np.flatnonzero(row == 0).tolist() for row in many[[6, 10, 105]]] == [[0, 100, 200], [4, 104, 204], [99, 199]]

    def test_fewer_than_two_are_refused(self) -> None:
        with pytest.raises(UsageError, match="halves = 1, seed = 0: give 2 halves"):
            Samples.drawn(3, 1, 0)


def by_plain_loops(values: list[float], pictures: int, replicates: int, scale: str) -> tuple[float, float]:
    """The interval by its formula in the head of `intervals`, one number after the other."""
    figure, drawn, left = values[0], values[1 : 1 + replicates], values[1 + replicates :]
    drawn, left = [one for one in drawn if one == one], [one for one in left if one == one]
    half = pictures // 2
    bias = half / (pictures - half) * (statistics.fmean(drawn) - figure)
    mean = statistics.fmean(left)
    of_groups = math.sqrt((len(left) - 1) / len(left) * sum((one - mean) ** 2 for one in left))
    error = max(math.sqrt(half / (pictures - half)) * statistics.stdev(drawn), of_groups)
    second, fourth = (statistics.fmean([(one - mean) ** power for one in left]) for power in (2, 4))
    freedom = 2 / max(2 / pictures + (fourth / second**2 - 3) / len(left), 2 / (pictures - 1))
    width = stats.t.ppf(0.975, max(freedom, 1.5)) * error
    if scale == "difference":
        return figure - bias - width, figure - bias + width
    if scale == "amount":
        return tuple(math.exp(math.log(figure) + (side * width - bias) / figure) for side in (-1, 1))
    slope = figure * (1 - figure)
    ends = (special.logit(figure) - bias / slope + side * width / slope for side in (-1, 1))
    return tuple(float(special.expit(end)) for end in ends)


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

    def test_by_hand(self) -> None:
        """Four pictures score 0, 0, 1 and 1. Their six halves have the means 0, 1/2 four times, and 1: no bias, variance 1/10.
        Each mean without a picture is 1/6 from 1/2. That gives the variance 3/36, and the excess kurtosis -2: 3 degrees."""
        weights = np.array([[1, 1, 1, 1], *([int(i in pair) for i in range(4)] for pair in itertools.combinations(range(4), 2)),
                            *(1 - np.eye(4, dtype=int))])  # fmt: skip
        samples = Samples(4, 6, weights)
        found = samples.interval(weights @ [0, 0, 1, 1] / weights.sum(1), "difference")
        assert (found.bias, found.standard_error, found.undefined) == (approx(0), approx(math.sqrt(0.1)), 0)
        assert (found.low, found.high) == approx((0.5 - 3.18245 * math.sqrt(0.1), 0.5 + 3.18245 * math.sqrt(0.1)), rel=1e-5)
        share = samples.interval(weights @ [0, 0, 1, 1] / weights.sum(1), "share")
        assert share.high == approx(1 / (1 + math.exp(-3.18245 * math.sqrt(0.1) * 4)), rel=1e-5)
        assert share.low == approx(1 - share.high)

    @pytest.mark.parametrize("scale", ["share", "amount", "difference"])
    @pytest.mark.parametrize("pictures", [2, 25, 230])
    def test_plain_loops_give_the_same(self, scale: Scale, pictures: int) -> None:
        samples = Samples.drawn(pictures, 40, 5)
        values = mean_iou(counts_of(pictures, 2), samples.weights)
        values[3] = math.nan
        found = samples.interval(values, scale)
        assert (found.low, found.high) == approx(by_plain_loops(values.tolist(), pictures, 40, scale))
        assert found.undefined == 1

    def test_of_a_mean_bias_and_error_are_those_of_textbooks(self) -> None:
        """The mean has no bias, and its standard error is that of SciPy's `sem`, for odd numbers of pictures too."""
        for pictures in (24, 25):
            scores = np.random.default_rng(pictures).random(pictures)
            samples = Samples.drawn(pictures, 40_000, 0)
            found = samples.interval(samples.weights @ scores / samples.weights.sum(1), "difference")
            assert found.bias == approx(0, abs=0.02 * found.standard_error)
            assert found.standard_error == approx(stats.sem(scores), rel=0.02)

    def test_a_bias_that_falls_with_the_number_of_pictures_is_removed(self) -> None:
        """The variance with the divisor N is too small by a share of 1 / N of the one with N - 1."""
        scores = np.random.default_rng(2).random(30)
        samples = Samples.drawn(30, 40_000, 0)
        values = np.array([scores[row > 0].var() for row in samples.weights])
        found = samples.interval(values, "share")
        assert values[0] - found.bias == approx(scores.var(ddof=1), rel=0.003)

    def test_scipy_gives_the_same_standard_error(self) -> None:
        """The bootstrap's, in many pictures that all show every class."""
        counts = counts_of(200, 2)[:50]

        def of_places(chosen: np.ndarray) -> float:
            return float(pixel_figures(class_counts(counts[chosen.astype(int)].sum(0))[None])["mIoU"][0])

        theirs = stats.bootstrap((np.arange(50),), of_places, method="basic", n_resamples=3000, vectorized=False,
                                 rng=np.random.default_rng(1))  # fmt: skip
        samples = Samples.drawn(50, 5000, 0)
        ours = samples.interval(mean_iou(counts, samples.weights), "share")
        assert ours.standard_error == approx(theirs.standard_error, rel=0.06)
        width = ours.high - ours.low
        assert ours.low == approx(theirs.confidence_interval.low, abs=0.08 * width)
        assert ours.high == approx(theirs.confidence_interval.high, abs=0.08 * width)

    def test_sums_over_pictures_are_of_as_many_pictures(self) -> None:
        """A half has half of the objects that are split."""
        pictures = [PictureObjects(str(i), 4, 4, np.ones(4), np.ones(10), i % 3, 1) for i in range(40)]
        found = intervals_of(Objects("cell"), pictures, [], 500, 0)
        splits, merges = found.figures["splits"], found.figures["merges"]
        assert splits.low < 39 < splits.high
        assert abs(splits.bias) < splits.standard_error / 5
        assert (merges.low, merges.high, merges.doubt) == (approx(40), approx(40), "the same in every half")


class TestDoubts:
    def test_why_an_interval_can_be_trusted_less(self) -> None:
        samples = Samples.drawn(40, 200, 0)
        held = samples.weights.sum(1)

        def doubt(scores: list[float]) -> str | None:
            return samples.interval(samples.weights @ scores / held, "share").doubt

        assert doubt([0.0] * 40) == "0 in every half"
        assert doubt([1.0] * 40) == "1 in every half"
        assert doubt([0.3] * 40) == "the same in every half"
        assert doubt([0.0] * 20 + [1.0] * 20) is None

    def test_a_class_in_few_pictures(self) -> None:
        counts = counts_of(40, 1)
        counts[:, 2] = counts[:, :, 2] = 0
        counts[:4, 2, 2], counts[:4, 2, 0] = (3, 5, 7, 9), 4
        samples = Samples.drawn(40, 200, 0)
        iou = class_iou(weighted_sums(samples.weights, map(class_counts, counts)))
        assert samples.interval(iou[:, 2], "share").doubt == "rests on 4 pictures"
        assert samples.interval(iou[:, 0], "share").doubt is None
        by_name, by_class = intervals_from(
            Pixels(), samples, Figures({name: iou[:, 0] for name in ("mIoU", "pixel_accuracy")}, iou)
        )
        assert by_name["mIoU"].doubt == "1 class is in fewer than 10 pictures"
        assert by_name["pixel_accuracy"].doubt is None
        assert [one.doubt for one in by_class] == [None, None, "rests on 4 pictures"]
        missed = counts.copy()
        missed[:, 2], missed[:, 2, 0] = 0, 5  # it is in every picture, and nowhere found
        iou = class_iou(weighted_sums(samples.weights, map(class_counts, missed)))
        assert intervals_from(Pixels(), samples, Figures({"mIoU": iou[:, 0]}, iou))[0]["mIoU"].doubt is None
        many = Samples.drawn(120, 200, 0)
        more = np.concatenate([counts, counts[4:], counts[4:], counts[4:12]])
        assert many.interval(class_iou(weighted_sums(many.weights, map(class_counts, more)))[:, 2], "share").doubt == (
            "rests on few pictures"
        )

    def test_a_class_in_no_half_has_no_interval(self) -> None:
        samples = Samples.drawn(1, 20, 0)
        found = samples.interval(np.array([0.5, *[math.nan] * 21]), "share")
        assert (math.isnan(found.low), found.undefined, found.doubt) == (True, 20, "undefined")

    def test_a_bias_as_great_as_the_error(self) -> None:
        samples = Samples.drawn(40, 200, 0)
        held = samples.weights.sum(1)
        values = samples.weights @ np.arange(40) / 40 / held - 8 / held
        assert samples.interval(values, "share").doubt == "bias is more than half of the error: classes in few pictures"

    def test_few_pictures_are_said_for_all(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = make_folder(tmp_path / "data", val=12)
        found = str(spoil(data / "masks" / "val", tmp_path / "found", 1))
        main(["evaluate", found, "--data", str(data), "--bootstrap", "99"])
        out = capsys.readouterr().out
        few = "12 pictures are few: below 30 these intervals hold the truth less often than they say"
        assert f"{few}.\n" in out
        main(["evaluate", found, "--data", str(data), "--bootstrap", "99", "--json"])
        told = json.loads(capsys.readouterr().out)["bootstrap"]
        assert (told["doubt"], told["kind"], told["figures"]["mIoU"]["doubt"]) == (few, KIND, None)
        main(["compare", found, found, "--data", str(data), "--samples", "99"])
        assert few in capsys.readouterr().out


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
from perpixel.measures import confusion_matrix
confusion_matrix.FEW = 0  # numba is loaded before memory is measured
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
        assert told["intervals"] == KIND
        main(["evaluate", both[0], "--data", str(data), "--bootstrap", "99"])
        assert "95 % intervals, 99 halves of 12 pictures, seed 0:" in capsys.readouterr().out
