"""Value iteration on a finite Markov decision process (Bellman 1957; Sutton & Barto 2018, section 4.4)."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from embodia.planners import Carry, Objective, State, WorldModel


def iterate_values(
    outcome: Tensor, probability: Tensor, reward: Tensor, cont: Tensor, discount: float, tolerance: float, limit: int
) -> tuple[Tensor, Tensor, int]:
    """V (S,), Q (S, A) and the sweeps it took. outcome, probability (S, A, K); reward, cont (S, A).

    Raises RuntimeError where the values have not settled after `limit` sweeps.
    """
    value = torch.zeros(len(reward), dtype=torch.float64)
    for sweep in range(1, limit + 1):
        q = reward + discount * cont * (probability * value[outcome]).sum(-1)
        change = float((q.max(-1).values - value).abs().max())
        value = q.max(-1).values
        if change <= tolerance:
            return value, q, sweep
    raise RuntimeError(
        f"values still change by {change:.3g} after {limit} sweeps; with discount {discount} the process may have no "
        "end that every state can reach: lower the discount below 1"
    )


@runtime_checkable
class FiniteModel(Protocol):
    """What value iteration asks of a model beyond the usual."""

    def transitions(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Outcome (S, A, K) int64, probability (S, A, K), reward and cont (S, A) of every state and action."""

    def state_index(self, state: State) -> Tensor:
        """(B,) the row of each world's state in `transitions`."""


@dataclass(frozen=True)
class ValueIteration:
    """Needs a `FiniteModel`.

    The rewards are the model's; the objective is not consulted.
    """

    discount: float = 1.0
    tolerance: float = 1e-9
    limit: int = 10_000
    horizon: int = 1

    def plan(self, model: WorldModel, state: State, objective: Objective | None, carry: Carry) -> tuple[Tensor, Carry]:
        """state (B, ...) -> greedy actions (B, H) int64, the most likely outcome taken in between; carry keeps Q."""
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
