"""Do the effects that the papers report show on CamVid? Small trainings under one protocol, three seeds each, on two cores.

    python benchmarks/effects.py DATA --out FOLDER [--study fcn] [--seeds 3]

Every network sees the same pictures at half size for the same number of steps; only what is studied differs. The interval is
that of Student's t for 95 %. What was trained before in FOLDER is judged again, not trained."""

import argparse
import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from measure import STUDENT, interval, machine, report

from perpixel.training.recipe import Recipe
from perpixel.training.run import RUN
from perpixel.training.train import train

PROTOCOL: dict[str, Any] = {
    "scale": 0.5, "steps": 150, "batch": 4, "optimiser": "adamw", "lr": 2e-3, "schedule": "one_cycle", "decay": 1e-2,
    "clip": 1.0, "colour": 0.2, "validations": 1, "save_every": 1000,
}  # fmt: skip
PRETRAINED: dict[str, Any] = {"backbone": "efficientnet_lite0", "weights": "imagenet", "trunk_lr": 0.5}
SCRATCH: dict[str, Any] = {"network": "fcn32s", "padding": 1, "weights": "none"}
STUDIES: dict[str, dict[str, dict[str, Any]]] = {
    "fcn": {
        "FCN-32s, trunk frozen": {"network": "fcn32s", **PRETRAINED, "trunk_lr": 0.0},
        "FCN-32s": {"network": "fcn32s", **PRETRAINED},
        "FCN-16s": {"network": "fcn16s", **PRETRAINED},
        "FCN-8s": {"network": "fcn8s", **PRETRAINED},
    },
    "trunks": {
        "AlexNet, width 1/4": {**SCRATCH, "backbone": "alexnet", "width": 0.25},
        "VGG-16, width 1/4": {**SCRATCH, "backbone": "vgg16", "width": 0.25},
        "GoogLeNet, width 1/2": {**SCRATCH, "backbone": "googlenet", "width": 0.5},
    },
    "parsenet": {
        "fc7, no norm": {"features": ("fc7",), "normalize": "none"},
        "fc7, norm": {"features": ("fc7",)},
        "pool6 fc7, no norm": {"features": ("pool6", "fc7"), "normalize": "none"},
        "pool6 fc7, norm": {"features": ("pool6", "fc7")},
        "pool6 fc7 conv5 conv4, no norm": {"features": ("pool6", "fc7", "conv5", "conv4"), "normalize": "none"},
        "pool6 fc7 conv5 conv4, norm": {"features": ("pool6", "fc7", "conv5", "conv4")},
    },
}
STUDIES["parsenet"] = {name: {"network": "parsenet", **PRETRAINED, **settings} for name, settings in STUDIES["parsenet"].items()}


def study(data: Path, out: Path, networks: dict[str, dict[str, Any]], seeds: int) -> dict[str, Any]:
    found = {}
    for name, settings in networks.items():
        scores, minutes = [], []
        for seed in range(seeds):
            recipe = Recipe(data=str(data), seed=seed, **{**PROTOCOL, **settings})
            folder = out / f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{seed}"
            judged = train(recipe, folder, say=lambda _: None)
            assert judged is not None
            minutes.append(sum(one["seconds"] for one in json.loads((folder / RUN).read_text())["sessions"]) / 60)
            scores.append(judged)
            print(f"{name}, seed {seed}: mIoU {100 * judged.mean_iou:.1f}, {minutes[-1]:.1f} min", flush=True)
        values = [100 * one.mean_iou for one in scores]
        classes = torch.tensor([one.confusion.iou().tolist() for one in scores]).mean(0).tolist()
        found[name] = {
            "mIoU": mean(values),
            "interval": interval(values),
            "by seed": values,
            "pixel accuracy": 100 * mean(one.confusion.pixel_accuracy() for one in scores),
            "IoU": {name: 100 * value for name, value in zip(scores[0].classes.names, classes, strict=True)},
            "protocol": scores[0].protocol_hash,
            "minutes": mean(minutes),
            "settings": settings,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--study", choices=STUDIES, action="append")
    parser.add_argument("--seeds", type=int, choices=STUDENT, default=3)
    options = parser.parse_args()
    for name in options.study or STUDIES:
        found = study(options.data, options.out / name, STUDIES[name], options.seeds)
        for label, row in found.items():
            print(f"{label}: {row['mIoU']:.1f} +- {row['interval']:.1f}")
        report(
            f"effects_{name}",
            {"machine": machine("torch", "timm"), "protocol": PROTOCOL, "seeds": options.seeds, "results": found},
        )


if __name__ == "__main__":
    main()
