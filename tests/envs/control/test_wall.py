"""Tests of the Wall environment: contract, collisions in closed form, expert, random policy."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import embodia  # noqa: F401 (registers the ids)
from embodia.envs.control import wall

MIDDLE = wall.SIZE / 2


def make(**options):
    return gym.make("embodia/Wall-v0", **options).unwrapped


@pytest.mark.filterwarnings("error")
def test_is_a_gymnasium_environment():
    check_env(make())


def test_a_dot_stops_where_it_meets_a_wall():
    step = np.array([10.0, 0.0]) / wall.STEP
    near = MIDDLE - wall.HALF_WALL
    for y, x in ((20.0, near), (MIDDLE, 36.0), (MIDDLE + 3.9, 36.0), (MIDDLE + 4.1, near)):
        np.testing.assert_allclose(wall.advance(np.array([26.0, y]), step, MIDDLE, MIDDLE), [x, y], atol=1e-4)
    # Straight up into the border, and diagonally: the point of contact is on the path.
    np.testing.assert_allclose(wall.advance(np.array([20.0, 8.0]), np.array([0.0, -5.0]), MIDDLE, MIDDLE), [20, 5])
    met = wall.advance(np.array([26.0, 50.0]), np.array([3.0, -3.0]), MIDDLE, MIDDLE)
    np.testing.assert_allclose(met, [29.0, 47.0], atol=1e-4)
    # The dot can move away from the wall; inside the door it cannot move through the posts.
    np.testing.assert_allclose(wall.advance(met, np.array([-1.0, 0.0]), MIDDLE, MIDDLE), met - [2, 0], atol=1e-4)
    inside = wall.advance(np.array([MIDDLE, MIDDLE]), np.array([0.0, 5.0]), MIDDLE, MIDDLE)
    np.testing.assert_allclose(inside, [MIDDLE, MIDDLE + wall.HALF_DOOR], atol=1e-4)


def test_many_dots_move_as_one_does():
    rng = np.random.default_rng(0)
    places, moves = rng.uniform(wall.BORDER, wall.SIZE - wall.BORDER, (500, 2)), rng.normal(size=(500, 2))
    moves[:50, 0] = 0.0
    together = wall.advance(places, wall.shorten(moves), MIDDLE, MIDDLE)
    alone = [wall.advance(p, wall.shorten(m), MIDDLE, MIDDLE) for p, m in zip(places, moves, strict=True)]
    np.testing.assert_array_equal(together, alone)
    assert (np.linalg.norm(together - places, axis=1) < 1e-6).any(), "some stand at a wall"


def test_no_random_walk_leaves_its_room_but_through_the_door():
    rng = np.random.default_rng(0)
    for moves in wall.random_moves(rng, 60, 100):
        place = wall.draw_place(rng, MIDDLE, True)
        for move in moves:
            before, place = place, wall.advance(place, move, MIDDLE, MIDDLE)
            assert (np.abs(place - MIDDLE) <= MIDDLE - wall.BORDER + 1e-6).all()
            if (before[0] - MIDDLE) * (place[0] - MIDDLE) < 0:
                share = (MIDDLE - before[0]) / (place[0] - before[0])
                assert abs(before[1] + share * (place[1] - before[1]) - MIDDLE) < wall.HALF_DOOR


def test_the_random_policy_is_the_papers():
    moves = wall.random_moves(np.random.default_rng(0), 500, 50)
    length = np.linalg.norm(moves, axis=-1)
    assert length.min() >= 0.2 - 1e-9
    assert length.max() <= 1.8 + 1e-9
    assert length.mean() == pytest.approx(1.0, abs=0.02)
    heading = moves[..., 0] + 1j * moves[..., 1]
    turn = np.angle(heading[:, 1:] / heading[:, :-1])
    # The mean resultant length of von Mises turns of concentration 5 is I1(5) / I0(5).
    assert np.cos(turn).mean() == pytest.approx(0.8934, abs=0.01)


@pytest.mark.parametrize("layout", ["fixed", "random"])
def test_the_expert_gets_through_every_door(layout):
    env = make(layout=layout)
    for seed in range(60):
        env.reset(seed=seed)
        assert (env.position[0] - env.wall) * (env.goal[0] - env.wall) < 0, "start and goal lie in different rooms"
        for _ in range(20):
            *_, terminated, _, info = env.step(env.expert_action())
            if terminated:
                break
        assert info["metrics"]["success"] == 1.0, seed


def test_goal_and_sight_are_drawn_alike_and_snapshots_are_exact():
    env = make(layout="random")
    obs, _ = env.reset(seed=5)
    state = env.get_state()
    first = [env.step(env.action_space.sample() * 0 + 0.5)[0] for _ in range(3)]
    other = make(layout="random")
    other.reset(seed=9)
    again = other.set_state(state)
    np.testing.assert_equal(again, obs)
    np.testing.assert_equal([other.step(other.action_space.sample() * 0 + 0.5)[0] for _ in range(3)], first)
    env.position = env.goal.copy()
    seen = env.step(np.zeros(env.action_space.shape))[0]
    np.testing.assert_array_equal(seen["rgb"], seen["goal_rgb"])


def test_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="choose fixed or random"):
        make(layout="spiral")
    env = make()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="is not in"):
        env.step(np.full(10, np.nan))
