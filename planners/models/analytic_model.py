"""Base class of world models with known dynamics."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from embodia.planners import Prediction, State


class AnalyticModel:
    """World model with known dynamics. Its state is {"x": (B, S)}, and an observation determines it completely.

    Subclasses define `dynamics`, differentiable and with any batch axes. If costs are better expressed in smoother
    quantities than x (the cosine and sine of an angle), they also define `features` and its inverse `from_features`.
    """

    state_dim: int
    action_dim: int
    observation_key = "state"

    def dynamics(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the next x (*B, S) for x (*B, S) and actions u (*B, A)."""
        raise NotImplementedError("dynamics(x, u) -> next x")

    def features(self, x: Tensor) -> Tensor:
        """Return the features (*B, F) of x (*B, S), which objectives receive as `state`."""
        return x

    def from_features(self, seen: Tensor) -> Tensor:
        """Return x (*B, S) for features (*B, F), the inverse of `features`."""
        return seen

    def initial(self, n: int) -> State:
        return {"x": torch.zeros(n, self.state_dim, dtype=torch.float64)}

    def observe(self, state: State, obs: Mapping[str, Any], action: Tensor, first: Tensor) -> State:
        """Return the state of an observation, which contains x or its features (recognised by their length)."""
        seen = torch.as_tensor(obs[self.observation_key], dtype=state["x"].dtype)
        return {"x": seen if seen.shape[-1] == self.state_dim else self.from_features(seen)}

    def imagine(self, state: State, action: Tensor) -> State:
        return {"x": self.dynamics(state["x"], action.to(state["x"].dtype))}

    def predict(self, state: State) -> Prediction:
        return {"state": self.features(state["x"])}

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        raise TypeError(f"{type(self).__name__} has known dynamics; there is nothing to learn")
