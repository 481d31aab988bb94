"""`@compiled()` turns a function of numbers and arrays into machine code with numba, when the function is first called.

numba and its own imports take 0.4 s. So numba is imported at the first call, and a process that calls no compiled function does
not load it. The code is kept for later processes in the package's folder, or else in a folder below the home. Where neither can
be written, as for a user without a home in a container, each process compiles again."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, update_wrapper
from typing import Any


class Compiled:
    """A function that numba compiles at its first call, or at the first call of a compiled function that calls it."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        update_wrapper(self, function)
        self._function, self._options = function, options

    def __call__(self, *arguments: Any) -> Any:
        return self._dispatcher(*arguments)

    @cached_property
    def _dispatcher(self) -> Any:
        import numba

        try:
            return numba.njit(nogil=True, cache=True, **self._options)(self._function)
        except RuntimeError:  # no locator available: there is no place to keep the code
            return numba.njit(nogil=True, **self._options)(self._function)

    @property
    def _numba_type_(self) -> Any:
        """The type of this function in numba, where another compiled function calls it."""
        return self._dispatcher._numba_type_


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Compiled]:
    """numba's `njit` without Python's lock, with the `options` of numba, such as `inline="always"`."""
    return lambda function: Compiled(function, options)
