"""`@compiled()` turns a function of numbers and arrays into machine code, with numba, at its first call.

Later processes use the same code again. It is stored in the package's folder or in a folder below the user's home. Where
neither can be written, as for a user without a home in a container, each process compiles anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: numba's `njit`, which releases Python's lock. `options` are numba's, such as `inline="always"`."""

    def compile_later(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # numba's "no locator available": the code can be stored nowhere
            return numba.njit(nogil=True, **options)(function)

    return compile_later
