"""The exceptions users meet. Each carries one sentence: what, where, what to do; and the exit code of the command."""

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path


class PerpixelError(Exception):
    """A mistake or a condition outside perpixel; the command line prints its sentence and leaves with `exit_code`."""

    exit_code = 1


class UsageError(PerpixelError):
    """A setting, flag or name that does not exist or does not fit."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that is not in a list of known names."""


class DataError(PerpixelError):
    """A picture, mask or data set that cannot be used as it is."""

    exit_code = 3


class UntrustedFile(PerpixelError):
    """A model or run file that is damaged or not what it says it is."""

    exit_code = 4


class ResourceError(PerpixelError):
    """Disk, memory or a device is not there when it is needed."""

    exit_code = 5


class Interrupted(PerpixelError):
    """Stopped by the user or the system; the same command continues."""

    exit_code = 75


def did_you_mean(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for `name` that is no `kind`, with the nearest known name and all of them, or their number if over 100."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    listed = f"Known: {', '.join(names) or 'none'}" if len(names) <= 100 else f"{len(names)} are known"
    return UnknownName(f"no {kind} {name!r}{hint} {listed}.")


def printable(text: Path | str) -> str:
    """A name or text of a file with everything that a terminal would obey, or that forges a line, as an escape."""
    try:
        shown = str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a pair, as JSON may say it
        shown = str(text)
    return "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in shown)


def is_full(error: BaseException) -> bool:
    """Whether the disk, or a share of it, is full: then whatever is tried next fails too."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is missing, as Python, NumPy, torch on CPUs and torch on GPUs say it."""
    said = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in said or "can't allocate memory" in said)
    )


def failure_of(where: Path | str, error: Exception) -> str | None:
    """The sentence of what made one file of many fail, so that the others go on; none for a bug and for a full disk."""
    if isinstance(error, PerpixelError):
        return str(error)
    if isinstance(error, OSError) and not is_full(error):
        return f"{error.filename or where}: {error.strerror or error}."
    if is_out_of_memory(error):
        return f"{where}: needs more memory than there is; cut it into smaller pictures."
    return None
