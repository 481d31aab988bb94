"""Networks side by side on a folder of streets, under one training for all: the tables of README and docs/networks.

    python benchmarks/effects.py DATA --out FOLDER [--study fcn] [--seeds 3]

What the papers say of their parts is tried by `perpixel claims --data DATA`, whose machinery trains and judges here too, in run
folders of the same names. The interval is Student's for 95 %, over seeds; p of every two networks is that of the permutation test
over pictures, after Holm's correction. What was trained before in FOLDER is not trained again."""

import argparse
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

from measure import STUDENT, interval, machine, report

from perpixel import evaluate
from perpixel.judging.answers import pairs_of
from perpixel.judging.comparison import holm
from perpixel.judging.evaluate import counted
from perpixel.measures.pixels import Pixels
from perpixel.studies.claims.claim import Arm
from perpixel.studies.claims.conditions import PRETRAINED, conditions
from perpixel.studies.claims.figures import FIGURES, difference
from perpixel.studies.claims.study import Study
from perpixel.training.run import minutes_of

WHOLE: dict[str, Any] = {
    "scale": 0.5, "steps": 150, "batch": 4, "optimiser": "adamw", "lr": 2e-3, "schedule": "one_cycle", "decay": 1e-2,
    "clip": 1.0, "colour": 0.2, "validations": 1, "save_every": 1000,
}  # fmt: skip
SCRATCH: dict[str, Any] = {"network": "fcn32s", "padding": 1, "weights": "none"}
JOINED: dict[str, tuple[str, ...]] = {
    "fc7": ("fc7",),
    "pool6 fc7": ("pool6", "fc7"),
    "pool6 fc7 conv5 conv4": ("pool6", "fc7", "conv5", "conv4"),
}
ARTICLE = {
    "FCN-32s": "fcn32s", "FCN-16s": "fcn16s", "FCN-8s": "fcn8s", "ParseNet": "parsenet", "U-Net": "unet", "FPN": "fpn",
    "DeepLab v1": "deeplabv1", "DeepLab v3": "deeplabv3", "DeepLab v3+": "deeplabv3plus", "PSPNet": "pspnet", "EncNet": "encnet",
}  # fmt: skip


def whole(title: str, **settings: Any) -> Arm:
    """A network that learns from whole pictures."""
    return Arm(title, {**WHOLE, **settings})


STUDIES: dict[str, list[Arm]] = {
    "fcn": [
        whole("FCN-32s, trunk frozen", network="fcn32s", **{**PRETRAINED, "trunk_lr": 0.0}),
        *(whole(title, network=ARTICLE[title], **PRETRAINED) for title in ("FCN-32s", "FCN-16s", "FCN-8s")),
    ],
    "trunks": [
        whole("AlexNet, width 1/4", **SCRATCH, backbone="alexnet", width=0.25),
        whole("VGG-16, width 1/4", **SCRATCH, backbone="vgg16", width=0.25),
        whole("GoogLeNet, width 1/2", **SCRATCH, backbone="googlenet", width=0.5),
    ],
    "parsenet": [
        whole(f"{name}, {norm}", network="parsenet", **PRETRAINED, features=features, **settings)
        for name, features in JOINED.items()
        for norm, settings in (("no norm", {"normalize": "none"}), ("norm", {}))
    ],
    "article": [],  # the arms of claims on a folder
}


def nothing(*_: object) -> None: ...


def compared(data: str, arms: list[Arm], seeds: int, out: Path) -> dict[str, Any]:
    fixed = conditions(data)
    study = Study(fixed, [], seeds, out, print, lambda _: nothing)
    arms = arms or [fixed.base(network).but(title) for title, network in ARTICLE.items()]
    results: dict[str, Any] = {}
    rows: dict[str, list[Any]] = {arm.title: [] for arm in arms}
    figures: dict[str, list[dict[str, float]]] = {arm.title: [] for arm in arms}
    for seed in range(seeds):
        for arm in arms:
            folder = study.predict(arm, seed, arm.title)
            scores = evaluate(folder, fixed.judged)
            iou = dict(zip(fixed.judged.classes.names, scores.totals.iou().tolist(), strict=True))
            rare = mean(iou[fixed.judged.classes.names[place]] for place in fixed.rare) if fixed.rare else float("nan")
            found = {**scores.figures, "IoU of rare classes": rare, **iou}
            figures[arm.title].append({name: 100 * value for name, value in found.items()})
            rows[arm.title].append(counted(pairs_of(folder, fixed.judged, Pixels()))[0])
            print(f"{arm.title}, seed {seed}: mIoU {100 * scores.mean_iou:.1f}", flush=True)
    for arm in arms:
        by_seed = [of["mIoU"] for of in figures[arm.title]]
        minutes = [minutes_of(out / "runs" / arm.run(seed)) for seed in range(seeds)]
        results[arm.title] = {
            "mIoU": mean(by_seed), "interval": interval(by_seed), "by seed": by_seed,
            "figures": {name: mean(of[name] for of in figures[arm.title]) for name in figures[arm.title][0]},
            "minutes": None if None in minutes else mean(m for m in minutes if m is not None),
            "settings": {**arm.settings, **arm.inference},
        }  # fmt: skip
    return {"results": results, "pairs": pairs(rows)}


def pairs(rows: Mapping[str, list[Any]]) -> dict[str, float]:
    """p of every two networks, after Holm's correction."""
    every = list(combinations(rows, 2))
    tested = [difference(FIGURES["mIoU"], Pixels(), list(zip(rows[one], rows[other], strict=True))) for one, other in every]
    corrected = holm([one.p_value for one in tested])
    return {f"{one} - {other}": p_value for (one, other), p_value in zip(every, corrected, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--study", choices=STUDIES, action="append")
    parser.add_argument("--seeds", type=int, choices=STUDENT, default=3)
    options = parser.parse_args()
    for name in options.study or STUDIES:
        found = compared(options.data, STUDIES[name], options.seeds, options.out)
        report(f"effects_{name}", {"machine": machine("torch", "timm"), "seeds": options.seeds, **found})


if __name__ == "__main__":
    main()
