"""Symlog, symexp and two-hot regression (Hafner et al. 2023, DreamerV3, equations 9 to 12)."""

import torch
from torch import Tensor, nn


def symlog(x: Tensor) -> Tensor:
    """Return sign(x) ln(1 + |x|)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Return the inverse of symlog."""
    return x.sign() * x.abs().expm1()


class TwoHot(nn.Module):
    """A scalar as a categorical distribution over bins that are evenly spaced in symlog space.

    The target has weight on the two bins nearest to the value, so the gradient does not depend on the value's
    magnitude.

    Args:
        count: Number of bins; odd, so that 0 is a bin.
        limit: The outermost bins are symexp(-limit) and symexp(limit).
    """

    bins: Tensor

    def __init__(self, count: int = 255, limit: float = 20.0):
        super().__init__()
        half = symexp(torch.linspace(-limit, 0, count // 2 + 1, dtype=torch.float64))
        # The bins are mirrored, so that equal logits give exactly 0.
        self.register_buffer("bins", torch.cat([half, -half[:-1].flip(0)]).float())

    def target(self, value: Tensor) -> Tensor:
        """Return weights (*B, count) whose mean over the bins is the value (*B,)."""
        value = value.clamp(self.bins[0], self.bins[-1])
        above = torch.searchsorted(self.bins, value.contiguous()).clamp(1, len(self.bins) - 1)
        low, high = self.bins[above - 1], self.bins[above]
        share = ((value - low) / (high - low))[..., None]
        shape = (*value.shape, len(self.bins))
        weights = torch.zeros(shape, dtype=self.bins.dtype, device=value.device)
        return weights.scatter(-1, above[..., None], share).scatter_add(-1, above[..., None] - 1, 1 - share)

    def mean(self, logits: Tensor) -> Tensor:
        """Return the mean (*B,) of logits (*B, count). It sums from the middle outwards, so that large bins cancel
        exactly.
        """
        weighted = logits.softmax(-1) * self.bins
        half = len(self.bins) // 2
        pairs = weighted[..., :half].flip(-1) + weighted[..., half + 1 :]
        return weighted[..., half] + pairs.sum(-1)

    def loss(self, logits: Tensor, value: Tensor) -> Tensor:
        """Return the cross-entropy (*B,) of logits (*B, count) with the two-hot target of value (*B,)."""
        return -(self.target(value.detach()) * logits.log_softmax(-1)).sum(-1)
