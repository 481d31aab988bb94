"""`perpixel train`."""

from __future__ import annotations

from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter

from perpixel.commands.flags import AsJson
from perpixel.errors import printable
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
    quick: Annotated[bool, Parameter(negative=(), help="Two minutes, to see how far that gets.")] = False,
    as_json: AsJson = False,
    flags: Annotated[Flags, Parameter(name="*")] = NONE_GIVEN,  # type: ignore[valid-type]
) -> None:
    """Train a network on a data set; judge it; write weights, history, curves, pictures and a page into a run folder.

    For a folder of your own, settings that you do not give are planned by rules, from its pictures and the speed of this machine:
    network, crop, augmentation, steps; about 15 minutes on a CPU, or --minutes. A recipe that starts from another recipe trains
    the other one first, with the same flags; see `stages/` in the run folder."""
    given = {name: value for name, value in vars(flags).items() if value is not None}
    settings, _ = merge(None if recipe is None else find(recipe), given)  # raises for wrong settings before torch is imported
    from perpixel.terminal import Progress, announced, print_json

    with announced(f"Training on {printable(folder or settings.data)}: getting ready.") as heard:
        from perpixel.folder_to_run import run  # fails where torch is not installed

        trained = run(
            folder, recipe, given, out=out, quick=quick, say=heard(say), progress=lambda things: heard(Progress(things))
        )
    if trained.scores is None:
        return
    if as_json:
        print_json(trained.scores.to_json())
    else:
        from perpixel.judging.scores import print_scores

        print_scores(trained.scores)
        say(f"{trained.run}: weights, history, report.html, curves.png, val.png, scores.json.")
        say(f"Next: perpixel predict {trained.run} PICTURES --out masks")
