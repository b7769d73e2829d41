"""Tests of the race track: contract, geometry, expert, crashes, snapshots."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import embodia  # noqa: F401 (registers the ids)
from embodia.envs.control import race_track


def make(**options):
    return gym.make("embodia/RaceTrack-v0", **options).unwrapped


def drive(env, policy, steps=150):
    for _ in range(steps):
        obs, reward, terminated, truncated, info = env.step(policy(env))
        assert not terminated
    return obs, reward, truncated, info["metrics"]


@pytest.mark.filterwarnings("error", "ignore:.*infinity. This is probably too:UserWarning")
def test_is_a_gymnasium_environment():
    check_env(make())


def test_a_track_is_closed_smooth_and_evenly_spaced():
    for seed in range(20):
        line = race_track.draw_track(np.random.default_rng(seed))
        steps = np.linalg.norm(np.roll(line, -1, 0) - line, axis=1)
        assert steps.max() < 1.02 * steps.min()
        env = make()
        env._drive_on(line)
        assert np.abs(env.preview).max() / 2 < 1 / race_track.HALF_WIDTH, "the track does not fold onto itself"


@pytest.mark.parametrize("level", range(3))
def test_the_expert_stays_on_the_centre_line(level):
    env = make(split="test")
    env.reset(seed=level)
    offsets = []

    def expert(env):
        offsets.append(env.offset)
        return env.expert_action()

    _, _, truncated, metrics = drive(env, expert)
    assert truncated
    assert metrics["success"] == 1
    assert metrics["progress"] == pytest.approx(1, abs=0.03)
    assert np.abs(offsets).max() < 0.15


def test_a_car_that_leaves_the_track_stands_still():
    env = make()
    env.reset(seed=0)
    obs, reward, truncated, metrics = drive(env, lambda env: np.ones(1, np.float32))
    assert truncated, "the episode is as long as any other"
    assert reward == 0
    assert metrics["success"] == 0
    assert abs(obs["state"][0]) > 1
    assert metrics["progress"] < 0.3


def test_on_a_circle_the_observation_is_known():
    env = make()
    env.reset(seed=0)
    env._drive_on(race_track.circle())
    direction = env.direction[0]
    left = np.array([-np.sin(direction), np.cos(direction)])
    env._place(env.line[0] + 0.3 * left, float(direction + 0.2))
    expected = [0.5, np.sin(0.2), np.cos(0.2), *[2 / race_track.RADIUS] * 5]
    np.testing.assert_allclose(env._observe()["state"], expected, atol=1e-3)


def test_a_snapshot_continues_exactly():
    env, other = make(), make()
    env.reset(seed=3)
    other.reset(seed=4)
    drive(env, lambda env: env.expert_action(), 10)
    other.set_state(env.get_state())
    one, two = (drive(each, lambda env: env.expert_action(), 20) for each in (env, other))
    np.testing.assert_array_equal(one[0]["state"], two[0]["state"])
    assert one[3] == two[3]


@pytest.mark.parametrize("action", [np.array([np.nan]), np.zeros(2)])
def test_a_bad_action_is_named(action):
    env = make()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="embodia/RaceTrack-v0: action"):
        env.step(action)


def test_it_is_drawn():
    env = make()
    env.reset(seed=0)
    assert env.render().shape == (640, 640, 3)
    with pytest.raises(ValueError, match="max_steps=0"):
        make(max_steps=0)
