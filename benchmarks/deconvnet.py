"""What do boxes, an ensemble with FCN-8s, a CRF and switches do for DeconvNet? Small trainings, three seeds of each.

    python benchmarks/deconvnet.py --out FOLDER                   # `scenes`
    python benchmarks/deconvnet.py --data camvid --out FOLDER     # a folder of pictures and masks

An eighth of the paper's width at a side of 128, from scratch: whole pictures take the place of ImageNet, then come proposals, the
paper's second stage. Its first, on lone objects, is left out: in 200 steps from scratch nothing was learned from them. What is in
FOLDER already, trained or judged, is not done again, so seeds can be shared out: `--seeds 0 1`, `--seeds 2`, then all."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from measure import STUDENT, interval, machine, report, trained

from perpixel import Inference, evaluate, load, open_dataset
from perpixel.datasets import Dataset
from perpixel.studies.proposal_curve import proposal_curve, write_curve

TRAINING: dict[str, Any] = {"weights": "none", "batch": 8, "colour": 0.2, "validations": 1, "save_every": 1000}
DECONVNET: dict[str, Any] = {
    **TRAINING, "network": "deconvnet", "width": 0.125, "side": 128, "statistics_batches": 20, "statistics_batch": 16,
    "optimiser": "sgd", "momentum": 0.9, "lr": 0.1, "decay": 5e-4, "schedule": "poly",
}  # fmt: skip
BY = "sliding"  # of large things, which streets are made of, edge boxes find few
WHOLE: dict[str, Any] = {"steps": 250, "class_weights": "inverse_square_root"}
PROPOSALS: dict[str, Any] = {"steps": 400, "crops": "proposals", "proposals": BY, "crop": (128, 128)}
FCN: dict[str, Any] = {
    **TRAINING, "network": "fcn8s", "width": 0.25, "padding": 1, "steps": 180, "optimiser": "adamw", "lr": 2e-3, "decay": 1e-2,
    "clip": 1.0, "schedule": "one_cycle", "class_weights": "inverse_square_root",
}  # fmt: skip
JUDGED = "steps.json"
COUNTS = (1, 5, 10, 20, 50, 100)
BOXES = 20  # for ensemble and CRF; the paper's 50 were no better in a trial
UNPOOLINGS = ("switches", "corner", "bilinear")


def two_stages(folder: Path, settings: dict[str, Any]) -> float:
    """Whole pictures, then proposals; the minutes of both."""
    first = folder.with_name(f"{folder.name}-whole")
    minutes = trained({**DECONVNET, **WHOLE, **settings}, first)
    return minutes + trained({**DECONVNET, **PROPOSALS, **settings, "starts_from": str(first)}, folder)


def judged(folder: Path, fcn: Path, dataset: Dataset, out: Path, whole: bool) -> dict[str, float]:
    """mIoU in percent: the whole picture, before and after training on proposals, and some boxes; with `whole` every number of
    boxes, and what another merge, an ensemble with FCN-8s and a CRF make of them."""
    first, model, second = load(folder.with_name(f"{folder.name}-whole")), load(folder), load(fcn)
    boxes = Inference(proposals=BOXES, proposals_by=BY, merge="max")
    found = {
        "whole picture, before proposals": evaluate(first, dataset).mean_iou,
        "whole picture": evaluate(model, dataset).mean_iou,
    }
    if not whole:
        found[f"boxes {BOXES}"] = evaluate(model, dataset, inference=boxes).mean_iou
        return {name: 100 * value for name, value in found.items()}
    curve = proposal_curve(model, dataset, COUNTS, BY)
    write_curve(out, curve)
    found |= {f"boxes {number}": scores.mean_iou for number, scores in curve.items()}
    for name, inference in {
        "sum": replace(boxes, merge="sum"),
        "CRF": replace(boxes, crf="deconvnet"),
        "FCN-8s": replace(boxes, ensemble=second),
        "FCN-8s, CRF": replace(boxes, ensemble=second, crf="deconvnet"),
    }.items():
        found[f"boxes {BOXES}, {name}"] = evaluate(model, dataset, inference=inference).mean_iou
    found["FCN-8s alone"] = evaluate(second, dataset).mean_iou
    found["FCN-8s, CRF"] = evaluate(second, dataset, inference=Inference(crf="deconvnet")).mean_iou
    return {name: 100 * value for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="scenes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--unpoolings", nargs="+", choices=UNPOOLINGS, default=UNPOOLINGS)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    options = parser.parse_args()
    data, dataset = options.data, open_dataset(options.data, split="val")
    scale = 1.0 if data == "scenes" else 0.5  # FCN-8s sees pictures of about the same size; DeconvNet squares of one
    values: dict[str, dict[str, list[float]]] = {}
    minutes: dict[str, list[float]] = {}
    for seed in options.seeds:
        fcn = options.out / f"fcn8s-{seed}"
        minutes.setdefault("FCN-8s", []).append(trained({**FCN, "data": data, "scale": scale, "seed": seed}, fcn))
        for unpooling in options.unpoolings:
            folder = options.out / f"{unpooling}-{seed}"
            took = two_stages(folder, {"data": data, "unpooling": unpooling, "seed": seed})
            minutes.setdefault(unpooling, []).append(took)
            if not (folder / JUDGED).exists():
                found = judged(folder, fcn, dataset, options.out / f"curve-{seed}", whole=unpooling == "switches")
                (folder / JUDGED).write_text(json.dumps(found))
            found = json.loads((folder / JUDGED).read_text())
            print(f"{unpooling}, seed {seed}: " + ", ".join(f"{name} {value:.1f}" for name, value in found.items()), flush=True)
            for name, value in found.items():
                values.setdefault(unpooling, {}).setdefault(name, []).append(value)
    if len(options.seeds) not in STUDENT:
        return
    result = {
        "machine": machine("torch"),
        "settings": {"DeconvNet": DECONVNET, "whole": WHOLE, "proposals": PROPOSALS, "FCN-8s": FCN},
        "minutes": {name: mean(each) for name, each in minutes.items()},
        "mIoU": {
            unpooling: {name: {"mean": mean(each), "interval": interval(each), "by seed": each} for name, each in of.items()}
            for unpooling, of in values.items()
        },
    }
    report(f"deconvnet_{Path(data).name}", result)


if __name__ == "__main__":
    main()
