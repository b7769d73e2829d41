import networkx
import numpy as np
import pytest

from embodia.planners.search.frontiers import best_frontier, frontiers
from embodia.planners.search.grid_paths import cost_to_go, downhill, near_and_visible, travel_costs
from embodia.planners.search.waypoints import turns_and_step


def random_costs(seed):
    rng = np.random.default_rng(seed)
    cost = rng.uniform(1, 4, (12, 15))
    cost[rng.random(cost.shape) < 0.25] = np.inf
    cost[0, 0] = 1.0
    return cost


def oracle(cost, goal):
    graph = networkx.Graph()
    graph.add_node(goal)
    for row, column in np.argwhere(np.isfinite(cost)):
        for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
            r, c = row + dr, column + dc
            if not (0 <= r < cost.shape[0] and 0 <= c < cost.shape[1] and np.isfinite(cost[r, c])):
                continue
            if dr and dc and not np.isfinite([cost[row, c], cost[r, column]]).all():
                continue
            weight = np.hypot(dr, dc) * (cost[row, column] + cost[r, c]) / 2
            graph.add_edge((int(row), int(column)), (int(r), int(c)), weight=weight)
    found = np.full(cost.shape, np.inf)
    for cell, price in networkx.single_source_dijkstra_path_length(graph, goal).items():
        found[cell] = price
    return found


@pytest.mark.parametrize("seed", range(5))
def test_costs_are_those_of_dijkstra_in_networkx(seed):
    cost = random_costs(seed)
    np.testing.assert_allclose(cost_to_go(cost, [0, 0]), oracle(cost, (0, 0)))


@pytest.mark.parametrize("seed", range(5))
def test_a_search_towards_a_start_is_exact_where_it_ended(seed):
    cost = random_costs(seed)
    whole = cost_to_go(cost, [0, 0])
    start = np.argwhere(np.isfinite(whole))[-1]
    part = cost_to_go(cost, [0, 0], start, margin=2.0)
    known = np.isfinite(part)
    np.testing.assert_allclose(part[known], whole[known])
    assert known[tuple(start)]
    path = downhill(part, start)
    assert path[0].tolist() == start.tolist()
    assert path[-1].tolist() == [0, 0]


def test_costs_below_one_are_an_error():
    with pytest.raises(ValueError, match=r"cheapest cell costs 0\.5"):
        cost_to_go(np.full((3, 3), 0.5), [0, 0])


def test_bodies_keep_away_from_walls():
    blocked = np.zeros((21, 21), bool)
    blocked[:, 10] = True
    cost = travel_costs(blocked, ~blocked, 2.0, 6.0, np.inf)
    assert np.isinf(cost[:, 10]).all()
    assert (cost[:, 8] > 30).all()
    assert (np.diff(cost[5, 11:]) <= 0).all()
    assert cost[5, 20] == 1


def test_the_nearest_frontier_ahead_is_chosen():
    seen = np.zeros((20, 20), bool)
    seen[5:15, 5:15] = True
    passable = np.ones((20, 20), bool)
    passable[4, :] = passable[15, :] = passable[:, 4] = passable[:, 15] = False
    passable[10:13, 15] = passable[4, 8:11] = True  # doors to the right and up
    found = frontiers(seen, passable, cost_to_go(np.ones((20, 20)), [10, 10]))
    assert sorted(found.size) == [3, 3] or sorted(found.size) == [5, 5]
    up, right = (best_frontier(found, [10.5, 10.5], yaw, 5.0, 0.1) for yaw in (0.0, -np.pi / 2))
    assert found.nearest[up].tolist()[0] == 5
    assert found.nearest[right].tolist()[1] == 14
    assert best_frontier(frontiers(passable, passable, np.zeros((20, 20))), [1, 1], 0.0, 1.0, 1.0) is None


def test_a_body_turns_and_steps_down_the_costs():
    cost = np.ones((40, 40))
    to_go = cost_to_go(cost, [20, 35])  # to the right
    args = (to_go, cost, [20.5, 10.5])
    assert turns_and_step(*args, -np.pi / 2, 5.0, np.pi / 18, 0.1) == 0
    assert turns_and_step(*args, 0.0, 5.0, np.pi / 18, 0.1) == pytest.approx(-9, abs=1)
    assert turns_and_step(*args, np.pi, 5.0, np.pi / 6, 0.1) == 3
    walled = np.full((40, 40), np.inf)
    assert turns_and_step(to_go, walled, [20.5, 10.5], 0.0, 5.0, np.pi / 6, 0.1) is None


def test_places_beside_a_goal_are_on_its_side_of_the_wall():
    goal, hiding = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    goal[15, 12], hiding[:, 15] = True, True
    found = near_and_visible(goal, hiding, ~hiding & ~goal, 2.0, 8.0)
    assert found[15, 8]
    assert not found[:, 15:].any()
    assert not found[15, 11]
