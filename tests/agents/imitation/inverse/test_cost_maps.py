"""Costs learned with a planner in the loop: exact paths, gradients, two styles, bad input."""

import numpy as np
import pytest
import torch

from embodia.agents.imitation.inverse.cost_loop import CostLoop, MapPlanner, overlap
from embodia.agents.imitation.inverse.cost_map import CostMap
from embodia.agents.imitation.inverse.dynamics import cells, poses
from embodia.agents.imitation.inverse.max_margin_planning import MaxMarginPlanning, path_distance
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.planners.search.cheapest_paths import CheapestPaths
from embodia.planners.search.value_iteration import iterate_values

SIDE = 6


def planner():
    return MapPlanner(cells(SIDE, SIDE, 4))


@pytest.mark.parametrize("seed", range(3))
def test_cheapest_paths_agree_with_value_iteration(seed):
    outcome = cells(SIDE, SIDE).outcome
    cost = np.random.default_rng(seed).uniform(0.5, 2, outcome.shape[:2])
    goal = 20
    to_go = CheapestPaths(outcome[..., 0].numpy()).to_go(cost, np.array([goal]))
    cont = torch.ones(outcome.shape[:2], dtype=torch.float64)
    cont[goal] = 0.0
    reward = torch.from_numpy(-cost).clone()
    reward[goal] = 0.0
    value, _, _ = iterate_values(outcome, torch.ones(outcome.shape, dtype=torch.float64), reward, cont, 1.0, 1e-12, 200)
    np.testing.assert_allclose(to_go, -value.numpy(), atol=1e-9)


def test_a_path_costs_what_its_visits_say():
    plan, batch = planner(), {"start": torch.tensor([0]), "goal": torch.tensor([35])}
    cost = torch.rand(1, SIDE**2, generator=torch.Generator().manual_seed(0)).double() + 0.1
    visits = plan(cost, batch)
    to_go = plan.to_go(plan.moves(cost[0].numpy()), 35)
    assert (cost * visits).sum().item() == pytest.approx(to_go[0])
    assert visits[0, 0] == 0, "the start is not paid for"


def test_diagonal_moves_are_longer():
    lengths = torch.tensor([1.0] * 4 + [2**0.5] * 4)
    plan = MapPlanner(cells(3, 3), lengths=lengths)
    visits = plan(torch.ones(1, 9), {"start": torch.tensor([0]), "goal": torch.tensor([8])})
    assert visits[0, [4, 8]].tolist() == pytest.approx([2**0.5] * 2)


def test_poses_pay_for_turns():
    plan = MapPlanner(poses(3, 3), torch.arange(9).repeat_interleave(4))
    visits = plan(torch.ones(1, 9), {"start": torch.tensor([0]), "goal": torch.tensor([8])})
    assert visits.sum() == 5, "four steps and a turn"


def terrain(rng, n):
    """Maps of three terrains (n, 3, SIDE, SIDE), one-hot."""
    return torch.eye(3)[torch.from_numpy(rng.integers(0, 3, (n, SIDE, SIDE)))].permute(0, 3, 1, 2)


def demonstrated(prices, seed, n=12):
    """Features and cheapest paths under hidden prices of the terrains."""
    features = terrain(np.random.default_rng(seed), n)
    batch = {"start": torch.zeros(n, dtype=torch.int64), "goal": torch.full((n,), SIDE**2 - 1)}
    hidden = torch.einsum("ncij,c->nij", features, torch.tensor(prices)).flatten(1)
    visits = planner()(hidden, batch)
    distance = torch.stack([path_distance(each, (SIDE, SIDE)) for each in visits])
    return {"features": features, **batch, "visits": visits, "distance": distance}, hidden


def learn(method, batch, steps=40):
    torch.manual_seed(0)
    learner = method(CostMap(3), planner())
    config = FitConfig(steps=steps, learning_rate=0.1, warmup=1, weight_decay=0.0, device="cpu")
    fit(learner, RandomBatches(lambda rng, n: batch), config, logger=Logger(console=False))
    return learner


def regret(learner, prices):
    """True cost of the planned paths on unseen maps, over that of the expert's."""
    batch, hidden = demonstrated(prices, seed=1)
    found = planner()(learner.cost(batch["features"]), batch)
    return ((hidden * found).sum() / (hidden * batch["visits"]).sum()).item()


STYLES = ([1.0, 4.0, 12.0], [12.0, 4.0, 1.0])


@pytest.mark.parametrize("method", [CostLoop, MaxMarginPlanning])
def test_two_styles_give_two_cost_maps(method):
    for prices, others in (STYLES, STYLES[::-1]):
        learner = learn(method, demonstrated(prices, seed=0)[0])
        costs = learner.cost(torch.eye(3)[:, :, None, None])[:, 0]
        assert costs.argsort().tolist() == np.argsort(prices).tolist()
        assert regret(learner, prices) < 1.1 < 1.5 < regret(learner, others)


def test_the_gradient_is_the_experts_visits_minus_the_planned_ones():
    batch, _ = demonstrated(STYLES[0], seed=0, n=2)
    costs = (torch.rand(2, SIDE**2, generator=torch.Generator().manual_seed(1)) + 1).requires_grad_()
    learner = MaxMarginPlanning(torch.nn.Identity(), planner(), margin=0.3)
    (gradient,) = torch.autograd.grad(learner.loss({**batch, "features": costs})[0], costs)
    planned = planner()(costs.detach() - 0.3 * batch["distance"], batch)
    length = batch["visits"].sum(-1, keepdim=True)
    torch.testing.assert_close(gradient, (batch["visits"] - planned) / length / 2)


def test_the_margin_draws_the_planner_off_the_path():
    batch, _ = demonstrated(STYLES[0], seed=0, n=4)
    learner = MaxMarginPlanning(CostMap(3), planner())
    plain, _ = CostLoop(CostMap(3), planner()).loss(batch)
    loss, _ = learner.loss(batch)
    assert loss > plain >= 0


def test_the_distance_to_a_path():
    visits = torch.zeros(9)
    visits[0] = 1
    assert path_distance(visits, (3, 3), 2.0)[[0, 1, 2, 4]].tolist() == pytest.approx([0, 0.5, 1, 2**0.5 / 2])
    assert overlap(visits[None], visits[None]).item() == 1


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (np.ones((8, 4)), r"costs have shape \(8, 4\)"),
        (np.full((9, 4), np.nan), "costs nan; costs must be finite and above 0"),
        (np.zeros((9, 4)), "costs 0.0; costs must be finite"),
    ],
)
def test_bad_costs_are_named(cost, message):
    with pytest.raises(ValueError, match=message):
        CheapestPaths(cells(3, 3, 4).outcome[..., 0].numpy()).to_go(cost, np.array([8]))


def test_a_goal_that_cannot_be_reached_is_named():
    outcome = np.array([[0], [2], [2]])
    paths, cost = CheapestPaths(outcome), np.ones((3, 1))
    with pytest.raises(ValueError, match="no path leads from state 0 to the goal"):
        paths.path(cost, paths.to_go(cost, np.array([2])), 0)
