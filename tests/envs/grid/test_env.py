"""Tests of the environment contract for every registered grid task."""

import re
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from embodia.envs import SPLIT_SIZE, Environment, level_seed
from embodia.envs.grid.env import VIEWS, GridEnv
from embodia.envs.grid.ids import GRID_IDS, MINIGRID_IDS, NEED_SOURCE, nearest_ids

BUILDABLE = [task for task in MINIGRID_IDS if f"embodia/{task}" not in NEED_SOURCE]
FEW = ["MiniGrid-Empty-8x8-v0", "MiniGrid-DoorKey-6x6-v0", "MiniGrid-DistShift1-v0", "BabyAI-GoToLocal-v0"]


def test_every_minigrid_id_is_registered():
    import minigrid  # noqa: F401 (registers its ids)

    theirs = {key for key, spec in gym.registry.items() if str(spec.entry_point).startswith("minigrid.")}
    assert theirs == set(MINIGRID_IDS)


@pytest.mark.parametrize("task", FEW)
@pytest.mark.parametrize("observation", VIEWS)
def test_gymnasium_checker_without_a_warning(task, observation):
    env = gym.make(f"embodia:embodia/{task}", observation=observation).unwrapped
    assert isinstance(env, Environment)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)


@pytest.mark.slow
@pytest.mark.parametrize("task", BUILDABLE)
@pytest.mark.filterwarnings("ignore:It seems that your observation", "ignore:The minimal resolution for an image")
def test_both_checkers_on_every_id(task):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*is out of date")
        check_env(gym.make(f"embodia:embodia/{task}").unwrapped)
    check_env_sb3(gym.make(f"embodia:embodia/{task}").unwrapped)


@pytest.mark.parametrize("task", FEW)
@pytest.mark.filterwarnings("ignore:It seems that your observation", "ignore:The minimal resolution for an image")
def test_stable_baselines_checker(task):
    check_env_sb3(gym.make(f"embodia:embodia/{task}").unwrapped)


@pytest.mark.parametrize("name", NEED_SOURCE)
def test_a_maze_whose_pattern_is_missing_says_what_to_install(name):
    try:
        env = gym.make(f"embodia:{name}")
    except gym.error.DependencyNotInstalled as error:
        assert re.search(rf"{name}: the installed minigrid lacks \w+.png.*from its source", str(error))  # noqa: PT017
    else:
        assert env.reset(seed=0)[0]["symbolic"].any()


def test_vector_environments_are_made():
    envs = gym.make_vec("embodia:embodia/MiniGrid-Empty-5x5-v0", num_envs=3)
    observation, _ = envs.reset(seed=0)
    assert observation["symbolic"].shape == (3, 7, 7, 3)
    envs.close()


def test_import_envs_is_light():
    code = "import sys, envs; sys.exit(any(m in sys.modules for m in ('torch', 'minigrid', 'pygame')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_splits_play_different_levels():
    train, test = (
        GridEnv("MiniGrid-FourRooms-v0", "symbolic_full"),
        GridEnv("MiniGrid-FourRooms-v0", "symbolic_full", "test"),
    )
    seen = {train.reset(seed=s)[0]["symbolic"].tobytes() for s in range(30)}
    assert len(seen) == 30
    assert not seen & {test.reset(seed=s)[0]["symbolic"].tobytes() for s in range(30)}
    assert test.reset(seed=3)[1]["level_seed"] == level_seed("test", 3) == SPLIT_SIZE + 3
    assert train.reset()[1]["level_seed"] < SPLIT_SIZE <= test.reset()[1]["level_seed"]


def names(task, count, split="train"):
    env = GridEnv(task, split=split)
    return [env.reset(seed=seed)[1]["level"] for seed in range(count)]


def test_equal_levels_have_equal_names_whatever_their_seeds():
    assert len(set(names("MiniGrid-Empty-8x8-v0", 10) + names("MiniGrid-Empty-8x8-v0", 10, "test"))) == 1
    assert len(set(names("MiniGrid-Empty-Random-5x5-v0", 200))) == 9 * 4 - 4, "places and directions, the goal left out"
    assert len(set(names("MiniGrid-DoorKey-8x8-v0", 50))) == 50
    assert len(set(names("MiniGrid-Dynamic-Obstacles-5x5-v0", 50))) == 50, "the obstacles' moves follow from the seed"
    assert names("MiniGrid-FourRooms-v0", 3) == names("MiniGrid-FourRooms-v0", 3)


def test_what_is_hidden_in_boxes_tells_levels_apart():
    env = GridEnv("MiniGrid-ObstructedMaze-1Dlh-v0")
    env.reset(seed=0)
    box = next(cell for cell in env.world.grid.grid if cell is not None and cell.type == "box")
    before = env._level_name()
    box.contains.color = next(color for color in ("red", "blue") if color != box.contains.color)
    assert env._level_name() != before


def test_an_unseeded_reset_draws_the_next_level_from_the_seed():
    def levels():
        env = GridEnv("MiniGrid-DoorKey-8x8-v0")
        return [env.reset(seed=5)[1]["level"], env.reset()[1]["level"], env.reset()[1]["level"]]

    assert levels() == levels()
    assert len(set(levels())) == 3


def test_scores_so_far_on_every_step_and_final_on_the_last():
    env = GridEnv("MiniGrid-Empty-5x5-v0")
    env.reset(seed=0)
    for action in (2, 2, 1, 2):
        assert env.step(action)[4]["metrics"] == {"success": 0.0, "return": 0.0, "path_efficiency": 0.0}
    *_, reward, terminated, truncated, info = env.step(2)
    assert terminated
    assert not truncated
    assert info["metrics"] == {"success": 1.0, "return": reward, "path_efficiency": 1.0}


def test_path_efficiency_is_the_shortest_length_over_the_steps_taken():
    env = GridEnv("MiniGrid-Empty-5x5-v0")
    env.reset(seed=0)
    for action in (0, 1, 0, 1, 0, 1, 2, 2, 1, 2):
        env.step(action)
    assert env.step(2)[4]["metrics"]["path_efficiency"] == pytest.approx(5 / 11)


def test_running_out_of_time_is_a_failure():
    env = GridEnv("MiniGrid-Empty-5x5-v0", max_steps=3)
    env.reset(seed=0)
    env.step(0)
    env.step(0)
    _, _, terminated, truncated, info = env.step(0)
    assert truncated
    assert not terminated
    assert info["metrics"] == {"success": 0.0, "return": 0.0, "path_efficiency": 0.0}


@pytest.mark.parametrize("action", [7, -1, 1.0, np.nan, "left", None, np.array([1])])
def test_an_invalid_action_names_env_level_and_step(action):
    env = GridEnv("MiniGrid-Empty-5x5-v0")
    env.reset(seed=4)
    env.step(2)
    with pytest.raises(ValueError, match=r"embodia/MiniGrid-Empty-5x5-v0, level 4, step 1: action .* Discrete\(7\)"):
        env.step(action)
    assert env.step(2)[1] == 0.0  # the rejected actions had no effect


def test_stepping_outside_an_episode_says_call_reset():
    env = GridEnv("MiniGrid-Empty-5x5-v0", max_steps=1)
    with pytest.raises(RuntimeError, match="has not started; call reset"):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(RuntimeError, match="is over after 1 steps; call reset"):
        env.step(0)


@pytest.mark.parametrize(
    "wrong", [{"observation": "pixels"}, {"split": "val"}, {"max_steps": 0}, {"tile_size": 0}, {"render_mode": "human"}]
)
def test_impossible_options_are_named(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"embodia/MiniGrid-Empty-5x5-v0: {name}={value!r}"):
        GridEnv("MiniGrid-Empty-5x5-v0", **wrong)


def test_an_unknown_task_is_told_its_neighbours():
    with pytest.raises(ValueError, match="unknown minigrid task 'MiniGrid-Empty-9x9-v0'; nearest: MiniGrid-Empty-"):
        GridEnv("MiniGrid-Empty-9x9-v0")


def test_nearest_ids():
    assert nearest_ids("MiniGrid-Empty-8x8")[0] == "embodia/MiniGrid-Empty-8x8-v0"
    assert nearest_ids("embodia:embodia/minigrid-fourroom-v0")[0] == "embodia/MiniGrid-FourRooms-v0"
    assert all("DoorKey" in name for name in nearest_ids("doorkey"))
    assert nearest_ids("qqqq") == []
    assert len(GRID_IDS) == len(set(GRID_IDS)) == len(MINIGRID_IDS)
