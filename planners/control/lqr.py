"""Linear quadratic regulator with a finite or an infinite horizon (Bertsekas, Dynamic Programming, vol. 1, 4.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.planners import Carry, Objective, State, WorldModel
from embodia.planners.control.riccati import Newton, Problem, algebraic, follow, recursion
from embodia.planners.models.linear_system import LinearSystem
from embodia.planners.search.objective import Quadratic


@dataclass(frozen=True)
class LQR:
    """Exact optimum of a quadratic objective on a linear system, without action limits."""

    horizon: int = 50
    """Number of steps of a plan."""

    def plan(self, model: WorldModel, state: State, objective: Objective, carry: Carry) -> tuple[Tensor, Carry]:
        """Return actions (B, H, A) for states {"x": (B, S)}.

        Raises:
            TypeError: If the model is not a LinearSystem or the objective is not Quadratic.
        """
        if not isinstance(model, LinearSystem) or not isinstance(objective, Quadratic):
            raise TypeError(
                f"LQR solves Quadratic objectives on a LinearSystem, not {type(objective).__name__} on "
                f"{type(model).__name__}; for those use iLQR"
            )
        newton = Newton()
        problem = deviations(model, objective, self.horizon)
        feedback, _ = recursion(problem, newton)
        newton.check()
        _, u = follow(problem, feedback, state["x"] - objective.target)
        return u.movedim(0, 1), {}


def deviations(model: LinearSystem, objective: Quadratic, horizon: int) -> Problem:
    """Return the problem of the deviation from the objective's target, with a batch axis of one."""
    s, a = model.state_dim, model.action_dim
    target = objective.target
    steps = lambda each: each.expand(horizon, 1, *each.shape)  # noqa: E731
    return Problem(
        cost=steps(2 * torch.block_diag(objective.q, objective.r)),
        slope=steps(target.new_zeros(s + a)),
        dynamics=steps(torch.cat([model.a, model.b], -1)),
        offset=steps(model.a @ target + model.c - target),
        final_cost=2 * objective.qf[None],
        final_slope=target.new_zeros(1, s),
    )


def infinite_horizon(a: Tensor, b: Tensor, q: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Return K (*B, A, S) of the optimal feedback u = K x and P (*B, S, S) of the optimal cost x'P x.

    Args:
        a: A (*B, S, S) of x' = A x + B u.
        b: B (*B, S, A).
        q: Q (*B, S, S) of the running cost x'Q x + u'R u, positive semidefinite.
        r: R (*B, A, A), positive definite.

    Raises:
        ValueError: If R is not positive definite or the system cannot be stabilised.
    """
    p = algebraic(a, b, q, r)
    return -torch.linalg.solve(r + b.mT @ p @ b, b.mT @ p @ a), p
