"""Which habitat_sim is installed, and how to get one."""

import os
from typing import Any, Literal

Steps = Literal["0.3.3", "installed"]  # rule of steps without sliding

HOW_TO_GET_IT = (
    'engine="habitat-sim" needs habitat_sim 0.3.4 or a later build of its main branch, compiled for this Python with '
    "numpy 2.0 to 2.3 (conda's habitat-sim 0.3.3 is for Python 3.9 and numpy 1.26, and embodia needs Python 3.11): see "
    'BUILD_FROM_SOURCE.md of facebookresearch/habitat-sim. engine="embodia" runs without it.'
)


class HabitatSimMissing(ImportError):
    """habitat_sim is not installed here; the message says how to get it."""


def import_habitat_sim() -> Any:
    """Return the module. Raises HabitatSimMissing."""
    os.environ.setdefault("HABITAT_SIM_LOG", "quiet")
    os.environ.setdefault("MAGNUM_LOG", "quiet")
    try:
        import habitat_sim
    except ImportError as error:
        raise HabitatSimMissing(HOW_TO_GET_IT) from error
    return habitat_sim


def is_0_3_4(habitat_sim: Any) -> bool:
    """Whether the module is 0.3.4 or later. It calls itself 0.3.3, but gave the simulator `create_sensor`.

    From 0.3.4 on, steps without sliding stop at a wall that they only touch at their start, and floor with just the
    body's height above it belongs to the navmesh.
    """
    return hasattr(habitat_sim.Simulator, "create_sensor")


def habitat_sim_version(habitat_sim: Any) -> str:
    """Return the version of the module, 0.3.4 where it still calls itself 0.3.3."""
    named = str(getattr(habitat_sim, "__version__", "unknown"))
    return "0.3.4" if named == "0.3.3" and is_0_3_4(habitat_sim) else named


def describe(habitat_sim: Any, steps: Steps = "0.3.3") -> str:
    """Return name and version of the module, and whose rule steps without sliding follow if not its own."""
    found = f"habitat-sim {habitat_sim_version(habitat_sim)}"
    return f"{found}, steps without sliding as in 0.3.3" if steps == "0.3.3" and is_0_3_4(habitat_sim) else found
