"""Gymnasium ids of the homes and their registration under `embodia/`."""

import gymnasium

TASK_NAMES = ("PointNav", "ObjectNav", "ImageNav", "InstanceImageNav", "Exploration")

HOME_IDS = tuple(f"embodia/{name}{variant}-v0" for variant in ("", "-Velocity") for name in TASK_NAMES)
"""`embodia/<Task>-v0` with discrete actions, `embodia/<Task>-Velocity-v0` with the velocity action."""


def register_homes() -> None:
    """Register every task; entry points are strings, so that `import embodia` stays light."""
    for env_id in HOME_IDS:
        task = env_id.removeprefix("embodia/").split("-")[0]
        kwargs = {"task": task, "actions": "velocity" if "Velocity" in env_id else "discrete"}
        gymnasium.register(
            env_id,
            entry_point="embodia.envs.homes.env:HomesEnv",
            vector_entry_point="embodia.envs.homes.vector_env:HomesVectorEnv",
            disable_env_checker=True,
            order_enforce=False,
            kwargs=kwargs,
        )
