"""Differentiable MPC: iLQR to a fixed point, then gradients of its solution (Amos et al. 2018, "Differentiable MPC for
End-to-end Planning and Control").

At the solution, the optimality conditions are those of one LQR problem whose Hessians are those of the Lagrangian. The
gradients go through this problem, so they cost one LQR pass and no iteration of iLQR is stored. Amos et al. leave the
curvature of the dynamics out; with it, the gradients are exact.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.func import hessian, jacrev, vmap

from embodia.planners.control.differentiable_lqr import NotConverged, costates, differentiable_lqr
from embodia.planners.control.ilqr import Dynamics, Solver, StageCost, batched
from embodia.planners.control.riccati import Newton, Problem, product, recursion


class Model(Dynamics, Protocol):
    """A model whose parameters may be tensors that require a gradient."""

    state_dim: int
    action_dim: int


@dataclass(frozen=True)
class MPCConfig:
    """How the problem is solved."""

    horizon: int = 20
    """Number of steps of a plan."""
    iterations: int = 200
    """Maximum number of iLQR iterations."""
    tolerance: float = 1e-4
    """Maximum projected gradient by the controls at a fixed point, relative to the largest gradient of the costs."""


@dataclass(frozen=True)
class Plan:
    """Solutions for B first states."""

    x: Tensor
    """States (T + 1, B, S)."""
    u: Tensor
    """Controls (T, B, A)."""
    converged: Tensor
    """Where iLQR reached a fixed point (B,). The others are iLQR's last iterates and have no gradient."""


def differentiable_mpc(
    model: Model,
    objective: StageCost,
    x0: Tensor,
    low: Tensor,
    high: Tensor,
    config: MPCConfig | None = None,
    start: Tensor | None = None,
) -> Plan:
    """Plan with iLQR, with gradients for x0 and for the parameters of `model` and `objective`.

    Args:
        model: Differentiable dynamics. Its parameters are shared by the batch.
        objective: Costs, differentiable twice.
        x0: First states (B, S) float64.
        low: Lower bounds (A,) of the controls; may be infinite.
        high: Upper bounds (A,).
        config: How the problem is solved.
        start: Controls (T, B, A) to start from. None starts from those closest to 0.

    Raises:
        NotConverged: If iLQR reaches a fixed point from none of the states.
        ValueError: If shapes do not fit, or low exceeds high.
    """
    config = config or MPCConfig()
    low, high = low.to(x0), high.to(x0)
    shape = (config.horizon, len(x0), model.action_dim)
    check(model, x0, low, high, start, shape)
    u = (x0.new_zeros(shape) if start is None else start.detach()).clamp(low, high)
    with torch.no_grad():
        solver = Solver(model, objective, low, high)
        u = solver.solve(x0.detach(), u.movedim(0, 1), config.iterations, 1e-11)
        x = solver.rollout(x0.detach(), u)[0].movedim(1, 0)
    u = u.movedim(1, 0)
    problem, converged = optimality(solver, x, u, config.tolerance)
    if not bool(converged.any()):
        raise NotConverged(
            f"MPC has not converged from any of {len(x0)} states after {config.iterations} iterations of iLQR, so it "
            "has no gradient; raise `iterations` or `tolerance`, shorten `horizon`, or scale the costs"
        )
    there = converged.nonzero()[:, 0]
    exact = differentiable_lqr(take(problem, there), x0[there], low, high, start=u[:, there])
    x, u = (whole.index_copy(1, there, part) for whole, part in zip((x, u), exact, strict=True))
    return Plan(x, u, converged)


def check(model: Model, x0: Tensor, low: Tensor, high: Tensor, start: Tensor | None, shape: tuple[int, ...]) -> None:
    """Raise ValueError naming the argument that does not fit."""
    if x0.ndim != 2 or x0.shape[-1] != model.state_dim:
        raise ValueError(f"x0 is {tuple(x0.shape)}, but the model needs (B, {model.state_dim})")
    for name, bound in (("low", low), ("high", high)):
        if bound.shape != shape[-1:]:
            raise ValueError(f"{name} is {tuple(bound.shape)}, but the model needs {shape[-1:]}")
    if not bool((low <= high).all()):
        raise ValueError("low exceeds high for some control, or is NaN; swap or correct the bounds")
    if start is not None and start.shape != shape:
        raise ValueError(f"start is {tuple(start.shape)}, but the problem needs {shape}")


def optimality(solver: Solver, x: Tensor, u: Tensor, tolerance: float) -> tuple[Problem, Tensor]:
    """Return the LQR problem with the same optimality conditions as the nonlinear one at x (T + 1, B, S) and
    u (T, B, A), and where they hold with a positive definite Hessian (B,).

    Its slopes and offsets depend on the parameters of model and objective; its matrices are constants.
    """
    s = x.shape[-1]
    y = torch.cat([x[:-1], u], -1)
    dynamics = lambda z: solver.dynamics(z[:s], z[s:])  # noqa: E731
    stage = lambda z: solver.stage(z[:s], z[s:])  # noqa: E731
    jacobian, running = batched(jacrev(dynamics), y), batched(jacrev(stage), y)
    final = batched(jacrev(solver.final), x[-1])
    f = jacobian.detach()
    costate, slope = costates(f, running.detach(), final.detach())
    with torch.no_grad():
        hamiltonian = lambda z, p: stage(z) + (p * dynamics(z)).sum()  # noqa: E731
        points = y.flatten(0, 1), costate[1:].flatten(0, 1)
        curvature = vmap(hessian(hamiltonian))(*points).unflatten(0, y.shape[:2])
        final_curvature = batched(hessian(solver.final), x[-1])
    bent = product((jacobian - f).mT, costate[1:])  # zero, but it has the gradient of the costates' forces
    problem = Problem(
        cost=curvature,
        slope=running + bent - product(curvature, y),
        dynamics=f,
        offset=solver.dynamics(x[:-1], u) - product(f, y),
        final_cost=final_curvature,
        final_slope=final - product(final_curvature, x[-1]),
    )
    free = ~(((u <= solver.low) & (slope > 0)) | ((u >= solver.high) & (slope < 0)))
    left = ((u - slope).clamp(solver.low, solver.high) - u).abs().amax((0, -1))
    newton = Newton(free)
    with torch.no_grad():
        recursion(problem, newton)
    small = left <= tolerance * (1 + running.detach().abs().amax((0, -1)))
    return problem, small & newton.definite


def take(problem: Problem, which: Tensor) -> Problem:
    """Return the problems with the indices `which`."""
    p = problem
    cost, slope, dynamics, offset = (each[:, which] for each in (p.cost, p.slope, p.dynamics, p.offset))
    return Problem(cost, slope, dynamics, offset, p.final_cost[which], p.final_slope[which])
