"""The native engine gives the official environment's numbers, bit for bit, on every id."""

import numpy as np
import pytest

from embodia.envs import NoExpert
from embodia.envs.grid.ids import GRID_IDS, NEED_SOURCE
from embodia.envs.grid.native.batch import GridVectorEnv
from embodia.envs.vector import SyncVector, make

SAMPLE = (
    *("MiniGrid-Empty-5x5-v0", "MiniGrid-DoorKey-5x5-v0", "MiniGrid-Dynamic-Obstacles-Random-6x6-v0"),
    *("MiniGrid-Fetch-5x5-N2-v0", "MiniGrid-GoToDoor-5x5-v0", "MiniGrid-GoToObject-6x6-N2-v0", "MiniGrid-LavaGapS5-v0"),
    *("MiniGrid-MemoryS7-v0", "MiniGrid-PutNear-6x6-N2-v0", "MiniGrid-RedBlueDoors-6x6-v0", "MiniGrid-Unlock-v0"),
    *("MiniGrid-KeyCorridorS3R1-v0", "MiniGrid-ObstructedMaze-1Dlh-v0", "BabyAI-GoToLocal-v0", "BabyAI-KeyInBox-v0"),
    *("BabyAI-OpenDoorsOrderN4Debug-v0", "BabyAI-PickupDistDebug-v0", "BabyAI-PutNextS5N2Carrying-v0"),
    *("BabyAI-MiniBossLevel-v0", "BabyAI-MoveTwoAcrossS5N2-v0", "BabyAI-GoToObjMazeOpen-v0"),
)
"""One id of each rule, and of each kind of BabyAI's instructions."""
BUILDABLE = tuple(name for name in GRID_IDS if name not in NEED_SOURCE)


def assert_same(ours, theirs, where):
    """Compare nested dicts of arrays with their types."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            assert_same(ours[key], theirs[key], f"{where}, {key}")
    else:
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        assert ours.dtype == theirs.dtype, where
        np.testing.assert_array_equal(ours, theirs, err_msg=where)


def both(env_id, num_envs, **options):
    native = make(f"embodia:{env_id}", num_envs, **options)
    official = make(f"embodia:{env_id}", num_envs, engine="official", **options)
    assert isinstance(native, GridVectorEnv)
    assert isinstance(official, SyncVector)
    return native, official


def play_both(native, official, steps, rng, expert=0.0, where=""):
    """Play the same actions in both, random ones or, with probability `expert`, the expert's."""
    ends = 0
    for step in range(steps):
        actions = rng.integers(native.single_action_space.n, size=native.num_envs)
        if expert:
            advice = native.expert_action()
            assert_same(advice, official.expert_action(), f"{where}, expert at step {step}")
            actions = np.where(rng.random(native.num_envs) < expert, advice, actions)
        ours, theirs = native.step(actions), official.step(actions)
        for name, mine, other in zip(("obs", "reward", "terminated", "truncated", "info"), ours, theirs):
            assert_same(mine, other, f"{where}, step {step}, {name}")
        ends += int((ours[2] | ours[3]).sum())
    return ends


def compare(env_id, steps, seed=0, expert=0.0, num_envs=3, **options):
    native, official = both(env_id, num_envs, **options)
    assert native.single_observation_space == official.single_observation_space
    assert native.single_action_space == official.single_action_space
    assert native.metadata == official.metadata
    for ours, theirs in zip(native.reset(seed=seed), official.reset(seed=seed)):
        assert_same(ours, theirs, f"{env_id}, reset")
    return play_both(native, official, steps, np.random.default_rng(seed), expert, env_id)


@pytest.mark.parametrize("task", SAMPLE)
def test_random_play(task):
    assert compare(f"embodia/{task}", steps=40, max_steps=13) >= 6, "several autoresets"


@pytest.mark.parametrize(
    "task", ["MiniGrid-DoorKey-5x5-v0", "MiniGrid-Dynamic-Obstacles-5x5-v0", "BabyAI-OneRoomS8-v0"]
)
def test_expert_play(task):
    assert compare(f"embodia/{task}", steps=40, expert=0.9) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1000])
@pytest.mark.parametrize("env_id", BUILDABLE)
def test_every_id(env_id, seed):
    compare(env_id, steps=300, seed=seed, max_steps=60)
    compare(env_id, steps=300, seed=seed + 1, split="test")
    try:
        compare(env_id, steps=100, seed=seed + 2, expert=0.9)
    except NoExpert:
        assert env_id == "embodia/MiniGrid-Playground-v0"


@pytest.mark.parametrize("observation", ["symbolic_full", "rgb", "rgb_full"])
@pytest.mark.parametrize("task", ["MiniGrid-DoorKey-5x5-v0", "MiniGrid-Empty-5x5-v0", "BabyAI-PutNextS4N1-v0"])
def test_views(task, observation):
    compare(f"embodia/{task}", steps=25, max_steps=10, observation=observation, tile_size=4)


def test_levels_that_are_played_again():
    compare("embodia/MiniGrid-DoorKey-5x5-v0", steps=60, max_steps=10, levels=5)


def test_levels_made_ahead_by_other_processes():
    compare("embodia/MiniGrid-DoorKey-5x5-v0", steps=30, max_steps=10, level_workers=1)


def test_pictures():
    native, official = both("embodia/BabyAI-OpenTwoDoors-v0", 2)
    native.reset(seed=3)
    official.reset(seed=3)
    play_both(native, official, 5, np.random.default_rng(0))
    for ours, theirs in zip(native.render(), official.render()):
        np.testing.assert_array_equal(ours, theirs)
