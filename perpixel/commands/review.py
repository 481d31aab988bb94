"""`perpixel review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.errors import DataError, UsageError
from perpixel.terminal import say


def review(
    *,
    out: Annotated[Path, Parameter(help="Folder for runs, table and pictures.")] = Path("review"),
    data: Annotated[str, Parameter(help="Data set: a name or a folder (see `perpixel datasets`).")] = "scenes",
    root: Annotated[str | None, Parameter(help="Folder that holds the data set of that name.")] = None,
    network: Annotated[
        tuple[str, ...], Parameter(help="Network of the review, or several. All without it.", consume_multiple=True)
    ] = (),
    steps: Annotated[int | None, Parameter(help="Steps of each training; 180 without it.")] = None,
    minutes: Annotated[float | None, Parameter(help="Minutes of each training, in place of steps; measured once.")] = None,
    seeds: Annotated[int, Parameter(help="Trainings of each network, each from another seed.")] = 1,
    seed: Annotated[int, Parameter(help="The first seed.")] = 0,
    scratch: Annotated[bool, Parameter(help="Train each network also without its pretrained trunk.", negative=())] = False,
    tune: Annotated[bool, Parameter(help="Choose learning rates and optimisers anew; leaves tuned.json.", negative=())] = False,
    make_trunks: Annotated[bool, Parameter(help="Train the trunks anew; leaves them in OUT.", negative=())] = False,
) -> None:
    """Train the review's networks at laptop width, judge them by one protocol, and leave table and pictures."""
    from perpixel.studies.entries import ENTRIES, OBJECTS, PROTOCOL
    from perpixel.terminal import Progress, show

    if make_trunks or tune:
        if make_trunks and tune:
            raise UsageError("--make-trunks and --tune are two pieces of work; give one.")
        if make_trunks:
            from perpixel.studies.trunks import make_trunks as make

            show(str(make(out, seed, say, Progress)))
        else:
            from perpixel.studies.tuning import tune as choose

            show(str(choose(out, network, seed, say, Progress)))
        return
    from perpixel.report.review_page import write_page
    from perpixel.studies.review import SCRATCH, Plan, Review

    if minutes is not None and steps is not None:
        raise UsageError("--minutes and --steps both say how long a training is; give one.")
    if not 1 <= seeds <= 100 or (steps is not None and steps < 1) or (minutes is not None and not 0 < minutes < 1e6):
        raise UsageError("--seeds is a number from 1 to 100; --steps is 1 or more; --minutes is more than 0.")
    plan = Plan(data, root, tuple(range(seed, seed + seeds)), steps or PROTOCOL["steps"], minutes, network, scratch)
    chosen = plan.entries({**ENTRIES, **OBJECTS})
    of_objects = {name: entry for name, entry in chosen.items() if name.removesuffix(SCRATCH) in OBJECTS}
    of_pixels = {name: entry for name, entry in chosen.items() if name not in of_objects}
    if not plan.long and not network:  # so few steps teach nobody to find objects
        say(f"{', '.join(of_objects)} find objects, and learn that only with --steps above {plan.steps}, or --minutes.")
        of_objects = {}
    done = Review(out, plan, of_pixels, of_objects)
    done.page = lambda folder: write_page(folder, root)
    for line in done.run(say, Progress).read_text(encoding="utf-8").splitlines():
        show(line)
    if done.failed:
        raise DataError(f"{len(done.failed)} of {len(chosen)} networks failed; the table says why.")
