"""`@compiled()` turns a function of numbers and arrays into machine code with numba, when it is first called.

numba takes 0.2 s to import, so it is imported then too: a module may have compiled functions, and who calls none need not wait.
The code is kept for later processes where a folder for it can be written: the package's own or one below the home. Where neither
can, as for a user without a home in a container, each process compiles anew."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, update_wrapper
from typing import Any


class Compiled:
    """A function that numba compiles when it is called, or when a compiled function that calls it is."""

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
        """What numba takes this for where another compiled function calls it."""
        return self._dispatcher._numba_type_


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Compiled]:
    """numba's `njit` without Python's lock, with the `options` of numba, such as `inline="always"`."""
    return lambda function: Compiled(function, options)
