"""Tests of differentiable LQR: gradients against unrolled autograd and finite differences; bounds."""

import pytest
import torch

from embodia.planners.control.differentiable_lqr import NotConverged, differentiable_lqr, fields, unbounded
from embodia.planners.control.riccati import Problem

T, B, S, A = 6, 3, 4, 2
SYMMETRIC = (1, 5)
"""C and V in `leaves`; their gradients are symmetric."""


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_problem(seed=0, steps=T, batch=(B,)):
    """Time-varying, affine and batched."""
    root, final = draw(steps, *batch, S + A, S + A, seed=seed), draw(*batch, S, S, seed=seed + 1)
    eye = torch.eye(S, S + A, dtype=torch.float64)
    return Problem(
        cost=root @ root.mT + 0.5 * torch.eye(S + A, dtype=torch.float64),
        slope=draw(steps, *batch, S + A, seed=seed + 2),
        dynamics=eye + 0.3 * draw(steps, *batch, S, S + A, seed=seed + 3),
        offset=draw(steps, *batch, S, seed=seed + 4),
        final_cost=final @ final.mT,
        final_slope=draw(*batch, S, seed=seed + 5),
    ), draw(*batch, S, seed=seed + 6)


def leaves(problem, x0):
    return [each.clone().requires_grad_() for each in (x0, *fields(problem))]


def symmetric(matrix):
    return (matrix + matrix.mT) / 2


def score(x, u):
    return (x * draw(*x.shape, seed=8)).sum() + (u.square() * draw(*u.shape, seed=9)).sum() + x[-1].sin().sum()


@pytest.mark.parametrize("batch", [(B,), (), (2, 2)])
def test_gradients_are_those_of_the_unrolled_recursion(batch):
    problem, x0 = random_problem(batch=batch)
    ours, unrolled = leaves(problem, x0), leaves(problem, x0)
    score(*differentiable_lqr(Problem(*ours[1:]), ours[0])).backward()
    found = unbounded(Problem(*unrolled[1:]), unrolled[0])
    score(found.x, found.u).backward()
    for i, (mine, reference) in enumerate(zip(ours, unrolled, strict=True)):
        reference = symmetric(reference.grad) if i in SYMMETRIC else reference.grad
        torch.testing.assert_close(mine.grad, reference, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("bound", [None, 0.6])
def test_gradients_are_finite_differences(bound):
    problem, x0 = random_problem()
    given = leaves(problem, x0)
    low = None if bound is None else -bound
    solve = lambda *each: score(*differentiable_lqr(Problem(*each[1:]), each[0], low, bound))  # noqa: E731
    solve(*given).backward()
    if bound is not None:
        _, u = differentiable_lqr(problem, x0, low, bound)
        at_bound = float((u.abs() == bound).double().mean())
        assert 0.2 < at_bound < 0.9, "some controls are at a bound, and some are not"
    for i, each in enumerate(given):
        direction = draw(*each.shape, seed=20 + i)
        direction = symmetric(direction) if i in SYMMETRIC else direction
        ends = []
        for h in (1e-6, -1e-6):
            moved = [other.detach() + h * direction if other is each else other.detach() for other in given]
            ends.append(float(solve(*moved)))
        slope = (ends[0] - ends[1]) / 2e-6
        assert float((each.grad * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_the_bounded_solution_satisfies_its_optimality_conditions():
    problem, x0 = random_problem(3, steps=30)
    x, u = differentiable_lqr(problem, x0, -0.3, 0.2)
    controls = u.clone().requires_grad_()
    state, cost = x0, 0.0
    for t in range(30):
        y = torch.cat([state, controls[t]], -1)
        cost = cost + (y * ((problem.cost[t] @ y[..., None])[..., 0] / 2 + problem.slope[t])).sum()
        state = (problem.dynamics[t] @ y[..., None])[..., 0] + problem.offset[t]
        torch.testing.assert_close(state, x[t + 1])
    cost = cost + (state * ((problem.final_cost @ state[..., None])[..., 0] / 2 + problem.final_slope)).sum()
    cost.backward()
    left = (u - controls.grad).clamp(-0.3, 0.2) - u
    assert float(left.abs().max()) < 1e-8 * float(controls.grad.abs().max())
    assert bool((u == -0.3).any())
    assert bool((u == 0.2).any())


def test_bounds_that_do_not_bind_change_nothing():
    problem, x0 = random_problem(1)
    for mine, free in zip(differentiable_lqr(problem, x0, -1e6, 1e6), differentiable_lqr(problem, x0), strict=True):
        torch.testing.assert_close(mine, free, atol=1e-9, rtol=1e-9)


def test_shared_fields_are_expanded_and_their_gradients_summed():
    problem, x0 = random_problem()
    shared = problem.dynamics[0, 0].clone().requires_grad_()
    full = shared.detach().expand(T, B, S, S + A).clone().requires_grad_()
    for dynamics in (shared.expand(T, B, S, S + A), full):
        changed = Problem(problem.cost, problem.slope, dynamics, *fields(problem)[3:])
        score(*differentiable_lqr(changed, x0, -1, 1)).backward()
    torch.testing.assert_close(shared.grad, full.grad.sum((0, 1)))


def test_float32_converges_within_bounds():
    problem, x0 = random_problem(2, steps=20)
    exact = differentiable_lqr(problem, x0, -0.3, 0.3)[1]
    single = Problem(*(each.float() for each in fields(problem)))
    torch.testing.assert_close(differentiable_lqr(single, x0.float(), -0.3, 0.3)[1].double(), exact, atol=1e-3, rtol=0)


def test_bad_input_is_named():
    problem, x0 = random_problem()
    with pytest.raises(ValueError, match=r"low exceeds high"):
        differentiable_lqr(problem, x0, 1.0, -1.0)
    with pytest.raises(ValueError, match=r"high is \(5,\), which does not broadcast to \(6, 3, 2\)"):
        differentiable_lqr(problem, x0, None, torch.ones(5))
    with pytest.raises(ValueError, match=r"x0 is \(4,\), but dynamics needs \(3, 4\)"):
        differentiable_lqr(problem, x0[0])
    cost, slope, *rest = fields(problem)
    with pytest.raises(ValueError, match=r"slope is \(6, 3, 5\), but dynamics \(6, 3, 4, 6\) needs \(6, 3, 6\)"):
        differentiable_lqr(Problem(cost, slope[..., :5], *rest), x0)
    broken = cost.clone()
    broken[4, 1, S:, S:] -= 1e4 * torch.eye(A)
    for bound in (None, 1.0):
        with pytest.raises(ValueError, match="not positive definite in the controls at step 4 of problem 1"):
            differentiable_lqr(Problem(broken, slope, *rest), x0, high=bound)
    with pytest.raises(NotConverged, match="after 1 Newton iterations"):
        differentiable_lqr(problem, x0, -0.3, 0.3, limit=1)
