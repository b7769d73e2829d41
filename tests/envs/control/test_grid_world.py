"""The grid worlds of value iteration networks: official recipe, shortest paths, tie-break, following, errors."""

import networkx
import numpy as np
import pytest

from embodia.envs.control.grid_world import (
    GOAL_REWARD,
    LENGTHS,
    MOVES,
    PRIORITY,
    RECIPES,
    STARTS,
    NoWay,
    follow,
    grid_worlds,
    solve,
)


def graph_of(free):
    """The moves as a NetworkX graph, an independent reference."""
    graph = networkx.DiGraph()
    for cell in map(tuple, np.argwhere(free)):
        for move, length in zip(MOVES, LENGTHS):
            there = (cell[0] + move[0], cell[1] + move[1])
            if free[there]:
                graph.add_edge(there, cell, weight=length)
    return graph


@pytest.mark.parametrize("side", RECIPES)
def test_costs_and_moves_are_those_of_shortest_paths(side):
    worlds = grid_worlds(RECIPES[side], 5)
    for free, goal, cost, move in zip(*worlds[:4]):
        graph = graph_of(free)
        found = networkx.single_source_dijkstra_path_length(graph, divmod(goal, side)) if len(graph) else {}
        for cell in map(tuple, np.argwhere(free)):
            at = cell[0] * side + cell[1]
            assert cost[at] == pytest.approx(found.get(cell, np.inf))
            optimal = [
                m
                for m in PRIORITY
                if cell in found
                and np.isclose(found.get((cell[0] + MOVES[m, 0], cell[1] + MOVES[m, 1]), np.inf) + LENGTHS[m], cost[at])
            ]
            assert move[at] == (optimal[0] if optimal else -1), "the first optimal move, diagonals first"


def test_diagonals_come_first():
    free = np.zeros((5, 6), bool)
    free[1:-1, 1:-1] = True
    cost, move = solve(free, 1 * 6 + 1)
    assert move.reshape(5, 6)[1:-1, 1:-1].tolist() == [[-1, 2, 2, 2], [3, 6, 6, 6], [3, 6, 6, 6]]
    assert cost[3 * 6 + 4] == pytest.approx(1 + 2 * 2**0.5)
    assert move[3 * 6 + 4] == 6, "up and left before left"


@pytest.mark.parametrize(("side", "obstacles", "samples"), [(8, 0.32, 20.2), (16, 0.28, 47.3), (28, 0.2, 86.8)])
def test_maps_follow_the_official_recipe(side, obstacles, samples):
    worlds = grid_worlds(RECIPES[side], 200)
    assert not worlds.free[:, [0, -1]].any()
    assert not worlds.free[:, :, [0, -1]].any()
    assert worlds.free.reshape(200, -1)[np.arange(200), worlds.goal].all()
    assert 1 - worlds.free[:, 1:-1, 1:-1].mean() == pytest.approx(obstacles, abs=0.12)
    assert len(worlds.walk.cell) / 200 == pytest.approx(samples, rel=0.1)
    assert worlds.start.shape == worlds.walk.moves.shape == (200, STARTS)
    assert worlds.walk.moves.sum() == len(worlds.walk.cell)


def test_inputs_show_obstacles_and_the_goal():
    worlds = grid_worlds(RECIPES[8], 3)
    shown = worlds.inputs()
    assert np.array_equal(shown[:, 0] == 0, worlds.free)
    assert (shown[:, 1].reshape(3, -1).argmax(1) == worlds.goal).all()
    assert (shown[:, 1].sum((1, 2)) == GOAL_REWARD).all()


def test_a_seed_fixes_the_maps():
    one, same, other = grid_worlds(RECIPES[8], 4), grid_worlds(RECIPES[8], 8), grid_worlds(RECIPES[8], 4, seed=1)
    assert np.array_equal(one.free, same.free[:4])
    assert np.array_equal(one.start, same.start[:4])
    assert not np.array_equal(one.free, other.free)
    golden = (one.goal.tolist(), one.walk.moves.tolist())
    assert golden == GOLDEN, "the benchmark's numbers were measured on other maps"


def test_a_part_holds_its_own_walks():
    worlds = grid_worlds(RECIPES[8], 6)
    part = worlds.part(2, 5)
    assert part.walk.moves.sum() == len(part.walk.cell) == worlds.walk.moves[2:5].sum()
    assert set(part.walk.number) == {0, 1, 2}
    assert (part.move[part.walk.number, part.walk.cell] >= 0).all()


def test_the_expert_succeeds_and_a_policy_that_hits_a_wall_is_stuck():
    worlds = grid_worlds(RECIPES[16], 40)
    expert = follow(worlds, lambda number, cell: worlds.move[number, cell])
    assert expert.success.all()
    assert np.abs(expert.extra).max() < 1e-9
    always_right = follow(worlds, lambda number, cell: np.zeros(len(cell), int))
    assert always_right.success.mean() < 0.2
    detour = follow(worlds, lambda number, cell: np.where(cell % 2 == 0, worlds.move[number, cell], 0))
    assert (detour.extra[detour.success] >= -1e-9).all()


def test_a_map_without_a_way_is_an_error():
    free = np.zeros((4, 4), bool)
    free[1, 1] = True
    with pytest.raises(NoWay, match="no cell of the 4 x 4 map has a path to the goal, cell 5"):
        solve(free, 5)
    with pytest.raises(NoWay, match="the goal, cell 6, is not a free cell"):
        solve(free, 6)


GOLDEN = (
    [21, 20, 41, 28],
    [[2, 1, 1, 4, 4, 3, 5], [3, 4, 4, 2, 3, 2, 4], [4, 2, 4, 5, 3, 3, 1], [2, 1, 2, 3, 1, 3, 3]],
)
