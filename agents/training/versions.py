"""Versions of the packages that a result depends on."""

import platform
from importlib import metadata

PACKAGES = ("embodia", "torch", "numpy", "gymnasium", "minigrid", "stable-baselines3", "av")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "from its folder" if name == "embodia" else "not installed"
    return found
