"""`perpixel evaluate`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import NO_INFERENCE, NO_MEASURES, AsJson, Inferring, Measuring, Root, chosen_measure
from perpixel.commands.opening import given, inference_of, open_judged, refuse_ways
from perpixel.errors import DataError
from perpixel.terminal import say, say_failures


def evaluate(
    run: Annotated[Path, Parameter(help="Run folder, model file, or folder of predicted masks; or a COCO results file.")],
    *,
    data: Annotated[str | None, Parameter(help="Data set; the run's own without it.")] = None,
    root: Root = None,
    split: Annotated[str | None, Parameter(help="Split to judge on; without it the run's own, or val.")] = None,
    inferring: Inferring = NO_INFERENCE,
    measures: Measuring = NO_MEASURES,
    bootstrap: Annotated[
        int, Parameter(help="Halves of the pictures that intervals of the scores are made of, such as 1000; 0 for none.")
    ] = 0,
    seed: Annotated[int, Parameter(help="Seed of those samples.")] = 0,
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Judge a model, or a folder of masks, on a split: one confusion matrix, worst class first; or its objects, membranes or
    borders; or Cityscapes and COCO as their benchmarks do.

    `torchrun --nproc-per-node 2 -m perpixel evaluate ...` divides the pictures among processes and gives the same counts."""
    chosen = chosen_measure(measures)  # wrong flags are told before torch is waited for
    from perpixel.judging.evaluate import evaluate as judge
    from perpixel.judging.scores import print_scores
    from perpixel.machines.memory import keep_freed_memory, without_garbage_collection
    from perpixel.machines.team import join
    from perpixel.terminal import Progress, print_json

    measure, failed = chosen.measure(), dict[str, str]()
    keep_freed_memory()
    with join(device) as team:
        judged = open_judged(run, measure, data, root, split, team.device_name)
        if isinstance(judged.predictions, Path):
            refuse_ways(run, "results" if judged.by_files else "masks", given(inferring))
        progress = Progress("drawn" if judged.by_files and measure.needs == "instances" else "judged")
        with without_garbage_collection() if judged.by_files else nullcontext():
            scores = judge(
                judged.predictions, judged.data, measure, progress if team.rank == 0 else None,
                inference_of(given(inferring)), bootstrap, seed, team, failed,
            )  # fmt: skip
        if team.rank:  # one voice for all
            return
    if as_json:
        print_json(scores.to_json())
    else:
        say(f"{run}: {judged.title(measure, scores)}.")
        print_scores(scores)
    _tell_left_out(run, failed, scores.pictures + len(failed))


def _tell_left_out(run: Path, failed: dict[str, str], pictures: int) -> None:
    """Says which of so many pictures could not be judged, if any, and leaves with the exit code of damaged data."""
    if failed:
        say_failures(failed.values(), "pictures")
        say(f"{run}: {len(failed)} of {pictures} pictures cannot be judged; the figures are of the others alone.")
        raise SystemExit(DataError.exit_code)
