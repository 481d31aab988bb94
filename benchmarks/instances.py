"""Do targets, losses and decoding of Mask R-CNN or PANet agree? Ten pictures of COCO are learned by heart, and judged.

    python benchmarks/instances.py COCO [--network panet] [--steps 700] [--out FOLDER]

COCO is a folder in the official layout. The ten are the first of `train` whose objects all have 32 x 32 pixels, and none of which
is a crowd. One picture a step, on a trunk with ImageNet's weights, heads at a quarter of the paper's width. A mask AP above 0.8
says that they agree. With FOLDER, the pictures with the objects that are found are drawn there."""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from measure import machine, report

from perpixel import draw, networks
from perpixel.datasets import Dataset, open_dataset, with_objects
from perpixel.images import write_image
from perpixel.machines.team import ALONE
from perpixel.measures.instances import Ranking, results_of, truth_of
from perpixel.networks.mask_rcnn import RegionNetwork
from perpixel.prediction.instances import labels_of
from perpixel.prediction.score_maps import to_tensor
from perpixel.training.batches import batches
from perpixel.training.learner import learner_of
from perpixel.training.optimiser import rate_of
from perpixel.training.recipe import Recipe

SETTINGS: dict[str, Any] = {
    "backbone": "efficientnet_lite0", "weights": "imagenet", "width": 0.25, "min_size": (320,), "max_size": 448,
    "anchors": (16, 32, 64, 128, 256), "batch": 1, "flip": False, "optimiser": "adamw", "lr": 1e-3, "schedule": "one_cycle",
    "clip": 5.0, "decay": 0.0,
}  # fmt: skip
PICTURES, LEAST = 10, 32  # smaller objects are small ones in COCO


class Few:
    """The pictures of a data set at some places of it."""

    def __init__(self, dataset: Dataset, places: list[int]) -> None:
        self.dataset, self.places = dataset, places
        self.classes, self.split, self.splits = dataset.classes, dataset.split, dataset.splits

    def __len__(self) -> int:
        return len(self.places)

    def name(self, index: int) -> str:
        return self.dataset.name(self.places[index])

    def sample(self, index: int) -> Any:
        return self.dataset.sample(self.places[index])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coco", type=Path)
    parser.add_argument("--network", default="mask_rcnn", choices=("mask_rcnn", "panet"))
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = few(with_objects(open_dataset("coco", root=options.coco, split="train")))
    recipe = Recipe(network=options.network, steps=options.steps, **SETTINGS)
    torch.manual_seed(recipe.seed)
    network = networks.build(recipe.network, len(dataset.classes), **recipe.network_arguments(), weights="imagenet")
    assert isinstance(network, RegionNetwork)
    began = time.monotonic()
    losses = learn(network, dataset, recipe)
    minutes = (time.monotonic() - began) / 60
    samples = [dataset.sample(index) for index in range(len(dataset))]
    with torch.inference_mode():
        found = [network.eval().detect(to_tensor(sample.image))[0] for sample in samples]
    if options.out:
        for sample, objects in zip(samples, found, strict=True):
            labels = labels_of(objects, dataset.classes)
            write_image(options.out, f"{sample.name}.png", draw.overlay(sample.image, labels, dataset.classes, objects=objects))
    truth = truth_of([sample.instances for sample in samples], dataset.classes.names)
    figures = {kind: Ranking(truth, results_of(found), kind).figures for kind in ("mask", "box")}
    report(f"instances_{options.network}", {
        "network": options.network, "steps": options.steps, "minutes": minutes, "losses": losses,
        "objects": sum(len(sample.instances.class_ids) for sample in samples),
        "figures": {kind: {name: round(of[name], 4) for name in ("AP", "AP50", "AP75")} for kind, of in figures.items()},
        "machine": machine("torch", "torchvision"),
    })  # fmt: skip


def few(dataset: Dataset) -> Few:
    """The first pictures whose objects are all large, and none a crowd."""
    places = []
    for place in range(len(dataset)):
        objects = dataset.sample(place).instances
        if objects is None or not len(objects.class_ids) or objects.crowd.any():
            continue
        if objects.masks.sum((1, 2)).min() >= LEAST**2:
            places.append(place)
        if len(places) == PICTURES:
            break
    return Few(dataset, places)


def learn(network: RegionNetwork, dataset: Few, recipe: Recipe) -> dict[str, float]:
    """Trains, as `perpixel train` does but for files; the losses of the last step."""
    learner = learner_of(network, recipe, ALONE)
    network.train()
    found: dict[str, float] = {}
    for step, (part,) in enumerate(batches(dataset, recipe, 0, instances=True, objects_alone=True)):
        for group in learner.optimiser.param_groups:
            group["lr"] = rate_of(recipe, step) * group["factor"]
        learner.optimiser.zero_grad()
        terms = learner.losses(part.images, part.targets)
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        learner.optimiser.step()
        found = {name: round(term.item(), 4) for name, term in terms.items()}
        if step % 50 == 0:
            print(step, found, flush=True)
    return found


if __name__ == "__main__":
    main()
