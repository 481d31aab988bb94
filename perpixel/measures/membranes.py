"""Measures of the membranes between cells, those of the ISBI 2012 challenge on electron micrographs, and its sweep of thresholds.

    counts = [sweep(sample.labels != membrane, inside) for each slice]      # inside: float (H, W), probability of no membrane
    figures(counts)["rand_error"]                                            # Best(value=0.0382, threshold=0.5)

A segment is a 4-connected piece of what is above a threshold. Only pixels that the truth has inside are judged by Rand and
information measures; where they are membrane in the prediction, each is a segment of its own. Sources: Arganda-Carreras et al.,
Frontiers in Neuroanatomy 9:142, 2015; for pairs, sums over slices and thinning Fiji's Trainable Segmentation, with which the
challenge judged.

    pixel_error      1 - greatest F of inside pixels, 2 TP / (2 TP + FP + FN), TP .. summed over slices
    rand_error       1 - greatest F of pairs of pixels, summed over slices (see `pair_counts`); the "Rand error" of 2012 to 2015
    warping_error    least (splits + merges) / pixels, summed over slices (see `warping`); the challenge's
    topology_error   least share of pixels that differ after warping, of any kind: the measure of Jain et al., CVPR 2010
    v_rand, v_info   greatest mean over slices of `rand_score` and `information_score` after `thinned`; official since 2015"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perpixel.classes import ClassTable
from perpixel.datasets import Dataset, label_digest, labels_of
from perpixel.errors import DataError, UsageError
from perpixel.machines.compiled import compiled
from perpixel.masks.components import NEIGHBOURS
from perpixel.measures.measure import Better, Figures, FiguresOf, Measure, Needs, Summary, Table, columns
from perpixel.measures.objects import pairs
from perpixel.measures.warping import MERGE, SPLIT, warping_errors
from perpixel.sample import Prediction, Sample

# "10 different levels" (U-Net, section 4); above 0.0, 0.1 ... 0.9. At 1.0 nothing would be inside.
THRESHOLDS = tuple(tenth / 10 for tenth in range(10))
EXACT_PAIRS = 2**31  # pixels of a segment: its pairs fit in int64


@dataclass(frozen=True)
class Sweep:
    """A slice at T thresholds: `pixels` (T, 3) and `pairs` (T, 3) are TP, FP, FN, `warping` (T, 6) pixels by `KINDS`, all int64;
    `rand` and `information` are float64 (T,) in 0..1, nan where the truth has no pixel inside; `area` is H W."""

    area: int
    pixels: NDArray[np.int64]
    pairs: NDArray[np.int64]
    warping: NDArray[np.int64]
    rand: NDArray[np.float64]
    information: NDArray[np.float64]


@dataclass(frozen=True)
class Best:
    """The best value of a measure over the thresholds, and the lowest threshold that has it; both nan where it is undefined."""

    value: float
    threshold: float


@dataclass(frozen=True)
class Membranes(Measure[Sweep]):
    """Where a model, or masks, see the membranes that a class is; masks are the same at all thresholds, and each sample of the
    pictures takes its own best thresholds.

    Raises UsageError for thresholds outside 0 <= t < 1."""

    class_name: str
    thresholds: Sequence[float] = THRESHOLDS

    name: ClassVar[str] = "membranes"
    entry: ClassVar[str] = "membranes"
    rules: ClassVar[Mapping[str, str]] = {
        "judged": "inside is what is not of the class; probability of inside above each threshold, "
        "best threshold of each measure",
        "segments": "4-connected; membrane and the outside of the picture 8-connected",
        "pixel_error": "1 - F of inside pixels, summed over pictures",
        "rand_error": "1 - F of pairs of pixels that the truth has inside, summed over pictures",
        "warping_error": "pixels that split or merge after warping the truth to the prediction / pixels",
        "topology_error": "all pixels that differ after warping / pixels",
        "v_rand": "Rand score of pixels that the truth has inside, prediction thinned, mean over pictures",
        "v_info": "information score of pixels that the truth has inside, prediction thinned, mean over pictures",
    }
    needs: ClassVar[Needs] = "scores or labels"
    better: ClassVar[Mapping[str, Better]] = {
        **dict.fromkeys(("v_rand", "v_info"), "larger"),
        **dict.fromkeys(("pixel_error", "rand_error", "warping_error", "topology_error"), "smaller"),
    }
    decimals: ClassVar[Mapping[str, int]] = {"": 6}
    at_once: ClassVar[int | None] = 1

    def __post_init__(self) -> None:
        refuse_thresholds(self.thresholds)

    def settings(self) -> dict[str, Any]:
        return {"class": self.class_name, "thresholds": list(self.thresholds)}

    def truth(self, dataset: Dataset) -> Dataset:
        """Raises UnknownName where the data set has no such class."""
        dataset.classes.id_of(self.class_name)
        return dataset

    def refuse(self, truth: Sample, classes: ClassTable) -> None:
        if (labels_of(truth) == classes.void).any():
            raise DataError(f"{truth.name}: has void pixels, for which these measures have no rule; judge without --membranes.")

    def count(self, truth: Sample, predicted: Prediction) -> tuple[Sweep, bytes]:
        self.refuse(truth, predicted.classes)
        digest = label_digest(truth)
        class_id, scores = predicted.classes.id_of(self.class_name), predicted.scores
        inside = (predicted.labels != class_id).astype("f4") if scores is None else 1 - scores[class_id]
        return sweep(labels_of(truth) != class_id, inside, self.thresholds), digest

    def figures(self, *sides: Sequence[Sweep]) -> FiguresOf:
        rows = [row for side in sides for row in side]

        def figures_of(weights: NDArray[np.int64]) -> Figures:
            samples = ([rows[i] for i in np.repeat(np.arange(len(rows)), held)] for held in weights)
            best = (figures(sample, self.thresholds) for sample in samples)
            return Figures(columns({name: measured.value for name, measured in each.items()} for each in best))

        return figures_of

    def summary(self, rows: Sequence[Sweep], classes: Sequence[str], names: Sequence[str]) -> Summary:
        best = figures(rows, self.thresholds)
        pictures = [
            {"name": name, **{key: vars(one) for key, one in figures([row], self.thresholds).items()}}
            for name, row in zip(names, rows, strict=True)
        ]
        table = [(name, f"{one.value:.6f}", f"{one.threshold:g}") for name, one in best.items()]
        return Summary(
            {name: one.value for name, one in best.items()},
            {"pictures": pictures},
            [Table((self.class_name, "", "inside above"), list(table))],
            f"{len(rows)} pictures, best of {len(self.thresholds)} thresholds",
            best,
            {name: vars(one) for name, one in best.items()},
        )


def sweep(truth: NDArray[np.bool_], probabilities: NDArray[Any], thresholds: Sequence[float] = THRESHOLDS) -> Sweep:
    """Every measure of a slice at every threshold: `truth` is True inside cells, `probabilities` (H, W) in 0..1 of being inside.

    Raises UsageError for no threshold or one outside 0 <= t < 1, ValueError for unequal shapes."""
    refuse_thresholds(thresholds)
    if truth.shape != probabilities.shape:
        raise ValueError(f"truth has the shape {truth.shape}, the probabilities {probabilities.shape}.")
    true_segments = segments(truth)
    pixels, pair, warping, rand, information = [], [], [], [], []
    for threshold in thresholds:
        inside = probabilities > threshold
        found = segments(inside)
        pixels.append([(truth & inside).sum(), (~truth & inside).sum(), (truth & ~inside).sum()])
        pair.append(pair_counts(true_segments, found))
        warping.append(warping_errors(truth, probabilities, threshold))
        thin = thinned(found)
        rand.append(rand_score(true_segments, thin))
        information.append(information_score(true_segments, thin))
    return Sweep(truth.size, np.array(pixels), np.array(pair), np.array(warping), np.array(rand), np.array(information))


def refuse_thresholds(thresholds: Sequence[float]) -> None:
    """Raises UsageError where `sweep` would."""
    if not len(thresholds) or not all(0 <= threshold < 1 for threshold in thresholds):
        raise UsageError(f"thresholds {list(thresholds)}: give at least one, each from 0 to below 1.")


def figures(sweeps: Sequence[Sweep], thresholds: Sequence[float] = THRESHOLDS) -> dict[str, Best]:
    """The measures of this module's table over the slices of a stack."""
    area = sum(one.area for one in sweeps)
    warping = np.sum([one.warping for one in sweeps], 0)
    errors = {
        "pixel_error": 1 - _f(np.sum([one.pixels for one in sweeps], 0)),
        "rand_error": 1 - _f(np.sum([one.pairs for one in sweeps], 0)),
        "warping_error": (warping[:, SPLIT] + warping[:, MERGE]) / area,
        "topology_error": warping.sum(1) / area,
    }
    scores = {"v_rand": _mean([one.rand for one in sweeps]), "v_info": _mean([one.information for one in sweeps])}
    best = {name: _best(values, values, thresholds) for name, values in errors.items()}
    return {**best, **{name: _best(-values, values, thresholds) for name, values in scores.items()}}


def segments(inside: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The 4-connected pieces of `inside` (H, W), numbered from 1."""
    numbers: NDArray[np.int32] = ndimage.label(inside, NEIGHBOURS[4], output=np.int32)[0]
    return numbers


def pair_counts(truth: NDArray[Any], predicted: NDArray[Any]) -> tuple[int, int, int]:
    """TP, FP, FN of the n (n - 1) / 2 pairs of the n pixels that `truth` has inside; both are segments (H, W), 0 is membrane.

    A pair is positive where both pixels are of one segment. With n_ij pixels in the true segment i and the predicted j, and
    C(n) = n (n - 1) / 2: TP = Σ_ij C(n_ij), TP + FN = Σ_i C(Σ_j n_ij), TP + FP = Σ_j C(Σ_i n_ij), j = 0 counted in i alone. Their
    F, 2 TP / (2 TP + FP + FN), is V_Rand of the paper's equation with α = 0.5 but for pairs of a pixel with itself."""
    first, second, counts = _inside(truth, predicted)
    rows, columns = np.bincount(first, counts), np.bincount(second[second > 0], counts[second > 0])
    both, true, positive = (_pairs(sizes) for sizes in (counts[second > 0], rows, columns))
    return both, positive - both, true - both


def rand_score(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Foreground-restricted Rand score in 0..1; nan where `truth` has no pixel inside (Arganda-Carreras et al., 2015).

        V_Rand = Σ_ij p_ij² / (0.5 Σ_k s_k² + 0.5 Σ_k t_k²)

    p_ij is the share of the pixels inside of the truth that are in its segment j and in the predicted segment i, s_k and t_k its
    sums over j and i; a predicted membrane pixel is a segment of one pixel, so pairs of a pixel with itself count."""
    first, second, counts = _inside(truth, predicted)
    if not len(counts):
        return math.nan
    alone = float(counts[second == 0].sum())
    joint = float((counts[second > 0].astype(np.float64) ** 2).sum()) + alone
    true = float((np.bincount(first, counts) ** 2).sum())
    found = float((np.bincount(second[second > 0], counts[second > 0]) ** 2).sum()) + alone
    return 2 * joint / (true + found)


def information_score(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Foreground-restricted information theoretic score in 0..1; nan where `truth` has no pixel inside (same source).

        V_Info = I(S; T) / (0.5 H(S) + 0.5 H(T))

    I is the mutual information and H the entropy of the segments' shares, as in `rand_score`. One segment against one is 1: the
    formula's limit for segmentations that are alike."""
    first, second, counts = _inside(truth, predicted)
    if not len(counts):
        return math.nan
    total = float(counts.sum())
    alone = float(counts[second == 0].sum()) / total * math.log(total)  # single pixels' part of an entropy
    true = _entropy(np.bincount(first, counts) / total)
    found = _entropy(np.bincount(second[second > 0], counts[second > 0]) / total) + alone
    joint = _entropy(counts[second > 0] / total) + alone
    return 1.0 if true + found == 0 else max(0.0, 2 * (true + found - joint) / (true + found))


def thinned(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Segments (H, W) grown into the membrane between them until lines of a pixel are left: Fiji's watershed of it.

    Layer by layer over shared edges, row by row within the first; a pixel that two segments reach is 0 for good. Without a
    segment nothing grows."""
    grown = np.pad(numbers, 1, constant_values=-1)
    _grow(grown)
    return grown[1:-1, 1:-1]


@compiled()
def _grow(numbers: Any) -> None:
    """`thinned` in place; the frame around the picture is -1."""
    width = numbers.shape[1]
    steps = (-width, -1, 1, width)
    flat = numbers.reshape(-1)
    queue, queued = np.empty(flat.size, np.int64), np.zeros(flat.size, np.bool_)
    end = 0
    for at in range(flat.size):
        if flat[at] == 0 and _beside(flat, at, steps) != 0:
            queue[end], queued[at] = at, True
            end += 1
    begin = 0
    while begin < end:
        at = queue[begin]
        begin += 1
        number = _beside(flat, at, steps)
        if number < 0:
            continue
        flat[at] = number
        for step in steps:
            other = at + step
            if flat[other] == 0 and not queued[other]:
                queue[end], queued[other] = other, True
                end += 1


@compiled()
def _beside(flat: Any, at: int, steps: Any) -> int:
    """The segment that shares an edge with a pixel; 0 without one, -1 where there are two."""
    found = 0
    for step in steps:
        number = flat[at + step]
        if number > 0:
            if found and number != found:
                return -1
            found = number
    return found


def _inside(truth: NDArray[Any], predicted: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    judged = truth > 0
    return pairs(truth[judged], predicted[judged])


def _pairs(sizes: NDArray[Any]) -> int:
    exact = sizes.astype(np.int64)
    assert exact.sum() < EXACT_PAIRS, "pairs of so many pixels do not fit in int64"
    return int((exact * (exact - 1) // 2).sum())


def _entropy(shares: NDArray[np.float64]) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def _f(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """2 TP / (2 TP + FP + FN) of counts (T, 3); nan without any."""
    true, wrong = 2.0 * counts[:, 0], counts[:, 1:].sum(1)
    score = np.full(len(counts), np.nan)
    np.divide(true, true + wrong, out=score, where=true + wrong > 0)
    return score


def _mean(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean over the slices that have a value, float64 (T,)."""
    known = [one for one in values if not np.isnan(one).any()]
    mean: NDArray[np.float64] = np.mean(known, 0) if known else np.full(len(values[0]), np.nan)
    return mean


def _best(cost: NDArray[np.float64], values: NDArray[np.float64], thresholds: Sequence[float]) -> Best:
    if np.isnan(cost).all():
        return Best(math.nan, math.nan)
    at = int(np.nanargmin(cost))
    return Best(float(values[at]), float(thresholds[at]))
