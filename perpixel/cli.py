"""Verb -> the function of `commands/` that runs it, and exit codes. A verb's file is imported when its verb runs.

A command only translates: what a verb can do, a function of the package can."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter

from perpixel.commands.completion import candidates, installer
from perpixel.errors import (
    Interrupted,
    PerpixelError,
    ResourceError,
    UsageError,
    is_full,
    is_out_of_memory,
    without_torch,
)
from perpixel.machines.interrupts import STOPPED, interruptible, own_process
from perpixel.terminal import finish_streams, prepare_streams, say
from perpixel.version import VERSION

VERBS = {
    "train": "train:train",
    "evaluate": "evaluate:evaluate",
    "explain-score": "explain_score:explain_score",
    "compare": "compare:compare",
    "predict": "predict:predict",
    "merge": "merge:merge",
    "check": "check:check",
    "convert": "convert:convert",
    "submission": "submission:submission",
    "export": "export:export",
    "upper-bound": "upper_bound:upper_bound",
    "proposal-curve": "proposal_curve:proposal_curve",
    "receptive-field": "receptive_field:receptive_field",
    "init": "init:init",
    "networks": "networks:networks",
    "datasets": "datasets:datasets",
    "download": "download:download",
    "import": "import_weights:import_",
    "log": "log:log",
    "review": "review:review",
    "claims": "claims:claims",
    "serve": "serve:serve",
}

app = App(
    name="perpixel",
    help="Semantic segmentation networks, trained as published, judged by one protocol, fast to use.",
    version=VERSION,
    suppress_keyboard_interrupt=False,  # main says that the same command continues
    default_parameter=Parameter(completer=candidates),
)
for verb, function in VERBS.items():
    app.command(f"perpixel.commands.{function}", name=verb)
app.command(installer(app), name="--install-completion")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command line; leaves with 0 done, 1 our bug, 2 usage, 3 data, 4 untrusted file, 5 resources, 75 resumable."""
    prepare_streams()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata; what pixels lack is told as an error
    try:
        given = [_with_home(word) for word in (sys.argv[1:] if arguments is None else arguments)]
        if given[:1] != ["__complete"]:  # the words that a shell completes are not whole
            given = _with_crf(given)
        if not given or given[0].startswith("-"):  # the list of verbs tells what each does
            for verb in VERBS:
                app[verb]
        own_process()
        with interruptible():
            app(given, exit_on_error=False, print_error=False, result_action="return_value")
        finish_streams()
    except CycloptsError as error:
        _stop(" ".join(str(error).split()) + " See `perpixel --help`.", UsageError.exit_code)
    except PerpixelError as error:
        _stop(str(error), error.exit_code)
    except KeyboardInterrupt:
        _stop(STOPPED, Interrupted.exit_code)
    except ModuleNotFoundError as error:
        lacking = without_torch(error, f"`perpixel {given[0]}`")
        if lacking is None:
            raise
        _stop(str(lacking), lacking.exit_code)
    except (OSError, MemoryError, RuntimeError) as error:
        sentence, code = _environment(error)
        if not sentence:
            raise
        _stop(sentence, code)


def _with_home(word: str) -> str:
    """`~` is the home in every argument, behind an equals sign too, where shells leave it as it is."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{flag}{equals}{os.path.expanduser(value)}" if value == "~" or value.startswith("~/") else word


def _with_crf(arguments: Sequence[str]) -> list[str]:
    """`--crf` alone, at the end or before another flag or a picture, is `--crf deconvnet`; `--other-crf` likewise."""
    given = list(arguments)
    for place in [i for i, word in enumerate(given) if word in ("--crf", "--other-crf")][::-1]:
        after = given[place + 1] if place + 1 < len(given) else "-"
        if after.startswith("-") or "." in after or "/" in after or Path(after).exists():
            given.insert(place + 1, "deconvnet")
    return given


def _stop(sentence: str, code: int) -> None:
    say(f"perpixel: {sentence}")
    raise SystemExit(code)


def _environment(error: Exception) -> tuple[str, int]:
    """The sentence and exit code for what the system refuses: a path, a permission, disk or memory; nothing for a bug of ours."""
    if is_full(error):
        place = getattr(error, "filename", None) or "the disk"
        return f"{place}: no space left; free some and give the same command again, nothing was lost.", ResourceError.exit_code
    if is_out_of_memory(error):
        return "not enough memory; use a smaller --batch or --crop, or a larger --accumulate.", ResourceError.exit_code
    if not isinstance(error, OSError) or error.strerror is None:
        return "", 1
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename}: {error.strerror}; choose a place where you may write.", ResourceError.exit_code
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return f"{error.filename}: is a file, or lies below one; choose a folder for --out.", UsageError.exit_code
    return f"{error.filename or 'a path'}: {error.strerror}; correct the path.", UsageError.exit_code
