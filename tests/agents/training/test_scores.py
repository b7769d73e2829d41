"""Declared scores select the best checkpoint; scores that are not declared give a warning."""

import json
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from embodia.agents.references.random import Random
from embodia.agents.training import checkpoint
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.loop import Schedule, train
from embodia.agents.training.scores import EpisodeScores, ScoreError, deciding, declared_scores
from embodia.envs.vector import SyncVector
from embodia.tests.fakes import CountingAgent, CountingEnv, IdentityEnv


def declaring(scores, base=CountingEnv):
    """Two environments that declare these scores."""
    kind = type("Declaring", (base,), {"metadata": {"scores": scores} if scores else {}})
    return SyncVector([kind] * 2)


def random(env):
    return Random(env.single_observation_space, env.single_action_space)


def test_an_environment_that_declares_nothing_is_judged_by_its_return():
    assert declared_scores(gym.make("CartPole-v1")) == {"return": "higher"}
    assert declared_scores(gym.make_vec("CartPole-v1", 2)) == {"return": "higher"}
    assert declared_scores(declaring(None)) == {"return": "higher"}


def test_the_first_declared_score_that_is_reported_decides():
    assert deciding({"spl": "higher", "success": "higher"}, ["return", "success", "spl"]) == "spl"
    assert deciding({"spl": "higher", "success": "higher"}, ["return", "success"]) == "success"
    assert deciding({"spl": "higher"}, ["return"]) is None


@pytest.mark.parametrize("wrong", [["success"], {"success": "up"}, {"success": 1}, {"success": ["up"]}, {1: "higher"}])
def test_a_wrong_declaration_is_refused_at_the_first_finished_episode(wrong):
    env = declaring(wrong)
    with pytest.raises(ScoreError, match=r"SyncVector: metadata\[.scores.\] is .*such as"):
        train(random(env), env, Schedule(steps=100))
    with pytest.raises(ScoreError, match="such as"):
        evaluate(random(env), env, [0])


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_the_best_checkpoint_is_the_declared_ones(tmp_path, better):
    env = declaring({"distance": better, "success": "higher"})
    distances = iter([5.0, 1.0, 9.0, 4.0])
    train(
        CountingAgent(env.single_observation_space, env.single_action_space),
        env,
        Schedule(steps=40, eval_every=10, keep=1),
        tmp_path,
        evaluate=lambda: {"success": 0.5, "distance": next(distances)},
    )
    best = checkpoint.best(tmp_path / "checkpoints")
    assert int(best.name) == {"higher": 30, "lower": 20}[better]
    meta = checkpoint.load(best).meta
    assert (meta["decides"], meta["better"], meta["score"]) == (
        "distance",
        better,
        {"higher": 9.0, "lower": 1.0}[better],
    )


def test_lower_is_no_better_where_all_checkpoints_are_equal(tmp_path):
    for step, score in enumerate([3.0, 2.0, 2.0, 4.0, None], 1):
        checkpoint.save(tmp_path, step, random(declaring(None)), {}, {"score": score, "better": "lower"})
    assert int(checkpoint.best(tmp_path).name) == 3, "the newest of equals"
    checkpoint.prune(tmp_path, 1)
    assert [int(path.name) for path in checkpoint.list_steps(tmp_path)] == [3, 5]


SAID = {
    "declares too much": (
        {"spl": "higher", "success": "higher", "count": "lower"},
        'SyncVector, metadata["scores"]: the episode of seed 0 ended without spl; the main score is success',
    ),
    "declares too little": (
        {"success": "higher"},
        'SyncVector, metadata["scores"]: count not declared (higher is assumed to be better); '
        "the main score is success",
    ),
    "declares nothing": (
        None,
        'SyncVector, metadata["scores"]: success, count not declared (higher is assumed to be better); '
        "the main score is return",
    ),
}


@pytest.mark.parametrize("case", SAID)
@pytest.mark.parametrize("how", ["train", "evaluate"])
def test_differences_are_said_once_in_one_line(case, how):
    declared, said = SAID[case]
    env = declaring(declared)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if how == "train":
            train(random(env), env, Schedule(steps=60))
        else:
            evaluate(random(env), env, range(6))
    texts = [str(each.message) for each in caught if "scores" in str(each.message)]
    assert texts == [said]


@pytest.mark.parametrize("scores", [{"success": "higher", "count": "lower", "return": "higher", "length": "lower"}])
def test_nothing_is_said_of_what_every_episode_has(scores):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(random(declaring(scores)), declaring(scores), range(3))
        env = SyncVectorEnv([IdentityEnv] * 2, autoreset_mode="NextStep")
        assert declared_scores(env) == {"success": "higher"}, "Gymnasium's own vector passes metadata on"
        assert np.isfinite(env.reset(seed=0)[0]["shown"]).all()


class SuccessOnlyWhenReached(CountingEnv):
    """As many environments from elsewhere: a success is reported, running out of time is not."""

    metadata = {}  # noqa: RUF012

    def step(self, action):
        obs, reward, terminated, truncated, _ = super().step(action)
        return obs, reward, terminated, truncated, {"metrics": {"success": 1.0}} if terminated else {}


@pytest.mark.parametrize("declared", [{}, {"success": "higher"}])
def test_running_out_of_time_without_scores_counts_as_failure(tmp_path, declared):
    kind = type("Kind", (SuccessOnlyWhenReached,), {"metadata": {"scores": declared} if declared else {}})
    env = SyncVector([kind] * 2)
    with pytest.warns(UserWarning, match=r"the episode of seed 1.* ended without success, which counts as a failure"):
        episodes = evaluate(random(env), env, range(8))
    assert [episode.metrics["success"] for episode in episodes] == [1, 0] * 4, "even seeds are solved, odd ones are not"
    with pytest.warns(UserWarning, match="counts as a failure"):
        train(random(env), env, Schedule(steps=120, log_every=120), tmp_path)
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert 0 < logged[-1]["episode/success"] < 1


@pytest.mark.parametrize("value", [np.nan, np.inf, "yes", np.zeros(2), None])
def test_a_score_that_is_no_number_is_named(value):
    with pytest.raises(ScoreError, match=r"""seed 7: info\["metrics"\]\['spl'\] is .*; a score is one finite number"""):
        EpisodeScores(declaring({"success": "higher"})).read({"success": 1, "spl": value}, 7)
