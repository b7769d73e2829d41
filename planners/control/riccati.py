"""Riccati recursion of linear quadratic problems: batched, time-varying and affine (Bertsekas, Dynamic Programming,
vol. 1, 4.1), and the algebraic Riccati equation.

LQR, iLQR and the differentiable planners share it. Affine terms are handled by an extra state that is always 1, so one
recursion on matrices gives gains and terms together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Rule = Callable[[int, Tensor, Tensor], Tensor]
"""Chooses the feedback of one step: (t, Quu (*B, A, A), Quz (*B, A, S + 1)) -> (*B, A, S + 1)."""


@dataclass(frozen=True)
class Problem:
    """Minimise sum_t (y_t' C_t y_t / 2 + c_t' y_t) + x_T' V x_T / 2 + v' x_T with y_t = (x_t, u_t) and
    x_{t+1} = F_t y_t + f_t.

    S is the number of states, A the number of controls and N = S + A. C_t and V are symmetric.
    """

    cost: Tensor
    """C (T, *B, N, N)."""
    slope: Tensor
    """c (T, *B, N)."""
    dynamics: Tensor
    """F (T, *B, S, N)."""
    offset: Tensor
    """f (T, *B, S)."""
    final_cost: Tensor
    """V (*B, S, S)."""
    final_slope: Tensor
    """v (*B, S)."""

    @property
    def horizon(self) -> int:
        return self.dynamics.shape[0]

    @property
    def states(self) -> int:
        return self.dynamics.shape[-2]

    @property
    def controls(self) -> int:
        return self.dynamics.shape[-1] - self.states

    def check(self) -> None:
        """Raise ValueError, with the name of the field, if a shape does not fit the shape of `dynamics`."""
        if self.dynamics.ndim < 3 or self.controls < 1:
            raise ValueError(f"dynamics is (T, *B, S, S + A) with A > 0, not {tuple(self.dynamics.shape)}")
        (horizon, *batch), s, n = self.dynamics.shape[:-2], self.states, self.states + self.controls
        wanted = {
            "cost": (horizon, *batch, n, n),
            "slope": (horizon, *batch, n),
            "offset": (horizon, *batch, s),
            "final_cost": (*batch, s, s),
            "final_slope": (*batch, s),
        }
        for name, shape in wanted.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(f"{name} is {found}, but dynamics {tuple(self.dynamics.shape)} needs {shape}")

    def gradient(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of the costs at x (T + 1, *B, S) and u (T, *B, A): (T, *B, N) and (*B, S)."""
        running = product(self.cost, torch.cat([x[:-1], u], -1)) + self.slope
        return running, product(self.final_cost, x[-1]) + self.final_slope


def recursion(problem: Problem, rule: Rule) -> tuple[Tensor, Tensor]:
    """Run the recursion from the last step to the first.

    Returns:
        Feedback (T, *B, A, S + 1), the gain K and the term k of u = K x + k side by side; and
        (T + 1, *B, S + 1, S + 1), the cost to go (x, 1)' W (x, 1) / 2 of that feedback.
    """
    s = problem.states + 1
    costs, dynamics = running_costs(problem).unbind(), with_constant(problem).unbind()
    value = bordered(problem.final_cost, problem.final_slope)
    feedback, values = [], [value]
    for t in reversed(range(problem.horizon)):
        f = dynamics[t]
        q = costs[t] + f.mT @ (value @ f)
        quz, quu = q[..., s:, :s], q[..., s:, s:]
        k = rule(t, quu, quz)
        value = q[..., :s, :s] + quz.mT @ k + k.mT @ (quz + quu @ k)
        value = (value + value.mT) / 2
        feedback.append(k)
        values.append(value)
    return torch.stack(feedback[::-1]), torch.stack(values[::-1])


def running_costs(problem: Problem) -> Tensor:
    """Return the matrices (T, *B, N + 1, N + 1) of the running costs as forms of (x, 1, u)."""
    s = problem.states
    c, slope = problem.cost, problem.slope
    corner = torch.zeros_like(slope[..., :1, None])
    above = torch.cat([c[..., :s, :s], slope[..., :s, None], c[..., :s, s:]], -1)
    middle = torch.cat([slope[..., None, :s], corner, slope[..., None, s:]], -1)
    below = torch.cat([c[..., s:, :s], slope[..., s:, None], c[..., s:, s:]], -1)
    return torch.cat([above, middle, below], -2)


def with_constant(problem: Problem) -> Tensor:
    """Return the matrices (T, *B, S + 1, N + 1) that map (x, 1, u) to the next (x, 1)."""
    s = problem.states
    f = problem.dynamics
    above = torch.cat([f[..., :s], problem.offset[..., None], f[..., s:]], -1)
    constant = torch.zeros_like(above[..., :1, :])
    constant[..., s] = 1
    return torch.cat([above, constant], -2)


def bordered(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return [[M, v], [v', 0]] for M (*B, S, S) and v (*B, S)."""
    above = torch.cat([matrix, vector[..., None]], -1)
    below = torch.cat([vector, torch.zeros_like(vector[..., :1])], -1)
    return torch.cat([above, below[..., None, :]], -2)


class Newton:
    """Rule that minimises over the free controls and leaves the others as they are. It keeps its factorisations.

    Args:
        free: (T, *B, A) bool; None if all controls are free.
    """

    def __init__(self, free: Tensor | None = None):
        self.free = None if free is None else free[..., None].unbind()
        self.bound = None if free is None else (~(free[..., None] & free[..., None, :])).unbind()
        self.eye = None if free is None else torch.diag_embed(~free).unbind()
        self.factors: list[Tensor] = []  # Cholesky factors of Quu, last step first
        self.failures: list[Tensor] = []

    def __call__(self, t: int, quu: Tensor, quz: Tensor) -> Tensor:
        if self.free is not None and self.bound is not None and self.eye is not None:
            quu, quz = quu.masked_fill(self.bound[t], 0) + self.eye[t], quz * self.free[t]
        factor, failure = torch.linalg.cholesky_ex(quu)
        self.factors.append(factor)
        self.failures.append(failure)
        return -torch.cholesky_solve(quz, factor)

    @property
    def factor(self) -> Tensor:
        """Cholesky factors (T, *B, A, A)."""
        return torch.stack(self.factors[::-1])

    @property
    def definite(self) -> Tensor:
        """Whether every step's Quu was positive definite (*B,)."""
        return (torch.stack(self.failures) == 0).all(0)

    def check(self) -> None:
        """Raise ValueError with the first step and problem whose Quu was not positive definite."""
        failed = torch.stack(self.failures[::-1]) > 0
        if bool(failed.any()):
            step, *index = (int(i) for i in failed.nonzero()[0])
            where = f"step {step}" + f" of problem {index[0] if len(index) == 1 else index}" * bool(index)
            raise ValueError(
                f"the cost is not positive definite in the controls at {where}; give C a positive definite block for u "
                "and positive semidefinite costs elsewhere, finite numbers all"
            )


def follow(problem: Problem, feedback: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
    """Return x (T + 1, *B, S) and u (T, *B, A) of feedback (T, *B, A, S + 1) from x0 (*B, S)."""
    s = problem.states
    gain, term = feedback[..., :s], feedback[..., s:]
    f, b = problem.dynamics[..., :s], problem.dynamics[..., s:]
    closed, constant = (f + b @ gain).unbind(), (problem.offset[..., None] + b @ term).unbind()
    states = [x0[..., None]]
    for matrix, vector in zip(closed, constant, strict=True):
        states.append(matrix @ states[-1] + vector)
    x = torch.stack(states)
    return x[..., 0], (gain @ x[:-1] + term)[..., 0]


def algebraic(a: Tensor, b: Tensor, q: Tensor, r: Tensor, limit: int = 60) -> Tensor:
    """Return the stabilising solution P (*B, S, S) of the discrete algebraic Riccati equation
    P = Q + A'PA - A'PB (R + B'PB)^-1 B'PA, by doubling (Chu, Fan, Lin & Wang 2004).

    k iterations equal 2^k steps of the recursion.

    Args:
        a: A (*B, S, S).
        b: B (*B, S, A).
        q: Q (*B, S, S), positive semidefinite.
        r: R (*B, A, A), positive definite.
        limit: Maximum number of doublings.

    Raises:
        ValueError: If R is not positive definite, or the doublings do not converge.
    """
    factor, failure = torch.linalg.cholesky_ex(r)
    if bool((failure > 0).any()):
        raise ValueError("R is not positive definite; infinite-horizon LQR needs a positive cost of every control")
    g, p = b @ torch.cholesky_solve(b.mT, factor), q
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    for _ in range(limit):
        solved = torch.linalg.solve(eye + g @ p, torch.cat([a, g], -1))
        wa, wg = solved.split(a.shape[-1], -1)
        change = a.mT @ p @ wa
        g, p, a = g + a @ wg @ a.mT, p + (change + change.mT) / 2, a @ wa
        if not bool(p.isfinite().all()):
            break
        if float(change.abs().max()) <= 1e-14 * float(p.abs().max()):
            return p
    raise ValueError(
        "the algebraic Riccati equation has no stabilising solution that doubling finds: every unstable mode of A must "
        "be reached by B and seen by Q"
    )


def masked(h: Tensor, free: Tensor) -> Tensor:
    """Return H (*B, A, A) on the free coordinates (*B, A) and the identity on the others."""
    both = free[..., :, None] & free[..., None, :]
    return torch.where(both, h, torch.diag_embed((~free).to(h.dtype)))


def product(matrix: Tensor, vector: Tensor) -> Tensor:
    """Multiply matrices (*B, M, N) by vectors (*B, N)."""
    return (matrix @ vector[..., None])[..., 0]
