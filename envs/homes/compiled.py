"""Compile a kernel once and keep the machine code: beside the module, else in the user's cache, else in memory."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """`numba.njit` that releases the GIL and caches wherever a cache can be written."""
    try:
        return numba.njit(cache=True, nogil=True, fastmath={"contract", "arcp", "nsz"})(function)  # type: ignore[no-any-return]
    except RuntimeError:  # neither the package's folder nor the user's cache folder can be written
        return numba.njit(nogil=True, fastmath={"contract", "arcp", "nsz"})(function)  # type: ignore[no-any-return]
