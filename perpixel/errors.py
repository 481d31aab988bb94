"""The exceptions users meet. Each carries one sentence: what, where, what to do; and the exit code of the command."""

import difflib
from collections.abc import Iterable


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
