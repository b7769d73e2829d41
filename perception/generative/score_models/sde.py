"""Diffusions in continuous time, dx = f(x, t) dt + g(t) dw for t in 0 to 1 (Song et al. 2021): VE, VP, sub-VP."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from embodia.perception.generative.noise import flat_sum


class SDE(Protocol):
    """A linear SDE that turns data into noise. Times are numbers, or tensors that broadcast with x."""

    @property
    def end(self) -> float:
        """Smallest time, at which samplers and training stop; at 0 the score may not exist."""

    def drift(self, t: float) -> float:
        """f(x, t) / x."""

    def diffusion(self, t: float) -> float:
        """g(t)."""

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(mean of x_t over x_0, standard deviation of x_t given x_0)."""

    @property
    def prior_std(self) -> float:
        """Standard deviation of the noise at time 1."""


@dataclass(frozen=True)
class VE:
    """Variance exploding: noise grows geometrically, the data stay (equation 9)."""

    sigma_min: float = 0.01
    sigma_max: float = 10.0
    end: float = 1e-5

    def drift(self, t: float) -> float:
        return 0.0

    def diffusion(self, t: float) -> float:
        return self.sigma(t) * math.sqrt(2 * math.log(self.sigma_max / self.sigma_min))

    def sigma(self, t: float) -> float:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The variance at time 0 is 0: sigma(t)^2 - sigma(0)^2."""
        ratio = (self.sigma_max / self.sigma_min) ** t
        return torch.ones_like(t), self.sigma_min * (ratio**2 - 1).sqrt()

    @property
    def prior_std(self) -> float:
        return math.sqrt(self.sigma_max**2 - self.sigma_min**2)


@dataclass(frozen=True)
class VP:
    """Variance preserving: the limit of DDPM (equation 11)."""

    beta_min: float = 0.1
    beta_max: float = 20.0
    end: float = 1e-3

    def beta(self, t: float) -> float:
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def integral(self, t: Tensor) -> Tensor:
        """Of beta from 0 to t."""
        return self.beta_min * t + 0.5 * t**2 * (self.beta_max - self.beta_min)

    def drift(self, t: float) -> float:
        return -0.5 * self.beta(t)

    def diffusion(self, t: float) -> float:
        return math.sqrt(self.beta(t))

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        integral = self.integral(t)
        return (-0.5 * integral).exp(), (-torch.expm1(-integral)).sqrt()

    @property
    def prior_std(self) -> float:
        return 1.0


@dataclass(frozen=True)
class SubVP(VP):
    """Variance below VP's at every time, with the same mean (equation 12)."""

    def diffusion(self, t: float) -> float:
        integral = self.beta_min * t + 0.5 * t**2 * (self.beta_max - self.beta_min)
        return math.sqrt(self.beta(t) * -math.expm1(-2 * integral))

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        integral = self.integral(t)
        return (-0.5 * integral).exp(), -torch.expm1(-integral)


def prior_log_prob(sde: SDE, x: Tensor) -> Tensor:
    """Log density of the noise at time 1, (B,) [nats]."""
    dim, std = x.flatten(1).shape[1], sde.prior_std
    return -flat_sum(x.square()) / (2 * std**2) - dim * (math.log(std) + 0.5 * math.log(2 * math.pi))
