"""Memory of the process: two settings that save time, and the peak of a call."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Keeps freed memory in the process. glibc otherwise returns large freed blocks to the system.

    Then the system maps, zeroes and unmaps the memory of each picture and activation anew. That takes a fifth of a training step,
    nearly half of a prediction on a CPU and an eighth of `check`. Blocks of up to 1 GiB are kept. Does nothing where the
    C library is not glibc."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pauses Python's search for reference cycles during the block.

    The search takes a tenth of the time to read a large JSON file and to import the modules that judge it. It frees next to
    nothing there."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def peak_of(work: Callable[[], object]) -> int | None:
    """Bytes of memory that a call of `work` takes at most beyond what the process holds before it, by the system's own count.

    None where the system does not count: anywhere but on Linux, or where it hides /proc."""
    if sys.platform != "linux":
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    gc.collect()
    if trim is not None:
        trim(0)  # memory that was kept would be taken again, uncounted
    try:
        Path("/proc/self/clear_refs").write_text("5")  # begins the peak anew
    except OSError:
        return None
    before = _kilobytes("VmRSS")
    work()
    peak = _kilobytes("VmHWM")
    return None if before is None or peak is None else 1024 * max(0, peak - before)


def _kilobytes(name: str) -> int | None:
    """A line of the process's status; none where it is not there."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
