"""Snapshots, errors and options of the native engine."""

import gymnasium as gym
import numpy as np
import pytest
from minigrid.envs import EmptyEnv
from minigrid.envs.babyai.core import verifier

from embodia.envs import VectorEnvironment
from embodia.envs.grid.env import GridEnv
from embodia.envs.grid.ids import GRID_IDS, NEED_SOURCE
from embodia.envs.grid.native.batch import GridVectorEnv, make_grids, why_official
from embodia.envs.grid.world import make_world
from embodia.envs.vector import SyncVector, make
from embodia.tests.envs.grid.native.test_equals_official import assert_same, both, play_both

DOORKEY = "embodia:embodia/MiniGrid-DoorKey-5x5-v0"


def batch(task="MiniGrid-DoorKey-5x5-v0", num_envs=2, **options):
    return make_grids(num_envs, task=task, **options)


def test_it_is_what_the_contract_asks_for():
    env = make(DOORKEY, 3)
    assert isinstance(env, VectorEnvironment)
    assert env.spec.id == "embodia/MiniGrid-DoorKey-5x5-v0"
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert env.metadata["autoreset_mode"] == gym.vector.AutoresetMode.NEXT_STEP


def test_the_action_after_an_episode_is_ignored_and_the_next_begins():
    env = batch(max_steps=2)
    env.reset(seed=0)
    env.step([0, 0])
    _, _, terminated, truncated, info = env.step([0, 0])
    assert truncated.all()
    assert not terminated.any()
    assert info["metrics"]["success"].tolist() == [0.0, 0.0]
    observation, reward, terminated, truncated, info = env.step([99, -5])
    assert not (terminated | truncated).any()
    assert reward.tolist() == [0.0, 0.0]
    assert info["_level"].all()
    np.testing.assert_array_equal(observation["direction"], env.worlds.direction)


def test_what_was_returned_does_not_change_later():
    env = batch()
    first, _ = env.reset(seed=0)
    kept = {key: value.copy() for key, value in first.items()}
    for _ in range(5):
        env.step([1, 1])
    assert_same(first, kept, "first observation")


@pytest.mark.parametrize(
    "task", ["MiniGrid-DoorKey-5x5-v0", "BabyAI-MiniBossLevel-v0", "MiniGrid-Dynamic-Obstacles-6x6-v0"]
)
@pytest.mark.parametrize("expert", [0.0, 0.9])
def test_a_restored_batch_goes_on_alike(task, expert):
    native, official = both(f"embodia/{task}", 2, max_steps=30)
    native.reset(seed=0)
    official.reset(seed=0)
    play_both(native, official, 17, np.random.default_rng(0), expert)
    fresh = make(f"embodia:embodia/{task}", 2, max_steps=30)
    observation = fresh.set_state(native.get_state())
    assert_same(observation, native._observe(), "restored observation")
    play_both(fresh, official, 30, np.random.default_rng(1), expert, "restored")
    play_both(fresh, official, 30, np.random.default_rng(1), 0.9, "restored, then the expert")


@pytest.mark.parametrize("task", ["MiniGrid-DoorKey-5x5-v0", "BabyAI-MiniBossLevel-v0"])
def test_a_snapshot_of_the_official_engine_is_restored_and_saved_again(task):
    native, official = both(f"embodia/{task}", 2, max_steps=30)
    native.reset(seed=5)
    official.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(17):
        official.step(rng.integers(7, size=2))
    native.set_state(official.get_state())
    again = make(f"embodia:embodia/{task}", 2, max_steps=30)
    again.set_state(native.get_state())
    play_both(again, official, 40, rng, 0.5)


def test_a_world_s_snapshot_is_taken_by_a_single_environment():
    env = batch("BabyAI-OneRoomS8-v0")
    env.reset(seed=0)
    for _ in range(6):
        env.step(env.expert_action())
    single = GridEnv("BabyAI-OneRoomS8-v0")
    single.reset(seed=7)
    single.set_state(env.snapshots()[1])
    for _ in range(5):
        action = env.expert_action()
        assert single.expert_action() == action[1]
        observations, rewards, terminated, *_ = env.step(action)
        observation, reward, ended, *_ = single.step(int(action[1]))
        assert_same(observation["symbolic"], observations["symbolic"][1], "symbolic")
        assert (reward, ended) == (rewards[1], terminated[1])
        if ended:
            return


def test_a_snapshot_of_another_task_or_size_is_rejected():
    env = batch()
    env.reset(seed=0)
    state = env.get_state()
    with pytest.raises(ValueError, match=r"a snapshot of 2 worlds of MiniGrid-DoorKey-5x5-v0 cannot be set on 3"):
        batch(num_envs=3).set_state(state)
    with pytest.raises(ValueError, match="MiniGrid-Empty-5x5-v0: a snapshot of 2 worlds of MiniGrid-DoorKey"):
        batch("MiniGrid-Empty-5x5-v0").set_state(state)


def test_misuse_is_told_in_one_line():
    env = batch()
    for what in (lambda: env.step([0, 0]), env.render, env.expert_action, env.get_state):
        with pytest.raises(RuntimeError, match="before reset; call reset first"):
            what()
    with pytest.raises(RuntimeError, match="the first reset must start every world"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=4)
    for wrong in ([0, 7], [0, -1], [0.0, 1.0]):
        with pytest.raises(ValueError, match=r"MiniGrid-DoorKey-5x5-v0, world \d, level \d: action .* Discrete\(7\)"):
            env.step(wrong)
    with pytest.raises(ValueError, match=r"actions have shape \(3,\); 2 worlds need \(2,\)"):
        env.step([0, 0, 0])
    with pytest.raises(ValueError, match="3 seeds for 2 worlds"):
        env.reset(seed=[1, 2, 3])


@pytest.mark.parametrize("wrong", [{"engine": "fast"}, {"levels": 0}, {"level_workers": -1}])
def test_impossible_options_are_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"embodia/MiniGrid-Empty-5x5-v0: {name}={value!r}"):
        GridEnv("MiniGrid-Empty-5x5-v0", **wrong)


def test_every_id_is_native():
    """No id needs the official engine. This loop names any that a new minigrid adds."""
    for name in GRID_IDS:
        if name not in NEED_SOURCE:
            assert why_official(make_world(name.removeprefix("embodia/"))) is None, name


def test_an_environment_with_rules_of_its_own_runs_on_the_official_engine(monkeypatch):
    monkeypatch.setattr(EmptyEnv, "step", lambda self, action: super(EmptyEnv, self).step(action), raising=False)
    with pytest.warns(UserWarning, match="Empty-5x5-v0 runs on the official engine: it does not know the rules of"):
        env = batch("MiniGrid-Empty-5x5-v0")
    assert isinstance(env, SyncVector)
    assert env.reset(seed=0)[0]["symbolic"].any()


def test_babyai_with_done_actions_runs_on_the_official_engine(monkeypatch):
    monkeypatch.setattr(verifier, "use_done_actions", "1")
    with pytest.warns(UserWarning, match="BABYAI_DONE_ACTIONS is set"):
        assert isinstance(batch("BabyAI-GoToObj-v0"), SyncVector)
    assert isinstance(batch(), GridVectorEnv)
