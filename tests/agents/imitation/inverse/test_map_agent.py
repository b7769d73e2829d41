"""Agents that learn cost maps: in MiniGrid and in a home, resume, what they refuse."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.agents.imitation.inverse.demonstrations import DemonstrationError
from embodia.agents.imitation.inverse.map_agent import (
    CostLoopAgent,
    MapConfig,
    MaxEntAgent,
    MaxEntConfig,
    MaxMarginAgent,
    MaxMarginConfig,
)
from embodia.agents.imitation.inverse.map_body import GridBody, HomeBody, follow
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import Schedule, train
from embodia.envs.vector import make

LAVA, EMPTY, WALL, GOAL = 9, 1, 2, 8
SMALL = {"demonstrations": 16, "batch_size": 4, "gradient_steps": 2, "train_freq": 8}
RULES = [
    (CostLoopAgent, MapConfig(**SMALL)),
    (MaxMarginAgent, MaxMarginConfig(**SMALL)),
    (MaxEntAgent, MaxEntConfig(horizon=24, **SMALL)),
]


def crossing(split="train", n=4):
    return make("embodia/MiniGrid-SimpleCrossingS9N1-v0", n, "sync", observation="symbolic_full", split=split)


def success(agent, env, episodes=8):
    return np.mean([each.metrics["success"] for each in evaluate(agent, env, range(episodes))])


def built(env, agent, config):
    torch.manual_seed(0)
    return agent(env.single_observation_space, env.single_action_space, config)


@pytest.mark.parametrize(("agent", "config"), RULES, ids=lambda each: getattr(each, "__name__", ""))
def test_learns_that_walls_cannot_be_passed(agent, config):
    env, test = crossing(), crossing("test")
    learner = built(env, agent, config)
    before = success(learner, test)
    train(learner, env, Schedule(steps=600), logger=Logger(console=False))
    kinds = torch.eye(learner.body.channels)[None, :, [EMPTY, WALL]].permute(0, 2, 1)
    log_cost = learner.network.last(kinds.reshape(2, -1, 1, 1)).flatten()
    assert log_cost[1] > log_cost[0] + 1
    assert success(learner, test) == 1.0 > before


@pytest.mark.parametrize(("agent", "config"), RULES[1:], ids=lambda each: getattr(each, "__name__", ""))
def test_resumes_exactly(agent, config, tmp_path):
    runs = {}
    for name, parts in (("at once", (160,)), ("in two parts", (96, 160))):
        for steps in parts:
            env = crossing()
            learner = built(env, agent, config)
            train(learner, env, Schedule(steps=steps), tmp_path / name, logger=Logger(console=False), resume=True)
        runs[name] = learner
    assert runs["at once"].training.updates == runs["in two parts"].training.updates > 0
    for one, other in zip(*(each.network.state_dict().values() for each in runs.values()), strict=True):
        assert torch.equal(one, other)


def test_in_a_home_the_cheapest_path_over_the_floor_leads_to_the_goal():
    options = {"sensors": ("map", "map_pose", "map_goal"), "num_scenes": 2, "detail": "low"}
    env = make("embodia/PointNav-v0", 2, split="test", **options)
    agent = built(env, MaxMarginAgent, MaxMarginConfig())
    uniform = success(agent, env, 4)
    with torch.no_grad():  # off the floor, and at its edges, cells cost more
        agent.network.last.weight[0, 0] = -5.0
    assert success(agent, env, 4) > uniform
    env.close()


def grid(rows):
    """Symbols (1, H, W, 3) of a grid."""
    symbols = np.zeros((1, *np.shape(rows), 3), np.uint8)
    symbols[0, ..., 0] = rows
    return symbols


def test_a_grid_as_features_state_and_goal():
    space = spaces.Dict({"symbolic": spaces.Box(0, 10, (2, 3, 3), np.uint8)})
    body = GridBody(space)
    obs = {"symbolic": grid([[WALL, EMPTY, LAVA], [GOAL, 10, WALL]]), "direction": np.array([3])}
    assert body.state(obs).tolist() == [4 * 4 + 3]
    assert body.goal(obs).tolist() == [3]
    assert body.features(obs)[0].argmax(0).tolist() == [[WALL, EMPTY, LAVA], [GOAL, EMPTY, WALL]]


def test_a_body_in_a_home_turns_to_its_path():
    body = HomeBody(spaces.Dict({"map": spaces.Box(0, 1, (5, 5, 1), np.float32)}))
    obs = {"map_pose": np.array([2.5, 2.5, 0.0, 0.25]), "map_goal": np.array([4.5, 2.5])}
    nowhere = np.array([], int)
    assert body.action(obs, nowhere, nowhere) == 1, "angle 0 is down the rows"
    left = {**obs, "map_goal": np.array([2.5, 4.5])}
    assert body.action(left, nowhere, nowhere) == 2
    assert body.action({**obs, "map_goal": np.array([2.9, 2.5])}, nowhere, nowhere) == 0
    assert body.action(obs, np.array([12, 11, 10]), np.array([2, 2, 2])) == 3, "the path comes before the goal"


def test_a_walk_that_leaves_the_map_is_named():
    body = HomeBody(spaces.Dict({"map": spaces.Box(0, 1, (5, 5, 1), np.float32)}))
    states, moves = follow(body, np.array([0, 0, 6, 7]))
    assert (states.tolist(), moves.tolist()) == ([0, 6], [4, 0])
    with pytest.raises(DemonstrationError, match="no move leads from state 6 to 9 at step 1"):
        follow(body, np.array([0, 6, 9]))


def test_a_walk_that_is_too_long_is_named():
    env = crossing()
    learner = built(env, MaxEntAgent, dataclasses.replace(RULES[2][1], horizon=3))
    with pytest.raises(DemonstrationError, match=r"has \d+ moves; it must have at least 1 and at most agent.horizon"):
        train(learner, env, Schedule(steps=200), logger=Logger(console=False))


@pytest.mark.parametrize("agent", [CostLoopAgent, MaxMarginAgent, MaxEntAgent])
def test_what_cannot_be_learned_from_is_refused(agent):
    blind = spaces.Dict({"symbolic": spaces.Box(0, 10, (7, 7, 3), np.uint8)})
    with pytest.raises(TypeError, match="a reward map needs a map"):
        agent(blind, spaces.Discrete(7))
    env = crossing(n=1)
    config = next(each for kind, each in RULES if kind is agent)
    with pytest.raises(ValueError, match=r"agent\.demonstrations is 0"):
        built(env, agent, dataclasses.replace(config, demonstrations=0))
