"""Single precision for kernels that round as Recast and Detour do: a literal would make numba compute in double."""

from typing import Any

import numpy as np

# Typed loosely: what kernels return as float is one of these.
ZERO: Any = np.float32(0)
HALF: Any = np.float32(0.5)
ONE: Any = np.float32(1)
TWO: Any = np.float32(2)
FAR: Any = np.float32(np.finfo(np.float32).max)
INFINITE: Any = np.float32(np.inf)


def single(value: float) -> Any:
    """A setting as the C++ code sees it."""
    return np.float32(value)
