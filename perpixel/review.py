"""The review: every network at laptop width on `scenes`, trained and judged by one protocol, side by side.

    REVIEW/runs/NAME/     a run folder each            REVIEW/table.md, table.json   the scores, best first
    REVIEW/pictures.png   picture, truth, and what each network makes of it            REVIEW/overlays/NAME/*.png"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from perpixel import checkpoint, draw
from perpixel.datasets import open_dataset
from perpixel.evaluate import Scores
from perpixel.files import write_whole
from perpixel.images import write_image
from perpixel.listing import PAPERS, size_of
from perpixel.networks import title
from perpixel.predict import predict
from perpixel.recipe import Recipe
from perpixel.run import RUN, Say
from perpixel.terminal import percent
from perpixel.train import Progress, train

# One protocol: the same pictures, crops, optimiser, schedule and number of steps; only the network differs.
PROTOCOL: dict[str, Any] = {
    "data": "scenes", "weights": "none", "steps": 180, "batch": 8, "optimiser": "adamw", "lr": 2e-3, "schedule": "one_cycle",
    "decay": 1e-2, "clip": 1.0, "validations": 1, "colour": 0.2,
    "class_weights": "inverse_square_root",
}  # fmt: skip
# Laptop width: padded convolutions, because the published borders of 92 and 100 pixels are larger than half a picture here.
NETWORKS: dict[str, dict[str, Any]] = {
    "fcn32s": {"width": 0.25, "padding": 1},
    "fcn16s": {"width": 0.25, "padding": 1},
    "fcn8s": {"width": 0.25, "padding": 1},
    "parsenet": {"width": 0.25},
    "unet": {"width": 0.25, "convolutions": "same", "norm": "batch"},
}
SHOWN = 8


def review(out: Path, seed: int, say: Say, progress: Callable[[str], Progress]) -> Path:
    """Trains what is not trained yet, and writes table and pictures; returns the table's path."""
    found: dict[str, Scores] = {}
    for name, arguments in NETWORKS.items():
        began = time.monotonic()
        recipe = Recipe(network=name, seed=seed, **PROTOCOL, **arguments)
        shown = title(name, arguments)
        scores = train(recipe, out / "runs" / name, say=say, progress=progress(f"{shown}: step"))
        assert scores is not None, "the review trains in one process"
        say(f"{shown}: mIoU {percent(scores.mean_iou)} after {time.monotonic() - began:.0f} s.")
        found[name] = scores
    _write_pictures(out)
    return _write_table(out, found)


def _write_table(out: Path, found: dict[str, Scores]) -> Path:
    ranked = sorted(found.items(), key=lambda item: item[1].mean_iou, reverse=True)
    names = next(iter(found.values())).classes.names
    header = ["network", "parameters", "multiply-adds", "minutes", "mIoU", "pixel accuracy", *names, "paper"]
    lines, rows = [], []
    for name, scores in ranked:
        shown = title(name, NETWORKS[name])
        parameters, multiply_adds = size_of(name, len(names), (128, 160), **NETWORKS[name])
        seconds = sum(s["seconds"] for s in json.loads((out / "runs" / name / RUN).read_text())["sessions"])
        iou = dict(zip(names, scores.confusion.iou(), strict=True))
        cells = [
            shown, f"{parameters / 1e6:.2f} M", f"{multiply_adds / 1e9:.2f} G", f"{seconds / 60:.1f}", percent(scores.mean_iou),
            percent(scores.confusion.pixel_accuracy()), *(percent(iou[c]) for c in names), PAPERS[name][0],
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
        rows.append({
            "network": name, "title": shown, "arguments": NETWORKS[name], "parameters": parameters,
            "multiply_adds": multiply_adds, "seconds": seconds, **scores.to_json(),
        })  # fmt: skip
    hashes = {scores.protocol_hash for scores in found.values()}
    assert len(hashes) == 1, "the review compares under one protocol"
    protocol = next(iter(found.values())).protocol
    text = "\n".join([
        f"# The review on `scenes` {protocol['split']}", "",
        f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *lines, "",
        f"IoU in percent, protocol {hashes.pop()}: {protocol['void']}; {protocol['empty_class']}; {protocol['resize']}.",
        f"Every network: {PROTOCOL['steps']} steps of {PROTOCOL['batch']} pictures from scratch, "
        f"{PROTOCOL['optimiser']}, {PROTOCOL['schedule']}, learning rate {PROTOCOL['lr']}, class weights "
        f"{PROTOCOL['class_weights']}; one seed, so differences of a point or two mean nothing.", "",
    ])  # fmt: skip
    write_whole(out / "table.json", json.dumps(rows, indent=1).encode())
    write_whole(out / "table.md", text.encode())
    return out / "table.md"


def _write_pictures(out: Path) -> None:
    dataset = open_dataset("scenes", split="val")
    models = {name: checkpoint.load(out / "runs" / name) for name in NETWORKS}
    rows = []
    for index in np.linspace(0, len(dataset) - 1, SHOWN).astype(int):
        sample = dataset.sample(int(index))
        assert sample.labels is not None
        row = [sample.image, draw.colours(sample.labels, dataset.classes)]
        for name, model in models.items():
            labels = predict(model, sample.image).labels
            row += [draw.colours(labels, dataset.classes), draw.error_map(sample.labels, labels, dataset.classes.void)]
            path = out / "overlays" / name / f"{sample.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, draw.overlay(sample.image, labels, dataset.classes))
        rows.append(row)
    titles = ["picture", "truth", *(text for model in models.values() for text in (model.title, "errors"))]
    write_image(out / "pictures.png", draw.sheet(rows, titles))
