"""Archives of arrays (.npz) that were kept on disk, read without trusting them."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.homes.files.free_memory import available_memory


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of an archive by name. Raises ValueError for a file that is none, or too large."""
    if not path.is_file():
        raise ValueError(f"{path} is no regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(each.file_size for each in archive.infolist())
        if size > available_memory() // 2:
            raise ValueError(f"it unpacks to {size / 1e6:,.0f} MB, more than half of the free memory")
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # zipfile, zlib and NumPy fail in many ways
        raise ValueError(f"{path} is no archive of arrays ({type(error).__name__}: {error})") from error
