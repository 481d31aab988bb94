"""Runs a training in a child process and kills it: `python kill.py RECIPE_JSON OUT POINT...`.

A point is `none`, `count` (print how often the disk is touched), `op:N` (SIGKILL at the N-th touch) or `after:SECONDS`.
For each the training starts in OUT-POINT, is killed, and is run again to its end. torch is imported once and forked, before
any of its threads exist."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from perpixel.errors import PerpixelError
from perpixel.training.recipe import Recipe
from perpixel.training.train import train

TOUCHES = ((os, "replace"), (os, "fsync"), (os, "mkdir"), (shutil, "rmtree"), (os, "unlink"), (os, "rmdir"))


def child(recipe: Recipe, out: Path, kill_at: int | None, log: Path) -> None:
    touched = 0

    def counting(function):
        def touch(*arguments, **keywords):
            nonlocal touched
            touched += 1
            if touched == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return touch

    for module, name in TOUCHES:
        setattr(module, name, counting(getattr(module, name)))
    try:
        train(recipe, out, say=lambda text: print(text, file=log.open("a")))
        print(touched, flush=True)
        os._exit(0)
    except PerpixelError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(1)


def run(recipe: Recipe, out: Path, log: Path, kill_at: int | None = None, after: float | None = None) -> int:
    """The exit status of one training, killed or not; negative for a signal."""
    pid = os.fork()
    if pid == 0:
        child(recipe, out, kill_at, log)
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    settings = json.loads(sys.argv[1])
    recipe = Recipe(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})
    base, statuses = Path(sys.argv[2]), {}
    for point in sys.argv[3:]:
        out, log = base.with_name(f"{base.name}-{point}"), base.with_name(f"{base.name}-{point}.log")
        kind, _, number = point.partition(":")
        first = run(
            recipe, out, log,
            kill_at=int(number) if kind == "op" else None,
            after=float(number) if kind == "after" else None,
        )  # fmt: skip
        second = run(recipe, out, log) if first else 0
        statuses[point] = [first, second]
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
