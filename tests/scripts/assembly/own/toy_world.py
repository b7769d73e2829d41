"""A corridor of cells with the reward behind the last; it draws itself and can be taken back to any state."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from gymnasium import spaces


@dataclass(frozen=True)
class CorridorOptions:
    """A corridor."""

    length: int = 5
    """Cells."""


class Corridor(gym.Env):
    metadata = {  # noqa: RUF012
        "render_modes": ["rgb_array"],
        "scores": {"success": "higher"},
        "action_names": ("left", "right"),
    }
    Options = CorridorOptions

    def __init__(self, length=5, render_mode=None):
        self.length, self.render_mode = length, render_mode
        self.observation_space = spaces.Dict(rgb=spaces.Box(0, 255, (16, 16, 3), np.uint8),
                                             place=spaces.Box(0, length, (1,), np.float32))  # fmt: skip
        self.action_space = spaces.Discrete(2)

    def seen(self):
        return {"rgb": self.render(), "place": np.array([self.x], np.float32)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = int(self.np_random.integers(self.length // 2))
        return self.seen(), {}

    def step(self, action):
        self.x = max(self.x + 2 * int(action) - 1, 0)
        won = self.x == self.length
        return self.seen(), float(won), won, False, {"metrics": {"success": float(won)}}

    def expert_action(self):
        return 1

    def get_state(self):
        return {"x": self.x, "rng": self.np_random.bit_generator.state}

    def set_state(self, state):
        self.x, self.np_random.bit_generator.state = state["x"], state["rng"]
        return self.seen()

    def render(self):
        picture = np.zeros((16, 16, 3), np.uint8)
        picture[:, : 3 * self.x + 1] = 255
        return picture


gym.register("Toy-v0", Corridor, max_episode_steps=20)
