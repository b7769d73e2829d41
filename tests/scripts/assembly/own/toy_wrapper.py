"""Wrappers: another reward with a memory, another observation, one around a batch, and classes that are no wrappers."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorWrapper


class Fading(gym.Wrapper):
    """The reward shrinks with every step of the wrapper's life, and noise of its own is added."""

    def __init__(self, env):
        super().__init__(env)
        self.steps, self.rng = 0, np.random.default_rng(3)

    def step(self, action):
        obs, reward, *rest = self.env.step(action)
        self.steps += 1
        return obs, reward + 1 / self.steps + 0.01 * self.rng.random(), *rest


class Halved(gym.ObservationWrapper):
    """Only the place, halved."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = spaces.Dict(halved=spaces.Box(0, 10, (1,), np.float32))

    def observation(self, obs):
        return {"halved": obs["place"] / 2}


class Counted(VectorWrapper):
    """The reward of each environment is the number of steps so far."""

    def __init__(self, env):
        super().__init__(env)
        self.count = 0

    def step(self, actions):
        obs, reward, *rest = self.env.step(actions)
        self.count += 1
        return obs, reward + self.count, *rest


class NeedsMore(gym.Wrapper):
    def __init__(self, env, scale):
        super().__init__(env)
        self.scale = scale


class NoWrapper:
    pass
