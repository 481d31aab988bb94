"""The review: trains every network at laptop width on `scenes`, and judges all by one protocol, side by side.

    REVIEW/runs/NAME/                 the run folder of each network
    REVIEW/table.md, table.json       the scores, best first
    REVIEW/pictures.png               pictures, their truth, and the labels and errors of each network
    REVIEW/overlays/NAME/*.png        the labels of each network over the pictures"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perpixel import draw
from perpixel.datasets import open_dataset
from perpixel.errors import UntrustedFile
from perpixel.files import write_whole
from perpixel.images import write_image
from perpixel.judging.evaluate import evaluate
from perpixel.judging.scores import Scores
from perpixel.networks import title
from perpixel.networks.papers import PAPERS, size_of
from perpixel.prediction.inference import PLAIN, Inference
from perpixel.prediction.predict import predict
from perpixel.terminal import percent
from perpixel.training.recipe import Recipe
from perpixel.training.run import RUN, Say, read_facts
from perpixel.training.train import Progress, train
from perpixel.weights import model_file

# One protocol: the same pictures, optimiser, schedule and number of steps; only the network differs.
PROTOCOL: dict[str, Any] = {
    "data": "scenes", "weights": "none", "steps": 180, "batch": 8, "optimiser": "adamw", "lr": 2e-3, "schedule": "one_cycle",
    "decay": 1e-2, "clip": 1.0, "validations": 1, "colour": 0.2,
    "class_weights": "inverse_square_root",
}  # fmt: skip
SHOWN = 8


@dataclass(frozen=True)
class Entry:
    """A row of the review: a network, its training and its inference."""

    network: str
    arguments: Mapping[str, Any]
    stages: tuple[Mapping[str, Any], ...] = ({},)  # the settings of each stage of training
    inference: Inference = PLAIN
    how: str = ""  # the inference in words, behind the network's title

    @property
    def title(self) -> str:
        return ", ".join(part for part in (title(self.network, self.arguments), self.how) if part)


# At laptop width, convolutions are padded, because the published borders of 92 and 100 pixels are larger than half a picture
# here. The statistics of DeconvNet's batch normalisation are measured anew before it is judged, as published. Its boxes slide,
# because edge boxes need OpenCV. It is trained on whole pictures for half of the steps, then on boxes. Its published first
# stage, single objects, teaches nothing in so few steps from scratch.
# Pictures of 128x160 have maps of 17x21 cells at stride 8 and 9x11 at 16, on which the published rates of the DeepLabs would see
# nothing but padding: theirs are a third to a sixth here. Statistics of batch normalisation follow within the few steps.
DECONVNET: dict[str, Any] = {"width": 0.125, "side": 128}
MEASURED: dict[str, Any] = {"statistics_batches": 20, "statistics_batch": 16}
FEW_STEPS: dict[str, Any] = {"rates": (1, 2, 3), "norm_momentum": 0.1}
HALF = PROTOCOL["steps"] // 2
ENTRIES: dict[str, Entry] = {
    "fcn32s": Entry("fcn32s", {"width": 0.25, "padding": 1}),
    "fcn16s": Entry("fcn16s", {"width": 0.25, "padding": 1}),
    "fcn8s": Entry("fcn8s", {"width": 0.25, "padding": 1}),
    "parsenet": Entry("parsenet", {"width": 0.25}),
    "deconvnet": Entry("deconvnet", DECONVNET, (MEASURED,)),
    "deconvnet_boxes": Entry(
        "deconvnet", DECONVNET,
        (
            {"steps": HALF},
            {"crops": "proposals", "crop": (128, 128), "steps": HALF, "proposals": "sliding", **MEASURED},
        ),
        Inference(proposals=50, proposals_by="sliding"), "50 boxes",
    ),
    "unet": Entry("unet", {"width": 0.25, "convolutions": "same", "norm": "batch"}),
    "pspnet": Entry("pspnet", {"backbone": "resnet50", "width": 0.25}),
    "encnet": Entry("encnet", {"backbone": "resnet50", "width": 0.25}),
    "deeplabv1": Entry("deeplabv1", {"width": 0.25, "rate": 4}),
    "deeplabv2": Entry("deeplabv2", {"backbone": "vgg16_reduced", "width": 0.25, "rates": (1, 2, 3, 4)}),
    "deeplabv3": Entry("deeplabv3", {"backbone": "resnet50", "width": 0.25, **FEW_STEPS}),
    "deeplabv3plus": Entry("deeplabv3plus", {"backbone": "xception41", "width": 0.25, **FEW_STEPS}),
    "fpn": Entry("fpn", {"width": 0.25}),
}  # fmt: skip


def review(
    out: Path, seed: int, say: Say, progress: Callable[[str], Progress], entries: Mapping[str, Entry] = ENTRIES
) -> Path:
    """Trains the networks that are not trained yet, and writes the table and the pictures. Returns the path of the table."""
    scores_by_name: dict[str, Scores] = {}
    for name, entry in entries.items():
        began = time.monotonic()
        for recipe, folder in stages_of(entry, out / "runs" / name, seed):
            scores = train(recipe, folder, say=say, progress=progress(f"{entry.title}: step"))
        assert scores is not None, "the review trains in one process"
        if not entry.inference.plain:
            scores = _judge(folder, entry.inference, progress(f"{entry.title}: picture"))
        say(f"{entry.title}: mIoU {percent(scores.mean_iou)} after {time.monotonic() - began:.0f} s.")
        scores_by_name[name] = scores
    _write_pictures(out, entries)
    return _write_table(out, scores_by_name, entries)


def _judge(folder: Path, inference: Inference, progress: Progress) -> Scores:
    model, dataset = model_file.load(folder), open_dataset(PROTOCOL["data"], split="val")
    return evaluate(model, dataset, progress=lambda done, pictures: progress(done, pictures, ""), inference=inference)


def stages_of(entry: Entry, folder: Path, seed: int) -> list[tuple[Recipe, Path]]:
    """The recipe and the run folder of each stage. Each stage but the first starts from the stage before."""
    last = len(entry.stages)
    folders = [folder / "stages" / str(number) for number in range(1, last)] + [folder]
    starts = [None, *(str(stage_folder) for stage_folder in folders)]
    common = {**PROTOCOL, "network": entry.network, "seed": seed}
    return [
        (Recipe(**{**common, "starts_from": start, **entry.arguments, **stage}), stage_folder)
        for stage, stage_folder, start in zip(entry.stages, folders, starts, strict=False)
    ]


def _write_table(out: Path, scores_by_name: dict[str, Scores], entries: Mapping[str, Entry]) -> Path:
    ranked = sorted(scores_by_name.items(), key=lambda item: item[1].mean_iou, reverse=True)
    names = next(iter(scores_by_name.values())).protocol["classes"]
    header = ["network", "parameters", "multiply-adds", "minutes", "mIoU", "pixel accuracy", *names, "paper"]
    lines, rows = [], []
    for name, scores in ranked:
        entry = entries[name]
        parameters, multiply_adds = size_of(entry.network, len(names), (128, 160), **entry.arguments)
        seconds = sum(
            session["seconds"] or 0  # a session that was killed has no seconds
            for _, folder in stages_of(entry, out / "runs" / name, 0)
            for session in _facts(folder)["sessions"]
        )
        iou = dict(zip(names, scores.totals.iou(), strict=True))
        cells = [
            entry.title, f"{parameters / 1e6:.2f} M", f"{multiply_adds / 1e9:.2f} G", f"{seconds / 60:.1f}",
            percent(scores.mean_iou), percent(scores.totals.pixel_accuracy()), *(percent(iou[c]) for c in names),
            PAPERS[entry.network][0],
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
        rows.append({
            "network": name, "title": entry.title, "arguments": entry.arguments, "parameters": parameters,
            "multiply_adds": multiply_adds, "seconds": seconds, **scores.to_json(),
        })  # fmt: skip
    whole_pictures = [scores for name, scores in scores_by_name.items() if entries[name].inference.plain]
    protocols = {scores.protocol_hash: scores.protocol for scores in whole_pictures}
    assert len(protocols) == 1, "the review compares under one protocol"
    ((known, protocol),) = protocols.items()
    others = [
        f"{entries[name].title}: protocol {scores.protocol_hash}, {scores.protocol['window']}; multiply-adds are those of a box."
        for name, scores in scores_by_name.items()
        if not entries[name].inference.plain
    ]
    text = "\n".join([
        f"# The review on `scenes` {protocol['split']}", "",
        f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *lines, "",
        f"IoU in percent, protocol {known}: {protocol['void']}; {protocol['empty_class']}; {protocol['resize']}.", *others,
        f"Every network: {PROTOCOL['steps']} steps of {PROTOCOL['batch']} pictures from scratch, "
        f"{PROTOCOL['optimiser']}, {PROTOCOL['schedule']}, learning rate {PROTOCOL['lr']}, class weights "
        f"{PROTOCOL['class_weights']}; one seed, so differences of a point or two mean nothing.", "",
    ])  # fmt: skip
    write_whole(out, "table.json", json.dumps(rows, indent=1).encode())
    write_whole(out, "table.md", text.encode())
    return out / "table.md"


def _facts(folder: Path) -> dict[str, Any]:
    facts = read_facts(folder / RUN)
    if facts is None:
        raise UntrustedFile(f"{folder / RUN}: is damaged, so that no one can tell how long it took; delete {folder}.")
    return facts


def _write_pictures(out: Path, entries: Mapping[str, Entry]) -> None:
    dataset = open_dataset(PROTOCOL["data"], split="val")
    models = {name: model_file.load(out / "runs" / name) for name in entries}
    rows = []
    for index in np.linspace(0, len(dataset) - 1, SHOWN).astype(int):
        sample = dataset.sample(int(index))
        assert sample.labels is not None
        row = [sample.image, draw.colours(sample.labels, dataset.classes)]
        for name, model in models.items():
            labels = predict(model, sample.image, inference=entries[name].inference).labels
            row += [draw.colours(labels, dataset.classes), draw.error_map(sample.labels, labels, dataset.classes.void)]
            write_image(out, f"overlays/{name}/{sample.name}.png", draw.overlay(sample.image, labels, dataset.classes))
        rows.append(row)
    titles = ["picture", "truth", *(text for entry in entries.values() for text in (entry.title, "errors"))]
    write_image(out, "pictures.png", draw.sheet(rows, titles))
