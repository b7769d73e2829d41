"""Snapshots of wrapped environments: a wrapper's own attributes and its observations come back."""

from collections import deque

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import VectorWrapper
from numpy.testing import assert_equal

import embodia  # noqa: F401 (registers the ids)
from embodia.agents.training.serialization import decode, encode
from embodia.envs.vector import make
from embodia.envs.wrapping import WrappedVector

ID = "embodia/MiniGrid-Dynamic-Obstacles-5x5-v0"


class Remembering(gym.Wrapper):
    """Observations, reward and noise that depend on everything since the wrapper was made."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = spaces.Dict(sums=spaces.Box(-np.inf, np.inf, (3,), np.float64))
        self.recent, self.visits, self.rng = deque(maxlen=3), {}, np.random.default_rng(5)
        self.actions, self.scale = {0}, np.float32(2)

    def seen(self, obs):
        self.recent.append(obs["symbolic"].astype(np.float64))
        return {"sums": np.array([sum(map(np.sum, self.recent)), self.rng.random(), len(self.actions)])}

    def reset(self, **kwargs):
        obs, info = self.env.reset(**kwargs)
        return self.seen(obs), info

    def step(self, action):
        obs, reward, *rest = self.env.step(action)
        self.actions.add(int(action))
        where = tuple(self.unwrapped.world.agent_pos)
        self.visits[where] = self.visits.get(where, 0) + 1
        return self.seen(obs), reward + float(self.scale) / self.visits[where], *rest


class Running(VectorWrapper):
    """The reward minus its running mean over all environments."""

    def __init__(self, env):
        super().__init__(env)
        self.mean, self.count = np.zeros(1), 0

    def step(self, actions):
        obs, reward, *rest = self.env.step(actions)
        self.count += 1
        self.mean = self.mean + (reward.mean() - self.mean) / self.count
        return obs, reward - self.mean, *rest


def batch():
    return make(ID, 3, wrappers=[Remembering])


def in_batch():
    inner = make(ID, 3)
    return WrappedVector(Running(inner), inner)


def walked(env, steps, rng):
    return [env.step(rng.integers(3, size=3)) for _ in range(steps)]


@pytest.mark.parametrize("make_one", [batch, in_batch])
def test_a_snapshot_holds_the_wrapper_too(make_one):
    env, other = make_one(), make_one()
    env.reset(seed=[4, 5, 6])
    walked(env, 25, np.random.default_rng(0))
    state = decode(encode(env.get_state()))
    expected = walked(env, 40, np.random.default_rng(1))
    seen = other.set_state(state)
    assert_equal(walked(other, 40, np.random.default_rng(1)), expected)
    assert any((terminated | truncated).any() for _, _, terminated, truncated, _ in expected), "over autoresets"
    assert set(seen) == set(env.single_observation_space)
    assert_equal(env.expert_action().shape, (3,))


def test_a_batched_simulator_is_not_wrapped_in_parts():
    with pytest.raises(ValueError, match='use vectorization "sync" or "subprocess"'):
        make("embodia:embodia/PointNav-v0", 2, "native", wrappers=[Remembering])
