"""Symlog, symexp and two-hot regression (Hafner et al. 2023, DreamerV3, eqs. 9-12)."""

import torch
from torch import Tensor, nn


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(1 + |x|)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """The inverse of symlog."""
    return x.sign() * x.abs().expm1()


class TwoHot(nn.Module):
    """A scalar as a distribution over bins that lie evenly in symlog space.

    Training targets the two bins nearest to the value, so gradients do not depend on the value's size.
    """

    bins: Tensor

    def __init__(self, count: int = 255, limit: float = 20.0):
        """`count` odd, so that zero is a bin; bins reach +-symexp(limit)."""
        super().__init__()
        half = symexp(torch.linspace(-limit, 0, count // 2 + 1, dtype=torch.float64))
        # Mirrored, so that equal logits mean exactly zero.
        self.register_buffer("bins", torch.cat([half, -half[:-1].flip(0)]).float())

    def target(self, value: Tensor) -> Tensor:
        """(*B,) -> weights (*B, count) whose mean over the bins is the value."""
        value = value.clamp(self.bins[0], self.bins[-1])
        above = torch.searchsorted(self.bins, value.contiguous()).clamp(1, len(self.bins) - 1)
        low, high = self.bins[above - 1], self.bins[above]
        share = ((value - low) / (high - low))[..., None]
        shape = (*value.shape, len(self.bins))
        weights = torch.zeros(shape, dtype=self.bins.dtype, device=value.device)
        return weights.scatter(-1, above[..., None], share).scatter_add(-1, above[..., None] - 1, 1 - share)

    def mean(self, logits: Tensor) -> Tensor:
        """(*B, count) -> (*B,). Summed from the middle outwards: the large bins cancel before they round."""
        weighted = logits.softmax(-1) * self.bins
        half = len(self.bins) // 2
        pairs = weighted[..., :half].flip(-1) + weighted[..., half + 1 :]
        return weighted[..., half] + pairs.sum(-1)

    def loss(self, logits: Tensor, value: Tensor) -> Tensor:
        """Cross-entropy (*B,) of the two-hot target."""
        return -(self.target(value.detach()) * logits.log_softmax(-1)).sum(-1)
