"""Stacked observations: the same alone and in a batch, over autoresets, and from a snapshot."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from numpy.testing import assert_equal

import embodia  # noqa: F401 (registers the ids)
from embodia.agents.training.serialization import decode, encode
from embodia.envs.frame_stack import FrameStack, VectorFrameStack, stacked_keys
from embodia.envs.vector import make

GRID = ("embodia/MiniGrid-Dynamic-Obstacles-5x5-v0", {"observation": "rgb", "tile_size": 2})
SEEDS = [4, 5, 6]


def alone(env_id, options, seed, actions):
    """One environment stepped by hand, with next-step autoreset."""
    env = FrameStack(gym.make(env_id, **options), 3)
    obs, _ = env.reset(seed=seed)
    seen, over = [obs], False
    for action in actions:
        if over:
            obs, _ = env.reset()
            over = False
        else:
            obs, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
        seen.append(obs)
    return seen


def test_a_batch_equals_its_worlds_alone_over_autoresets():
    env_id, options = GRID
    env = VectorFrameStack(make(env_id, 3, **options), 3)
    actions = np.random.default_rng(0).integers(3, size=(120, 3))
    obs, _ = env.reset(seed=SEEDS)
    together, ends = [obs], 0
    for action in actions:
        obs, _, terminated, truncated, _ = env.step(action)
        together.append(obs)
        ends += int((terminated | truncated).sum())
    assert ends > 5
    for world, seed in enumerate(SEEDS):
        for seen, expected in zip(together, alone(env_id, options, seed, actions[:, world]), strict=True):
            assert_equal({name: value[world] for name, value in seen.items()}, expected)
    assert env.single_observation_space["rgb"].shape == (14, 14, 9)
    assert env.single_observation_space.contains({name: value[0] for name, value in obs.items()})


def test_the_newest_frame_is_last_and_an_episode_begins_with_its_first():
    env = VectorFrameStack(make("Pendulum-v1", 1), 2)
    first, _ = env.reset(seed=[3])
    assert_equal(first["state"][0, :3], first["state"][0, 3:])
    second, *_ = env.step(np.zeros((1, 1), np.float32))
    assert_equal(second["state"][0, :3], first["state"][0, 3:])
    assert (second["state"][0, 3:] != first["state"][0, 3:]).any()
    partly, _ = VectorFrameStack(make("Pendulum-v1", 2), 2).reset(seed=[3, 4])
    assert partly["state"].shape == (2, 6)


def test_resetting_some_environments_keeps_the_frames_of_the_others():
    env = VectorFrameStack(make(GRID[0], 2, **GRID[1]), 3)
    env.reset(seed=[1, 2])
    before, *_ = env.step(np.array([0, 1]))
    after, _ = env.reset(seed=[7, None], options={"reset_mask": np.array([True, False])})
    assert_equal(after["rgb"][1], before["rgb"][1])
    assert_equal(after["rgb"][0, ..., :3], after["rgb"][0, ..., 6:])


def test_a_snapshot_holds_the_frames():
    env, other = (VectorFrameStack(make(GRID[0], 2, **GRID[1]), 3) for _ in range(2))
    env.reset(seed=[1, 2])
    actions = np.random.default_rng(1).integers(3, size=(60, 2))
    for action in actions[:30]:
        env.step(action)
    other.reset(seed=[8, 9])
    other.set_state(decode(encode(env.get_state())))
    assert_equal([other.step(action) for action in actions[30:]], [env.step(action) for action in actions[30:]])
    assert env.expert_action().shape == (2,)


def test_keys_are_images_or_else_vectors_or_as_given():
    image, vector = spaces.Box(0, 255, (4, 4, 3), np.uint8), spaces.Box(-1, 1, (2,))
    space = spaces.Dict(rgb=image, goal=vector, mission=spaces.Box(0, 9, (5,), np.int64), turn=spaces.Discrete(4))
    assert stacked_keys(space) == ("rgb",)
    assert stacked_keys(spaces.Dict(goal=vector, turn=spaces.Discrete(4))) == ("goal",)
    assert stacked_keys(space, ["goal"]) == ("goal",)
    with pytest.raises(ValueError, match="cannot stack turn; choose from"):
        stacked_keys(space, ["turn"])
    with pytest.raises(ValueError, match="nothing to stack among turn"):
        stacked_keys(spaces.Dict(turn=spaces.Discrete(4)))
