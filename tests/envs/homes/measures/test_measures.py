"""Golden values of habitat-lab's own measure classes on straight-line distances."""

import numpy as np
import pytest

from embodia.envs.homes.measures.navigation import NavigationMeasures, has_moved

PATH = np.array([(0, 0, 0), (0, 0, -0.25), (0, 0, -0.5), (0.25, 0, -0.5), (0.25, 0, -0.75), (0.25, 0, -1.0)])


def walk(path, goal, stop=True, collided=()):
    """Measures after every step along `path`, then a stop."""
    measures, always = NavigationMeasures(1, success_distance=0.2), np.array([True])
    history = []
    for step, point in enumerate([*path, path[-1]]):
        distance = np.linalg.norm(np.array(goal) - point, keepdims=True)
        if step == 0:
            measures.reset(always, point[None], distance)
        else:
            stopped = np.array([stop and step == len(path)])
            hit = np.array([step - 1 < len(collided) and collided[step - 1]], bool)
            measures.update(always, point[None], distance, stopped, hit)
        history.append({name: float(value[0]) for name, value in measures.metrics().items()})
    return history


def test_a_walk_that_succeeds():
    history = walk(PATH, (0.25, 0, -1.1))
    assert history[0]["distance_to_goal"] == pytest.approx(1.12805142, abs=1e-6)
    soft = [h["soft_spl"] for h in history[:-1]]
    np.testing.assert_allclose(soft, [0, 0.21457281, 0.42378513, 0.46810935, 0.68973045, 0.82244113], atol=1e-6)
    rewards = [h["distance_to_goal_reward"] for h in history]
    np.testing.assert_allclose(rewards, [0, 0.24204916, 0.23600226, 0.05, 0.25, 0.25, 0], atol=1e-6)
    last = history[-1]
    assert last["distance_to_goal"] == pytest.approx(0.1, abs=1e-6)
    assert (last["success"], last["num_steps"]) == (1, 6)
    assert last["spl"] == pytest.approx(0.90244113, abs=1e-6)
    assert last["soft_spl"] == pytest.approx(0.82244113, abs=1e-6)


def test_without_stop_there_is_no_success():
    last = walk(PATH, (0.25, 0, -1.1), stop=False)[-1]
    assert (last["success"], last["spl"]) == (0, 0)


def test_stopping_far_away():
    last = walk(PATH, (0.25, 0, -2))[-1]
    assert last["distance_to_goal"] == pytest.approx(1.0, abs=1e-6)
    assert last["success"] == 0
    assert last["soft_spl"] == pytest.approx(0.50386106, abs=1e-6)


def test_a_hair_below_the_threshold_is_success():
    last = walk(np.array([(0, 0, 0), (0, 0, -1.0)]), (0, 0, -1.2))[-1]
    assert (last["success"], last["spl"]) == (1, 1)
    assert last["soft_spl"] == pytest.approx(0.83333, abs=1e-5)


def test_collisions_are_counted_and_the_flag_falls_on_stop():
    last = walk(PATH, (0, 0, -9), collided=(0, 1, 0, 1, 0))[-1]
    assert (last["collisions/count"], last["collisions/is_collision"]) == (2, 0)


def test_reward_pays_the_whole_bonus_on_any_success():
    measures, always = NavigationMeasures(1, 0.2), np.array([True])
    measures.reset(always, np.zeros((1, 3)), np.array([1.0]))
    measures.update(always, np.array([[0, 0, -5.0]]), np.array([0.1]), ~always, ~always)
    assert measures.reward()[0] == pytest.approx(-0.01 + 0.9)
    measures.update(always, np.array([[0, 0, -5.0]]), np.array([0.1]), always, ~always)
    assert measures.spl[0] == pytest.approx(0.2)
    assert measures.reward()[0] == pytest.approx(-0.01 + 2.5)


def test_worlds_that_wait_are_left_alone_and_unreachable_goals_stay_finite():
    measures = NavigationMeasures(2, 0.2)
    measures.reset(np.ones(2, bool), np.zeros((2, 3)), np.array([np.inf, 1.0]))
    before = measures.get_state()
    active = np.array([True, False])
    measures.update(active, np.ones((2, 3)), np.array([np.inf, 0.5]), active, active)
    assert measures.reward()[0] == pytest.approx(-0.01)
    assert (measures.spl[0], measures.soft_spl[0]) == (0, 0)
    assert all(np.array_equal(value[1], before[name][1]) for name, value in measures.get_state().items())
    measures.set_state(before)
    assert measures.num_steps.tolist() == [0, 0]


def test_tiny_moves_do_not_measure_again():
    at = np.zeros((2, 3))
    assert has_moved(at, np.array([[9e-5, 0, 0], [2e-4, 0, 0]])).tolist() == [False, True]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([(0, 0, 0)], {"success": 1, "spl": 1, "soft_spl": 1}),
        ([(0, 0, 0), (0, 0, -0.25)], {"success": 0, "spl": 0, "soft_spl": 0}),
        ([(0, 0, 0), (0, 0, -0.25), (0, 0, 0)], {"success": 1, "spl": 0, "soft_spl": 0}),
    ],
)
def test_an_episode_that_starts_on_its_goal(path, expected):
    """At 0 / 0 nothing is left to go, and who stays made no detour; leaving and coming back is one of any length."""
    last = walk(np.array(path, float), (0, 0, 0))[-1]
    assert {name: last[name] for name in expected} == expected
