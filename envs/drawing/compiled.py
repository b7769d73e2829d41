"""Compile numba kernels and cache them: beside the module, else in the user's cache, else in memory."""

from collections.abc import Callable
from typing import Any

import numba

FLOATS = {"contract", "arcp", "nsz"}  # allowed optimisations; infinities and NaN keep their meaning


def compiled(function: Callable[..., Any]) -> Any:
    """Compile with `numba.njit`: without the GIL, with NumPy's division, and cached if a cache can be written."""
    return _compiled(function, fastmath=FLOATS)


def compiled_exactly(function: Callable[..., Any]) -> Any:
    """Like `compiled`, but with exact rounding, for decisions on which side of a border a point lies."""
    return _compiled(function, fastmath=False)


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache folder is writable
        return numba.njit(**options)(function)
