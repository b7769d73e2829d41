"""Gymnasium ids of the small worlds."""

import gymnasium

CONTROL_IDS = {"embodia/Wall-v0": "embodia.envs.control.wall:WallEnv"}


def register_control() -> None:
    """Register every small world; entry points are strings, so nothing is imported here."""
    for name, entry_point in CONTROL_IDS.items():
        gymnasium.register(name, entry_point=entry_point, disable_env_checker=True)
