"""Gymnasium ids of the driving environments, one for each kind of action and traffic."""

import gymnasium as gym

IDS: dict[str, dict[str, object]] = {
    "embodia/Driving-v0": {"action": "continuous"},
    "embodia/DrivingReactive-v0": {"action": "continuous", "reactive": True},
    "embodia/DrivingManoeuvre-v0": {"action": "manoeuvre"},
    "embodia/DrivingTrajectory-v0": {"action": "trajectory"},
    "embodia/DrivingTrajectoryReactive-v0": {"action": "trajectory", "reactive": True},
}
ROOM = "embodia.envs.driving.learning"


def register_roads() -> None:
    """Register the ids. Entry points are strings, so the simulator is imported only when an environment is made."""
    for name, options in IDS.items():
        gym.register(
            name,
            entry_point=f"{ROOM}.env:DrivingEnv",
            vector_entry_point=f"{ROOM}.vector_env:DrivingVectorEnv",
            kwargs=options,
        )
