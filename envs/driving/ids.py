"""The Gymnasium ids of roads, each by its kind of action and traffic."""

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
    """Entry points are strings: nothing of the simulator is imported before an environment is made."""
    for name, options in IDS.items():
        gym.register(
            name,
            entry_point=f"{ROOM}.env:DrivingEnv",
            vector_entry_point=f"{ROOM}.vector_env:DrivingVectorEnv",
            kwargs=options,
        )
