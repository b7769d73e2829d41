"""Differentiable LQR with box constraints on the controls (Amos et al. 2018, "Differentiable MPC for End-to-end
Planning and Control").

The forward pass is one Riccati recursion, or with bounds a projected Newton method (Bertsekas 1982) that needs one
recursion per iteration. The backward pass solves the optimality conditions of the solution by one more LQR pass, which
reuses the factorisation: gradients cost about as much as the forward pass, whatever the number of iterations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from embodia.planners.control.riccati import Newton, Problem, follow, product, recursion

CLOSED, OPEN = (1.0, 0.5, 0.25, 0.125), (*(0.25**k for k in range(7)), 0.0)
"""Step lengths that the line search compares, along the path with feedback and without."""


class NotConverged(RuntimeError):
    """An iteration stopped at its limit before it reached its tolerance."""


def differentiable_lqr(
    problem: Problem,
    x0: Tensor,
    low: Tensor | float | None = None,
    high: Tensor | float | None = None,
    *,
    start: Tensor | None = None,
    tolerance: float | None = None,
    limit: int = 50,
) -> tuple[Tensor, Tensor]:
    """Return the optimal states x (T + 1, *B, S) and controls u (T, *B, A), with gradients for all of `problem` and x0.

    Bounds get no gradient. A control at its bound has the gradient zero.

    Args:
        problem: The problem. Fields that are shared by steps or by problems are expanded views (`Tensor.expand`).
        x0: First states (*B, S).
        low: Lower bounds of the controls, broadcast to (T, *B, A). None for none.
        high: Upper bounds of the controls. None for none.
        start: Controls (T, *B, A) from which the projected Newton method starts. None starts from those closest to 0.
        tolerance: Maximum projected gradient of the controls at convergence, relative to the largest gradient of the
            costs. None for what the number type allows, 4e-10 in float64.
        limit: Maximum number of Newton iterations.

    Raises:
        NotConverged: If the projected Newton method does not converge.
        ValueError: If a shape does not fit, a lower bound exceeds the upper one, or the cost is not positive definite
            in the controls.
    """
    problem.check()
    batch = problem.dynamics.shape[1:-2]
    if x0.shape != (*batch, problem.states):
        raise ValueError(f"x0 is {tuple(x0.shape)}, but dynamics needs {(*batch, problem.states)}")
    box = None if low is None and high is None else limits(problem, low, high)
    reached = torch.finfo(x0.dtype).eps ** 0.6 if tolerance is None else tolerance
    settings = Settings(box, start, reached, limit)
    x, u = Solve.apply(settings, x0, *fields(problem))
    return x, u


def fields(problem: Problem) -> Sequence[Tensor]:
    """Return the tensors of a problem in the order of its constructor."""
    p = problem
    return p.cost, p.slope, p.dynamics, p.offset, p.final_cost, p.final_slope


def limits(problem: Problem, low: Tensor | float | None, high: Tensor | float | None) -> tuple[Tensor, Tensor]:
    """Return both bounds (T, *B, A).

    Raises:
        ValueError: If their shapes do not fit, or low exceeds high.
    """
    shape = (*problem.dynamics.shape[:-2], problem.controls)
    found = []
    for name, bound, absent in (("low", low, -torch.inf), ("high", high, torch.inf)):
        given = torch.as_tensor(absent if bound is None else bound, dtype=problem.dynamics.dtype).to(problem.dynamics)
        try:
            found.append(given.detach().expand(shape))
        except RuntimeError as error:
            raise ValueError(f"{name} is {tuple(given.shape)}, which does not broadcast to {shape}") from error
    if not bool((found[0] <= found[1]).all()):
        raise ValueError("low exceeds high for some control, or is NaN; swap or correct the bounds")
    return found[0], found[1]


@dataclass(frozen=True)
class Settings:
    """What the solution depends on, but is not differentiated by."""

    box: tuple[Tensor, Tensor] | None
    start: Tensor | None
    tolerance: float
    limit: int


@dataclass(frozen=True)
class Solution:
    """A solution with its factorisation."""

    x: Tensor
    u: Tensor
    feedback: Tensor
    """(T, *B, A, S + 1)."""
    values: Tensor
    """(T + 1, *B, S + 1, S + 1)."""
    factor: Tensor
    """Cholesky factors (T, *B, A, A) of Quu on the free controls."""
    free: Tensor | None
    """Free controls (T, *B, A); None if all are."""


def unbounded(problem: Problem, x0: Tensor) -> Solution:
    """Solve the problem without bounds. It is differentiable by unrolling, too."""
    newton = Newton()
    feedback, values = recursion(problem, newton)
    newton.check()
    return Solution(*follow(problem, feedback, x0), feedback, values, newton.factor, None)


def bounded(problem: Problem, x0: Tensor, settings: Settings) -> Solution:
    """Solve the problem within bounds by projected Newton.

    Each iteration fixes the controls at a bound that the gradient pushes outwards, minimises exactly over the others,
    and searches along the projection of the feedback.

    Raises:
        NotConverged: If the tolerance is not reached.
    """
    assert settings.box is not None
    low, high = settings.box
    u = (torch.zeros_like(low) if settings.start is None else settings.start).clamp(low, high)
    x = simulate(problem, x0, u)
    for _ in range(settings.limit):
        running, final = problem.gradient(x, u)
        _, slope = costates(problem.dynamics, running, final)
        free = ~(((u <= low) & (slope > 0)) | ((u >= high) & (slope < 0)))
        left = ((u - slope).clamp(low, high) - u).abs().amax((0, -1))
        newton = Newton(free)
        local = Problem(problem.cost, running, problem.dynamics, torch.zeros_like(x[1:]), problem.final_cost, final)
        feedback, values = recursion(local, newton)
        newton.check()
        if bool((left <= settings.tolerance * (1 + running.abs().amax((0, -1)))).all()):
            return Solution(x, u, feedback, values, newton.factor, free)
        x, u = search(problem, local, x, u, feedback, low, high)
    worst = float(left.max())
    raise NotConverged(
        f"bounded LQR has not converged after {settings.limit} Newton iterations: the projected gradient is "
        f"{worst:.3g}; raise `limit` or `tolerance`, or scale the problem (very unstable dynamics are out of reach)"
    )


def costates(dynamics: Tensor, running: Tensor, final: Tensor) -> tuple[Tensor, Tensor]:
    """Return costates (T + 1, *B, S) and the gradient by the controls (T, *B, A).

    Args:
        dynamics: F (T, *B, S, N).
        running: Gradient (T, *B, N) of the running cost.
        final: Gradient (*B, S) of the final cost.
    """
    s = dynamics.shape[-2]
    backwards, found = dynamics[..., :s].mT.unbind(), [final[..., None]]
    slopes = running[..., :s, None].unbind()
    for matrix, slope in zip(backwards[::-1], slopes[::-1], strict=True):
        found.append(slope + matrix @ found[-1])
    costate = torch.stack(found[::-1])[..., 0]
    return costate, running[..., s:] + product(dynamics[..., s:].mT, costate[1:])


def simulate(problem: Problem, x0: Tensor, u: Tensor) -> Tensor:
    """Return x (T + 1, *B, S) of controls u (T, *B, A)."""
    s = problem.states
    push = (problem.dynamics[..., s:] @ u[..., None] + problem.offset[..., None]).unbind()
    states = [x0[..., None]]
    for matrix, constant in zip(problem.dynamics[..., :s].unbind(), push, strict=True):
        states.append(matrix @ states[-1] + constant)
    return torch.stack(states)[..., 0]


def search(
    problem: Problem, local: Problem, x: Tensor, u: Tensor, feedback: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the best x and u of several steps along two projected paths, the first of those of equal cost.

    The first path applies the feedback to the states that result, and finds most active bounds at once. The second one
    projects the Newton step itself, which descends if the step is short enough. The last step length is 0.
    """
    s = problem.states
    steps = torch.tensor([*CLOSED, *OPEN]).to(u)
    closed = (torch.arange(len(steps)) < len(CLOSED)).to(u)
    _, whole = follow(local, feedback, torch.zeros_like(x[0]))
    terms = u[..., None] + torch.where(closed > 0, feedback[..., s:], whole[..., None]) * steps  # (T, *B, A, L)
    gains, dynamics, offsets = feedback[..., :s].unbind(), problem.dynamics.unbind(), problem.offset[..., None].unbind()
    before, low, high = x[..., None], low[..., None], high[..., None]
    states, controls = [before[0].expand(*x[0].shape, len(steps))], []
    for t in range(problem.horizon):
        change = gains[t] @ ((states[-1] - before[t]) * closed)
        controls.append((terms[t] + change).clamp(low[t], high[t]))
        states.append(dynamics[t] @ torch.cat([states[-1], controls[-1]], -2) + offsets[t])
    xs, us = torch.stack(states), torch.stack(controls)  # (T, *B, ..., L)
    y = torch.cat([xs[:-1], us], -2)
    cost = (y * (problem.cost @ y / 2 + problem.slope[..., None])).sum((0, -2))
    cost = cost + (xs[-1] * (problem.final_cost @ xs[-1] / 2 + problem.final_slope[..., None])).sum(-2)  # (*B, L)
    least = cost.amin(-1, keepdim=True)
    rounding = 64 * torch.finfo(u.dtype).eps * (1 + least.abs())
    longest = (cost <= least + rounding).to(torch.uint8).argmax(-1)[None, ..., None, None]
    take = lambda each: each.gather(-1, longest.expand(*each.shape[:-1], 1))[..., 0]  # noqa: E731
    return take(xs), take(us)


class Solve(torch.autograd.Function):
    """Solves a problem; its backward pass is one more LQR pass."""

    @staticmethod
    def forward(ctx: Any, settings: Settings, x0: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        problem = Problem(*given)
        found = unbounded(problem, x0) if settings.box is None else bounded(problem, x0, settings)
        free = found.free if found.free is not None else torch.ones_like(found.u, dtype=torch.bool)
        ctx.save_for_backward(found.x, found.u, found.feedback, found.values, found.factor, free, *given)
        return found.x, found.u

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, x_bar: Tensor, u_bar: Tensor) -> tuple[Tensor | None, ...]:
        x, u, feedback, values, factor, free, *given = ctx.saved_tensors
        problem = Problem(*given)
        costate, _ = costates(problem.dynamics, *problem.gradient(x, u))
        y = torch.cat([x[:-1], u], -1)
        dx, du, adjoint = resolve(problem, feedback, values, factor, free, x_bar, u_bar)
        dy = torch.cat([dx[:-1], du], -1)
        return (
            None,
            adjoint[0],
            symmetric_outer(dy, y),
            dy,
            outer(costate[1:], dy) + outer(adjoint[1:], y),
            adjoint[1:],
            symmetric_outer(dx[-1], x[-1]),
            dx[-1],
        )


def resolve(
    problem: Problem, feedback: Tensor, values: Tensor, factor: Tensor, free: Tensor, x_bar: Tensor, u_bar: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve the same problem again with the slopes x_bar (T + 1, *B, S) and u_bar (T, *B, A), without offsets and from
    the state 0, with the factorisation there is.

    Returns:
        States (T + 1, *B, S), controls (T, *B, A) and costates (T + 1, *B, S).
    """
    s = problem.states
    f, b = problem.dynamics[..., :s], problem.dynamics[..., s:]
    gain = feedback[..., :s]
    closed = f + b @ gain
    slope = (x_bar[:-1, ..., None] + gain.mT @ u_bar[..., None]).unbind()
    found = [x_bar[-1, ..., None]]
    for matrix, step in zip(closed.mT.unbind()[::-1], slope[::-1], strict=True):
        found.append(step + matrix @ found[-1])
    p = torch.stack(found[::-1])  # slopes of the costs to go (T + 1, *B, S, 1)
    qu = (u_bar[..., None] + b.mT @ p[1:]) * free[..., None]
    push = b @ (term := -torch.cholesky_solve(qu, factor))
    states = [torch.zeros_like(p[0])]
    for matrix, constant in zip(closed.unbind(), push.unbind(), strict=True):
        states.append(matrix @ states[-1] + constant)
    x = torch.stack(states)
    return x[..., 0], (gain @ x[:-1] + term)[..., 0], (values[..., :s, :s] @ x + p)[..., 0]


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Return the matrices a b' (*B, M, N) of vectors (*B, M) and (*B, N)."""
    return a[..., :, None] * b[..., None, :]


def symmetric_outer(a: Tensor, b: Tensor) -> Tensor:
    """Return (a b' + b a') / 2."""
    both = outer(a, b)
    return (both + both.mT) / 2
