"""Tests of value iteration, A* and MCTS on small environments with known solutions."""

import networkx
import pytest
import torch

from embodia.planners.models.grid_map import GridMap
from embodia.planners.models.snapshot import SnapshotModel
from embodia.planners.search.a_star import AStar
from embodia.planners.search.mcts import MCTS
from embodia.planners.search.value_iteration import ValueIteration, iterate_values


def random_map(seed, size=9):
    g = torch.Generator().manual_seed(seed)
    free = torch.rand(size, size, generator=g) > 0.3
    free[0, 0] = free[-1, -1] = True
    return free


def graph_of(free, diagonal):
    """The same map as a NetworkX graph, an independent reference for shortest paths."""
    model, graph = GridMap(free, (0, 0), diagonal), networkx.DiGraph()
    for cell in free.nonzero().tolist():
        for move, length in zip(model.moves.tolist(), model.lengths.tolist()):
            there = (cell[0] + move[0], cell[1] + move[1])
            if 0 <= there[0] < len(free) and 0 <= there[1] < len(free) and free[there]:
                graph.add_edge(tuple(cell), there, weight=length)
    return graph


def at(model, cell):
    return model.observe({}, {"cell": [cell]}, torch.zeros(1), torch.ones(1))


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_star_and_value_iteration_find_networkx_shortest_paths(diagonal):
    solved = 0
    for seed in range(12):
        free = random_map(seed)
        model, size = GridMap(free, (len(free) - 1,) * 2, diagonal), len(free)
        graph = graph_of(free, diagonal)
        if not {(0, 0), (size - 1, size - 1)} <= set(graph) or not networkx.has_path(
            graph, (0, 0), (size - 1, size - 1)
        ):
            with pytest.raises(RuntimeError, match="cannot be reached"):
                AStar(len(model.moves)).plan(model, at(model, (0, 0)), None, {})
            continue
        solved += 1
        expected = networkx.shortest_path_length(graph, (0, 0), (size - 1, size - 1), weight="weight")
        plan, _ = AStar(len(model.moves)).plan(model, at(model, (0, 0)), None, {})
        assert float(model.lengths[plan[0]].sum()) == pytest.approx(expected)
        reachable = networkx.node_connected_component(graph.to_undirected(), (0, 0))
        inside = torch.tensor([[(r, c) in reachable for c in range(size)] for r in range(size)])
        model = GridMap(inside, (size - 1, size - 1), diagonal)
        plan, carry = ValueIteration(horizon=60).plan(model, at(model, (0, 0)), None, {})
        assert float(carry["q"].max(-1).values[0]) == pytest.approx(-expected, rel=1e-9)
        cell = at(model, (0, 0))
        for action in plan[0]:
            cell = model.imagine(cell, action[None])
        assert cell["cell"].tolist() == [[size - 1, size - 1]]
    assert solved >= 3


def test_values_solve_bellmans_equation():
    """For the greedy policy V = (I - gamma P)^-1 r, computed by one linear solve on a random process."""
    g = torch.Generator().manual_seed(0)
    states, actions = 12, 3
    probability = torch.rand(states, actions, states, generator=g, dtype=torch.float64)
    probability /= probability.sum(-1, keepdim=True)
    outcome = torch.arange(states).expand(states, actions, states)
    reward = torch.randn(states, actions, generator=g, dtype=torch.float64)
    value, q, _ = iterate_values(outcome, probability, reward, torch.ones_like(reward), 0.9, 1e-12, 10_000)
    policy = q.argmax(-1)
    rows = torch.arange(states)
    matrix = torch.eye(states, dtype=torch.float64) - 0.9 * probability[rows, policy]
    torch.testing.assert_close(value, torch.linalg.solve(matrix, reward[rows, policy]), atol=1e-9, rtol=0)


def test_values_that_do_not_settle_are_said_so():
    forever = torch.zeros(1, 1, 1, dtype=torch.int64)
    one = torch.ones(1, 1, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="lower the discount"):
        iterate_values(forever, one[..., None], one, one, 1.0, 1e-9, 100)


class Chain:
    """Ten cells in a row: moving left gives 0.1 and ends the episode, the right end gives 1."""

    def __init__(self):
        self.cell = 3

    def get_state(self):
        return {"cell": self.cell}

    def set_state(self, state):
        self.cell = state["cell"]

    def step(self, action):
        self.cell += 1 if action else -1
        return None, {0: 0.1, 6: 1.0}.get(self.cell, 0.0), self.cell in (0, 6), False, {}


def test_mcts_prefers_the_far_prize_through_snapshots():
    env, model = Chain(), SnapshotModel(Chain())
    planner, carry, total = MCTS(actions=2, simulations=200, rollout=20, seed=1), {}, 0.0
    for _ in range(20):
        plan, carry = planner.plan(model, model.from_snapshots([env.get_state()]), None, carry)
        _, reward, done, _, _ = env.step(int(plan[0, 0]))
        total += reward
        if done:
            break
    assert total == 1.0


def test_mcts_takes_a_models_word_for_what_its_leaves_are_worth():
    """With one step of search no reward is visible, so only the model's values guide the choice."""

    class Valued(SnapshotModel):
        sign = 1.0

        def value(self, state):
            return torch.tensor([self.sign * snapshot["cell"] for snapshot in state["snapshot"]])

    model = Valued(Chain())
    planner = MCTS(actions=2, simulations=2, rollout=0)
    for model.sign, wanted in ((1.0, 1), (-1.0, 0)):
        plan, _ = planner.plan(model, model.from_snapshots([{"cell": 3}]), None, {})
        assert int(plan[0, 0]) == wanted


def test_nothing_happens_after_the_end_of_a_snapshot():
    model = SnapshotModel(Chain())
    state = model.from_snapshots([{"cell": 3}])
    for _ in range(5):
        state = model.imagine(state, torch.tensor([1]))
    assert state["snapshot"].tolist() == [{"cell": 6}]
    assert float(state["reward"]) == 0.0
    assert float(state["cont"]) == 0.0
