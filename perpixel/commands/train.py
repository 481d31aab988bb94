"""`perpixel train`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter

from perpixel.commands.flags import AsJson
from perpixel.errors import UsageError, printable
from perpixel.terminal import say
from perpixel.training.recipe import Recipe, find, merge


def _flag_type(item: Any, hint: Any) -> Any:
    default = "" if item.default is None else f" [default: {_shown(item.default)}]"
    text = item.metadata["help"] + default
    negative = None if hint in (bool, bool | None) else ()
    return Annotated[hint | None, Parameter(help=text, negative=negative, consume_multiple=True)]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(float(f"{value:.4g}")) if isinstance(value, float) else str(value)


# Every setting of a recipe as a flag, which is None where it is not given; defaults stay in Recipe.
_HINTS = get_type_hints(Recipe)
Flags = make_dataclass(
    "Flags",
    [(item.name, _flag_type(item, _HINTS[item.name]), field(default=None)) for item in fields(Recipe)],
    namespace={"__module__": __name__},
    kw_only=True,
    frozen=True,
)


NONE_GIVEN = Flags()


def train(
    folder: Annotated[str | None, Parameter(help="Your pictures and masks, in any shape; made ready as init does.")] = None,
    /,
    *,
    out: Annotated[Path | None, Parameter(help="Run folder; the same command continues a run that was stopped.")] = None,
    recipe: Annotated[str | None, Parameter(help="Recipe by name, or TOML file of settings; flags win over it.")] = None,
    as_json: AsJson = False,
    flags: Annotated[Flags, Parameter(name="*")] = NONE_GIVEN,  # type: ignore[valid-type]
) -> None:
    """Train a network on a data set; judge it; write weights, history, curves and pictures into a run folder.

    For a folder of your own, settings that you do not give are chosen to fit its pictures: U-Net on a pretrained trunk, a crop,
    a number of steps. A recipe that starts from another recipe trains the other one first, with the same flags; see `stages/`
    in the run folder."""
    given = {name: value for name, value in vars(flags).items() if value is not None}
    if folder is not None and given.setdefault("data", folder) != folder:
        raise UsageError(f"{folder} and --data {given['data']} are two data sets; name one of them.")
    name = Path(os.path.abspath(folder)).name if folder else ""
    file = None if recipe is None else find(recipe)
    settings, origins = merge(file, given)  # raises for wrong settings before torch is imported
    from perpixel.terminal import Progress, announced, print_json

    with announced(f"Training on {printable(settings.data)}: getting ready.") as heard:
        from perpixel.training.stages import stages, train_stages  # first, because this fails where torch is not installed

        if folder is not None and os.path.isdir(folder):
            from perpixel.doctor.init import prepared

            copy = (out.parent if out else Path("runs")) / f"{Path(os.path.abspath(folder)).name}-set"
            given["data"] = str(prepared(Path(folder), copy, heard(say), heard(Progress("copied"))))
            settings, origins = merge(file, given)
        chosen: Mapping[str, Any] = {}
        if file is None:
            from perpixel.training.plan import plan

            planned = plan(settings, origins)
            if planned is not None:
                say(planned.sentence)
                chosen = planned.chosen
                settings, _ = merge(file, given, chosen=chosen)
        run = out or Path("runs") / ((recipe and Path(recipe).stem) or f"{name or Path(settings.data).name}-{settings.network}")

        planned_stages, checked = stages(file, given, chosen=chosen), heard(Progress("checked"))
        scores = train_stages(planned_stages, run, heard(say), lambda what: heard(Progress(what)), checked)
    if scores is None:
        return
    if as_json:
        print_json(scores.to_json())
    else:
        from perpixel.judging.scores import print_scores

        print_scores(scores)
        say(f"{run}: weights, history, curves.png, val.png, scores.json. Next: perpixel predict {run} PICTURES --out masks")
