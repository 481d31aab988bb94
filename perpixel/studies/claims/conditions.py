"""The conditions of claims, fixed before any run: the data, and for each network trunk, size and training.

On `scenes` an arm is an entry of the review with its tuned settings (`entries`), and differs from it only in what is studied:
trunks know `things`, training sees a part of train, and val is judged once. On a folder or a published set every network stands
on `efficientnet_lite0` with ImageNet weights, and one training is for all: of streets and other scenes on crops of 128x160, of
objects on a background, such as cells, on 256x256."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from perpixel.datasets import DATASETS, ON_DISK, Dataset, bands_of, fingerprint, open_dataset
from perpixel.errors import UsageError
from perpixel.studies.claims.claim import SHARE, Arm, Base, Claim
from perpixel.studies.claims.figures import RARE_SHARE, has_objects, rare_classes
from perpixel.studies.entries import ENTRIES, OBJECTS, OF_REGIONS, PROTOCOL, RESNET, Entry
from perpixel.studies.review import settings_of

SCENES = "scenes"
PLACE = ("data", "root", "train_split", "val_split")  # settings that say where the pictures are
PRETRAINED: dict[str, Any] = {"backbone": "efficientnet_lite0", "weights": "imagenet", "trunk_lr": 0.5}
TRAINING: dict[str, Any] = {
    "optimiser": "adamw", "schedule": "one_cycle", "validations": 1, "save_every": 1000,
}  # fmt: skip
STREETS: dict[str, Any] = {
    **TRAINING, "steps": 120, "batch": 4, "lr": 2e-3, "decay": 1e-2, "clip": 1.0, "colour": 0.2, "crop": (128, 160),
    "class_weights": "inverse_square_root",
}  # fmt: skip
CELLS: dict[str, Any] = {
    **TRAINING, "steps": 220, "batch": 2, "lr": 1e-3, "decay": 0.0, "clip": 5.0, "crop": (256, 256), "flip_vertical": True,
    "mixed_precision": False,
}  # fmt: skip
STREETS_SIDE, CELLS_SIDE = 180, 256  # shorter side at which the networks see pictures
OF_PIXELS: dict[str, Any] = {"class_weights": "inverse"}  # of networks that label the pixels of cells
# A crop of 128x160 has 16x20 cells at stride 8 and 8x10 at 16, on which the published rates of the DeepLabs would see nothing but
# padding: theirs are a third to a sixth. Statistics of batch normalisation follow within the few steps.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "deeplabv1": {"rate": 4},
    "deeplabv2": {"rates": (1, 2, 3, 4)},
    "deeplabv3": {"rates": (1, 2, 3), "norm_momentum": 0.1},
    "deeplabv3plus": {"rates": (1, 2, 3), "norm_momentum": 0.1},
}
# Networks of objects: heads at a quarter of the width, anchors for small pictures, all normalisation of the trunk frozen.
FROZEN: dict[str, Any] = {"trunk_frozen": 2, "freeze_norm": True, "trunk_lr": 1.0}
REGIONS: dict[str, Any] = {"width": 0.25, "anchors": (8, 16, 32, 64, 128), "min_size": (256,), "max_size": 320}
OF_OBJECTS: dict[str, dict[str, Any]] = {"mask_rcnn": REGIONS, "panet": REGIONS, "fpn_proposals": {}}
# On scenes, where the review has none. The smallest proposals have 32 pixels, which few things there have, so pictures are seen
# twice as large.
PROPOSALS = Entry("fpn_proposals", {"width": 0.25}, RESNET, ({**OF_REGIONS, "scale": 2.0},))


@dataclass(frozen=True)
class Conditions:
    """The data of a run of claims, as settings of a recipe in `place`; the split that is judged on; the arm of each network.

    `lacking` has the reasons why claims with some needs cannot be tried here, whatever the pictures show."""

    data: str
    place: Mapping[str, Any]
    judged: Dataset
    base: Base
    lacking: Mapping[str, str]

    @property
    def title(self) -> str:
        """The name of the data: a folder's own, without its path."""
        return self.data if self.data in DATASETS or self.data in ON_DISK else Path(self.data).resolve().name

    @cached_property
    def fingerprint(self) -> str:
        """That of the judged pictures and masks."""
        return fingerprint(self.judged)

    @cached_property
    def objects(self) -> bool:
        return has_objects(self.judged)

    @cached_property
    def rare(self) -> tuple[int, ...]:
        """The ids of the rare classes of the judged split."""
        return rare_classes(self.judged)

    def lacks(self, claim: Claim) -> str | None:
        """Why the claim cannot be tried here, or None."""
        return next((reason for need in claim.needs if (reason := self._lacks(need, claim))), None)

    def _lacks(self, need: str, claim: Claim) -> str | None:
        if need == "objects" and not self.objects:
            return f"needs objects that are told apart, and {self.title} has none"
        if need == "background" and self.judged.classes.background is None:
            return f"needs objects on a background, and no class of {self.title} is called background"
        if need == "rare classes" and not self.rare:
            return f"needs rare classes, and none of {self.title} has less than {100 * RARE_SHARE:g} % of the pixels"
        if need == "pretrained" and not all(map(begins_trained, claim.arms)):
            return "needs a trunk that knows something at the start, and here it begins at random"
        return self.lacking.get(need)


def begins_trained(arm: Arm) -> bool:
    """Whether a training begins with weights that know something."""
    return arm.settings.get("starts_from") is not None or arm.settings.get("weights") == "imagenet"


def conditions(data: str, root: str | None = None, steps: int | None = None) -> Conditions:
    """The conditions on `scenes`, or on a folder or published set; `steps` of each training in place of the fixed ones.

    Raises what `open_dataset` does, and UsageError for no step."""
    if steps is not None and steps < 1:
        raise UsageError(f"steps = {steps}: must be 1 or more.")

    def fixed(arm: Arm) -> Arm:
        return arm if steps is None else arm.but(arm.title, steps=steps)

    place: dict[str, Any] = {"data": data} if root is None else {"data": data, "root": root}
    splits = ON_DISK[data].judged if data in ON_DISK else ("train", "val")
    if splits != ("train", "val"):
        place |= dict(zip(PLACE[2:], splits, strict=True))
    train, judged = (open_dataset(data, root=root, split=split) for split in splits)
    if (bands := bands_of(judged)) is not None:
        raise UsageError(f"{data}: its pictures have {bands}, and the claims are of networks on RGB; name another set.")
    if data == SCENES:  # a part of train chooses the weights, as in the review
        place |= {"train_split": "fit", "val_split": "tune"}
        return Conditions(data, place, judged, lambda name: fixed(on_scenes(name)), {})
    cells, shorter = judged.classes.background is not None and has_objects(judged), min(train.sample(0).image.shape[:2])
    lacking = {"own trunk": f"needs a trunk of perpixel's own, and networks of folders stand on {PRETRAINED['backbone']}"}
    return Conditions(data, place, judged, lambda name: fixed(on_folder(name, shorter, cells)), lacking)


def on_scenes(name: str) -> Arm:
    """The arm of an entry of the review, under the review's protocol with the settings that tuning chose."""
    entry = {**ENTRIES, **OBJECTS, "fpn_proposals": PROPOSALS}[name]
    learning = {key: value for key, value in settings_of(name).items() if key != SHARE}
    begun = {} if entry.starts_from is None else {"starts_from": entry.starts_from}
    settings = {**PROTOCOL, "network": entry.network, **entry.arguments, **learning, **begun}
    inference = {setting: getattr(entry.inference, setting) for setting in entry.inference.given}
    if len(entry.stages) == 1:
        return Arm(name, {**settings, **entry.stages[0]}, inference=inference)
    return Arm(name, settings, tuple(entry.stages), inference)


def on_folder(name: str, shorter: int, cells: bool) -> Arm:
    """The arm of a network for pictures with this shorter side."""
    side, training = (CELLS_SIDE, CELLS) if cells else (STREETS_SIDE, STREETS)
    settings = {"scale": side / shorter, **training, "network": name, **PRETRAINED, **ARGUMENTS.get(name, {})}
    if name in OF_OBJECTS:
        settings = {**settings, **OF_OBJECTS[name], **FROZEN}
        settings.pop("class_weights", None)
    elif cells:
        settings |= OF_PIXELS
    if name == "deconvnet":  # it takes no other trunk
        entry = ENTRIES[name]
        own = {key: value for key, value in settings.items() if key not in PRETRAINED}
        settings = {**own, "weights": "none", "starts_from": entry.starts_from, **entry.arguments}
    return Arm(name, settings)
