"""Levels that training has met are remembered exactly, also over a resume."""

import numpy as np
import pytest

from embodia.agents.references.random import Random
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.levels import as_array, digest, num_met
from embodia.agents.training.loop import Schedule, train
from embodia.envs.vector import SubprocessVector, SyncVector
from embodia.tests.fakes import CountingEnv, Named


def random(env):
    return Random(env.single_observation_space, env.single_action_space)


def test_every_level_that_training_began_is_kept_and_no_other():
    Named.begun.clear()
    env = SyncVector([Named] * 3)
    done = train(random(env), env, Schedule(steps=200))
    assert done.levels == {digest(name) for name in Named.begun}
    assert len(done.levels) > 10
    assert num_met(set(Named.begun), as_array(done.levels)) == len(set(Named.begun))
    assert num_met(["elsewhere", Named.begun[0]], as_array(done.levels)) == 1


def test_a_resumed_run_has_met_the_same_levels(tmp_path):
    env = SyncVector([Named] * 2)
    whole = train(random(env), env, Schedule(steps=120))
    train(random(env), SyncVector([Named] * 2), Schedule(steps=60), tmp_path)
    again = train(random(env), SyncVector([Named] * 2), Schedule(steps=120), tmp_path, resume=True)
    assert again.levels == whole.levels
    np.testing.assert_array_equal(as_array(again.levels), sorted(whole.levels))


@pytest.mark.parametrize("vector", [SyncVector, SubprocessVector])
def test_an_evaluated_episode_knows_its_level(vector):
    env = vector([Named] * 2)
    episodes = evaluate(random(env), env, [3, 7, 25, 8, 41])
    assert [episode.level for episode in episodes] == ["place 0", "place 0", "place 2", "place 0", "place 4"]
    env.close()
    unnamed = SyncVector([CountingEnv] * 2)
    assert {episode.level for episode in evaluate(random(unnamed), unnamed, range(3))} == {""}
