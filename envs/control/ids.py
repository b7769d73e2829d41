"""Gymnasium ids of the small control tasks."""

import gymnasium

CONTROL_IDS = {
    "embodia/Wall-v0": "embodia.envs.control.wall:WallEnv",
    "embodia/RaceTrack-v0": "embodia.envs.control.race_track:RaceTrackEnv",
}


def register_control() -> None:
    """Register the small control tasks. Entry points are strings, so nothing is imported here."""
    for name, entry_point in CONTROL_IDS.items():
        gymnasium.register(name, entry_point=entry_point, disable_env_checker=True)
