"""Tests of LQR and iLQR against closed forms, SciPy and Gymnasium."""

import gymnasium
import numpy as np
import pytest
import scipy.linalg
import torch
from gymnasium import spaces

from embodia.planners.control.ilqr import ILQR, box_qp
from embodia.planners.control.lqr import LQR, deviations, infinite_horizon
from embodia.planners.control.riccati import Newton, recursion
from embodia.planners.models.cart_pole import CartPole
from embodia.planners.models.imagination import imagine_plan
from embodia.planners.models.linear_system import LinearSystem
from embodia.planners.models.pendulum import Pendulum
from embodia.planners.search.objective import Quadratic


def random_problem(seed=0, n=4, m=2):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    model = LinearSystem(torch.eye(n, dtype=torch.float64) + 0.2 * draw(n, n), draw(n, m), 0.1 * draw(n))
    root = draw(n, n)
    q, qf = root @ root.T + torch.eye(n), 5 * torch.eye(n, dtype=torch.float64)
    objective = Quadratic(q, 0.5 * torch.eye(m, dtype=torch.float64), qf, draw(n))
    return model, objective, {"x": draw(3, n)}


def test_lqr_is_the_minimum_of_the_quadratic_programme():
    """The cost is quadratic in all actions of the plan, so its minimum solves one linear system."""
    model, objective, state = random_problem()
    plan, _ = LQR(horizon=8).plan(model, state, objective, {})
    cost = lambda u: -objective(imagine_plan(model, state, u), u).sum()  # noqa: E731
    zero = torch.zeros_like(plan)
    gradient = torch.func.grad(cost)(zero).flatten()
    hessian = torch.func.hessian(cost)(zero).reshape(zero.numel(), zero.numel())
    brute = torch.linalg.solve(hessian, -gradient).view_as(plan)
    torch.testing.assert_close(plan, brute, atol=1e-8, rtol=0)
    assert abs(float(cost(plan) - cost(brute))) < 1e-8


def test_the_horizon_grows_towards_the_algebraic_equation():
    model, objective, _ = random_problem(1)
    objective = Quadratic(objective.q, objective.r, objective.q, torch.zeros(4, dtype=torch.float64))
    model = LinearSystem(model.a, model.b)
    feedback, values = recursion(deviations(model, objective, 400), Newton())
    expected = scipy.linalg.solve_discrete_are(*(m.numpy() for m in (model.a, model.b, objective.q, objective.r)))
    np.testing.assert_allclose(values[0, 0, :4, :4].numpy() / 2, expected, atol=1e-6)
    gain, p = infinite_horizon(model.a, model.b, objective.q, objective.r)
    np.testing.assert_allclose(p.numpy(), expected, rtol=1e-9)
    torch.testing.assert_close(feedback[0, 0, :, :4], gain, atol=1e-6, rtol=0)


def test_infinite_horizon_is_scipys_for_a_batch():
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(8, 4, n, generator=g, dtype=torch.float64) for n in (4, 2))
    root = torch.randn(8, 4, 4, generator=g, dtype=torch.float64)
    q, r = root @ root.mT, torch.eye(2, dtype=torch.float64).expand(8, 2, 2)
    gain, p = infinite_horizon(a, b, q, r)
    for i in range(8):
        expected = scipy.linalg.solve_discrete_are(*(m[i].numpy() for m in (a, b, q, r)))
        np.testing.assert_allclose(p[i].numpy(), expected, rtol=1e-6)
    assert float(torch.linalg.eigvals(a + b @ gain).abs().max()) < 1


def test_infinite_horizon_says_what_has_no_solution():
    one = torch.ones(1, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="R is not positive definite"):
        infinite_horizon(one, one, one, -one)
    with pytest.raises(ValueError, match="every unstable mode of A must be reached by B"):
        infinite_horizon(2 * one, 0 * one, one, one)


def test_lqr_refuses_costs_that_are_not_positive_definite():
    model, objective, state = random_problem()
    bad = Quadratic(objective.q, -100 * objective.r, objective.qf, objective.target)
    with pytest.raises(ValueError, match="not positive definite in the controls at step"):
        LQR(horizon=3).plan(model, state, bad, {})


def test_ilqr_equals_lqr_where_limits_do_not_bind():
    model, objective, state = random_problem(2)
    exact, _ = LQR(horizon=6).plan(model, state, objective, {})
    found, _ = ILQR(spaces.Box(-1e3, 1e3, (2,)), horizon=6, iterations=10).plan(model, state, objective, {})
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)


def test_box_qp_satisfies_its_optimality_conditions():
    g = torch.Generator().manual_seed(0)
    root = torch.randn(64, 3, 3, generator=g, dtype=torch.float64)
    h, slope0 = root @ root.mT + torch.eye(3), 3 * torch.randn(64, 3, generator=g, dtype=torch.float64)
    low, high = -torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    d, free = box_qp(h, slope0, low, high, 30)
    slope = slope0 + (h @ d[..., None])[..., 0]
    assert float(slope[free].abs().max()) < 1e-8
    assert bool((slope[(d <= low)] >= -1e-8).all())
    assert bool((slope[(d >= high)] <= 1e-8).all())
    assert 0 < int((~free).sum()) < free.numel()


def test_pendulum_is_gymnasiums():
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    model, rng = Pendulum(), np.random.default_rng(0)
    for _ in range(50):
        u = rng.uniform(-3, 3, 1)
        ours = model.dynamics(torch.tensor(np.array(env.state)), torch.tensor(u)).numpy()
        env.step(u)
        np.testing.assert_allclose(ours, env.state, atol=1e-12)


def test_cart_pole_keeps_its_energy():
    model = CartPole(dt=0.01)
    x = torch.tensor([0.0, 0.3, 2.5, -1.0], dtype=torch.float64)
    before = model.energy(x)
    for _ in range(500):
        x = model.dynamics(x, torch.zeros(1, dtype=torch.float64))
    assert abs(float(model.energy(x) - before)) < 1e-5 * abs(float(before))


def pendulum_objective():
    q = torch.diag(torch.tensor([1.0, 1.0, 0.1], dtype=torch.float64))
    return Quadratic(q, torch.tensor([[1e-3]], dtype=torch.float64), 10 * q, torch.tensor([1.0, 0.0, 0.0]).double())


@pytest.mark.slow
def test_ilqr_swings_the_pendulum_up_from_random_starts():
    g = torch.Generator().manual_seed(0)
    theta = torch.pi + 0.5 * torch.randn(50, generator=g, dtype=torch.float64)
    state = {"x": torch.stack([theta, torch.rand(50, generator=g).double() - 0.5], -1)}
    model, planner = Pendulum(), ILQR(spaces.Box(-2.0, 2.0, (1,)), horizon=100, iterations=60)
    plan, _ = planner.plan(model, state, pendulum_objective(), {})
    last = imagine_plan(model, state, plan)["state"][:, -1]
    assert float((last[:, 0] > np.cos(0.1)).double().mean()) >= 0.9


def test_ilqr_never_makes_a_plan_worse_and_respects_limits():
    model, objective = Pendulum(), pendulum_objective()
    state = {"x": torch.tensor([[torch.pi, 0.0], [2.0, 1.0]], dtype=torch.float64)}
    space = spaces.Box(-2.0, 2.0, (1,))
    costs = []
    for iterations in (1, 5, 15):
        plan, _ = ILQR(space, horizon=40, iterations=iterations).plan(model, state, objective, {})
        assert float(plan.abs().max()) <= 2.0
        costs.append(-objective(imagine_plan(model, state, plan), plan))
    assert bool((costs[1] <= costs[0]).all())
    assert bool((costs[2] <= costs[1]).all())


def test_lqr_says_what_it_cannot_solve():
    with pytest.raises(TypeError, match="iLQR"):
        LQR().plan(Pendulum(), {"x": torch.zeros(1, 2)}, pendulum_objective(), {})
