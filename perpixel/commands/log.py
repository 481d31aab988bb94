"""`perpixel log`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.files import SCORES_FILE
from perpixel.terminal import say


def log(
    run: Annotated[Path, Parameter(help="Run folder, of a training that runs, is stopped, or is done.")],
    *,
    to: Annotated[str, Parameter(help="tensorboard or mlflow, which you install yourself.")],
    out: Annotated[
        Path | None, Parameter(help="Folder for its files. [default: logs; with mlflow the place that its environment names]")
    ] = None,
    once: Annotated[bool, Parameter(negative=(), help="Log what there is now, and do not wait for more.")] = False,
) -> None:
    """Show a training in TensorBoard or MLflow: losses, learning rate and validations, as they come, until it is done.

    It only reads history.jsonl of the run folder, in a process of its own, so it can neither slow nor break the training."""
    from perpixel.training.loggers import destination_of, follow, require_run

    require_run(run)
    destination = destination_of(to, run, out)
    place = destination.place or "MLflow's own place"
    if not (once or (run / SCORES_FILE).exists()):
        say(f"{run}: is logged to {place} until it is done; Ctrl-C ends this, and not the training.")
    count = follow(run, destination, once)
    say(f"{run}: {count} entries of its history are in {place}.")
