"""`perpixel claims`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import Root
from perpixel.errors import DataError
from perpixel.terminal import say


def claims(
    *names: Annotated[str, Parameter(help="Claims, or systems such as fcn and deeplab. [default: all]")],
    data: Annotated[str, Parameter(help="scenes, a folder of pictures and masks, or a published set.")] = "scenes",
    root: Root = None,
    seeds: Annotated[int, Parameter(help="Trainings of each arm; verdicts need 3.")] = 3,
    steps: Annotated[int | None, Parameter(help="Steps of each training. [default: those of the fixed conditions]")] = None,
    out: Annotated[Path, Parameter(help="Folder for runs and the table; the same command continues.")] = Path("claims"),
    listed: Annotated[bool, Parameter(name="--list", negative=(), help="List the claims, and train nothing.")] = False,
) -> None:
    """Try the claims of the papers: train what each isolates, and say for each whether it is shown, with effect, interval and p.

    The table is in OUT/claims.md and OUT/claims.json, and is written anew after each training."""
    from perpixel.studies.claims.conditions import conditions
    from perpixel.studies.claims.study import PAGE, claims_of, study, told
    from perpixel.terminal import Progress, print_table, show

    fixed = conditions(data, root, steps)
    if listed:
        chosen = [claim for _, claim in claims_of(fixed, names)]
        print_table(
            ("claim", "says", "source", "figure", "needs"),
            [(claim.name, claim.text, claim.source, claim.figure, ", ".join(claim.needs)) for claim in chosen],
        )
        return
    done = study(fixed, names, seeds, out, say, Progress)
    rows = done.write()
    print_table(
        ("claim", "says", "figure", "difference", "verdict"),
        [(row["name"], row["claim"], row["figure"], *told(row)) for row in rows],
    )
    show()
    show(f"{out / PAGE}: every arm by seed, p, and what each claim says, varies and holds.")
    if done.failed:
        first = next(iter(done.failed.values()))
        raise DataError(f"{len(done.failed)} trainings failed, the others are judged; the first: {first}")
