"""`perpixel merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import AsJson
from perpixel.errors import DataError, UsageError
from perpixel.terminal import say, say_failures


def merge(
    shards: Annotated[Path, Parameter(help="The --out of all shards; files of several machines are copied into one folder.")],
    *,
    bootstrap: Annotated[
        int, Parameter(help="Of evaluate: halves of the pictures that intervals of the scores are made of; 0 for none.")
    ] = 0,
    seed: Annotated[int, Parameter(help="Seed of those samples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Join what the shards of predict, evaluate, check or convert did: the result of one process, whatever their number
    (docs/scale.md)."""
    from perpixel.shards import kind_of

    kind = kind_of(shards)
    if kind != "scores" and (bootstrap or seed):
        flag = "bootstrap" if bootstrap else "seed"
        raise UsageError(f"--{flag}: is of scores, and {shards} holds shards of other work; leave it out.")
    join = {"predictions": _predictions, "scores": _scores, "checked": _checked, "converted": _converted}[kind]
    join(shards, bootstrap, seed, as_json)


def _predictions(shards: Path, _: int, __: int, as_json: bool) -> None:
    from perpixel.prediction.journal import merge_predictions
    from perpixel.terminal import Progress, print_json

    merged = merge_predictions(shards, Progress("compared"))
    if as_json:
        print_json({"predicted": merged.done, "failed": list(merged.failed)})
    say_failures(merged.failed, "pictures")
    say(f"{shards}: {merged.done} predicted, {len(merged.failed)} failed.")
    if merged.failed:
        raise SystemExit(DataError.exit_code)


def _scores(shards: Path, bootstrap: int, seed: int, as_json: bool) -> None:
    from perpixel.commands.evaluate import tell
    from perpixel.judging.evaluate import scores_of
    from perpixel.judging.stored_rows import stored
    from perpixel.terminal import Progress

    failed: dict[str, str] = {}
    measure, title, pairs = stored(shards)
    scores = scores_of(pairs, measure, Progress("joined"), bootstrap, seed, failed=failed)
    tell(shards, title, scores, failed, as_json)


def _converted(shards: Path, _: int, __: int, as_json: bool) -> None:
    from perpixel.commands.convert import tell
    from perpixel.formats.convert import merge_converted

    report, to = merge_converted(shards)
    tell(shards, report, to, as_json)


def _checked(shards: Path, _: int, __: int, as_json: bool) -> None:
    from perpixel.commands.check import tell
    from perpixel.doctor.check import merge_checked

    tell(*merge_checked(shards), as_json)
