"""Linear quadratic regulator: Riccati recursion with affine terms (Bertsekas, Dynamic Programming, vol. 1, 4.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.planners import Carry, Objective, State, WorldModel
from embodia.planners.models.linear_system import LinearSystem
from embodia.planners.search.objective import Quadratic


def riccati(
    a: Tensor, b: Tensor, offset: Tensor, q: Tensor, r: Tensor, qf: Tensor, horizon: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve min sum z'Qz + u'Ru + z_T'Qf z_T subject to z' = A z + B u + offset.

    The recursion is in Joseph form, so P stays symmetric.

    Args:
        a: A (*B, S, S).
        b: B (*B, S, A).
        offset: Constant term (*B, S).
        q: Q (S, S).
        r: R (A, A).
        qf: Qf (S, S).
        horizon: Number of steps T.

    Returns:
        Gains K (T, *B, A, S) and terms k (T, *B, A) with u = K z + k, first step first, and P_0 (*B, S, S), the Hessian
        of half the cost to go from the first state.
    """
    p, linear = qf.expand(a.shape), torch.zeros_like(offset)
    gains, terms = [], []
    for _ in range(horizon):
        h = r + b.mT @ p @ b
        gain = -torch.linalg.solve(h, b.mT @ p @ a)  # (*B, A, S)
        pulled = (p @ offset[..., None])[..., 0] + linear
        term = -torch.linalg.solve(h, (b.mT @ pulled[..., None]))[..., 0]  # (*B, A)
        closed = a + b @ gain
        pushed = p @ (offset + (b @ term[..., None])[..., 0])[..., None]  # (*B, S, 1)
        linear = (closed.mT @ (pushed + linear[..., None]) + gain.mT @ r @ term[..., None])[..., 0]
        p = q + closed.mT @ p @ closed + gain.mT @ r @ gain
        gains.append(gain)
        terms.append(term)
    return torch.stack(gains[::-1]), torch.stack(terms[::-1]), p


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
        target = objective.target
        offset = model.a @ target + model.c - target
        gains, terms, _ = riccati(model.a, model.b, offset, objective.q, objective.r, objective.qf, self.horizon)
        x, actions = state["x"], []
        for gain, term in zip(gains, terms, strict=True):
            actions.append((x - target) @ gain.mT + term)
            x = model.dynamics(x, actions[-1])
        return torch.stack(actions, 1), {}
