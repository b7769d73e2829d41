"""Tests of exact snapshots: same future, in this environment and a new one, from plain data only."""

import io
import multiprocessing
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from embodia.envs.grid.env import GridEnv
from embodia.envs.grid.ids import MINIGRID_IDS, NEED_SOURCE
from embodia.tests.envs.grid.played import episode

pytestmark = pytest.mark.filterwarnings("ignore:.*is out of date")

FEW = [
    *("MiniGrid-Empty-Random-6x6-v0", "MiniGrid-DoorKey-8x8-v0", "MiniGrid-MultiRoom-N2-S4-v0"),
    "MiniGrid-LockedRoom-v0",
    *("MiniGrid-Dynamic-Obstacles-Random-6x6-v0", "MiniGrid-ObstructedMaze-1Dlhb-v0", "MiniGrid-RedBlueDoors-6x6-v0"),
    *("MiniGrid-PutNear-6x6-N2-v0", "MiniGrid-Fetch-5x5-N2-v0", "MiniGrid-MemoryS7-v0", "MiniGrid-GoToDoor-5x5-v0"),
    *("MiniGrid-LavaCrossingS9N1-v0", "MiniGrid-Playground-v0", "MiniGrid-KeyCorridorS3R2-v0"),
    *("BabyAI-SynthSeq-v0", "BabyAI-PutNextS5N2Carrying-v0", "BabyAI-KeyInBox-v0", "BabyAI-GoToSeqS5R2-v0"),
    *("BabyAI-OpenDoorsOrderN4-v0", "BabyAI-MoveTwoAcrossS5N2-v0", "BabyAI-PickupLoc-v0", "BabyAI-MiniBossLevel-v0"),
]
BUILDABLE = [task for task in MINIGRID_IDS if f"embodia/{task}" not in NEED_SOURCE]


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one
    )


def future(env, actions, advised):
    """Return the outcomes of several episodes; with `advised`, the expert is asked in every step."""
    rows = []
    for action in actions:
        advice = env.expert_action() if advised else None
        observation, *rest = env.step(int(action))
        rows.append((observation, advice, rest))
        if rest[1] or rest[2]:
            rows.append((*env.reset(), None))
    return rows


def assert_same_future(one, other):
    for here, there in zip(one, other, strict=True):
        assert same(here[0], there[0])
        assert here[1:] == there[1:]


def wander(env, rng, steps):
    for action in rng.integers(env.action_space.n, size=steps):
        if any(env.step(int(action))[2:4]):
            env.reset()


def check_snapshots(task, rollouts, advised):
    env, fresh = GridEnv(task), GridEnv(task)
    rng = np.random.default_rng(0)
    for seed in range(rollouts):
        env.reset(seed=seed)
        wander(env, rng, int(rng.integers(1, 40)))
        state = env.get_state()
        actions = rng.integers(env.action_space.n, size=60)
        first = future(env, actions, advised)
        env.set_state(state)
        assert_same_future(first, future(env, actions, advised))
        fresh.set_state(state)
        assert_same_future(first, future(fresh, actions, advised))


@pytest.mark.parametrize("task", FEW)
def test_the_same_future_follows(task):
    check_snapshots(task, rollouts=2, advised=False)


@pytest.mark.slow
@pytest.mark.parametrize("task", BUILDABLE)
def test_the_same_future_follows_everywhere(task):
    check_snapshots(task, rollouts=5, advised=False)


@pytest.mark.parametrize("task", ["MiniGrid-DoorKey-8x8-v0", "BabyAI-GoToObjMazeS4-v0", "BabyAI-PutNextLocalS5N3-v0"])
def test_the_expert_gives_the_same_advice_after_a_restore(task):
    check_snapshots(task, rollouts=2, advised=True)


@pytest.mark.parametrize("task", ["MiniGrid-FourRooms-v0", "BabyAI-GoToLocal-v0", "BabyAI-OpenTwoDoors-v0"])
def test_a_plan_under_way_is_kept(task):
    env, fresh = GridEnv(task), GridEnv(task)
    env.reset(seed=3)
    for _ in range(2):
        env.step(env.expert_action())
    for waiting in (True, False):  # the expert was already asked in this state, or not
        if waiting:
            env.expert_action()
        fresh.set_state(env.get_state())
        assert env.expert_action() == fresh.expert_action()
        env.step(env.expert_action())


@pytest.mark.parametrize("task", ["MiniGrid-KeyCorridorS3R2-v0", "BabyAI-BossLevel-v0"])
def test_a_state_is_plain_data_and_survives_a_safe_checkpoint(task):
    env = GridEnv(task)
    env.reset(seed=0)
    for _ in range(5):
        env.step(env.expert_action())
    state = env.get_state()
    file = io.BytesIO()
    torch.save(mapped(state, torch.from_numpy, np.ndarray), file)
    file.seek(0)
    loaded = mapped(torch.load(file, weights_only=True), torch.Tensor.numpy, torch.Tensor)
    actions = [0, 2, 1, 2, 3, 2, 5, 2, 4, 2]
    expected = future(env, actions, advised=True)
    fresh = GridEnv(task)
    fresh.set_state(loaded)
    assert_same_future(expected, future(fresh, actions, advised=True))


def mapped(value, change, kind):
    """Return the nested value with every leaf changed; fail for types that a State may not contain."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(item, change, kind) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(mapped(item, change, kind) for item in value)
    assert value is None or type(value) in (bool, int, float, str, bytes), type(value)
    return value


def test_a_snapshot_does_not_change_with_the_world():
    env = GridEnv("MiniGrid-DoorKey-6x6-v0")
    env.reset(seed=0)
    state, observation = env.get_state(), env._observe()
    wander(env, np.random.default_rng(0), 50)
    assert same(env.set_state(state), observation)
    wander(env, np.random.default_rng(0), 50)
    assert same(env.set_state(state), observation)


def test_a_state_of_another_task_or_of_unknown_things_is_refused():
    env, other = GridEnv("MiniGrid-Empty-5x5-v0"), GridEnv("MiniGrid-Empty-6x6-v0")
    env.reset(seed=0)
    state = env.get_state()
    with pytest.raises(ValueError, match="Empty-6x6-v0: this state was taken from 'MiniGrid-Empty-5x5-v0'"):
        other.set_state(state)
    state["world"]["objects"][0] = ("Popen", {"args": "echo"})
    with pytest.raises(ValueError, match="'Popen'"):
        env.set_state(state)
    with pytest.raises(RuntimeError, match="get_state before reset"):
        other.get_state()


def test_a_seed_fixes_the_episode_here_and_in_another_process():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for task, there in zip(FEW, pool.map(episode, FEW)):
            assert episode(task) == episode(task) == there, task
