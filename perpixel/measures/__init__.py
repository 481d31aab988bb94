"""The measures by name: the class of each, its flag, and its settings as flags. `--help` reads this table, so no measure is
imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from perpixel.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Setting:
    """A field of a measure as a flag: its type, and its help text, which gives the default."""

    type: Any
    help: str


@dataclass(frozen=True)
class Entry:
    """`home` is `module:class` in this folder. The measure's own flag is a switch, or takes the value of its field `first`.
    `settings` are its other fields."""

    home: str
    help: str
    first: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def takes(self) -> type:
        """The type of the value of the measure's own flag."""
        return str if self.first else bool


DEFAULT = "pixels"  # the measure where no flag names another
MEASURES: dict[str, Entry] = {
    DEFAULT: Entry("pixels:Pixels", "Judge pixels: mean IoU and the other figures of one confusion matrix."),
    "objects": Entry(
        "objects:Objects", "Judge the objects of this class by the truth's instances: SEG, AP.", "class_name",
        {
            "connectivity": Setting(int, "Pixels of an object share edges (4), or edges or corners (8). [default: 4]"),
            "minimum_area": Setting(int, "Drop smaller objects, in pixels; U-Net's release: 500. [default: 0]"),
            "fill_holes": Setting(bool, "Fill the holes of objects."),
        },
    ),
    "membranes": Entry(
        "membranes:Membranes", "Judge this class as the membranes of ISBI 2012: Rand, warping, pixel error ...", "class_name",
        {"thresholds": Setting(list[float], "Thresholds of the probability of being inside. [default: 0 0.1 .. 0.9]")},
    ),
    "cityscapes": Entry(
        "cityscapes:CityscapesIou", "Judge Cityscapes as its benchmark: IoU and iIoU of classes and categories.",
    ),
    "boundary_iou": Entry(
        "boundary_iou:BoundaryIou", "Judge the borders of classes: Boundary IoU, along the outlines of each.", "",
        {"dilation": Setting(float, "Width of those borders, as a share of the picture's diagonal. [default: 0.02]")},
    ),
    "instances": Entry(
        "instances:AveragePrecision",
        "Judge objects by mask, box or boundary: AP and AR. Of a COCO results file --data is COCO, or the truth's JSON.", "kind",
        {
            "agnostic": Setting(bool, "Judge all categories as one, as proposals are."),
            "most": Setting(int, "Results of a category in a picture that count; 1000 for AR of proposals. [default: 100]"),
        },
    ),
    "panoptic": Entry(
        "panoptic:PanopticQuality",
        "Judge panoptic maps of a run with --objects-by, of predicted files, or of a COCO results file: PQ, SQ, RQ.",
    ),
    "surfaces": Entry(
        "surfaces:Surfaces", "Judge the surfaces of classes: 95 % Hausdorff distance, surface distance, surface Dice.", "",
        {
            "tolerance": Setting(float, "Distance up to which surfaces agree, for surface Dice. [default: 2]"),
            "spacing": Setting(list[float], "Height and width of a pixel, for distances in its unit. [default: 1 1]"),
        },
    ),
    "calibration": Entry(
        "calibration:Calibration", "Judge the probabilities of a model: ECE, reliability, Brier score.", "",
        {"bins": Setting(int, "Equal bins of 0..1 that probabilities are counted in. [default: 15]")},
    ),
}  # fmt: skip


def class_of(name: str) -> Any:
    """The class of the measure `name`; its module is imported now."""
    module, _, kind = MEASURES[name].home.partition(":")
    return getattr(import_module(f"perpixel.measures.{module}"), kind)


def named(text: str) -> tuple[str, dict[str, Any]]:
    """The name of a measure and the arguments of its constructor, of a setting that writes both as one word: "pixels",
    "objects=cell".

    Raises UnknownName for a measure that does not exist, UsageError for a value that the measure does not take."""
    name, sign, value = text.partition("=")
    if name not in MEASURES:
        raise did_you_mean("measure", name, MEASURES)
    entry = MEASURES[name]
    if sign and not (entry.first and value):
        reason = f"a value is missing behind {name}=" if entry.first else f"{name} takes no value"
        raise UsageError(f"measure = {text!r}: {reason}.")
    return name, {entry.first: value} if sign else {}
