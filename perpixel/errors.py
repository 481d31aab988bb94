"""The exceptions that users meet.

Each carries one sentence, which says what is wrong, where, and what to do. Its class gives the exit code of the command."""

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path


class PerpixelError(Exception):
    """A mistake of the user, or a condition outside perpixel. The command line prints its sentence and ends with `exit_code`.

    The sentence may quote names and values from files, so it is made `printable`."""

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
    """A model or run file that is damaged, or whose content is not of the kind that it claims."""

    exit_code = 4


class ResourceError(PerpixelError):
    """Disk space, memory or a device that is needed and not available."""

    exit_code = 5


class Interrupted(PerpixelError):
    """The user or the system stopped the command; the same command continues."""

    exit_code = 75


def did_you_mean(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a `name` that is no known `kind`, for example no network.

    It gives the nearest known name and all known names. Above 100 names it gives their number only."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    listed = f"Known: {', '.join(names) or 'none'}" if len(names) <= 100 else f"{len(names)} are known"
    return UnknownName(f"no {kind} {name!r}{hint} {listed}.")


def printable(text: Path | str) -> str:
    """A name or text from a file, safe to show on a terminal.

    Each character that a terminal obeys, or that forges a line, is written as an escape."""
    plain = str(text)
    return plain if plain.isprintable() else "".join(map(_escaped, plain))


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character if character.isprintable() else repr(character)[1:-1]


def is_full(error: BaseException) -> bool:
    """Whether the disk, or the user's share of the disk, is full. Then the next file fails too."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is missing. Python, NumPy, torch on CPUs and torch on GPUs each report it in their own way."""
    message = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in message or "can't allocate memory" in message)
    )


def failure_of(where: Path | str, error: Exception) -> str | None:
    """The sentence to report for one failed file of many, so that the other files go on. None for a bug and for a full disk."""
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
