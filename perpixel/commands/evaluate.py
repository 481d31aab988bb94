"""`perpixel evaluate`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from perpixel.commands.flags import (
    NO_INFERENCE,
    NO_MEASURES,
    AsJson,
    Inferring,
    Measuring,
    Root,
    Sharding,
    ShardOut,
    chosen_measure,
    shard_and_folder,
)
from perpixel.commands.opening import Judged, given, inference_of, open_judged, refuse_ways, validated_by
from perpixel.errors import DataError, UsageError
from perpixel.terminal import say, say_failures

if TYPE_CHECKING:
    from perpixel.judging.scores import Scores
    from perpixel.shards import Shard


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
    shard: Sharding = None,
    out: ShardOut = None,
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Judge a model, or a folder of masks, on a split: one confusion matrix, worst class first; or its objects, membranes or
    borders; or Cityscapes and COCO as their benchmarks do. Without a measure a run is judged by that of its training.

    `torchrun --nproc-per-node 2 -m perpixel evaluate ...` divides the pictures among processes and gives the same counts."""
    chosen = chosen_measure(measures)  # wrong flags are told before torch is waited for
    of_shard = shard_and_folder(shard, out)
    if of_shard is not None:
        from perpixel.shards import refuse_with_shard

        refuse_with_shard(shard, {"bootstrap": bootstrap, "seed": seed, "json": as_json})
    from perpixel.judging.evaluate import evaluate as judge
    from perpixel.machines.memory import keep_freed_memory, without_garbage_collection
    from perpixel.machines.team import join
    from perpixel.terminal import Progress

    measure, failed = chosen.measure(), dict[str, str]()
    keep_freed_memory()
    with join(device) as team:
        if of_shard is not None and team.world > 1:
            raise UsageError(f"--shard {shard}: torchrun divides the pictures too; start each shard without it.")
        judged = open_judged(run, measure, data, root, split, team.device_name)
        if isinstance(judged.predictions, Path):
            refuse_ways(run, "results" if judged.by_files else "masks", given(inferring))
        elif not chosen.asked:
            measure, reason = validated_by(judged.predictions)
            if reason and team.rank == 0:
                say(f"{run}: {reason}; --pixels judges its pixels.")
        if of_shard is not None:
            _of_shard(judged, measure, inference_of(given(inferring)), *of_shard)
            return
        progress = Progress("drawn" if judged.by_files and measure.needs == "instances" else "judged")
        with without_garbage_collection() if judged.by_files else nullcontext():
            scores = judge(
                judged.predictions, judged.data, measure, progress if team.rank == 0 else None,
                inference_of(given(inferring)), bootstrap, seed, team, failed,
            )  # fmt: skip
        if team.rank:  # one voice for all
            return
    tell(run, judged.title(measure), scores, failed, as_json)


def tell(run: Path, title: str, scores: Scores, failed: dict[str, str], as_json: bool) -> None:
    """Prints scores, and says what is judged. Leaves with the exit code of damaged data where pictures could not be judged."""
    from perpixel.judging.scores import print_scores
    from perpixel.terminal import print_json

    if as_json:
        print_json(scores.to_json())
    else:
        pictures = f", {scores.protocol['pictures']} pictures" if "pictures" in scores.protocol else ""
        say(f"{run}: {title}{pictures}.")
        print_scores(scores)
    _tell_left_out(run, failed, scores.pictures + len(failed))


def _of_shard(judged: Judged, measure: Any, inference: Any, shard: Shard, out: Path) -> None:
    """Judges the pictures of a shard and keeps what was counted."""
    from perpixel.judging.answers import pairs_of
    from perpixel.judging.stored_rows import store
    from perpixel.terminal import Progress

    pairs = pairs_of(judged.predictions, judged.data, measure, inference)
    stored = store(pairs, measure, out, shard, judged.title(measure), Progress("judged"))
    say_failures(stored.failed.values(), "pictures")
    say(f"{out}: {stored.done} judged, {stored.before} before, {len(stored.failed)} cannot be judged. Shard {shard} of "
        f"{len(pairs.names)} pictures; then: perpixel merge {out}")  # fmt: skip
    if stored.failed:
        raise SystemExit(DataError.exit_code)


def _tell_left_out(run: Path, failed: dict[str, str], pictures: int) -> None:
    """Says which of so many pictures could not be judged, if any, and leaves with the exit code of damaged data."""
    if failed:
        say_failures(failed.values(), "pictures")
        say(f"{run}: {len(failed)} of {pictures} pictures cannot be judged; the figures are of the others alone.")
        raise SystemExit(DataError.exit_code)
