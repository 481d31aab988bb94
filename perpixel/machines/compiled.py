"""`@compiled()` turns a function of numbers and arrays into machine code with numba, when it is first called.

The code is kept for later processes where a folder for it can be written: the package's own or one below the home. Where neither
can, as for a user without a home in a container, each process compiles anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba's `njit` without Python's lock, with the `options` of numba, such as `inline="always"`."""

    def compile_later(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no locator available: there is no place to keep the code
            return numba.njit(nogil=True, **options)(function)

    return compile_later
