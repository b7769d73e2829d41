"""A world model with one weight: how far a step leads."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class StepsConfig:
    """Steps along a line."""

    end: int = 5
    """Where the reward is."""
    start: float = 0.5
    """Cells that a step leads, before it has learned."""


class Steps(nn.Module):
    """x' = x + w (2 a - 1), with the reward near the end."""

    def __init__(self, space, config: StepsConfig):
        super().__init__()
        self.space, self.config = space, config
        self.weight = nn.Parameter(torch.tensor(config.start))

    def initial(self, n):
        return {"x": torch.zeros(n)}

    def observe(self, state, obs, action, first):
        return {"x": obs["place"][..., 0]}

    def imagine(self, state, action):
        return {"x": state["x"] + self.weight * (2 * action - 1)}

    def predict(self, state):
        return {"reward": -(state["x"] - self.config.end).abs()}

    def loss(self, batch):
        x, inside = batch["obs"]["place"][..., 0], ~batch["first"][1:]
        error = self.imagine({"x": x[:-1]}, batch["action"][:-1])["x"].clamp_min(0) - x[1:]
        loss = (error[inside] ** 2).mean()
        return loss, {"weight": self.weight}
