"""What do boxes, an ensemble with FCN-8s, a CRF and switches do for DeconvNet? Small trainings, three seeds of each.

    python benchmarks/deconvnet.py --out FOLDER                   # `scenes`: both stages as published, objects and proposals
    python benchmarks/deconvnet.py --data camvid --out FOLDER     # a folder without objects: one stage, on crops

An eighth of the paper's width at a side of 128. All networks are judged under one protocol but for what is studied. What was
trained before in FOLDER is judged again, not trained."""

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from measure import STUDENT, interval, machine, report, trained

from perpixel import Inference, evaluate, load, open_dataset
from perpixel.datasets import Dataset
from perpixel.proposal_curve import proposal_curve, write_curve

TRAINING: dict[str, Any] = {
    "weights": "none", "batch": 8, "optimiser": "adamw", "lr": 2e-3, "schedule": "one_cycle", "decay": 1e-2, "clip": 1.0,
    "colour": 0.2, "validations": 1, "save_every": 1000, "class_weights": "inverse_square_root",
}  # fmt: skip
DECONVNET: dict[str, Any] = {
    "network": "deconvnet", "width": 0.125, "side": 128, "statistics_batches": 20, "statistics_batch": 16,
}  # fmt: skip
FCN: dict[str, Any] = {"network": "fcn8s", "width": 0.25, "padding": 1}
CROPS: dict[str, Any] = {"crop": (128, 128), "crop_enlarge": 1.2, "proposals": "sliding"}
BY = "sliding"  # of large things, which streets are made of, edge boxes find few
COUNTS = (1, 5, 10, 20, 50, 100)
UNPOOLINGS = ("switches", "corner", "bilinear")


def two_stages(data: str, folder: Path, seed: int, unpooling: str, steps: tuple[int, int]) -> float:
    """Stage 1 on objects, stage 2 on proposals, as published."""
    settings = {"data": data, **TRAINING, **DECONVNET, **CROPS, "unpooling": unpooling, "seed": seed}
    first = folder.with_name(f"{folder.name}-stage1")
    minutes = trained({**settings, "crops": "objects", "steps": steps[0], "statistics_batches": 0}, first)
    return minutes + trained({**settings, "crops": "proposals", "steps": steps[1], "starts_from": str(first), "lr": 1e-3}, folder)


def one_stage(data: str, folder: Path, seed: int, unpooling: str, scale: float, steps: int) -> float:
    """Random crops of many sizes, which the network sees as squares: what remains where no object is known."""
    settings = {"data": data, **TRAINING, **DECONVNET, "unpooling": unpooling, "seed": seed}
    return trained({**settings, "scale": scale, "crop": (128, 128), "scale_jitter": (0.5, 1.5), "steps": steps}, folder)


def judged(folder: Path, fcn: Path, dataset: Dataset, out: Path, whole: bool) -> dict[str, float]:
    """mIoU in percent: the whole picture and the paper's 50 boxes; with `whole` also every number of boxes, and what other
    merges, an ensemble with FCN-8s and a CRF make of it."""
    model, second = load(folder), load(fcn)
    boxes = Inference(proposals=50, proposals_by=BY, merge="max")
    found = {"whole picture": evaluate(model, dataset).mean_iou}
    if not whole:
        found["boxes 50"] = evaluate(model, dataset, inference=boxes).mean_iou
        return {name: 100 * value for name, value in found.items()}
    curve = proposal_curve(model, dataset, COUNTS, BY)
    write_curve(out, curve)
    found |= {f"boxes {number}": scores.mean_iou for number, scores in curve.items()}
    for name, inference in {
        "boxes 50, sum": replace(boxes, merge="sum"),
        "boxes 50, CRF": replace(boxes, crf="deconvnet"),
        "boxes 50, FCN-8s": replace(boxes, ensemble=second),
        "boxes 50, FCN-8s, CRF": replace(boxes, ensemble=second, crf="deconvnet"),
    }.items():
        found[name] = evaluate(model, dataset, inference=inference).mean_iou
    found["FCN-8s alone"] = evaluate(second, dataset).mean_iou
    found["FCN-8s, CRF"] = evaluate(second, dataset, inference=Inference(crf="deconvnet")).mean_iou
    return {name: 100 * value for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="scenes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--unpoolings", nargs="+", choices=UNPOOLINGS, default=UNPOOLINGS)
    parser.add_argument("--seeds", type=int, choices=STUDENT, default=3)
    options = parser.parse_args()
    data, dataset = options.data, open_dataset(options.data, split="val")
    drawn = data == "scenes"
    scale = 1.0 if drawn else 0.5
    values: dict[str, dict[str, list[float]]] = {}
    minutes: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        fcn = options.out / f"fcn8s-{seed}"
        took = trained({"data": data, **TRAINING, **FCN, "scale": scale, "steps": 180 if drawn else 150, "seed": seed}, fcn)
        minutes.setdefault("FCN-8s", []).append(took)
        for unpooling in options.unpoolings:
            folder = options.out / f"{unpooling}-{seed}"
            if drawn:
                took = two_stages(data, folder, seed, unpooling, (200, 400))
            else:
                took = one_stage(data, folder, seed, unpooling, scale, 600)
            minutes.setdefault(unpooling, []).append(took)
            found = judged(folder, fcn, dataset, options.out / f"curve-{seed}", whole=unpooling == "switches")
            print(f"{unpooling}, seed {seed}: " + ", ".join(f"{name} {value:.1f}" for name, value in found.items()), flush=True)
            for name, value in found.items():
                values.setdefault(unpooling, {}).setdefault(name, []).append(value)
    result = {
        "machine": machine("torch"),
        "training": TRAINING,
        "network": DECONVNET,
        "proposals": BY,
        "minutes": {name: mean(each) for name, each in minutes.items()},
        "mIoU": {
            unpooling: {name: {"mean": mean(each), "interval": interval(each), "by seed": each} for name, each in of.items()}
            for unpooling, of in values.items()
        },
    }
    report(f"deconvnet_{Path(data).name}", result)


if __name__ == "__main__":
    main()
