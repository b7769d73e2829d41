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


def inlined(function: Callable[..., Any]) -> Any:
    """Like `compiled_exactly`, and pasted into its callers, so that calls in tight loops cost nothing."""
    return _njit(function, nogil=True, error_model="numpy", fastmath=False, inline="always")


def cached(function: Callable[..., Any]) -> Any:
    """Compile with plain `numba.njit`, cached if a cache can be written."""
    return _njit(function)


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    return _njit(function, nogil=True, error_model="numpy", **options)


def _njit(function: Callable[..., Any], **options: Any) -> Any:
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache folder is writable
        return numba.njit(**options)(function)


def cache_folder() -> str | None:
    """Return the folder where compiled kernels are cached, or None if none can be written."""
    try:
        kernel: Any = numba.njit(cache=True)(_probe)
    except RuntimeError:
        return None
    return str(kernel._cache._impl.locator.get_cache_path())


def _probe() -> int:
    return 0
