"""Runs command lines in child processes and stops them: `python kill_verbs.py BASE VERBS_JSON STEP`.

Each command first runs undisturbed in BASE-VERB-none, a copy of the folder BASE, where its touches of the disk are counted. Then
at every STEP-th of them (with 0, at four) it is killed in BASE-VERB-kill-N, and in BASE-VERB-full-N the disk is full from there
on. What is there then is kept as BASE-VERB-KIND-N-half, and the same command is given again. Prints the exit statuses as JSON.
What takes long to import is imported once and forked."""

import errno
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from perpixel.cli import main
from perpixel.doctor import check, init, repair  # noqa: F401
from perpixel.formats import convert  # noqa: F401
from perpixel.judging import evaluate, submission  # noqa: F401
from perpixel.weights import import_weights  # noqa: F401

TOUCHES = ((os, "replace"), (os, "rename"), (os, "fsync"), (os, "mkdir"), (shutil, "rmtree"), (os, "unlink"), (os, "rmdir"))
NEEDS_SPACE = frozenset({"replace", "rename", "fsync", "mkdir"})


def child(arguments: list[str], folder: Path, kind: str, number: int) -> None:
    touched = 0

    def counting(function, name):
        def touch(*given, **keywords):
            nonlocal touched
            touched += 1
            if kind == "kill" and touched == number:
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "full" and touched >= number and name in NEEDS_SPACE:
                raise OSError(errno.ENOSPC, "No space left on device", str(folder))
            return function(*given, **keywords)

        return touch

    for module, name in TOUCHES:
        setattr(module, name, counting(getattr(module, name), name))
    os.chdir(folder)
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 0
    try:
        main(arguments)
    except SystemExit as left:
        code = left.code or 0
    except BaseException as error:
        os.write(log, f"Traceback: {error!r}".encode())
        code = 1
    if kind == "none":
        Path(f"{folder}.count").write_text(str(touched))
    os._exit(code)


def run(arguments: list[str], folder: Path, kind: str = "none", number: int = 0) -> int:
    pid = os.fork()
    if pid == 0:
        child(arguments, folder, kind, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def copy(folder: Path, name: str) -> Path:
    """A copy whose files are the same on disk: whoever writes a file anew takes another."""
    return Path(shutil.copytree(folder, folder.with_name(name), symlinks=True, copy_function=os.link))


def stop(base: Path, verb: str, arguments: list[str], step: int) -> dict[str, list[int]]:
    start = f"{base.name}-{verb.replace(' ', '-')}"
    run(arguments, copy(base, f"{start}-first"))  # so that files which numba caches once are not counted
    straight = copy(base, f"{start}-none")
    statuses = {"none": [run(arguments, straight)]}
    touches = int(Path(f"{straight}.count").read_text())
    for number in range(1, touches + 1, step or max(1, touches // 4)):
        for kind in ("kill", "full"):
            folder = copy(base, f"{start}-{kind}-{number}")
            first = run(arguments, folder, kind, number)
            copy(folder, f"{folder.name}-half")
            statuses[f"{kind}-{number}"] = [first, run(arguments, folder)]
    return statuses


if __name__ == "__main__":
    base, step = Path(sys.argv[1]), int(sys.argv[3])
    print(json.dumps({verb: stop(base, verb, arguments, step) for verb, arguments in json.loads(sys.argv[2]).items()}))
