"""Flags that several verbs share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter, Token

from perpixel.errors import UsageError
from perpixel.training.recipe import ENVIRONMENT


def _folder(_: Any, tokens: Sequence[Token]) -> str:
    return os.path.expanduser(tokens[0].value)  # an environment variable has its ~ still


Root = Annotated[
    str | None,
    Parameter(help="Folder that holds the data set of that name.", env_var=f"{ENVIRONMENT}ROOT", converter=_folder),
]


@dataclass(frozen=True, kw_only=True)
class InferenceFlags:
    """`inference.Inference` as flags; what is not given is none, so that a setting without its whole can be refused."""

    proposals: Annotated[int | None, Parameter(help="So many boxes, each by itself, merged; else the whole picture.")] = None
    proposals_by: Annotated[str | None, Parameter(help="edge_boxes, selective_search or sliding. [default: edge_boxes]")] = None
    merge: Annotated[str | None, Parameter(help="max or sum of boxes, or as DeconvNet released. [default: max]")] = None
    ensemble: Annotated[str | None, Parameter(help="Run folder or model file of a second model, for the whole picture.")] = None
    ensemble_by: Annotated[str | None, Parameter(help="mean of probabilities, or product of scores. [default: mean]")] = None
    crf: Annotated[str | None, Parameter(help="Refine by a fully connected CRF: deconvnet (without a word), or deeplab.")] = None
    tile: Annotated[int | None, Parameter(help="Side of U-Net's input tiles, such as 572: any picture in one's memory.")] = None
    average: Annotated[str | None, Parameter(help="Mean of raw scores: none, flips (4) or rotations (7). [default: none]")] = None


NO_INFERENCE = InferenceFlags()
Inferring = Annotated[InferenceFlags, Parameter(name="*")]


AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON on stdout instead of a table.")]


@dataclass(frozen=True, kw_only=True)
class MeasureFlags:
    """Which parts of a picture are judged instead of its pixels, and by which rules; what is not given is none."""

    objects: Annotated[str | None, Parameter(help="Judge the objects of this class by the truth's instances: SEG, AP.")] = None
    connectivity: Annotated[
        int | None, Parameter(help="Pixels of an object share edges (4), or edges or corners (8). [default: 4]")
    ] = None
    minimum_area: Annotated[int | None, Parameter(help="Drop smaller objects, in pixels; U-Net's release: 500. [default: 0]")] = (
        None
    )
    fill_holes: Annotated[bool | None, Parameter(negative=(), help="Fill the holes of objects.")] = None
    membranes: Annotated[
        str | None, Parameter(help="Judge this class as the membranes of ISBI 2012: Rand, warping, pixel error ...")
    ] = None
    thresholds: Annotated[
        list[float] | None,
        Parameter(help="Of the probability of being inside. [default: 0 0.1 .. 0.9]", negative=(), consume_multiple=True),
    ] = None
    cityscapes: Annotated[
        bool | None, Parameter(negative=(), help="Judge Cityscapes as its benchmark: IoU and iIoU of classes and categories.")
    ] = None
    boundary_iou: Annotated[
        bool | None, Parameter(negative=(), help="Judge the borders of classes: Boundary IoU, along the outlines of each.")
    ] = None
    dilation: Annotated[
        float | None, Parameter(help="Width of those borders, as a share of the picture's diagonal. [default: 0.02]")
    ] = None
    instances: Annotated[
        str | None,
        Parameter(help="Judge a COCO results file by mask, box or boundary: AP and AR. --data is COCO, or the truth's JSON."),
    ] = None
    panoptic: Annotated[
        bool | None,
        Parameter(negative=(), help="Judge panoptic results of COCO's form: PQ, SQ, RQ. --data is coco_panoptic, or a JSON."),
    ] = None


NO_MEASURES = MeasureFlags()


def rules_of(flags: MeasureFlags) -> dict[str, Any]:
    """The rules that are given; raises UsageError for two measures, or for a rule whose measure is not given."""
    measures = ("objects", "membranes", "boundary_iou", "cityscapes", "instances", "panoptic")
    named = [f"--{name.replace('_', '-')}" for name in measures if getattr(flags, name) is not None]
    if len(named) > 1:
        raise UsageError(f"{named[0]} and {named[1]} are two judgements; give one of them.")
    rules = {
        "connectivity": "objects", "minimum_area": "objects", "fill_holes": "objects", "thresholds": "membranes",
        "dilation": "boundary_iou",
    }  # fmt: skip
    given = {name: getattr(flags, name) for name in rules if getattr(flags, name) is not None}
    for name in given:
        if getattr(flags, rules[name]) is None:
            wanted = f"--{rules[name].replace('_', '-')}"
            what = "give that too" if name == "dilation" else "name its class"
            raise UsageError(f"--{name.replace('_', '-')} belongs to {wanted}; {what}, or leave it out.")
    return given
