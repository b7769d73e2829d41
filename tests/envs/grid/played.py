"""An episode that another process can import and play."""

import numpy as np

from embodia.envs.grid.env import GridEnv


def episode(task):
    """Return a seeded episode as bytes."""
    env = GridEnv(task)
    observation, info = env.reset(seed=7)
    seen = [sorted((key, value.tobytes()) for key, value in observation.items()), info]
    for action in np.random.default_rng(1).integers(env.action_space.n, size=30):
        observation, *rest = env.step(int(action))
        seen.append((sorted((key, value.tobytes()) for key, value in observation.items()), rest))
        if rest[1] or rest[2]:
            break
    return seen
