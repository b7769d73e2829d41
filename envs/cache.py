"""The folder in which generated levels are kept between runs."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """$EMBODIA_CACHE, else the platform's cache folder of the user."""
    if given := os.environ.get("EMBODIA_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "embodia"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "embodia"
