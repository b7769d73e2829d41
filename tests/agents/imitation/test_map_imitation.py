"""Agents that clone walks on maps: learning in MiniGrid and in homes, paths, resume, errors."""

import numpy as np
import pytest
import torch

from embodia.agents.imitation.map_imitation import AHEAD, MARGIN, MapImitation, MapImitationConfig, cropped, shortest
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import Schedule, train
from embodia.envs.control.grid_world import LENGTHS, solve
from embodia.envs.vector import make

SMALL = {"iterations": 20, "demonstrations": 48, "batch_size": 8, "gradient_steps": 6, "updates": 250}


def grids(split="train", n=4):
    return make("embodia/MiniGrid-SimpleCrossingS9N1-v0", n, "sync", observation="symbolic_full", split=split)


def homes(n=2):
    return make("embodia/PointNav-v0", n, split="test", sensors=("map", "map_pose", "map_goal"), num_scenes=2,
                detail="low")  # fmt: skip


def built(env, **changes):
    torch.manual_seed(0)
    config = MapImitationConfig(**{**SMALL, **changes})
    return MapImitation(env.single_observation_space, env.single_action_space, config)


def success(agent, env, episodes=8):
    return np.mean([each.metrics["success"] for each in evaluate(agent, env, range(episodes))])


def test_learns_to_plan_around_walls_on_unseen_grids():
    env, test = grids(), grids("test")
    agent = built(env)
    before = success(agent, test)
    train(agent, env, Schedule(steps=1400), logger=Logger(console=False))
    assert success(agent, test) >= before + 0.5


@pytest.mark.parametrize("network", ["vin", "untied-vin", "cnn", "fcn"])
def test_every_network_reads_grids_and_homes(network):
    for env in (grids(n=2), homes()):
        agent = built(env, network=network, iterations=2)
        obs, _ = env.reset(seed=[0, 1])
        action, carry, _ = agent.act(obs, agent.initial(2), np.ones(2, bool), "eval")
        assert all(env.single_action_space.contains(each) for each in action)
        paths = agent.paths(carry, agent.body.state(obs))
        assert all(1 <= len(states) == len(moves) <= AHEAD for states, moves in paths)
        again, _, _ = agent.act(obs, carry, np.zeros(2, bool), "eval")
        assert (again == action).all(), "the plan of an episode stays"
        env.close()


def test_the_path_ends_at_the_goal():
    env = grids(n=2)
    agent = built(env)
    obs, _ = env.reset(seed=[0, 1])
    carry = agent.planned(obs, agent.initial(2), np.ones(2, bool))
    goals = agent.body.goal(obs)
    carry["move"][:] = 2
    cell = goals - 1  # one step to the left of the goal, looking right
    (states, moves), _ = agent.paths(carry, 4 * cell)
    assert (states.tolist(), moves.tolist()) == ([4 * cell[0]], [2])


def test_resumes_exactly(tmp_path):
    runs = {}
    for name, parts in (("at once", (320,)), ("in two parts", (200, 320))):
        for steps in parts:
            env = grids()
            agent = built(env)
            train(agent, env, Schedule(steps=steps), tmp_path / name, logger=Logger(console=False), resume=True)
        runs[name] = agent
    assert runs["at once"].training.updates == runs["in two parts"].training.updates > 0
    for one, other in zip(*(each.policy.state_dict().values() for each in runs.values()), strict=True):
        assert torch.equal(one, other)


def test_without_a_map_or_demonstrations_it_says_so():
    env = make("embodia/MiniGrid-Empty-5x5-v0", 1, "sync", observation="symbolic")
    with pytest.raises(TypeError, match="needs a map"):
        built(env)
    with pytest.raises(ValueError, match=r"agent\.demonstrations is 0"):
        built(grids(n=1), demonstrations=0)


def test_labels_of_shortest_paths_are_those_of_another_solver():
    env = homes()
    agent = built(env)
    obs, _ = env.reset(seed=[0, 1])
    features, goal = agent.body.features(obs), int(agent.body.goal(obs)[0])
    free = agent.body.open(features)[0].reshape(agent.body.shape)
    free.flat[goal] = True
    cost, move = solve(free, goal)
    state, found = shortest(agent.body, torch.from_numpy(features[0]), goal)
    assert set(state.tolist()) == set(np.flatnonzero(move >= 0))
    after = cost[agent.body.planner.paths.outcome[state, found]] + LENGTHS[found]
    np.testing.assert_allclose(after, cost[state])
    ties = found.numpy() != move[state]
    assert ((found.numpy() >= 4) | (move[state] < 4))[ties].all(), "diagonals first"
    env.close()


def test_cropping_keeps_the_states():
    maps = torch.zeros(2, 2, 12, 12)
    maps[0, 0, 1:4, 2], maps[1, 1, 2, 5] = 1.0, 1.0
    small, state = cropped(maps, torch.tensor([4 * (3 * 12 + 2) + 1, 4 * (2 * 12 + 5)]), 4)
    assert small.shape == (2, 2, 4 + MARGIN, 6 + MARGIN)
    wide = small.shape[3]
    assert state.tolist() == [4 * (3 * wide + 2) + 1, 4 * (2 * wide + 5)]
    whole, same = cropped(torch.ones(1, 1, 5, 5), torch.tensor([24]), 1)
    assert (whole.shape, same.tolist()) == ((1, 1, 5, 5), [24])
