"""Tests of differentiable MPC: finite differences through iLQR, bounds, states from which it does not converge."""

from dataclasses import replace

import pytest
import torch

from embodia.planners.control.differentiable_lqr import NotConverged
from embodia.planners.control.differentiable_mpc import MPCConfig, differentiable_mpc
from embodia.planners.models.pendulum import Pendulum
from embodia.planners.search.objective import Quadratic

X0 = torch.tensor([[0.6, -0.4], [-1.0, 0.5], [0.2, 0.9]], dtype=torch.float64)
CONFIG = MPCConfig(horizon=8)


def plan(g, m, length, weights, x0=X0, limit=2.0, config=CONFIG):
    model = Pendulum(g, m, length, max_torque=1e3)
    q = torch.diag(weights)
    objective = Quadratic(q, 1e-2 * torch.eye(1).double(), q, torch.tensor([1.0, 0.0, 0.0]).double())
    bound = torch.tensor([limit], dtype=torch.float64)
    return differentiable_mpc(model, objective, x0, -bound, bound, config)


def parameters():
    values = ([9.0], [1.1], [0.9], [1.0, 1.0, 0.1])
    g, m, length, weights = (torch.tensor(each, dtype=torch.float64) for each in values)
    return [each.requires_grad_() for each in (g[0], m[0], length[0], weights, X0.clone())]


@pytest.mark.parametrize(("limit", "binding"), [(1e3, 0.0), (3.0, 0.2)])
def test_gradients_are_finite_differences_of_ilqrs_solution(limit, binding):
    given = parameters()
    given = [each.detach().requires_grad_() for each in given]
    found = plan(*given, limit=limit)
    assert bool(found.converged.all())
    assert float((found.u.abs() >= limit).double().mean()) >= binding
    weight = torch.randn(found.u.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    score = lambda p: (p.u * weight).sum() + p.x.square().sum()  # noqa: E731
    gradients = torch.autograd.grad(score(found), given)
    for i, gradient in enumerate(gradients):
        direction = torch.ones_like(given[i])
        ends = []
        for h in (1e-5, -1e-5):
            moved = [each.detach() + (h * direction if j == i else 0) for j, each in enumerate(given)]
            ends.append(float(score(plan(*moved, limit=limit))))
        slope = (ends[0] - ends[1]) / 2e-5
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_states_from_which_it_does_not_converge_have_no_gradient():
    """Two iterations suffice close to the top, and not for the others."""
    x0 = torch.tensor([[0.0, 0.0], [2.5, 0.0]], dtype=torch.float64, requires_grad=True)
    found = plan(*parameters()[:4], x0=x0, config=replace(CONFIG, iterations=2, tolerance=1e-8))
    assert found.converged.tolist() == [True, False]
    (gradient,) = torch.autograd.grad(found.u.square().sum() + found.u.sum(), x0)
    assert float(gradient[0].abs().max()) > 0
    assert float(gradient[1].abs().max()) == 0


def test_an_mpc_that_converges_nowhere_says_so():
    with pytest.raises(NotConverged, match="from any of 1 states after 1 iterations"):
        plan(*parameters()[:4], x0=X0[:1] + 2, config=replace(CONFIG, iterations=1, tolerance=1e-8))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="low exceeds high"):
        plan(*parameters()[:4], limit=-1.0)
    with pytest.raises(ValueError, match=r"x0 is \(3, 1\), but the model needs \(B, 2\)"):
        plan(*parameters()[:4], x0=X0[:, :1])
