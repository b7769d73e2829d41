"""Compile a kernel once and keep the machine code: beside the module, else in the user's cache, else in memory."""

from collections.abc import Callable
from typing import Any

import numba

FLOATS = {"contract", "arcp", "nsz"}  # what the compiler may assume; infinities and NaN stay themselves


def compiled(function: Callable[..., Any]) -> Any:
    """`numba.njit` that releases the GIL, divides as NumPy does, and caches wherever a cache can be written."""
    return _compiled(function, fastmath=FLOATS)


def compiled_exactly(function: Callable[..., Any]) -> Any:
    """`compiled`, with every rounding as written: where a last bit decides on which side of a border a point lies."""
    return _compiled(function, fastmath=False)


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache folder can be written
        return numba.njit(**options)(function)
