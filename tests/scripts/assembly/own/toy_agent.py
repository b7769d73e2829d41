"""An agent with a configuration of its own."""

from dataclasses import dataclass

import numpy as np
from safetensors.numpy import load_file, save_file

from embodia.agents import Agent
from embodia.agents.training.buffers.replay import ReplayBuffer


@dataclass(frozen=True)
class HabitConfig:
    """A habit."""

    seed: int = 0
    rate: float = 0.05
    """How fast it forms."""


class Habit(Agent):
    """Prefers the action that has paid best so far, whatever it sees."""

    def __init__(self, observation_space, action_space, config: HabitConfig | None = None):
        self.observation_space, self.action_space = observation_space, action_space
        self.config = config or HabitConfig()
        self.worth, self.rng = np.zeros(action_space.n), np.random.default_rng(self.config.seed)

    def act(self, obs, carry, first, mode):
        drawn = self.rng.integers(self.action_space.n, size=len(first))
        explores = mode == "train" and self.rng.random(len(first)) < 0.8
        return np.where(explores, drawn, self.worth.argmax()), carry, {}

    def buffer(self):
        return ReplayBuffer(1_000, batch_size=32, learning_starts=64)

    def update(self, batch):
        for action, reward in zip(batch["action"], batch["reward"]):
            self.worth[action] += self.config.rate * (reward - self.worth[action])
        return {"worth": float(self.worth.max())}

    def save(self, folder):
        save_file({"worth": self.worth}, folder / "agent.safetensors")

    def load(self, folder):
        self.worth = load_file(folder / "agent.safetensors")["worth"]

    def training_state(self):
        return {"rng": self.rng.bit_generator.state}

    def set_training_state(self, state):
        self.rng.bit_generator.state = state["rng"]


class Unfinished(Agent):
    def act(self, obs, carry, first, mode):
        return np.zeros(len(first), int), carry, {}

    def buffer(self):
        return ReplayBuffer(1_000)


class Spaceless(Habit):
    def __init__(self, action_space):
        self.action_space = action_space


class Greedy(Habit):
    def __init__(self, observation_space, action_space, horizon):
        super().__init__(observation_space, action_space)


@dataclass(frozen=True)
class HalfConfig:
    favourite: int


class Half(Habit):
    def __init__(self, observation_space, action_space, config: HalfConfig):
        super().__init__(observation_space, action_space)


class Stubborn(Habit):
    """A habit with another number of its own, and no configuration."""

    def __init__(self, observation_space, action_space, favourite=1, seed=0, names=("left", "right"), hidden=None):
        super().__init__(observation_space, action_space, HabitConfig(seed))
        self.worth[favourite] = 1.0

    def update(self, batch):
        return {}
