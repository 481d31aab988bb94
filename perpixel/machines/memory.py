"""The process's manners with memory."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Makes glibc keep freed blocks of up to 1 GiB instead of handing each back to the system.

    Pictures, and activations of a few dozen MB, are otherwise mapped, zeroed page by page and unmapped each time, which takes a
    fifth of a training step, nearly half of a prediction on a CPU and an eighth of `check`. Does nothing where the C
    library is another."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Python does not look for reference cycles meanwhile: among the entries of a large JSON file, and the modules that judge it,
    there are none worth a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
