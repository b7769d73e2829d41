"""The levels that training has used, so that a report can state whether its test levels are held out.

Environments give the name of a level in `info["level"]` at reset. Names are stored as 64-bit digests.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.agents.training.evaluate import level_name

Digests = NDArray[np.uint64]


def digest(name: str) -> int:
    """Return the 64-bit digest of a level's name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def begun(infos: Mapping[str, Any], worlds: Iterable[int]) -> set[int]:
    """Return the digests of the levels of environments that were just reset; unnamed levels are skipped."""
    names = (level_name(infos, world) for world in worlds) if "level" in infos else ()
    return {digest(name) for name in names if name}


def as_array(levels: set[int]) -> Digests:
    """Return the digests as a sorted array (n,), to be saved."""
    return np.array(sorted(levels), np.uint64)


def num_met(names: Iterable[str], met: Digests) -> int:
    """Return the number of named levels that training has used."""
    return int(np.isin(np.array([digest(name) for name in names], np.uint64), met).sum())
