"""Networks that find objects learn ten pictures of COCO by heart: do their targets, losses and decoding agree?

    python benchmarks/instances.py COCO --out FOLDER [--network panet] [--steps 1000]

The pictures (of a folder in the official layout) are the first of `train` whose objects all have 32 x 32 pixels, and none of
which is a crowd. One picture a step, a trunk with ImageNet's weights, heads at a quarter of the paper's width. They are judged
ten times on the way. A mask AP above 0.8 says that all agrees. `perpixel claims mask_rcnn panet` tries the papers' claims.

What was trained before in FOLDER is judged again, not trained, and what was cut off goes on."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from measure import machine, report, trained

from perpixel import draw, load, open_dataset, predict
from perpixel.datasets import Dataset, with_objects
from perpixel.datasets.coco import Coco
from perpixel.files import write_whole
from perpixel.images import write_image
from perpixel.measures.instances import Ranking, results_of, truth_of
from perpixel.prediction.instances import labels_of
from perpixel.sample import Instances
from perpixel.training.run import HISTORY
from perpixel.weights.model_file import Model

FIGURES = {"AP": "AP", "AP50": "AP50", "AP75": "AP75", "AR": "AR_100"}
TRUNK: dict[str, Any] = {"backbone": "efficientnet_lite0", "weights": "imagenet"}
REGIONS: dict[str, Any] = {**TRUNK, "width": 0.25, "trunk_frozen": 2, "freeze_norm": True}
LEARNING: dict[str, Any] = {"optimiser": "adamw", "lr": 1e-3, "schedule": "one_cycle", "clip": 5.0, "decay": 0.0,
                            "mixed_precision": False}  # fmt: skip
BY_HEART: dict[str, Any] = {
    **REGIONS, **LEARNING, "min_size": (320,), "max_size": 448, "anchors": (16, 32, 64, 128, 256), "batch": 1, "flip": False,
    "data": "coco", "val_split": "train", "validations": 10, "save_every": 25,
}  # fmt: skip
PICTURES, LEAST = 10, 32  # smaller objects are small ones in COCO


def by_heart(coco: Path, network: str, steps: int, out: Path) -> None:
    few(coco, out / "data")
    run = out / network
    minutes = trained({**BY_HEART, "root": str(out / "data"), "network": network, "steps": steps}, run)
    history = [json.loads(line) for line in (run / HISTORY).read_text().splitlines()]
    dataset, model = with_objects(open_dataset("coco", root=out / "data", split="train")), load(run)
    figures, found = judged(model, dataset)
    for index, objects in enumerate(found):
        labels = labels_of(objects, dataset.classes)
        picture = draw.overlay(dataset.sample(index).image, labels, dataset.classes, objects=objects)
        write_image(run, f"found/{dataset.name(index)}.png", picture)
    report(f"instances_{network}", {
        "network": network, "steps": steps, "minutes": minutes,
        "losses": next(entry["losses"] for entry in reversed(history) if "losses" in entry),
        "objects": sum(len(objects_of(dataset, index).class_ids) for index in range(len(dataset))),
        "figures": figures, "AP by step": {entry["step"]: round(entry["AP"], 4) for entry in history if "AP" in entry},
        "machine": machine("torch", "torchvision"),
    })  # fmt: skip


def few(coco: Path, folder: Path) -> None:
    """COCO's train2017 with the first pictures whose objects are all large, and none a crowd."""
    annotations = folder / "annotations" / "instances_train2017.json"
    if os.path.exists(annotations):
        return
    whole = Coco(coco, "train", instances=True)
    places: list[int] = []
    for place in range(len(whole)):
        objects = objects_of(whole, place)
        if len(objects.class_ids) and not objects.crowd.any() and objects.masks.sum((1, 2)).min() >= LEAST**2:
            places.append(place)
        if len(places) == PICTURES:
            break
    content = json.loads(whole.annotations.read_bytes())
    ids = {whole.listed[place].id for place in places}
    content["images"] = [entry for entry in content["images"] if entry["id"] in ids]
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in ids]
    for place in places:
        path = whole.picture(place)
        write_whole(folder / "train2017", path.name, path.read_bytes())
    write_whole(annotations.parent, annotations.name, json.dumps(content).encode())


def objects_of(dataset: Dataset, index: int) -> Instances:
    objects = dataset.sample(index).instances
    assert objects is not None, "the data set has objects"
    return objects


def judged(model: Model, dataset: Dataset) -> tuple[dict[str, dict[str, float]], list[Instances]]:
    """The figures of masks and boxes, and the objects that are found in each picture."""
    found = [found_in(model, dataset, index) for index in range(len(dataset))]
    truth = truth_of([objects_of(dataset, index) for index in range(len(dataset))], dataset.classes.names)
    rankings = {kind: Ranking(truth, results_of(found), kind).figures for kind in ("mask", "box")}
    return {kind: {name: round(of[key], 4) for name, key in FIGURES.items()} for kind, of in rankings.items()}, found


def found_in(model: Model, dataset: Dataset, index: int) -> Instances:
    """The objects that a model finds."""
    objects = predict(model, dataset.sample(index).image).instances
    assert objects is not None, "the network finds objects"
    return objects


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coco", type=Path)
    parser.add_argument("--network", default="mask_rcnn", choices=("mask_rcnn", "panet"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    by_heart(options.coco, options.network, options.steps, options.out)


if __name__ == "__main__":
    main()
