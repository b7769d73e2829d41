"""Layer-wise pretraining: each restricted Boltzmann machine learns from the hidden units of the one below.

Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class RBMWeights(Protocol):
    """The weights of a restricted Boltzmann machine."""

    @property
    def weight(self) -> Tensor:
        """Weights (V, H)."""

    @property
    def visible_bias(self) -> Tensor:
        """Biases (V,) of the visible units."""

    @property
    def hidden_bias(self) -> Tensor:
        """Biases (H,) of the hidden units."""


class StackedRBM(nn.Module):
    """One layer of the stack, trained by contrastive divergence with one step (CD-1).

    Visible units are logistic and take probabilities, as pixels and as the hidden units of the layer below. Hidden
    units are binary, or for the code linear with normal noise of variance 1.

    Args:
        visible: Number of visible units.
        hidden: Number of hidden units.
        linear: Linear hidden units.
        std: Standard deviation of the initial weights.
    """

    def __init__(self, visible: int, hidden: int, linear: bool = False, std: float = 0.1):
        super().__init__()
        self.weight = nn.Parameter(std * torch.randn(visible, hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.linear = linear

    def hidden(self, v: Tensor) -> Tensor:
        """Return the mean (N, H) of the hidden units given the visible ones (N, V)."""
        inputs = v @ self.weight + self.hidden_bias
        return inputs if self.linear else inputs.sigmoid()

    def visible(self, h: Tensor) -> Tensor:
        """Return the mean (N, V) of the visible units given the hidden ones (N, H)."""
        return (h @ self.weight.T + self.visible_bias).sigmoid()

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a scalar whose gradient is that of CD-1; batch is `{"x": (N, V)}` of values from 0 to 1.

        "loss" in the log is the squared error of the one-step reconstruction, which is no likelihood.
        """
        data = batch["x"]
        with torch.no_grad():
            up = self.hidden(data)
            sampled = up + torch.randn_like(up) if self.linear else torch.bernoulli(up)
            model = self.visible(sampled)
            again = self.hidden(model)
        loss = self.energy(data, up) - self.energy(model, again)
        return loss, {"loss": (model - data).square().mean()}

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """Return the mean of the energy's terms that depend on the weights."""
        return -((v @ self.weight * h).sum(1) + v @ self.visible_bias + h @ self.hidden_bias).mean()


def pretrained_stack(x: Tensor, widths: Sequence[int], train: Callable[[StackedRBM, Tensor], None]) -> list[StackedRBM]:
    """Train a stack of RBMs, the last with linear hidden units.

    Args:
        x: Data (N, V) of values from 0 to 1.
        widths: Number of hidden units of each layer; the last is the length of the code.
        train: Trains one RBM in place on data (N, its visible units).
    """
    stack: list[StackedRBM] = []
    for i, width in enumerate(widths):
        rbm = StackedRBM(x.shape[1], width, linear=i == len(widths) - 1)
        train(rbm, x)
        with torch.no_grad():
            x = rbm.hidden(x)
        stack.append(rbm)
    return stack
