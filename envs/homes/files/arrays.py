"""Archives of arrays (.npz) that were kept on disk, read without trusting them."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.homes.files.free_memory import available_memory


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an archive. Raises ValueError, OSError or what NumPy raises for a broken file."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with zipfile.ZipFile(path) as archive:
        size = sum(each.file_size for each in archive.infolist())
    if size > available_memory() // 2:
        raise ValueError(f"it unpacks to {size / 1e6:,.0f} MB, more than half of the free memory")
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
