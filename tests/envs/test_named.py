"""Environments that observe one array: named, stepped, trained, snapshot as any other."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from embodia.envs.named import NamedObservation, name_of
from embodia.envs.vector import make


class Walk(gym.Env):
    """A place on a line, observed bare; with snapshots."""

    observation_space, action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = float(self.np_random.integers(100))
        return np.array([self.x], np.float32), {}

    def step(self, action):
        self.x += 2 * action - 1
        return np.array([self.x], np.float32), 0.0, False, False, {}

    def get_state(self):
        return self.x

    def set_state(self, state):
        self.x = state
        return np.array([self.x], np.float32)


def test_a_bare_array_is_the_state_and_a_picture_rgb():
    assert name_of(spaces.Box(0, 1, (3,))) == "state"
    assert name_of(spaces.Box(0, 255, (8, 8, 3), np.uint8)) == "rgb"
    assert name_of(spaces.Discrete(4)) == "state"


@pytest.mark.parametrize("vectorization", ["sync", "subprocess"])
def test_gymnasiums_own_environments_come_with_names(vectorization):
    named = make("Pendulum-v1", 2, vectorization)
    bare = gym.make("Pendulum-v1")
    obs, _ = named.reset(seed=[3, 4])
    expected, _ = bare.reset(seed=4)
    assert list(named.single_observation_space) == ["state"]
    np.testing.assert_array_equal(obs["state"][1], expected)
    obs, reward, *_ = named.step(np.array([[0.5], [-1.0]], np.float32))
    expected, gain, *_ = bare.step(np.array([-1.0], np.float32))
    np.testing.assert_array_equal(obs["state"][1], expected)
    assert reward[1] == pytest.approx(gain)
    named.close()


def test_a_class_observed_bare_is_named_too():
    env = make("FrozenLake-v1", 1)
    obs, _ = env.reset(seed=[0])
    assert env.single_observation_space["state"].contains(obs["state"][0])
    env.close()


def test_snapshots_pass_through_and_their_lack_is_said():
    env = NamedObservation(Walk())
    obs, _ = env.reset(seed=1)
    state = env.get_wrapper_attr("get_state")()
    env.step(1)
    np.testing.assert_array_equal(env.set_state(state)["state"], obs["state"])
    with pytest.raises(AttributeError, match="set_state"):
        NamedObservation(gym.make("Pendulum-v1")).set_state(None)
