"""Tests of the fast views against minigrid's own encoding and rendering."""

import numpy as np
import pytest
from minigrid.core.constants import OBJECT_TO_IDX
from minigrid.minigrid_env import MiniGridEnv

from embodia.envs.grid import draw
from embodia.envs.grid.env import GridEnv
from embodia.envs.grid.symbolic import line_of_sight

TASKS = [
    *("MiniGrid-Empty-5x5-v0", "MiniGrid-DoorKey-8x8-v0", "MiniGrid-RedBlueDoors-6x6-v0"),
    *("MiniGrid-KeyCorridorS3R2-v0", "MiniGrid-DistShift2-v0", "MiniGrid-Dynamic-Obstacles-6x6-v0"),
    *("MiniGrid-LavaCrossingS9N2-v0", "BabyAI-BossLevel-v0"),
]


def walk(task, steps, **options):
    """Iterate over states of a GridEnv, with actions of the expert and random ones."""
    env, rng = GridEnv(task, **options), np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    for _ in range(steps):
        yield env, observation
        action = env.expert_action() if rng.random() < 0.5 else int(rng.integers(env.action_space.n))
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            observation, _ = env.reset()


@pytest.mark.parametrize("task", TASKS)
def test_egocentric_view_is_minigrids(task):
    for env, observation in walk(task, 60):
        theirs = MiniGridEnv.gen_obs(env.world)["image"]
        np.testing.assert_array_equal(observation["symbolic"], theirs.swapaxes(0, 1))


@pytest.mark.parametrize("task", TASKS)
def test_full_view_is_minigrids_with_the_agent_drawn_in(task):
    for env, observation in walk(task, 60, observation="symbolic_full"):
        theirs = env.world.grid.encode().swapaxes(0, 1).copy()
        x, y = env.world.agent_pos
        theirs[y, x] = (OBJECT_TO_IDX["agent"], 0, env.world.agent_dir)
        np.testing.assert_array_equal(observation["symbolic"], theirs)
        assert observation["direction"] == env.world.agent_dir
        carrying = env.world.carrying
        assert tuple(observation["carrying"]) == ((1, 0) if carrying is None else carrying.encode()[:2])


@pytest.mark.parametrize("task", TASKS)
def test_pictures_are_minigrids(task):
    for env, _ in walk(task, 12):
        np.testing.assert_array_equal(draw.egocentric(env._views, 8), env.world.get_pov_render(8))
        np.testing.assert_array_equal(draw.full(env._views, 8), env.world.get_full_render(True, 8))


def test_a_wall_darkens_what_is_behind_and_a_gap_lights_it():
    clear = np.ones((3, 3), bool)
    clear[1] = False
    np.testing.assert_array_equal(line_of_sight(clear), [[False] * 3, [True] * 3, [True] * 3])
    clear[1, 2] = True
    assert line_of_sight(clear).all()


def test_render_is_even_and_shows_both_pictures():
    for task in TASKS:
        env = GridEnv(task)
        env.reset(seed=0)
        frame = env.render()
        assert frame.dtype == np.uint8
        assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0
        red = (frame[..., 0] > 200) & (frame[..., 1] < 100) & (frame[..., 2] < 100)  # the agent, once in each image
        columns = np.flatnonzero(red.any(0))
        assert columns.min() < frame.shape[1] / 2 < columns.max()
