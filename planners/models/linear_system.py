"""Linear time-invariant dynamics x' = A x + B u + c as a world model."""

import torch
from torch import Tensor

from embodia.planners.models.analytic_model import AnalyticModel


class LinearSystem(AnalyticModel):
    """Linear system with A (S, S), B (S, A) and c (S,); c defaults to 0."""

    def __init__(self, a: Tensor, b: Tensor, c: Tensor | None = None):
        self.a, self.b = a, b
        self.c = torch.zeros(len(a), dtype=a.dtype) if c is None else c
        self.state_dim, self.action_dim = b.shape

    def dynamics(self, x: Tensor, u: Tensor) -> Tensor:
        return x @ self.a.mT + u @ self.b.mT + self.c
