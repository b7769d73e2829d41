"""Iterative LQR with control limits (Tassa, Mansard & Todorov 2014, "Control-limited DDP"), batched.

Each iteration linearises the dynamics, expands the costs to second order with positive semidefinite Hessians, solves
each step's box-constrained quadratic program by projected Newton, and chooses the step length by a parallel line
search.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from gymnasium import spaces
from torch import Tensor
from torch.func import hessian, jacrev, vmap

from embodia.planners import Carry, Objective, State, WorldModel
from embodia.planners.control.riccati import Problem, masked, product, recursion
from embodia.planners.search.cem import bounds, shift

STEPS = 0.5 ** torch.arange(8, dtype=torch.float64)


@runtime_checkable
class Dynamics(Protocol):
    """What iLQR needs from a model in addition to `WorldModel`; both are differentiable, with any batch axes."""

    def dynamics(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the next x (*B, S) for x (*B, S) and u (*B, A)."""

    def features(self, x: Tensor) -> Tensor:
        """Return the features (*B, F) of x (*B, S) in which costs are expressed."""


@runtime_checkable
class StageCost(Protocol):
    """What iLQR needs from an objective in addition to `Objective`. Both methods are differentiable."""

    def stage(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the running cost (*B,) of features (*B, F) and actions (*B, A)."""

    def final(self, x: Tensor) -> Tensor:
        """Return the cost (*B,) of the last state's features (*B, F)."""


@dataclass(frozen=True)
class ILQR:
    """Iterative LQR. It needs a model with `Dynamics` and an objective with `StageCost`."""

    action_space: spaces.Space
    """Action space: a bounded Box (A,)."""
    horizon: int = 50
    """Number of steps of a plan."""
    iterations: int = 50
    """Maximum number of iterations."""
    tolerance: float = 1e-6
    """Relative cost improvement at which an environment has converged."""
    warm_start: bool = True
    """Start from the previous plan, shifted by one step."""

    def plan(self, model: WorldModel, state: State, objective: Objective, carry: Carry) -> tuple[Tensor, Carry]:
        """Return locally optimal actions (B, H, A) within the action bounds for states {"x": (B, S)}.

        Raises:
            TypeError: If the model lacks `Dynamics` or the objective lacks `StageCost`.
            ValueError: If the action space is unbounded.
        """
        if not isinstance(model, Dynamics):
            name = type(model).__name__
            raise TypeError(f"iLQR needs `dynamics` and `features`, which {name} does not have; use CEM or MPPI")
        if not isinstance(objective, StageCost):
            name = type(objective).__name__
            raise TypeError(f"iLQR needs `stage` and `final`, which {name} does not have; use CEM or MPPI")
        x0 = state["x"].double()
        low, high = (bound.double() for bound in bounds(self.action_space))
        if carry:
            u = carry["plan"]
        else:
            u = torch.zeros(len(x0), self.horizon, len(low), dtype=torch.float64).clamp(low, high)
        u = Solver(model, objective, low, high).solve(x0, u, self.iterations, self.tolerance)
        return u, {"plan": shift(u)} if self.warm_start else {}


class Solver:
    """One optimal control problem. The first axis of every tensor is the environment."""

    def __init__(self, model: Dynamics, objective: StageCost, low: Tensor, high: Tensor):
        self.dynamics = model.dynamics
        self.stage = lambda x, u: objective.stage(model.features(x), u)
        self.final = lambda x: objective.final(model.features(x))
        self.low, self.high = low, high

    def solve(self, x0: Tensor, u: Tensor, iterations: int, tolerance: float) -> Tensor:
        """Improve actions u (B, T, A) from initial states x0 (B, S)."""
        x, cost = self.rollout(x0, u)
        damping = torch.full_like(cost, 1e-6)
        for _ in range(iterations):
            k, gain = self.backward(x, u, damping)
            x_new, u_new, cost_new = self.line_search(x, u, k, gain)
            better = cost_new < cost
            done = (cost - cost_new).abs() <= tolerance * cost.abs().clamp_min(1e-12)
            keep = better[:, None, None]
            x, u = torch.where(keep, x_new, x), torch.where(keep, u_new, u)
            cost = torch.where(better, cost_new, cost)
            damping = torch.where(better, damping / 4, (damping * 10).clamp_min(1e-3)).clamp(1e-9, 1e9)
            if bool((done | (damping >= 1e6)).all()):
                break
        return u

    def rollout(self, x0: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return states (B, T + 1, S) and cost (B,) of actions u (B, T, A)."""
        states = [x0]
        for t in range(u.shape[1]):
            states.append(self.dynamics(states[-1], u[:, t]))
        x = torch.stack(states, 1)
        return x, self.cost(x, u)

    def cost(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the total cost (*B,) of states (*B, T + 1, S) and actions (*B, T, A)."""
        return self.stage(x[..., :-1, :], u).sum(-1) + self.final(x[..., -1, :])

    def backward(self, x: Tensor, u: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
        """Return open-loop changes k (B, T, A) and feedback gains (B, T, A, S)."""
        s = x.shape[-1]
        xu = torch.cat([x[:, :-1], u], -1)  # (B, T, S + A)
        fz = batched(jacrev(lambda z: self.dynamics(z[:s], z[s:])), xu)  # (B, T, S, S + A)
        lz = batched(jacrev(lambda z: self.stage(z[:s], z[s:])), xu)
        lzz = positive(batched(hessian(lambda z: self.stage(z[:s], z[s:])), xu))
        vx = batched(jacrev(self.final), x[:, -1])
        vxx = positive(batched(hessian(self.final), x[:, -1]))
        zero = torch.zeros_like(x[:, 1:])
        lz, lzz, fz = (each.movedim(1, 0) for each in (lz, lzz, fz))
        problem = Problem(lzz, lz, fz, zero.movedim(1, 0), vxx, vx)
        eye = damping[:, None, None] * torch.eye(u.shape[-1], dtype=u.dtype)

        def rule(t: int, quu: Tensor, quz: Tensor) -> Tensor:
            quu = quu + eye
            k, free = box_qp(quu, quz[..., s], self.low - u[:, t], self.high - u[:, t])
            gain = -torch.linalg.solve(masked(quu, free), quz[..., :s] * free[..., None])
            return torch.cat([gain, k[..., None]], -1)

        feedback, _ = recursion(problem, rule)
        feedback = feedback.movedim(0, 1)
        return feedback[..., s], feedback[..., :s]

    def line_search(self, x: Tensor, u: Tensor, k: Tensor, gain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best of several step lengths, all rolled out at once as (L, B, ...)."""
        steps = STEPS[:, None, None]
        state = x[:, 0].expand(len(STEPS), *x[:, 0].shape)
        states, actions = [state], []
        for t in range(u.shape[1]):
            change = steps * k[:, t] + product(gain[:, t], state - x[:, t])
            actions.append((u[:, t] + change).clamp(self.low, self.high))
            state = self.dynamics(state, actions[-1])
            states.append(state)
        xs, us = torch.stack(states, 2), torch.stack(actions, 2)  # (L, B, T, ...)
        cost = self.cost(xs, us).nan_to_num(nan=torch.inf)
        best, which = cost.min(0)
        worlds = torch.arange(len(u))
        return xs[which, worlds], us[which, worlds], best


def box_qp(h: Tensor, g: Tensor, low: Tensor, high: Tensor, iterations: int = 10) -> tuple[Tensor, Tensor]:
    """Minimise 1/2 d'Hd + g'd within [low, high] by projected Newton. Returns d (B, A) and its free coordinates."""
    d = torch.zeros_like(g).clamp(low, high)
    free = torch.ones_like(g, dtype=torch.bool)
    for _ in range(iterations):
        slope = g + product(h, d)
        free = ~(((d <= low) & (slope > 0)) | ((d >= high) & (slope < 0)))
        move = -torch.linalg.solve(masked(h, free), slope * free)
        d = (d + move).clamp(low, high)
    return d, free


def positive(matrix: Tensor) -> Tensor:
    """Return the nearest positive semidefinite matrix, with negative eigenvalues set to zero."""
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
    return vectors @ torch.diag_embed(values.clamp_min(0)) @ vectors.mT


def batched(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Apply a function of one point (N,) to points (*B, N)."""
    flat = vmap(function)(points.reshape(-1, points.shape[-1]))
    return flat.reshape(*points.shape[:-1], *flat.shape[1:])
