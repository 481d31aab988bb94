"""`perpixel proposal-curve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import AsJson, Root
from perpixel.commands.opening import load_on, open_data
from perpixel.terminal import say


def proposal_curve(
    run: Annotated[Path, Parameter(help="Run folder or model file.")],
    *,
    data: Annotated[str | None, Parameter(help="Data set; the run's own without it.")] = None,
    root: Root = None,
    split: Annotated[str | None, Parameter(help="Split to judge on; without it the run's own, or val.")] = None,
    counts: Annotated[
        list[int] | None,
        Parameter(help="Numbers of boxes. [default: 1 5 10 20 50 100]", negative=(), consume_multiple=True),
    ] = None,
    proposals_by: Annotated[str, Parameter(help="edge_boxes, selective_search or sliding.")] = "edge_boxes",
    merge: Annotated[str, Parameter(help="max, sum or released.")] = "max",
    out: Annotated[Path, Parameter(help="Folder for proposal-curve.json and proposal-curve.png.")] = Path("proposal-curve"),
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Draw how the mean IU grows with the number of merged boxes, as DeconvNet's figure does: one pass over each picture."""
    from perpixel.studies.proposal_curve import COUNTS, write_curve
    from perpixel.studies.proposal_curve import proposal_curve as judge
    from perpixel.terminal import Progress, percent, print_json, print_table

    model = load_on(run, device)
    dataset, _ = open_data(run, model, data, root, split)
    curve = judge(model, dataset, tuple(counts or COUNTS), proposals_by, merge, Progress("judged"))
    written = write_curve(out, curve)
    if as_json:
        print_json(written)
    else:
        print_table(
            ("boxes", "mean IU", "pixel accuracy"),
            [(str(count), percent(s.mean_iou), percent(s.figures["pixel_accuracy"])) for count, s in curve.items()],
        )
    say(f"{out}: proposal-curve.json and proposal-curve.png.")
