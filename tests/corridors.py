"""A small task for learning: corridors of seven cells with a large far reward and a small near one."""

import copy

import numpy as np
import torch
from gymnasium import spaces

CELL = spaces.Dict({"cell": spaces.Discrete(7)})


class Corridors:
    """n corridors of seven cells, from the middle: the right end gives 1, the left 0.1, and both end the episode."""

    def __init__(self, n):
        self.n, self.cell = n, np.full(n, 3)
        self.first, self.last = np.ones(n, bool), np.zeros(n, bool)
        self.reward, self.steps = np.zeros(n, np.float32), np.zeros(n, int)

    def row(self):
        flags = {"first": self.first, "last": self.last, "terminal": self.last & np.isin(self.cell, (0, 6))}
        return {"obs": {"cell": self.cell.copy()}, "reward": self.reward, **flags, "extras": {}}

    def step(self, action):
        fresh = self.last
        self.cell = np.where(fresh, 3, self.cell + 2 * action - 1)
        self.steps, self.first = np.where(fresh, 0, self.steps + 1), fresh
        paid = np.where(self.cell == 6, 1, np.where(self.cell == 0, 0.1, 0))
        self.reward = np.where(fresh, 0, paid).astype(np.float32)
        self.last = np.isin(self.cell, (0, 6)) | (self.steps >= 20)


def live(agent, buffer, env, carry, steps):
    """Run a minimal training loop for `steps` rows and return the carry."""
    for _ in range(steps):
        row = env.row()
        action, carry, _ = agent.act(row["obs"], carry, row["first"], "train")
        buffer.add({**row, "action": action})
        for batch in buffer.batches():
            agent.update(batch)
        env.step(action)
    return carry


def assert_resumes(make, weights, folder, before, after):
    """Assert that an agent with other weights continues bit for bit like the first one after loading its state."""
    agent, other, env = make(0), make(1), Corridors(4)
    buffer, other_buffer = agent.buffer(), other.buffer()
    carry = live(agent, buffer, env, agent.initial(4), before)
    agent.save(folder)
    saved = copy.deepcopy((agent.training_state(), buffer.state_dict())), torch.get_rng_state()
    other.load(folder)
    other.set_training_state(saved[0][0])
    other_buffer.load_state_dict(saved[0][1])
    other_env, other_carry = copy.deepcopy(env), copy.deepcopy(carry)
    live(agent, buffer, env, carry, after)
    torch.set_rng_state(saved[1])
    live(other, other_buffer, other_env, other_carry, after)
    for (name, a), b in zip(weights(agent).items(), weights(other).values(), strict=True):
        assert torch.equal(a, b), name
