"""Value iteration on a finite Markov decision process (Bellman 1957; Sutton & Barto 2018, section 4.4)."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from embodia.planners import Carry, Objective, State, WorldModel


def iterate_values(
    outcome: Tensor, probability: Tensor, reward: Tensor, cont: Tensor, discount: float, tolerance: float, limit: int
) -> tuple[Tensor, Tensor, int]:
    """Compute the optimal values of a finite Markov decision process.

    Args:
        outcome: Next states (S, A, K) int64.
        probability: Probabilities (S, A, K) of the outcomes.
        reward: Rewards (S, A).
        cont: Probabilities (S, A) that the episode continues.
        discount: Discount factor.
        tolerance: Maximum change of a value at convergence.
        limit: Maximum number of sweeps.

    Returns:
        V (S,), Q (S, A) and the number of sweeps.

    Raises:
        RuntimeError: If the values have not converged after `limit` sweeps.
    """
    value = torch.zeros(len(reward), dtype=torch.float64)
    for sweep in range(1, limit + 1):
        q = reward + discount * cont * (probability * value[outcome]).sum(-1)
        change = float((q.max(-1).values - value).abs().max())
        value = q.max(-1).values
        if change <= tolerance:
            return value, q, sweep
    raise RuntimeError(
        f"values still change by {change:.3g} after {limit} sweeps; with discount {discount} they diverge if some "
        "state cannot reach the end of the episode: lower the discount below 1"
    )


@runtime_checkable
class FiniteModel(Protocol):
    """What value iteration needs from a model in addition to `WorldModel`."""

    def transitions(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return outcome (S, A, K) int64, probability (S, A, K), reward and cont (S, A) of every state and action."""

    def state_index(self, state: State) -> Tensor:
        """Return the row (B,) of each environment's state in `transitions`."""


@dataclass(frozen=True)
class ValueIteration:
    """Exact planning in a `FiniteModel`. Rewards come from the model; the objective is ignored."""

    discount: float = 1.0
    """Discount factor."""
    tolerance: float = 1e-9
    """Maximum change of a value at convergence."""
    limit: int = 10_000
    """Maximum number of sweeps."""
    horizon: int = 1
    """Number of steps of a plan."""

    def plan(self, model: WorldModel, state: State, objective: Objective | None, carry: Carry) -> tuple[Tensor, Carry]:
        """Return greedy actions (B, H) int64 for states (B, ...), along the most likely outcomes. The carry keeps Q.

        Raises:
            TypeError: If the model has no `transitions()`.
            RuntimeError: If the values do not converge.
        """
        if not isinstance(model, FiniteModel):
            raise TypeError(f"value iteration needs a model with `transitions()`, not {type(model).__name__}")
        outcome, probability, reward, cont = model.transitions()
        q = carry.get("q")
        if q is None:
            limits = (self.discount, self.tolerance, self.limit)
            _, q, _ = iterate_values(outcome, probability, reward, cont, *limits)
        row, actions = model.state_index(state), []
        for _ in range(self.horizon):
            actions.append(q[row].argmax(-1))
            likely = probability[row, actions[-1]].argmax(-1)
            row = outcome[row, actions[-1], likely]
        return torch.stack(actions, 1), {"q": q}
