"""MaxEnt IRL: its gradient, the law of its paths, learning, bad input."""

from itertools import product

import numpy as np
import pytest
import torch

from embodia.agents.imitation.inverse.demonstrations import DemonstrationError, state_action_visits
from embodia.agents.imitation.inverse.dynamics import Dynamics, cells, poses, slippery_cells
from embodia.agents.imitation.inverse.max_ent_irl import (
    LinearReward,
    MaxEntIRL,
    expected_visits,
    greedy_plan,
    max_ent_loss,
    soft_plan,
)
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches

WORLDS, SIDE, HORIZON = 2, 3, 4


def problem(seed=0, slip=0.1, per_action=False):
    generator = torch.Generator().manual_seed(seed)
    dynamics = slippery_cells(SIDE, SIDE, slip)
    shape = (WORLDS, SIDE**2, 5 if per_action else 1)
    reward = torch.randn(shape, generator=generator, dtype=torch.float64)
    start = torch.rand(WORLDS, SIDE**2, generator=generator, dtype=torch.float64)
    return dynamics, reward, start / start.sum(1, keepdim=True)


@pytest.mark.parametrize("per_action", [False, True])
def test_the_gradient_is_the_experts_visits_minus_the_expected_ones(per_action):
    dynamics, reward, start = problem(per_action=per_action)
    other = problem(seed=1)[1]
    visits = expected_visits(soft_plan(other, dynamics, HORIZON)[1].exp(), dynamics, start)
    reward.requires_grad_()
    (gradient,) = torch.autograd.grad(max_ent_loss(reward, visits, dynamics, start, HORIZON).sum(), reward)
    expected = expected_visits(soft_plan(reward.detach(), dynamics, HORIZON)[1].exp(), dynamics, start)
    difference = expected - visits
    torch.testing.assert_close(gradient, difference if per_action else difference.sum(-1, keepdim=True))
    for place in [(0, 0, 0), (1, 4, 0), (1, 8, 0)]:
        shifted = []
        for step in (1e-5, -1e-5):
            moved = reward.detach().clone()
            moved[place] += step
            shifted.append(max_ent_loss(moved, visits, dynamics, start, HORIZON).sum().item())
        assert gradient[place].item() == pytest.approx((shifted[0] - shifted[1]) / 2e-5, abs=1e-7)


def test_visits_of_a_walk_add_up_to_its_length():
    dynamics, reward, start = problem()
    visits = expected_visits(soft_plan(reward, dynamics, HORIZON)[1].exp(), dynamics, start)
    torch.testing.assert_close(visits.sum((1, 2)), torch.full((WORLDS,), float(HORIZON), dtype=torch.float64))


def test_with_known_dynamics_the_law_of_paths_is_that_of_enumeration():
    """On 5x5 cells and 6 steps, all 4^6 paths have probability exp(return) / Z, to 1e-8."""
    dynamics, start, horizon = cells(5, 5, 4), 12, 6
    reward = torch.randn(1, 25, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    value, log_policy = soft_plan(reward, dynamics, horizon)
    returns, found = [], []
    for actions in product(range(4), repeat=horizon):
        state, total, log_probability = start, 0.0, 0.0
        for t, action in enumerate(actions):
            total += reward[0, state, 0].item()
            log_probability += log_policy[t, 0, state, action].item()
            state = int(dynamics.outcome[state, action, 0])
        returns.append(total)
        found.append(np.exp(log_probability))
    weights = np.exp(returns)
    assert np.abs(np.array(found) - weights / weights.sum()).max() < 1e-8
    assert value[0, start].item() == pytest.approx(np.log(weights.sum()), abs=1e-8)


def test_walks_that_must_end_do():
    dynamics = cells(3, 3, 4)
    ends = torch.zeros(1, 9, dtype=torch.bool)
    ends[0, 8] = True
    start = torch.eye(9, dtype=torch.float64)[:1]
    reward = torch.full((1, 9, 1), -0.1, dtype=torch.float64)
    _, log_policy = soft_plan(reward, dynamics, 4, ends)
    visits = expected_visits(log_policy.exp(), dynamics, start, ends)
    # Four steps lead from corner to corner only along the six shortest paths.
    assert visits.sum().item() == pytest.approx(4)
    assert visits[0, 4].sum().item() == pytest.approx(4 / 6)
    assert visits[0, 8].sum() == 0


def test_a_greedy_plan_goes_where_the_reward_is():
    reward = torch.zeros(1, 9, 1)
    reward[0, 5] = 1.0
    plan, state = greedy_plan(reward, cells(3, 3, 4), 6), 0
    for t in range(3):
        state = int(cells(3, 3, 4).outcome[state, plan[t, 0, state], 0])
    assert state == 5


def test_poses_turn_and_step_as_minigrids_agents_do():
    outcome = poses(2, 3).outcome[..., 0]
    right_of_0, down_of_4 = 0, 4 * 4 + 1
    assert outcome[right_of_0].tolist() == [3, 1, 4]
    assert outcome[down_of_4].tolist() == [4 * 4, 4 * 4 + 2, down_of_4], "off the map there is no step"


def test_learns_the_reward_of_a_small_world():
    dynamics, _, start = problem()
    features = torch.eye(3, dtype=torch.float64)[torch.arange(9) % 3].expand(WORLDS, 9, 3)
    truth = torch.tensor([[1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], dtype=torch.float64)
    reward = torch.einsum("wsf,wf->ws", features, truth)[..., None]
    visits = expected_visits(soft_plan(reward, dynamics, HORIZON)[1].exp(), dynamics, start)
    learner = MaxEntIRL(LinearReward(WORLDS, 3).double(), dynamics, HORIZON)
    batch = {"features": features, "visits": visits, "start": start}
    config = FitConfig(steps=200, learning_rate=0.1, warmup=1, weight_decay=0.0, device="cpu")
    fit(learner, RandomBatches(lambda rng, n: batch), config, logger=Logger(console=False))
    found = learner.reward.weight.detach()
    # A constant is not identifiable.
    torch.testing.assert_close(found - found.mean(1, keepdim=True), truth, atol=0.01, rtol=0)


def test_visits_of_demonstrations():
    dynamics = cells(2, 2, 4)
    visits = state_action_visits([([0, 1], [0, 1]), ([0], [1])], dynamics)
    assert visits[0].tolist() == [0.5, 0.5, 0.0, 0.0]
    assert visits[1].tolist() == [0.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("walks", "message"),
    [
        ([], "there are no demonstrations"),
        ([([], [])], r"demonstration 0: states have shape \(0,\)"),
        ([([0], [1]), ([0, 4], [0, 0])], "demonstration 1: state 4 at step 1 is off the map, whose states are 0 to 3"),
        ([([0], [4])], "demonstration 0: action 4 at step 0"),
        ([([0, 3], [0, 0])], "state 3 at step 1 cannot follow state 0 and action 0"),
        ([([0, 1], [0])], "2 states but 1 actions"),
    ],
)
def test_bad_demonstrations_are_named(walks, message):
    with pytest.raises(DemonstrationError, match=message):
        state_action_visits(walks, cells(2, 2, 4))


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (torch.zeros(1, 8, 1), r"rewards have shape \(1, 8, 1\); give \(worlds, 9, 5\)"),
        (torch.zeros(9), r"rewards have shape \(9,\)"),
        (torch.full((1, 9, 1), float("nan")), "the reward of state 0 in world 0 is .nan."),
    ],
)
def test_bad_rewards_are_named(reward, message):
    for plan in (soft_plan, greedy_plan):
        with pytest.raises(ValueError, match=message):
            plan(reward, slippery_cells(3, 3, 0.1), 3)


def test_slips_are_a_distribution():
    found: Dynamics = slippery_cells(3, 4, 0.1)
    torch.testing.assert_close(found.probability.sum(-1), torch.ones(12, 5))
    assert found.probability[0, 0, 0].item() == pytest.approx(0.9)
