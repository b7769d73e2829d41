"""Likelihoods of a decoder's output: Gaussian and Bernoulli."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.generative.noise import flat_sum, noise_like

LEAST_LOG_STD = -6.0
"""Lower bound of a learned log standard deviation; a constant value would have an infinite density."""


class OutOfRange(ValueError):
    """Values lie outside the range of a likelihood; the message says which range."""


class Likelihood(nn.Module):
    """p(x | output of the decoder), independent over values."""

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """Log-likelihood (N,) [nats] of samples (N, *event)."""
        raise NotImplementedError("log_prob(x, output) -> (N,)")

    def mean(self, output: Tensor) -> Tensor:
        """Mean (N, *event) of x."""
        raise NotImplementedError("mean(output) -> (N, *event)")

    def draw(self, output: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Sample x (N, *event)."""
        raise NotImplementedError("draw(output, generator) -> (N, *event)")


class Gaussian(Likelihood):
    """Normal distribution around the output.

    Args:
        std: Standard deviation: one number, or one per value (*event).
        learned: Train the standard deviation, from `std` on (Rybkin et al. 2021).

    Raises:
        ValueError: If a standard deviation is not positive.
    """

    def __init__(self, std: float | Tensor = 0.1, learned: bool = False):
        super().__init__()
        std = torch.as_tensor(std, dtype=torch.get_default_dtype())
        if not (std > 0).all():
            raise ValueError(f"the standard deviation of a Gaussian likelihood must be positive; got {std.min():g}")
        self.log_std = nn.Parameter(std.log(), requires_grad=learned)

    @property
    def std(self) -> Tensor:
        return self.log_std.clamp(min=LEAST_LOG_STD).exp()

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        std = self.std
        return flat_sum(-0.5 * ((x - output.to(x)) / std).square() - std.log() - 0.5 * math.log(2 * math.pi))

    def mean(self, output: Tensor) -> Tensor:
        return output

    def draw(self, output: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return output + self.std * noise_like(output, generator).to(output)


class Bernoulli(Likelihood):
    """Binary values with the output as logit.

    Grey values between 0 and 1 are accepted, as is common, but the result is then no normalised density: compare such
    bounds only among themselves.
    """

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """Log-likelihood (N,) [nats]. Raises OutOfRange for values outside [0, 1]."""
        if not ((x >= 0) & (x <= 1)).all():
            low, high = x.min().item(), x.max().item()
            raise OutOfRange(
                f"a Bernoulli likelihood needs values from 0 to 1; got {low:.3g} to {high:.3g}; scale them, or use a "
                "Gaussian likelihood"
            )
        return -flat_sum(F.binary_cross_entropy_with_logits(output.to(x), x, reduction="none"))

    def mean(self, output: Tensor) -> Tensor:
        return output.sigmoid()

    def draw(self, output: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.bernoulli(output.sigmoid().cpu(), generator=generator).to(output)


def likelihood(name: str, std: float = 0.1, learned: bool = True) -> Likelihood:
    """Build a likelihood by name. Raises ValueError for an unknown one."""
    if name == "gaussian":
        return Gaussian(std, learned)
    if name == "bernoulli":
        return Bernoulli()
    raise ValueError(f"unknown likelihood {name}; choose gaussian or bernoulli")
