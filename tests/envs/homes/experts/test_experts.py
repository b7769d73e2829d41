"""The experts over many unseen homes: what the tasks can be solved with."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from embodia.envs.homes.episodes.dataset import EpisodeDataset
from embodia.envs.homes.experts.expert import Experts, ExplorationGoals
from embodia.envs.homes.tasks.navigation import TASKS
from embodia.envs.homes.vector_env import HomesVectorEnv


def evaluate(task, episodes, num_scenes, **options):
    """Scores (episodes,) by name of the expert on levels 0, 1, ... of the test split."""
    env = HomesVectorEnv(10, task=task, split="test", sensors=("gps",), num_scenes=num_scenes, cache_size=64, **options)
    scores = []
    for first in range(0, episodes, 10):
        env.reset(seed=first)
        done = np.zeros(10, bool)
        while not done.all():
            _, _, terminated, truncated, infos = env.step(env.expert_action())
            for world in np.flatnonzero((terminated | truncated) & ~done):
                scores.append({name: value[world] for name, value in infos["metrics"].items()})
            done |= terminated | truncated
    return {name: np.array([score[name] for score in scores]) for name in scores[0]}


@pytest.mark.slow
def test_point_nav_expert():
    scores = evaluate("PointNav", 500, 50)
    print({name: round(float(value.mean()), 4) for name, value in scores.items()})
    assert scores["success"].mean() >= 0.99
    assert scores["spl"].mean() >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ObjectNav", "InstanceImageNav"])
def test_object_experts(task):
    scores = evaluate(task, 200, 40)
    print({name: round(float(value.mean()), 4) for name, value in scores.items()})
    assert scores["success"].mean() >= 0.97


@pytest.mark.slow
def test_velocity_expert():
    scores = evaluate("PointNav", 200, 40, actions="velocity")
    print({name: round(float(value.mean()), 4) for name, value in scores.items()})
    assert scores["success"].mean() >= 0.97


def with_one_view_point(level):
    """An ObjectNav episode that is won at one place only, as in data sets whose view points are far apart."""
    env = HomesVectorEnv(1, task="ObjectNav", split="test", sensors=("gps",), num_scenes=8, detail="low")
    env.reset(seed=level)
    episode = env.episodes[0]
    goal = max(episode.goals, key=lambda each: max(view.iou for view in each.view_points))
    view = goal.view_points[np.random.default_rng(level).integers(len(goal.view_points))]
    return replace(episode, goals=(replace(goal, view_points=(view,)),))


def test_a_place_that_greedy_steps_circle_is_reached():
    """Steps of 0.25 m and turns of 30 degrees lead past these view points at 0.13 m, again and again."""
    levels = (13, 20, 34, 43)
    data = EpisodeDataset(tuple(with_one_view_point(level) for level in levels))
    env = HomesVectorEnv(len(levels), task="ObjectNav", episodes=data, sensors=("gps",))
    env.reset(seed=0)
    success, steps = np.zeros(len(levels)), np.zeros(len(levels))
    state = None
    while not steps.all():
        actions = env.expert_action()
        if state is not None:
            assert np.array_equal(actions, _again(env, state)), "the expert's memory is part of the snapshot"
        _, _, terminated, truncated, infos = env.step(actions)
        for world in np.flatnonzero((terminated | truncated) & (steps == 0)):
            success[world], steps[world] = (infos["metrics"][name][world] for name in ("success", "num_steps"))
        state = env.get_state() if not env.over.any() else None
    assert success.all()
    assert (steps < 150).all()


class NothingComesIntoView:
    """An `AreaSeen` with three places that are never seen, and a navigator that knows the nearest of some places."""

    def __init__(self):
        self.places = np.array([[0.0, 0, 0], [1, 0, 0], [5, 0, 0]])
        self.coverage, self.mask, self.grid = 0.5, np.zeros((9, 9)), self

    def to_grid(self, x, z):
        return round(x), round(z)

    def unseen(self):
        return self.places

    def goal_set(self, goals):
        return np.atleast_2d(goals)

    def shortest_path(self, position, goals):
        return SimpleNamespace(closest_end=int(np.argmin(np.linalg.norm(goals - position, axis=1))))


def test_the_explorer_gives_up_places_that_never_come_into_view():
    """It went to and fro between the two nearest ones until the steps ran out."""
    area, goals, position, visited = NothingComesIntoView(), ExplorationGoals(), np.array([0.4, 0, 0]), []
    while (aim := goals.goal_set(area, position, area)) is not None:
        position = aim[0]
        visited.append(position[0])
        assert len(visited) <= 3
    assert visited == [0, 1, 5]
    goals.reset()
    assert goals.goal_set(area, position, area) is not None


def test_the_explorers_memory_is_part_of_the_snapshot():
    area, experts = NothingComesIntoView(), Experts(1, TASKS["Exploration"], None)
    (goals,) = experts.frontiers
    for place in (0.4, 0.0, 1.0):
        goals.goal_set(area, np.array([place, 0, 0]), area)
    other = Experts(1, TASKS["Exploration"], None)
    other.set_state(experts.get_state())
    assert [place[0] for place in other.frontiers[0].given_up] == [0, 1]
    assert other.frontiers[0].goal_set(area, np.array([1.0, 0, 0]), area)[0, 0] == 5


def _again(env, state):
    env.set_state(state)
    return env.expert_action()
