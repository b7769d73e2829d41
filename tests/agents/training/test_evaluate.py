"""Evaluation: one episode per seed, for any number of parallel environments."""

import gymnasium as gym
import numpy as np
import pytest

from embodia.agents.training.evaluate import evaluate, world_info
from embodia.agents.training.loop import Schedule, train
from embodia.agents.training.rows import NonFinite
from embodia.envs.vector import SyncVector
from embodia.tests.fakes import CountingAgent, CountingEnv, IdentityEnv


def worlds(n, **kwargs):
    return SyncVector([lambda: CountingEnv(**kwargs)] * n)


def counting(env):
    return CountingAgent(env.single_observation_space, env.single_action_space)


def test_every_seed_is_played_once_from_its_own_reset():
    env = worlds(3, length=4)
    episodes = evaluate(counting(env), env, range(10, 17))
    assert [e.seed for e in episodes] == list(range(10, 17))
    assert all(e.length == 4 and e.return_ == 1 + 2 + 3 + 4 for e in episodes)
    assert [e.metrics["success"] for e in episodes] == [1, 0.5, 1, 0.5, 1, 0.5, 1]
    assert all(e.seconds > 0 for e in episodes)


class Lengths(CountingEnv):
    """Episodes of the level's length, so that episodes end at different times."""

    def reset(self, *, seed=None, options=None):
        obs, _ = super().reset(seed=seed, options=options)
        self.length = 2 + self.level % 5
        return obs, {"level": self.level}


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16])
def test_results_do_not_depend_on_the_number_of_worlds(n):
    env = SyncVector([Lengths] * n)
    episodes = evaluate(counting(env), env, [3, 1, 4, 1, 5, 9, 2, 6])
    assert [(e.seed, e.length) for e in episodes] == [(s, 2 + s % 5) for s in [3, 1, 4, 1, 5, 9, 2, 6]]


@pytest.mark.parametrize("n", [1, 3])
def test_watch_sees_every_row_of_every_episode_in_order(n):
    env, seen = SyncVector([Lengths] * n), {}

    def watch(world, seed, row, info, frame):
        seen.setdefault(seed, []).append((row, info, frame()[0, 0, 0]))

    evaluate(counting(env), env, [0, 1, 2, 3, 4], watch)
    for seed in range(5):
        rows, infos, frames = zip(*seen[seed])
        length = 2 + seed % 5
        assert [row["obs"]["count"][0] for row in rows] == list(range(length + 1)) == list(frames)
        assert [bool(row["first"]) for row in rows] == [True] + [False] * length
        assert [bool(row["last"]) for row in rows] == [False] * length + [True]
        assert [row["reward"] for row in rows] == list(range(length + 1))
        assert bool(rows[-1]["terminal"]) == (seed % 2 == 0)
        assert infos[0]["level"] == seed
        assert infos[-1]["metrics"]["count"] == length


def test_no_seeds_no_episodes():
    env = worlds(2)
    assert evaluate(counting(env), env, []) == []


@pytest.mark.parametrize(("broken", "field"), [("nan_obs", "count"), ("nan_reward", "reward")])
def test_nan_names_env_seed_and_step(broken, field):
    env = worlds(2, broken=broken, broken_seed=7)
    with pytest.raises(NonFinite, match=rf"{field}.*SyncVector, seed 7, step 3"):
        evaluate(counting(env), env, [6, 7])


def test_an_expert_is_asked_only_where_the_agent_wants_it():
    class Follower(CountingAgent):
        needs_expert = ("eval",)

        def act(self, obs, carry, first, mode):
            return obs["expert_action"], carry, {}

    env, labels = SyncVector([IdentityEnv] * 2), []
    agent = Follower(env.single_observation_space, env.single_action_space)
    episodes = evaluate(agent, env, range(4), lambda w, s, row, i, f: labels.append(row))
    assert [e.return_ for e in episodes] == [8.0] * 4
    assert all("expert_action" in row["extras"] and "expert_action" not in row["obs"] for row in labels)
    np.testing.assert_array_equal([r["action"] for r in labels], [r["extras"]["expert_action"] for r in labels])


def test_snapshots_are_in_the_observation_where_the_agent_asks_for_them():
    seen = []

    class Planner(CountingAgent):
        needs_snapshot = True

        def act(self, obs, carry, first, mode):
            seen.append([each and each["count"] for each in obs["snapshot"]])
            return super().act(obs, carry, first, mode)

    env, rows = worlds(2, length=2), []
    agent = Planner(env.single_observation_space, env.single_action_space)
    evaluate(agent, env, [0], lambda w, s, row, i, f: rows.append(row))
    assert [counts[0] for counts in seen] == [0, 1]
    assert all("snapshot" not in row["obs"] for row in rows)
    train(agent, env, Schedule(steps=6))
    assert [None, None] in seen, "an episode that is over has none"

    gymnasiums = gym.vector.SyncVectorEnv([CountingEnv] * 2)
    with pytest.raises(TypeError, match="SyncVectorEnv has one snapshot for all its environments; to plan in the"):
        evaluate(agent, gymnasiums, [0])


def test_one_worlds_info_out_of_both_layouts():
    """Gymnasium also masks the entries of nested dicts; a native simulator masks only the whole dict."""
    values = np.array([0.5, 1.0])
    native = {"metrics": {"spl": values}, "_metrics": np.array([False, True])}
    nested = {"metrics": {"spl": values, "_spl": np.array([False, True])}, "_metrics": np.array([True, True])}
    assert world_info(native, 0) == {}
    assert world_info(native, 1) == {"metrics": {"spl": 1.0}}
    assert world_info(nested, 0) == {"metrics": {}}
    assert world_info(nested, 1) == {"metrics": {"spl": 1.0}}
