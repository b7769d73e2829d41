"""Known dynamics as a world model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from embodia.planners import Prediction, State


class AnalyticModel:
    """A known dynamics function as a world model: its state is {"x": (B, S)}, and an observation gives the whole state.

    Subclasses say `dynamics` (differentiable, any batch axes), and `features` where costs are better written in
    something smoother than x (the cosine and sine of an angle), with `from_features`, their inverse.
    """

    state_dim: int
    action_dim: int
    observation_key = "state"

    def dynamics(self, x: Tensor, u: Tensor) -> Tensor:
        """x (*B, S), u (*B, A) -> next x (*B, S)."""
        raise NotImplementedError("dynamics(x, u) -> next x")

    def features(self, x: Tensor) -> Tensor:
        """What objectives see as `state`: (*B, S) -> (*B, F)."""
        return x

    def from_features(self, seen: Tensor) -> Tensor:
        """The inverse of `features`: (*B, F) -> (*B, S)."""
        return seen

    def initial(self, n: int) -> State:
        return {"x": torch.zeros(n, self.state_dim, dtype=torch.float64)}

    def observe(self, state: State, obs: Mapping[str, Any], action: Tensor, first: Tensor) -> State:
        """The observation is x or its features, told apart by their length: nothing of the past is needed."""
        seen = torch.as_tensor(obs[self.observation_key], dtype=state["x"].dtype)
        return {"x": seen if seen.shape[-1] == self.state_dim else self.from_features(seen)}

    def imagine(self, state: State, action: Tensor) -> State:
        return {"x": self.dynamics(state["x"], action.to(state["x"].dtype))}

    def predict(self, state: State) -> Prediction:
        return {"state": self.features(state["x"])}

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        raise TypeError(f"{type(self).__name__} is known exactly; there is nothing to learn")
