"""The experts over many unseen homes: what the tasks can be solved with."""

import numpy as np
import pytest

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
