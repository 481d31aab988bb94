"""What do U-Net's weight map, elastic deformation and skips do for membranes and nuclei? Small trainings, three of each.

    python benchmarks/cells.py --membrane FOLDER --nuclei FOLDER --out FOLDER

Membranes are cross-validated: training k of three holds out every third slice from the k-th on and has the seed k, so each slice
is judged once, by a network that did not see it. Nuclei: three seeds on `val`. Batch 1 and momentum 0.99 as published; an eighth
of the paper's width. What was trained before in FOLDER is judged again, not trained. Leaves sheets of pictures there."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from measure import interval, machine, report, trained

from perpixel import Inference, draw, evaluate, load, open_dataset, predict
from perpixel.images import write_image
from perpixel.measures.membranes import Membranes
from perpixel.measures.objects import Objects

# Above these learning rates some trainings came to nothing: all pixels of one class.
PUBLISHED: dict[str, Any] = {
    "network": "unet", "channels": 1, "width": 0.125, "batch": 1, "optimiser": "sgd", "momentum": 0.99, "lr": 2e-3,
    "flip_vertical": True, "rotate": 180.0, "elastic": 10.0, "separation_weights": 10.0, "validations": 1, "save_every": 1000,
}  # fmt: skip
WITHOUT: dict[str, dict[str, Any]] = {
    "as published": {},
    "without weight map": {"separation_weights": 0.0, "separation_class": None},
    "without elastic deformation": {"elastic": 0.0},
    "without skips": {"skips": False},
}
# What one would take today; see its row in docs/networks/unet.md.
PRACTICAL: dict[str, Any] = {
    "convolutions": "same", "norm": "batch", "optimiser": "adamw", "momentum": 0.9, "lr": 2e-3, "schedule": "one_cycle",
    "batch": 4, "steps": 300, "crop": (192, 192), "class_weights": "none",
}  # fmt: skip
MEMBRANE: dict[str, Any] = {"crop": (388, 388), "steps": 600, "separation_class": "inside"}
NUCLEI: dict[str, Any] = {"crop": (196, 196), "steps": 1000, "lr": 1e-3, "class_weights": "inverse"}
AVERAGES = ("none", "flips", "rotations")
TRAININGS = 3


def study(
    out: Path, settings: dict[str, Any], variants: dict[str, dict[str, Any]], each: Callable[[int], dict[str, Any]],
    judge: Callable[[Path, str, int], dict[str, dict[str, float]]],
) -> dict[str, Any]:  # fmt: skip
    """By variant and way to judge it: mean, interval and every value of each figure."""
    found: dict[str, Any] = {}
    for name, other in variants.items():
        values: dict[str, dict[str, list[float]]] = {}
        minutes = []
        for turn in range(TRAININGS):
            folder = out / f"{re.sub('[^a-z0-9]+', '-', name)}-{turn}"
            minutes.append(trained({**PUBLISHED, **settings, **other, **each(turn), "seed": turn}, folder))
            for way, figures in judge(folder, name, turn).items():
                print(f"{name}, {way}, {turn}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()), flush=True)
                for key, value in figures.items():
                    values.setdefault(way, {}).setdefault(key, []).append(value)
        found[name] = {
            "minutes": mean(minutes),
            **{way: {key: {"mean": mean(each), "interval": interval(each), "by training": each} for key, each in of.items()}
               for way, of in values.items()},
        }  # fmt: skip
    return found


def membranes(data: Path, out: Path) -> dict[str, Any]:
    def each(turn: int) -> dict[str, Any]:
        fold = f"{turn + 1}of{TRAININGS}"
        return {"data": str(data), "train_split": f"rest{fold}", "val_split": f"fold{fold}"}

    def judge(folder: Path, name: str, turn: int) -> dict[str, dict[str, float]]:
        dataset = open_dataset(data, split=each(turn)["val_split"])
        ways = AVERAGES if name == "as published" else AVERAGES[:1]
        found = {}
        for way in ways:
            scores = evaluate(load(folder), dataset, Membranes("membrane"), inference=Inference(average=way))
            found[f"average {way}"] = dict(scores.figures)
        return found

    found = study(out, MEMBRANE, WITHOUT, each, judge)
    sheet(out, data, each(0)["val_split"], [f"{re.sub('[^a-z0-9]+', '-', name)}-0" for name in WITHOUT], 3)
    return found


def nuclei(data: Path, out: Path) -> dict[str, Any]:
    def judge(folder: Path, name: str, turn: int) -> dict[str, dict[str, float]]:
        dataset = open_dataset(data, split="val")
        class_name = dataset.classes.names[1]
        return {"objects": evaluate(load(folder), dataset, Objects(class_name, minimum_area=10)).figures}

    bare = WITHOUT["without weight map"]
    variants = {
        "as published": {}, "without weight map": bare,
        "padded, batch norm": PRACTICAL, "padded, batch norm, without weight map": {**PRACTICAL, **bare},
    }  # fmt: skip
    found = study(out, NUCLEI, variants, lambda _: {"data": str(data)}, judge)
    sheet(out, data, "val", [f"{re.sub('[^a-z0-9]+', '-', name)}-0" for name in variants], 6)
    return found


def sheet(out: Path, data: Path, split: str, folders: list[str], pictures: int) -> None:
    """Picture and truth, then result and errors of each network."""
    dataset, models = open_dataset(data, split=split), {name: load(out / name) for name in folders}
    rows = []
    for index in np.linspace(0, len(dataset) - 1, pictures).astype(int):
        sample = dataset.sample(int(index))
        row = [sample.image, draw.colours(sample.labels, dataset.classes)]
        for model in models.values():
            labels = predict(model, sample.image).labels
            row += [draw.colours(labels, dataset.classes), draw.error_map(sample.labels, labels, dataset.classes.void)]
        rows.append(row)
    titles = ["picture", "truth", *(text for name in models for text in (name, "errors"))]
    write_image(out, "pictures.png", draw.sheet(rows, titles))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--membrane", type=Path, help="folder of slices and masks, 0 membrane, 1 inside, named so in classes.csv")
    parser.add_argument("--nuclei", type=Path, help="folder of pictures and instances")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for name, data, run, settings in (
        ("membrane", options.membrane, membranes, MEMBRANE), ("nuclei", options.nuclei, nuclei, NUCLEI),
    ):  # fmt: skip
        if data is not None:
            found = run(data, options.out / name)
            report(f"cells_{name}", {"machine": machine("torch"), "settings": {**PUBLISHED, **settings}, "results": found})


if __name__ == "__main__":
    main()
