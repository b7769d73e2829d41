"""Modular agents on a few short episodes of homes, and their errors."""

import numpy as np
import pytest
from gymnasium import spaces

from embodia.agents.modular.body import STRETCH, Body
from embodia.agents.modular.frontier import Frontier
from embodia.agents.modular.objectnav import ModularObjectNav
from embodia.agents.modular.pointnav import ModularPointNav
from embodia.agents.training.evaluate import evaluate
from embodia.envs.homes.vector_env import HomesVectorEnv
from embodia.perception.mapping.planar_poses import PoseJump

LOCATED = ("depth", "gps", "compass")


def homes(task, sensors, n=1, size=64, **more):
    return HomesVectorEnv(n, task=task, sensors=sensors, height=size, width=size, detail="low", split="test", **more)


def built(kind, env):
    return kind(env.single_observation_space, env.single_action_space)


@pytest.mark.parametrize("extra", [(), ("gps", "compass")])
def test_pointnav_arrives(extra):
    env = homes("PointNav", ("depth", "pointgoal_with_gps_compass", *extra))
    (episode,) = evaluate(built(ModularPointNav, env), env, [6])
    assert episode.metrics["success"] == 1
    assert episode.metrics["spl"] > 0.5


def test_frontier_sees_most_of_a_home_and_far_more_than_turning():
    env = homes("Exploration", LOCATED, max_steps=200)
    (episode,) = evaluate(built(Frontier, env), env, [5])
    assert episode.metrics["coverage"] > 0.6


def test_objectnav_finds_its_goal():
    env = homes("ObjectNav", (*LOCATED, "category", "objectgoal"))
    (episode,) = evaluate(built(ModularObjectNav, env), env, [8])
    assert episode.metrics["success"] == 1


def test_a_batch_equals_its_worlds_alone():
    def lengths(n):
        env = homes("Exploration", LOCATED, n, 32, max_steps=25)
        return [(each.length, each.return_, each.metrics) for each in evaluate(built(Frontier, env), env, [0, 1, 2])]

    assert lengths(2) == lengths(1)


def test_other_labels_take_the_place_of_the_true_ones():
    env = homes("ObjectNav", (*LOCATED, "objectgoal"))
    agent = ModularObjectNav(
        env.single_observation_space,
        env.single_action_space,
        labels=lambda obs: np.zeros(obs["depth"].shape[:3], np.int64),
    )
    obs, _ = env.reset(seed=[0])
    action, carry, _ = agent.act(obs, agent.initial(1), np.ones(1, bool), "eval")
    assert action[0] in (1, 2, 3)
    assert not carry["map"][..., 4:].any()


def test_pictures_are_returned_on_request_only():
    env = homes("Exploration", LOCATED, size=32)
    agent = built(Frontier, env)
    obs, _ = env.reset(seed=[0])
    assert agent.act(obs, agent.initial(1), np.ones(1, bool), "eval")[2] == {}
    agent.draws = True
    picture = agent.act(obs, agent.initial(1), np.ones(1, bool), "eval")[2]["picture"]
    assert picture.shape == (1, 420, 420, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3


def test_category_names_the_goal_categories_of_the_semantic_ids():
    env = homes("ObjectNav", ("semantic", "category"))
    obs, _ = env.reset(seed=[8])
    for thing in env.homes[0].objects:
        here = obs["category"][obs["semantic"] == thing.semantic_id]
        expected = 1 + dict(env.suite.category_ids).get(thing.category, -1)
        assert (here == expected).all()


def test_a_jump_of_the_pose_is_an_error():
    env = homes("Exploration", LOCATED, size=32)
    agent = built(Frontier, env)
    obs, _ = env.reset(seed=[0])
    _, carry, _ = agent.act(obs, agent.initial(1), np.ones(1, bool), "eval")
    with pytest.raises(PoseJump, match="jumped"):
        agent.act({**obs, "gps": obs["gps"] + 3}, carry, np.zeros(1, bool), "eval")


def test_missing_sensors_and_other_actions_are_errors():
    observed = spaces.Dict({"depth": spaces.Box(0, 1, (8, 8, 1), np.float32)})
    with pytest.raises(ValueError, match="gps, compass is missing"):
        Frontier(observed, spaces.Discrete(4))
    whole = spaces.Dict(dict.fromkeys(LOCATED, observed["depth"]))
    with pytest.raises(ValueError, match="discrete actions"):
        Frontier(whole, spaces.Box(-1, 1, (2,)))


def test_normalized_depth_is_read_in_metres():
    space = spaces.Box(0, 1, (1, 1, 1), np.float32)
    assert STRETCH.metres(np.full((1, 1, 1, 1), 0.5), space)[0, 0, 0] == pytest.approx(2.75)
    metres = spaces.Box(0, 10, (1, 1, 1), np.float32)
    assert Body().metres(np.full((1, 1, 1, 1), 0.5), metres)[0, 0, 0] == pytest.approx(0.5)
