"""Do the effects that the papers report show on CamVid? Small trainings under one protocol, three seeds each, on two cores.

    python benchmarks/effects.py DATA --out FOLDER [--study fcn] [--seeds 3]

Within a study every network sees the same pictures for the same number of steps; only what is studied differs. The interval is
Student's for 95 %, over seeds. A difference is shown where the interval of the difference between equal seeds leaves out 0 and
the permutation test over pictures, whose counts are summed over seeds, says p < 0.05 after Holm's correction.
What was trained before in FOLDER is not trained again, and what was judged is not judged again."""

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from measure import STUDENT, interval, machine, report, trained
from numpy.typing import NDArray

from perpixel import Inference, load, open_dataset
from perpixel.judging.answers import pairs_of
from perpixel.judging.compare import differences
from perpixel.judging.evaluate import counted
from perpixel.measures.boundary_iou import BoundaryIou
from perpixel.measures.confusion_matrix import ConfusionMatrix
from perpixel.measures.pixels import PixelCounts, Pixels, matrix_of

SAMPLES = 10_000  # exchanges of the permutation test
WHOLE: dict[str, Any] = {
    "scale": 0.5, "steps": 150, "batch": 4, "optimiser": "adamw", "lr": 2e-3, "schedule": "one_cycle", "decay": 1e-2,
    "clip": 1.0, "colour": 0.2, "validations": 1, "save_every": 1000,
}  # fmt: skip
CROPS: dict[str, Any] = {**WHOLE, "crop": (128, 160), "class_weights": "inverse_square_root", "steps": 120}
PRETRAINED: dict[str, Any] = {"backbone": "efficientnet_lite0", "weights": "imagenet", "trunk_lr": 0.5}
SCRATCH: dict[str, Any] = {"network": "fcn32s", "padding": 1, "weights": "none"}
CRF = {"crf": "deeplab"}


@dataclass(frozen=True)
class Arm:
    """A network with its training, and how it predicts."""

    settings: Mapping[str, Any]
    inference: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """What a paper says: the figure of `better` is larger than that of `worse`; both are names of arms."""

    text: str
    better: str
    worse: str
    figure: str = "mIoU"


def pretrained(network: str, **arguments: Any) -> Arm:
    return Arm({"network": network, **PRETRAINED, **arguments})


FCN = {
    "FCN-32s, trunk frozen": Arm({"network": "fcn32s", **PRETRAINED, "trunk_lr": 0.0}),
    "FCN-32s": pretrained("fcn32s"),
    "FCN-16s": pretrained("fcn16s"),
    "FCN-8s": pretrained("fcn8s"),
}
TRUNKS = {
    "AlexNet, width 1/4": Arm({**SCRATCH, "backbone": "alexnet", "width": 0.25}),
    "VGG-16, width 1/4": Arm({**SCRATCH, "backbone": "vgg16", "width": 0.25}),
    "GoogLeNet, width 1/2": Arm({**SCRATCH, "backbone": "googlenet", "width": 0.5}),
}
JOINED: dict[str, tuple[str, ...]] = {
    "fc7": ("fc7",),
    "pool6 fc7": ("pool6", "fc7"),
    "pool6 fc7 conv5 conv4": ("pool6", "fc7", "conv5", "conv4"),
}
PARSENET = {
    f"{name}, {norm}": pretrained("parsenet", features=features, **settings)
    for name, features in JOINED.items()
    for norm, settings in (("no norm", {"normalize": "none"}), ("norm", {}))
}
# A crop of 128x160 has 16x20 cells at stride 8 and 8x10 at stride 16: rates of the DeepLabs are a third to a sixth of the
# published ones, which would see nothing but padding.
# DeepLab v2 is left out: it sees each picture at three sizes, and would take as long as all others.
V3 = {"rates": (1, 2, 3), "norm_momentum": 0.1}
ARTICLE = {
    "FCN-32s": pretrained("fcn32s"),
    "FCN-16s": pretrained("fcn16s"),
    "FCN-8s": pretrained("fcn8s"),
    "ParseNet": pretrained("parsenet"),
    "U-Net": pretrained("unet"),
    "FPN": pretrained("fpn"),
    "DeepLab v1": pretrained("deeplabv1", rate=4),
    "DeepLab v3": pretrained("deeplabv3", **V3),
    "DeepLab v3+": pretrained("deeplabv3plus", **V3),
    "PSPNet": pretrained("pspnet"),
    "EncNet": pretrained("encnet"),
}


@dataclass(frozen=True)
class Study:
    protocol: Mapping[str, Any]
    arms: Mapping[str, Arm]
    claims: tuple[Claim, ...] = ()
    boundary: bool = False  # Boundary IoU too


STUDIES: dict[str, Study] = {
    "fcn": Study(WHOLE, FCN),
    "trunks": Study(WHOLE, TRUNKS),
    "parsenet": Study(WHOLE, PARSENET),
    "article": Study(
        CROPS, ARTICLE,
        (
            Claim("a skip from pool4 sharpens (FCN, section 4.2)", "FCN-16s", "FCN-32s"),
            Claim("a skip from pool3 sharpens a little more (FCN, section 4.2)", "FCN-8s", "FCN-16s"),
        ),
    ),
    "pspnet": Study(
        CROPS,
        {
            "bins 1 2 3 6": ARTICLE["PSPNet"],
            "bin 1": pretrained("pspnet", bins=(1,)),
            "maximum": pretrained("pspnet", pooling="max"),
        },
        (
            Claim("four sizes of bins are better than one", "bins 1 2 3 6", "bin 1"),
            Claim("the mean is better than the maximum", "bins 1 2 3 6", "maximum"),
        ),
    ),
    "deeplab": Study(
        CROPS,
        {
            "v1": ARTICLE["DeepLab v1"],
            "v1, CRF": Arm(ARTICLE["DeepLab v1"].settings, CRF),
            "v3": ARTICLE["DeepLab v3"],
            "v3, CRF": Arm(ARTICLE["DeepLab v3"].settings, CRF),
            "v3, no image pooling": pretrained("deeplabv3", **V3, image_pooling=False),
            "v3, one rate": pretrained("deeplabv3", **V3 | {"rates": (1,)}),
            "v3+": ARTICLE["DeepLab v3+"],
        },
        (
            Claim("a CRF sharpens what v1 makes", "v1, CRF", "v1"),
            Claim("v3 does without a CRF", "v3", "v3, CRF"),
            Claim("the mean of the picture helps", "v3", "v3, no image pooling"),
            Claim("several rates are better than one", "v3", "v3, one rate"),
            Claim("the decoder is better", "v3+", "v3"),
            Claim("the decoder sharpens borders", "v3+", "v3", "boundary IoU"),
        ),
        boundary=True,
    ),
    "encnet": Study(
        CROPS,
        {
            "32 codewords, SE loss": ARTICLE["EncNet"],
            "32 codewords, no SE loss": pretrained("encnet", se_loss=0.0),
            "mean of pixels, SE loss": pretrained("encnet", codewords=0),
        },
        (
            Claim("the SE loss helps", "32 codewords, SE loss", "32 codewords, no SE loss"),
            Claim("the SE loss helps rare classes", "32 codewords, SE loss", "32 codewords, no SE loss", "IoU of rare classes"),
            Claim("codewords are better than the mean", "32 codewords, SE loss", "mean of pixels, SE loss"),
        ),
    ),
}  # fmt: skip
RARE = ("pole", "sign_symbol", "pedestrian", "bicyclist")  # of CamVid, each less than 2 % of all pixels


@dataclass(frozen=True)
class Judged:
    """A trained network on all pictures: the counts of each, (N, C, C), the Boundary IoU, and the minutes of its training."""

    counts: NDArray[np.int64]
    boundary: float
    minutes: float


def judge(data: Path, out: Path, protocol: Mapping[str, Any], arm: Arm, seed: int, boundary: bool) -> Judged:
    """Trains what is not trained yet and judges what is not judged yet."""
    settings = {**protocol, **arm.settings}
    folder = out / "runs" / f"{settings['network']}-{_digest(settings)}-{seed}"
    minutes = trained({"data": str(data), "seed": seed, **settings}, folder)
    kept = folder / f"judged-{_digest(arm.inference)}{'-boundary' if boundary else ''}.npz"
    if not kept.exists():
        model, dataset, inference = load(folder), open_dataset(data, split="val"), Inference(**arm.inference)
        rows, _ = counted(pairs_of(model, dataset, Pixels(), inference))
        value = float("nan")
        if boundary:
            measure = BoundaryIou()
            at_borders, _ = counted(pairs_of(model, dataset, measure, inference))
            value = next(iter(measure.summary(at_borders, dataset.classes.names, ()).figures.values()))
        np.savez(kept, counts=np.stack([matrix_of([row]).counts for row in rows]), boundary=value)
    with np.load(kept) as stored:
        return Judged(stored["counts"], float(stored["boundary"]), minutes)


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def figures_of(judged: Judged, names: list[str]) -> dict[str, float]:
    """In percent."""
    matrix = ConfusionMatrix(len(names), 255)
    matrix.counts += judged.counts.sum(0)
    iou = dict(zip(names, matrix.iou(), strict=True))
    rare = [iou[name] for name in RARE if name in iou]
    return {
        "mIoU": 100 * matrix.mean_iou(), "pixel accuracy": 100 * matrix.pixel_accuracy(), "boundary IoU": 100 * judged.boundary,
        "IoU of rare classes": 100 * mean(rare) if rare else float("nan"), **{name: 100 * value for name, value in iou.items()},
    }  # fmt: skip


def by_pictures(first: list[Judged], second: list[Judged]) -> float:
    """p of the permutation test that mIoU differs: pictures are exchanged with the answers of all seeds to them."""
    sides = [_rows(sum(judged.counts for judged in side)) for side in (first, second)]
    of_weights = Pixels().figures(*sides)
    tested = differences(lambda weights: of_weights(weights).overall, len(sides[0]), SAMPLES, 0)
    return tested["mIoU"].p_value


def _rows(counts: NDArray[np.int64]) -> list[PixelCounts]:
    flat = counts.reshape(len(counts), -1)
    places = [np.flatnonzero(row).astype(np.int32) for row in flat]
    return [PixelCounts(counts.shape[1], 255, place, row[place]) for place, row in zip(places, flat, strict=True)]


def holm(p_values: list[float]) -> list[float]:
    """Holm's correction (Scandinavian Journal of Statistics 6(2):65, 1979), in the order given."""
    order, corrected, largest = sorted(range(len(p_values)), key=p_values.__getitem__), [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def study(data: Path, out: Path, studied: Study, seeds: int) -> dict[str, Any]:
    names = list(open_dataset(data, split="val").classes.names)
    judged: dict[str, list[Judged]] = {name: [] for name in studied.arms}
    for seed in range(seeds):
        for name, arm in studied.arms.items():
            judged[name].append(judge(data, out, studied.protocol, arm, seed, studied.boundary))
            figures = figures_of(judged[name][-1], names)
            print(f"{name}, seed {seed}: mIoU {figures['mIoU']:.1f}, {judged[name][-1].minutes:.1f} min", flush=True)
    figures = {name: [figures_of(one, names) for one in runs] for name, runs in judged.items()}
    arms = {
        name: {
            "mIoU": mean(of["mIoU"] for of in by_seed),
            "interval": interval([of["mIoU"] for of in by_seed]),
            "by seed": [of["mIoU"] for of in by_seed],
            "figures": {key: mean(of[key] for of in by_seed) for key in by_seed[0]},
            "minutes": mean(one.minutes for one in judged[name]),
            "settings": {**studied.arms[name].settings, **studied.arms[name].inference},
        }
        for name, by_seed in figures.items()
    }
    pairs = list(combinations(studied.arms, 2))
    p_values = holm([by_pictures(judged[first], judged[second]) for first, second in pairs])
    tested = {frozenset(pair): p_value for pair, p_value in zip(pairs, p_values, strict=True)}
    claims = [_verdict(claim, figures, tested[frozenset((claim.better, claim.worse))]) for claim in studied.claims]
    ranked = [(f"{first} - {second}", p_value) for (first, second), p_value in zip(pairs, p_values, strict=True)]
    return {"results": arms, "pairs": dict(ranked), "claims": claims}


def _verdict(claim: Claim, figures: Mapping[str, list[dict[str, float]]], p_value: float) -> dict[str, Any]:
    """Of figures other than mIoU the interval alone decides: the permutation test is of mIoU."""
    by_seed = [
        better[claim.figure] - worse[claim.figure]
        for better, worse in zip(figures[claim.better], figures[claim.worse], strict=True)
    ]
    difference, half = mean(by_seed), interval(by_seed)
    certain = abs(difference) > half and (claim.figure != "mIoU" or p_value < 0.05)
    verdict = ("shown" if difference > 0 else "opposite") if certain else "not shown"
    return {
        "claim": claim.text, "better": claim.better, "worse": claim.worse, "figure": claim.figure, "difference": difference,
        "interval": half, "by seed": by_seed, "p": p_value if claim.figure == "mIoU" else None, "verdict": verdict,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--study", choices=STUDIES, action="append")
    parser.add_argument("--seeds", type=int, choices=STUDENT, default=3)
    options = parser.parse_args()
    for name in options.study or STUDIES:
        results = study(options.data, options.out, STUDIES[name], options.seeds)
        for label, row in results["results"].items():
            print(f"{label}: {row['mIoU']:.1f} +- {row['interval']:.1f}")
        for claim in results["claims"]:
            print(f"{claim['claim']}: {claim['difference']:+.1f} +- {claim['interval']:.1f}, {claim['verdict']}")
        report(
            f"effects_{name}",
            {"machine": machine("torch", "timm"), "protocol": STUDIES[name].protocol, "seeds": options.seeds, **results},
        )


if __name__ == "__main__":
    main()
