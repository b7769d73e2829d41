"""Iterative LQR with control limits (Tassa, Mansard & Todorov 2014, "Control-limited DDP"), batched over worlds.

The dynamics are linearised, the costs expanded to second order (their Hessians made positive semidefinite), the box
quadratic program of each step solved by projected Newton, and the step length chosen by a parallel line search.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from gymnasium import spaces
from torch import Tensor
from torch.func import hessian, jacrev, vmap

from embodia.planners import Carry, Objective, State, WorldModel
from embodia.planners.search.cem import bounds, shift

STEPS = 0.5 ** torch.arange(8, dtype=torch.float64)


@runtime_checkable
class Dynamics(Protocol):
    """What iLQR asks of a model beyond the usual; both differentiable, for one point or any batch."""

    def dynamics(self, x: Tensor, u: Tensor) -> Tensor:
        """x (*B, S), u (*B, A) -> next x (*B, S)."""

    def features(self, x: Tensor) -> Tensor:
        """What costs are written in: (*B, S) -> (*B, F)."""


@runtime_checkable
class StageCost(Protocol):
    """What iLQR asks of an objective beyond the usual; both differentiable."""

    def stage(self, x: Tensor, u: Tensor) -> Tensor:
        """Running cost (*B,) of features (*B, F) and action (*B, A)."""

    def final(self, x: Tensor) -> Tensor:
        """Cost (*B,) of the last state's features."""


@dataclass(frozen=True)
class ILQR:
    """Needs a model with `Dynamics` and an objective with a `StageCost`."""

    action_space: spaces.Space
    horizon: int = 50
    """Steps of a plan."""
    iterations: int = 50
    """Improvements at most."""
    tolerance: float = 1e-6
    """Relative improvement of the cost below which a world is finished."""
    warm_start: bool = True
    """Begin from the last plan, one step later."""

    def plan(self, model: WorldModel, state: State, objective: Objective, carry: Carry) -> tuple[Tensor, Carry]:
        """state {"x": (B, S)} -> locally optimal actions (B, H, A) inside the action bounds."""
        if not isinstance(model, Dynamics):
            name = type(model).__name__
            raise TypeError(f"iLQR needs `dynamics` and `features`, which {name} does not offer; take CEM or MPPI")
        if not isinstance(objective, StageCost):
            name = type(objective).__name__
            raise TypeError(f"iLQR needs `stage` and `final`, which {name} does not offer; take CEM or MPPI")
        x0 = state["x"].double()
        low, high = (bound.double() for bound in bounds(self.action_space))
        if carry:
            u = carry["plan"]
        else:
            u = torch.zeros(len(x0), self.horizon, len(low), dtype=torch.float64).clamp(low, high)
        u = Solver(model, objective, low, high).solve(x0, u, self.iterations, self.tolerance)
        return u, {"plan": shift(u)} if self.warm_start else {}


class Solver:
    """One optimal control problem; every tensor has the worlds first."""

    def __init__(self, model: Dynamics, objective: StageCost, low: Tensor, high: Tensor):
        self.dynamics = model.dynamics
        self.stage = lambda x, u: objective.stage(model.features(x), u)
        self.final = lambda x: objective.final(model.features(x))
        self.low, self.high = low, high

    def solve(self, x0: Tensor, u: Tensor, iterations: int, tolerance: float) -> Tensor:
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
        """x (B, T + 1, S) and cost (B,)."""
        states = [x0]
        for t in range(u.shape[1]):
            states.append(self.dynamics(states[-1], u[:, t]))
        x = torch.stack(states, 1)
        return x, self.cost(x, u)

    def cost(self, x: Tensor, u: Tensor) -> Tensor:
        return self.stage(x[..., :-1, :], u).sum(-1) + self.final(x[..., -1, :])

    def backward(self, x: Tensor, u: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
        """Open-loop changes k (B, T, A) and feedback gains (B, T, A, S)."""
        s, horizon = x.shape[-1], u.shape[1]
        xu = torch.cat([x[:, :-1], u], -1)  # (B, T, S + A)
        fz = batched(jacrev(lambda z: self.dynamics(z[:s], z[s:])), xu)  # (B, T, S, S + A)
        lz = batched(jacrev(lambda z: self.stage(z[:s], z[s:])), xu)
        lzz = positive(batched(hessian(lambda z: self.stage(z[:s], z[s:])), xu))
        vx = batched(jacrev(self.final), x[:, -1])
        vxx = positive(batched(hessian(self.final), x[:, -1]))
        ks, gains = [], []
        eye = torch.eye(u.shape[-1], dtype=u.dtype)
        for t in reversed(range(horizon)):
            f = fz[:, t]
            qz = lz[:, t] + (f.mT @ vx[..., None])[..., 0]
            qzz = lzz[:, t] + f.mT @ vxx @ f
            quu = qzz[:, s:, s:] + damping[:, None, None] * eye
            k, free = box_qp(quu, qz[:, s:], self.low - u[:, t], self.high - u[:, t])
            gain = -torch.linalg.solve(masked(quu, free), qzz[:, s:, :s] * free[..., None])
            qux, qu = qzz[:, s:, :s], qz[:, s:]
            vx = qz[:, :s] + product(gain.mT @ qzz[:, s:, s:], k) + product(gain.mT, qu) + product(qux.mT, k)
            vxx = qzz[:, :s, :s] + gain.mT @ qzz[:, s:, s:] @ gain + gain.mT @ qux + qux.mT @ gain
            vxx = (vxx + vxx.mT) / 2
            ks.append(k)
            gains.append(gain)
        return torch.stack(ks[::-1], 1), torch.stack(gains[::-1], 1)

    def line_search(self, x: Tensor, u: Tensor, k: Tensor, gain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best of several step lengths, all rolled out at once as (L, B, ...)."""
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
    """min 1/2 d'Hd + g'd inside [low, high] by projected Newton. Returns d (B, A) and the free coordinates (B, A)."""
    d = torch.zeros_like(g).clamp(low, high)
    free = torch.ones_like(g, dtype=torch.bool)
    for _ in range(iterations):
        slope = g + product(h, d)
        free = ~(((d <= low) & (slope > 0)) | ((d >= high) & (slope < 0)))
        move = -torch.linalg.solve(masked(h, free), slope * free)
        d = (d + move).clamp(low, high)
    return d, free


def masked(h: Tensor, free: Tensor) -> Tensor:
    """H on the free coordinates, the identity on the clamped ones."""
    both = free[..., :, None] & free[..., None, :]
    return torch.where(both, h, torch.diag_embed((~free).to(h.dtype)))


def positive(matrix: Tensor) -> Tensor:
    """The nearest positive semidefinite matrix: negative eigenvalues become zero."""
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
    return vectors @ torch.diag_embed(values.clamp_min(0)) @ vectors.mT


def product(matrix: Tensor, vector: Tensor) -> Tensor:
    """(*B, M, N) times (*B, N)."""
    return (matrix @ vector[..., None])[..., 0]


def batched(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Apply a function of one point to all of (*B, N)."""
    flat = vmap(function)(points.reshape(-1, points.shape[-1]))
    return flat.reshape(*points.shape[:-1], *flat.shape[1:])
