"""Restricted Boltzmann machine, trained by contrastive divergence or persistent chains (Hinton 2002; Tieleman 2008)."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.generative import Condition
from embodia.perception.generative.energies import EnergyModel
from embodia.perception.generative.energies.enumeration import binary_states
from embodia.perception.generative.noise import bernoulli, check_finite, noise_like

Units = Literal["bernoulli", "gaussian"]


class RBM(EnergyModel):
    """Visible units v (V,) and binary hidden units h (H,), connected by weights W.

    Bernoulli visible units: E(v, h) = -b'v - c'h - v'Wh. Gaussian ones with standard deviation s: E(v, h) =
    |v - b|^2 / (2 s^2) - c'h - v'Wh / s.

    Args:
        visible: number of visible units (V).
        hidden: number of hidden units (H).
        units: kind of the visible units. Data of Bernoulli units are 0 or 1; numbers between are taken as they are.
        std: standard deviation of Gaussian visible units.
        gibbs_steps: Gibbs steps per update (k of CD-k).
        persistent: number of chains that go on from update to update (PCD); 0 starts each at the data (CD).
        sampling_steps: Gibbs steps of a sample.
    """

    def __init__(
        self,
        visible: int,
        hidden: int,
        units: Units = "bernoulli",
        std: float = 1.0,
        gibbs_steps: int = 1,
        persistent: int = 0,
        sampling_steps: int = 1000,
    ):
        super().__init__()
        if min(visible, hidden, gibbs_steps, sampling_steps) < 1 or std <= 0:
            raise ValueError(
                f"an RBM of {visible} by {hidden} units, std {std}, {gibbs_steps} and {sampling_steps} Gibbs steps: "
                "each must be positive"
            )
        self.event, self.units, self.std = (visible,), units, std if units == "gaussian" else 1.0
        self.gibbs_steps, self.sampling_steps = gibbs_steps, sampling_steps
        self.weight = nn.Parameter(0.01 * torch.randn(visible, hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.chains: Tensor
        self.register_buffer("chains", self.random_visible(persistent))

    def hidden_given_visible(self, v: Tensor) -> Tensor:
        """Probability that each hidden unit is 1, (B, V) -> (B, H)."""
        return self.hidden_field(v).sigmoid()

    def hidden_field(self, v: Tensor) -> Tensor:
        """Logits of the hidden units given v, (B, V) -> (B, H)."""
        return torch.addmm(self.hidden_bias, v, self.weight, alpha=1 / self.std)

    def visible_given_hidden(self, h: Tensor) -> Tensor:
        """Mean of each visible unit, (B, H) -> (B, V)."""
        field = torch.addmm(self.visible_bias, h, self.weight.T, alpha=self.std)
        return field if self.units == "gaussian" else field.sigmoid()

    def sample_visible(self, mean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Visible units with the given means, (B, V)."""
        return mean + self.std * noise_like(mean, generator) if self.units == "gaussian" else bernoulli(mean, generator)

    @torch.no_grad()
    def random_visible(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Sample visible units (n, V) from their biases alone."""
        return self.sample_visible(
            self.visible_given_hidden(self.hidden_bias.new_zeros(n, len(self.hidden_bias))), generator
        )

    def energy(self, x: Tensor) -> Tensor:
        """Free energy of visible units (B, V): F(v) = -log sum_h exp(-E(v, h)), (B,)."""
        if self.units == "gaussian":
            quadratic = ((x - self.visible_bias).square() / (2 * self.std**2)).sum(1)
        else:
            quadratic = -x @ self.visible_bias
        return quadratic - F.softplus(self.hidden_field(x)).sum(1)

    @torch.no_grad()
    def gibbs(self, v: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Sample the hidden units given v (B, V), then the visible ones given those."""
        h = bernoulli(self.hidden_given_visible(v), generator)
        return self.sample_visible(self.visible_given_hidden(h), generator)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean free energy of data minus that of chains. Its gradient is that of CD-k or PCD."""
        x = batch["x"]
        start = self.chains if len(self.chains) else x
        negative = start
        for _ in range(self.gibbs_steps):
            negative = self.gibbs(negative)
        if self.training and len(self.chains):
            self.chains.copy_(negative)
        true, false = self.energy(x).mean(), self.energy(negative).mean()
        return true - false, {"free_energy": true}

    @torch.no_grad()
    def chain(
        self,
        n: int,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
        steps: int | None = None,
    ) -> Iterator[Tensor]:
        """Gibbs sampling from random visible units."""
        if condition is not None:
            raise ValueError("this RBM takes no condition")
        v = self.random_visible(n, generator)
        for step in range(1, (steps or self.sampling_steps) + 1):
            v = self.gibbs(v, generator)
            check_finite(self.energy(v), "the energy", step)
            yield v

    # Exact values ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def log_partition(self) -> Tensor:
        """Exact log Z, by a sum over all states of the smaller layer, in double precision.

        Raises:
            ValueError: if both layers are too large to enumerate.
        """
        w, b, c = (each.double() for each in (self.weight, self.visible_bias, self.hidden_bias))
        if self.units == "bernoulli" and len(b) < len(c):
            w, b, c = w.T, c, b
        parts = []
        for h in binary_states(len(c), w):
            field = h @ w.T
            if self.units == "gaussian":
                volume = 0.5 * len(b) * math.log(2 * math.pi * self.std**2)
                others = (field.square() / 2 + field * b / self.std).sum(1) + volume
            else:
                others = F.softplus(b + field).sum(1)
            parts.append((h @ c + others).logsumexp(0))
        return torch.stack(parts).logsumexp(0)

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, log_partition: Tensor | None = None) -> Tensor:
        """Log-likelihood of data (B, V), (B,) [nats]; with the exact log Z if none is given."""
        return -self.energy(x).double() - (self.log_partition() if log_partition is None else log_partition)
