"""A folder as a review leaves it, made without training: networks of pixels, a yardstick, one that failed, and one of objects."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from fakes import make_folder
from PIL import Image

from perpixel.datasets import open_dataset
from perpixel.measures.confusion_matrix import ConfusionMatrix

NARROW = {"width": 0.25, "padding": 1}


def spoiled(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Labels of which a share is another class; void becomes ground."""
    random = np.random.default_rng(seed)
    wrong = np.where(labels == 255, 0, labels)
    places = random.random(labels.shape) < share
    wrong[places] = random.integers(0, 3, int(places.sum()))
    return wrong.astype(np.uint8)


def figures(values: list[dict[str, float]]) -> dict[str, Any]:
    made = {}
    for name in values[0]:
        mean = float(np.mean([one[name] for one in values]))
        half = float(np.ptp([one[name] for one in values]))
        made[name] = {"mean": mean, "seeds": half, "pictures": [mean - 0.05, mean + 0.05] if name == "mIoU" else None}
    return made


def row(name: str, network: str, title: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "network": network, "title": title, "arguments": {}, "how": "", "group": "review", "pretrained": "things",
        "parameters": 1_500_000, "multiply_adds": 2_000_000_000, "minutes": 2.5, "paper": f"the paper of {title}",
        "published": "", "failed": None, "runs": [], "figures": {}, **more,
    }  # fmt: skip


def make_review(folder: Path, **more: Any) -> Path:
    """`folder / "review"` with review.json and masks. `more` replaces parts of review.json."""
    data = make_folder(folder / "data", val=4, size=(48, 64))
    dataset, out = open_dataset(data, split="val"), folder / "review"
    samples = [dataset.sample(index) for index in range(len(dataset))]
    rows = []
    for name, title, share in (("fcn32s", "FCN-32s", 0.4), ("fcn8s", "FCN-8s", 0.1)):
        (out / "predictions" / name).mkdir(parents=True)
        seeds = []
        for seed in (0, 1):
            matrix = ConfusionMatrix(len(dataset.classes))
            for place, sample in enumerate(samples):
                mask = spoiled(sample.labels, share, 10 * seed + place)
                matrix.add(sample.labels, mask)
                if seed == 0:
                    Image.fromarray(mask).save(out / "predictions" / name / f"{sample.name}.png")
            seeds.append({**matrix.figures(), **dict(zip(dataset.classes.names, matrix.iou().tolist(), strict=True))})
        history = [[step, seeds[0]["mIoU"] * step / 400] for step in (100, 200, 300, 400)]
        runs = [{"seed": seed, "folder": f"runs/{name}/{seed}", "scores": {}, "history": history} for seed in (0, 1)]
        rows.append(row(name, name, title, arguments=NARROW, runs=runs, figures=figures(seeds)))
    rows.append(row("segformer", "segformer", "SegFormer-B0", group="yardsticks", figures={"mIoU": {"mean": 0.5}}))
    rows.append(row("unet", "unet", "U-Net", failed="the loss is not finite at step 3; lower lr"))
    rows.append(row("pspnet", "pspnet", "PSPNet", arguments={"backbone": "resnet50", "width": 0.25}))
    difference = rows[0]["figures"]["mIoU"]["mean"] - rows[1]["figures"]["mIoU"]["mean"]
    claim = {
        "system": "fcn", "claim": "The skips sharpen.", "source": "FCN, section 4.2", "better": "fcn8s", "worse": "fcn32s",
        "figure": "mIoU", "difference": -difference, "interval": 0.01, "by_seed": [-difference, -difference], "p": 0.01,
        "verdict": "shown", "data": "folder",
    }  # fmt: skip
    objects = row("mask_rcnn", "mask_rcnn", "Mask R-CNN", arguments={"width": 0.25, "min_size": [64], "max_size": 96},
                  figures={"AP": {"mean": 0.2, "seeds": 0.01}, "PQ": {"mean": 0.3}})  # fmt: skip
    content = {
        "data": str(data), "split": "val", "classes": list(dataset.classes.names),
        "colours": [list(colour) for colour in dataset.classes.colours], "conditions": {"steps": 400, "batch": 4},
        "conditions_text": "Every network: 400 steps.", "protocol": {"split": "val", "void": "left out"},
        "protocol_hash": "0123abcd", "command": "perpixel review --out review", "versions": {"torch": "2.14.1"}, "threads": 1,
        "seeds": [0, 1], "rows": rows,
        "pairs": [{"a": "fcn32s", "b": "fcn8s", "difference": difference, "interval": 0.02, "p": 0.002, "shown": True}],
        "instances": {"rows": [objects]}, "claims": [claim], **more,
    }  # fmt: skip
    (out / "review.json").write_text(json.dumps(content))
    return out
