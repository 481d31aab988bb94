"""Flags that several verbs share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter, Token

from perpixel.errors import UsageError
from perpixel.measures import DEFAULT, MEASURES, class_of
from perpixel.training.recipe import ENVIRONMENT


def _folder(_: Any, tokens: Sequence[Token]) -> str:
    return os.path.expanduser(tokens[0].value)  # no shell has replaced ~ in an environment variable


Root = Annotated[
    str | None,
    Parameter(help="Folder that holds the data set of that name.", env_var=f"{ENVIRONMENT}ROOT", converter=_folder),
]


def _numbers(_: Any, tokens: Sequence[Token]) -> tuple[float, ...]:
    """Numbers with commas between, since pictures may follow the flag. Raises UsageError for other text."""
    text = ",".join(token.value for token in tokens)
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        flag = tokens[0].keyword or "the flag"
        raise UsageError(f"{flag} {text}: must be numbers with commas between, such as 0.5,0.75,1.") from None


def names(_: Any, tokens: Sequence[Token]) -> tuple[str, ...]:
    """Names with commas between."""
    return tuple(name.strip() for name in ",".join(token.value for token in tokens).split(",") if name.strip())


@dataclass(frozen=True, kw_only=True)
class InferenceFlags:
    """`inference.Inference` as flags. A flag that is not given is None, so that Inference can refuse a setting of a missing
    setting."""

    proposals: Annotated[
        int | None, Parameter(help="Number of boxes to predict one by one and merge. [default: the whole picture]")
    ] = None
    proposals_by: Annotated[str | None, Parameter(help="edge_boxes, selective_search or sliding. [default: edge_boxes]")] = None
    merge: Annotated[str | None, Parameter(help="max or sum of boxes, or as DeconvNet released. [default: max]")] = None
    ensemble: Annotated[str | None, Parameter(help="Run folder or model file of a second model, for the whole picture.")] = None
    ensemble_by: Annotated[str | None, Parameter(help="mean of probabilities, or product of scores. [default: mean]")] = None
    crf: Annotated[
        str | None,
        Parameter(
            help="Refine by a fully connected CRF: deconvnet (without a word), deeplab, deeplab_4x4, deeplab_msc or deeplab_coco."
        ),
    ] = None
    tile: Annotated[
        int | None,
        Parameter(help="Side of tiles, such as 1024: a picture of any size in the memory of one, with the scores of the whole."),
    ] = None
    average: Annotated[
        str | None, Parameter(help="Join turned pictures: none, mirror (2), flips (4) or rotations (7). [default: none]")
    ] = None
    scales: Annotated[
        tuple[float, ...] | None,
        Parameter(
            help="Join several sizes of a picture, such as 0.5,0.75,1,1.25. [default: 1]",
            converter=_numbers,
            negative=(),
            metavar="FLOAT,...",
        ),
    ] = None
    base: Annotated[
        int | None, Parameter(help="Longer side of the scaled picture at scale 1. [default: the model's own scale]")
    ] = None
    window: Annotated[
        int | None, Parameter(help="Side of windows, such as 473 or 713: predicted one by one, overlaps averaged.")
    ] = None
    window_step: Annotated[int | None, Parameter(help="Pixels between windows. [default: two thirds of the side]")] = None
    fuse: Annotated[
        str | None,
        Parameter(
            help="How turned pictures, windows and scales are joined: probabilities, scores, pspnet, encnet or maximum. "
            "[default: probabilities; with flips and rotations scores]"
        ),
    ] = None
    output_stride: Annotated[int | None, Parameter(help="Output stride of a dilated network instead of its own, such as 8.")] = (
        None
    )
    objects_by: Annotated[
        str | None, Parameter(help="Run folder or model file of a network of objects: merges both into panoptic maps.")
    ] = None
    objects_score: Annotated[float | None, Parameter(help="Objects of a lower score are in no such map. [default: 0.5]")] = None
    objects_overlap: Annotated[
        float | None, Parameter(help="Nor objects of which others take more than this share. [default: 0.5]")
    ] = None
    stuff_area: Annotated[int | None, Parameter(help="Nor stuff of fewer pixels than these. [default: 4096]")] = None
    things: Annotated[
        tuple[str, ...] | None,
        Parameter(
            help="Classes whose objects are told apart, such as car,person. [default: by the classes of --objects-by]",
            converter=names,
            negative=(),
            metavar="NAME,...",
        ),
    ] = None


NO_INFERENCE = InferenceFlags()
Inferring = Annotated[InferenceFlags, Parameter(name="*")]


def _other_flags() -> Any:
    """The same flags with `--other-` before their names, for the second of two compared predictions."""
    hints = get_type_hints(InferenceFlags, include_extras=True)  # converters stay
    flags = []
    for item in fields(InferenceFlags):
        help = f"--{item.name.replace('_', '-')} for the second predictions only."
        flags.append((f"other_{item.name}", Annotated[hints[item.name], Parameter(help=help)], field(default=None)))
    return make_dataclass("OtherFlags", flags, kw_only=True, frozen=True, namespace={"__module__": __name__})


OtherFlags = _other_flags()
NO_OTHERS = OtherFlags()
OtherInferring = Annotated[OtherFlags, Parameter(name="*")]  # type: ignore[valid-type]


Sharding = Annotated[
    str | None,
    Parameter(
        help="Do the share i of n of the pictures, i from 0, such as 3/8; auto asks Slurm or SkyPilot, auto/8 Kubernetes too "
        "(docs/scale.md)."
    ),
]
ShardOut = Annotated[
    Path | None, Parameter(name="--out", help="With --shard: folder for what the shards find; `perpixel merge` joins it.")
]


def shard_and_folder(shard: str | None, out: Path | None) -> tuple[Any, Path] | None:
    """The shard and its folder; None where neither is given. Raises UsageError where one of them is."""
    if shard is None and out is None:
        return None
    if shard is None or out is None:
        lacking, there = ("--out", f"--shard {shard}") if out is None else ("--shard", f"--out {out}")
        raise UsageError(f"{there}: {lacking} is missing; a shard keeps what it finds in a folder, for `perpixel merge`.")
    from perpixel.shards import Shard

    return Shard.of(shard), out


AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON on stdout instead of a table.")]


def _optional(hint: Any, help: str) -> Any:
    return Annotated[hint | None, Parameter(help=help, negative=(), consume_multiple=True)]


def _measure_flags() -> Any:
    """A flag for each measure and each of its settings; a flag that is not given is None."""
    flags = []
    for name, entry in MEASURES.items():
        flags.append((name, _optional(entry.takes, entry.help), field(default=None)))
        flags += [(key, _optional(item.type, item.help), field(default=None)) for key, item in entry.settings.items()]
    return make_dataclass("MeasureFlags", flags, kw_only=True, frozen=True, namespace={"__module__": __name__})


MeasureFlags = _measure_flags()
NO_MEASURES = MeasureFlags()
Measuring = Annotated[MeasureFlags, Parameter(name="*")]  # type: ignore[valid-type]


@dataclass(frozen=True)
class Chosen:
    """The name of a measure, and the arguments of its constructor. `asked`: a flag names it."""

    name: str
    arguments: dict[str, Any]
    asked: bool = True

    def measure(self) -> Any:
        """The measure; its module is imported now. Raises UsageError for a setting that the measure refuses."""
        return class_of(self.name)(**self.arguments)


def chosen_measure(flags: Any) -> Chosen:
    """Raises UsageError for two measures, or for a setting whose measure is not given."""
    named = [name for name in MEASURES if getattr(flags, name) is not None]
    if len(named) > 1:
        raise UsageError(f"{_flag(named[0])} and {_flag(named[1])} are two judgements; give one of them.")
    arguments = {}
    for name, entry in MEASURES.items():
        for key in entry.settings:
            if getattr(flags, key) is not None and name not in named:
                remedy = "give that too" if entry.takes is bool else "name its class"
                raise UsageError(f"{_flag(key)} belongs to {_flag(name)}; {remedy}, or leave it out.")
            if getattr(flags, key) is not None:
                arguments[key] = getattr(flags, key)
    if not named:
        return Chosen(DEFAULT, arguments, asked=False)
    entry = MEASURES[named[0]]
    return Chosen(named[0], arguments if entry.takes is bool else {entry.first: getattr(flags, named[0]), **arguments})


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
