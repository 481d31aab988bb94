"""The exceptions users meet. Each carries one sentence: what, where, what to do; and the exit code of the command."""

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path


class PerpixelError(Exception):
    """A mistake or a condition outside perpixel; the command line prints its sentence and leaves with `exit_code`.

    Names and values of files stand in the sentence, which is `printable` therefore."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


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
    shown = str(text)
    return shown if shown.isprintable() else "".join(map(_shown, shown))


def _shown(mark: str) -> str:
    if "\udc80" <= mark <= "\udcff":  # a byte of a file name that is no UTF-8
        return f"\\x{ord(mark) - 0xDC00:02x}"
    return mark if mark.isprintable() else repr(mark)[1:-1]


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


TORCH = ("torch", "torchvision", "timm", "safetensors")  # packages of the extra `torch`; the core is installed without them


def without_torch(error: ImportError, subject: str) -> ResourceError | None:
    """The error for `subject`, which cannot work where a package of the extra `torch` is not installed.

    None where another import failed, or a part of an installed package is missing: that is a bug, or a damaged installation."""
    if not isinstance(error, ModuleNotFoundError) or error.name not in TORCH:
        return None
    return ResourceError(f'{subject} needs {error.name}, which is not installed; pip install "perpixel[torch]" brings it.')
