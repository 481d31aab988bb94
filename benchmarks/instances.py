"""Networks that find objects: do their targets, losses and decoding agree, and do the papers' effects show on nuclei?

    python benchmarks/instances.py by-heart COCO --out FOLDER [--network panet] [--steps 1000]
    python benchmarks/instances.py nuclei DATA --out FOLDER [--study networks] [--seeds 3] [--steps 220 | --minutes 6]

`by-heart` learns ten pictures of COCO (a folder in the official layout): the first of `train` whose objects all have 32 x 32
pixels, and none of which is a crowd. One picture a step, a trunk with ImageNet's weights, heads at a quarter of the paper's
width. They are judged ten times on the way. A mask AP above 0.8 says that all agrees.

`nuclei` trains on a folder of pictures and instances and judges its `val`: the networks against each other, RoIAlign against
RoIPool, and PANet without each of its parts. All see the same pictures for the same number of steps, or for as many as take the
same minutes. U-Net has its weight map; its objects are the connected regions, scored by their mean probability. The interval is
that of Student's t for 95 %; the figures are written after each training.

What was trained before in FOLDER is judged again, not trained, and what was cut off goes on."""

import argparse
import json
import os
import re
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from measure import STUDENT, interval, machine, report, trained

from perpixel import draw, load, open_dataset, predict
from perpixel.datasets import Dataset, with_objects
from perpixel.datasets.coco import Coco
from perpixel.files import write_whole
from perpixel.images import write_image
from perpixel.masks.touching import components
from perpixel.measures.instances import Ranking, results_of, truth_of
from perpixel.networks import finds_objects
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
NUCLEI: dict[str, Any] = {**LEARNING, "batch": 2, "flip_vertical": True, "validations": 1, "save_every": 25}
OF_NUCLEI: dict[str, Any] = {**REGIONS, "min_size": (256,), "max_size": 256, "anchors": (8, 16, 32, 64, 128)}
MASK_RCNN, PANET = {**OF_NUCLEI, "network": "mask_rcnn"}, {**OF_NUCLEI, "network": "panet"}
STUDIES: dict[str, dict[str, dict[str, Any]]] = {
    "networks": {
        "Mask R-CNN": MASK_RCNN,
        "PANet": PANET,
        "U-Net, weight map": {**TRUNK, "network": "unet", "separation_weights": 10.0, "class_weights": "inverse"},
    },
    "roi": {"RoIAlign": MASK_RCNN, "RoIPool": {**MASK_RCNN, "roi": "pool"}},
    "panet": {
        "PANet": PANET,
        "without the path back up": {**PANET, "bottom_up": False},
        "without pooling of levels": {**PANET, "pooling": "level"},
        "without fusion": {**PANET, "fc_fusion": False},
    },
}
TIMED = 5, 15  # steps of two trainings; their difference is what ten steps take


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
    """The objects that a model finds; of one that labels pixels the connected regions, each with its mean probability."""
    image = dataset.sample(index).image
    if finds_objects(model.network):
        objects = predict(model, image).instances
        assert objects is not None, "the network finds objects"
        return objects
    predicted = predict(model, image, scores=True)
    assert predicted.scores is not None, "scores were asked for"
    regions = components(predicted.labels, 1)
    sums = np.bincount(regions.numbers.ravel(), predicted.scores[1].ravel(), len(regions.class_ids) + 1)[1:]
    areas = np.bincount(regions.numbers.ravel(), minlength=len(regions.class_ids) + 1)[1:]
    crops = [regions.crop(place) for place in range(len(areas))]
    return Instances.of_crops(crops, regions.size, regions.class_ids, regions.crowd, (sums / areas).astype(np.float32))


def nuclei(data: Path, study: str, seeds: int, steps: int, minutes: float | None, out: Path) -> None:
    results: dict[str, Any] = {}
    name = f"instances_nuclei_{study}"
    for label, settings in STUDIES[study].items():
        recipe = {**NUCLEI, **settings, "data": str(data)}
        folder = out / re.sub("[^a-z0-9]+", "-", label.lower())
        chosen = steps if minutes is None else steps_in(minutes, recipe, folder)
        runs = []
        for seed in range(seeds):
            run = folder.with_name(f"{folder.name}-{chosen}-{seed}")
            taken = trained({**recipe, "steps": chosen, "seed": seed}, run)
            figures = judged(load(run), with_objects(open_dataset(data, split="val")))[0]["mask"]
            print(f"{label}, seed {seed}: {figures}, {taken:.1f} min", flush=True)
            runs.append({**figures, "minutes": taken})
            by_figure = {figure: [one[figure] for one in runs] for figure in runs[0]}
            results[label] = {"steps": chosen, "settings": settings} | {
                figure: {"mean": mean(values), "interval": interval(values) if seed else None, "by seed": values}
                for figure, values in by_figure.items()
            }
            found = {"machine": machine("torch", "torchvision", "timm"), "protocol": NUCLEI, "seeds": seeds, "results": results}
            write_whole(out, f"{name}.json", json.dumps(found, indent=1).encode())
    report(name, found)


def steps_in(minutes: float, recipe: dict[str, Any], folder: Path) -> int:
    """How many steps take these minutes; it is measured once, and kept beside the runs."""
    kept = folder.with_name(f"{folder.name}-seconds.json")
    if not os.path.exists(kept):
        took = [60 * trained({**recipe, "steps": count}, folder.with_name(f"{folder.name}-timed-{count}")) for count in TIMED]
        seconds = max(1e-3, (took[1] - took[0]) / (TIMED[1] - TIMED[0]))
        write_whole(kept.parent, kept.name, json.dumps({"seconds of a step": seconds}).encode())
    seconds = json.loads(kept.read_bytes())["seconds of a step"]
    return max(1, round(60 * minutes / seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, dest="verb")
    heart = verbs.add_parser("by-heart", help="ten pictures of COCO")
    heart.add_argument("coco", type=Path)
    heart.add_argument("--network", default="mask_rcnn", choices=("mask_rcnn", "panet"))
    heart.add_argument("--steps", type=int, default=1000)
    effects = verbs.add_parser("nuclei", help="the papers' effects on a folder of pictures and instances")
    effects.add_argument("data", type=Path)
    effects.add_argument("--study", default="networks", choices=STUDIES)
    effects.add_argument("--seeds", type=int, default=3, choices=(1, *STUDENT))
    length = effects.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=220)
    length.add_argument("--minutes", type=float)
    for verb in (heart, effects):
        verb.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.verb == "by-heart":
        by_heart(options.coco, options.network, options.steps, options.out)
    else:
        nuclei(options.data, options.study, options.seeds, options.steps, options.minutes, options.out / options.study)


if __name__ == "__main__":
    main()
