"""Deep Boltzmann machine with two hidden layers (Salakhutdinov and Hinton 2009)."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.generative import Condition
from embodia.perception.generative.energies import EnergyModel
from embodia.perception.generative.energies.enumeration import binary_states
from embodia.perception.generative.noise import bernoulli, check_finite


class DeepBoltzmannMachine(EnergyModel):
    """E(v, h1, h2) = -b'v - c1'h1 - c2'h2 - v'W1 h1 - h1'W2 h2, all units 0 or 1.

    Training raises the variational bound on the data, whose posterior is approximated by mean field, and lowers the
    probability of persistent chains.

    Args:
        visible: number of visible units (V).
        hidden: number of units of the hidden layers (H1, H2).
        persistent: number of persistent chains.
        gibbs_steps: Gibbs steps of the chains per update.
        mean_field_steps: sweeps of the mean field per update.
        sampling_steps: Gibbs steps of a sample.
    """

    def __init__(
        self,
        visible: int,
        hidden: tuple[int, int],
        persistent: int = 100,
        gibbs_steps: int = 5,
        mean_field_steps: int = 10,
        sampling_steps: int = 1000,
    ):
        super().__init__()
        if min(visible, *hidden, persistent, gibbs_steps, mean_field_steps, sampling_steps) < 1:
            raise ValueError(f"a deep Boltzmann machine of {visible}, {hidden} units: all sizes must be positive")
        self.event, self.sampling_steps = (visible,), sampling_steps
        self.gibbs_steps, self.mean_field_steps = gibbs_steps, mean_field_steps
        self.weight1 = nn.Parameter(0.05 * torch.randn(visible, hidden[0]))
        self.weight2 = nn.Parameter(0.05 * torch.randn(*hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias1 = nn.Parameter(torch.zeros(hidden[0]))
        self.hidden_bias2 = nn.Parameter(torch.zeros(hidden[1]))
        self.chains: Tensor
        """First hidden layer of the persistent chains; the other layers are independent given it."""
        self.register_buffer("chains", torch.randint(2, (persistent, hidden[0])).float())

    def visible_given(self, h1: Tensor) -> Tensor:
        """Probabilities (B, V)."""
        return torch.addmm(self.visible_bias, h1, self.weight1.T).sigmoid()

    def first_given(self, v: Tensor, h2: Tensor) -> Tensor:
        """Probabilities (B, H1)."""
        return (self.hidden_bias1 + v @ self.weight1 + h2 @ self.weight2.T).sigmoid()

    def second_given(self, h1: Tensor) -> Tensor:
        """Probabilities (B, H2)."""
        return torch.addmm(self.hidden_bias2, h1, self.weight2).sigmoid()

    def joint_energy(self, v: Tensor, h1: Tensor, h2: Tensor) -> Tensor:
        """Energy of all layers, (B,). It is linear in each layer, so means of independent layers give its mean."""
        biases = v @ self.visible_bias + h1 @ self.hidden_bias1 + h2 @ self.hidden_bias2
        return -biases - ((v @ self.weight1) * h1).sum(1) - ((h1 @ self.weight2) * h2).sum(1)

    @torch.no_grad()
    def mean_field(self, v: Tensor, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """Approximate posterior means of the hidden layers given v (B, V), (B, H1) and (B, H2)."""
        second = v.new_full((len(v), len(self.hidden_bias2)), 0.5)
        for _ in range(steps or self.mean_field_steps):
            first = self.first_given(v, second)
            second = self.second_given(first)
        return first, second

    def bound(self, v: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Lower bound on log p(v) + log Z given posterior means, (B,): minus the mean energy, plus the entropy."""
        return -self.joint_energy(v, first, second) + entropy(first) + entropy(second)

    @torch.no_grad()
    def gibbs(self, h1: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Sample both other layers given h1 (B, H1), then h1 given those."""
        v, h2 = bernoulli(self.visible_given(h1), generator), bernoulli(self.second_given(h1), generator)
        return bernoulli(self.first_given(v, h2), generator)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean energy of data under the mean field minus that of the chains."""
        v, h1 = batch["x"], self.chains
        for _ in range(self.gibbs_steps):
            h1 = self.gibbs(h1)
        if self.training:
            self.chains.copy_(h1)
        with torch.no_grad():  # means of the layers instead of samples: the same gradient with less noise
            negative = self.visible_given(h1), h1, self.second_given(h1)
        loss = self.joint_energy(v, *self.mean_field(v)).mean() - self.joint_energy(*negative).mean()
        return loss, {}

    @torch.no_grad()
    def chain(
        self,
        n: int,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
        steps: int | None = None,
    ) -> Iterator[Tensor]:
        """Gibbs sampling from random hidden units; yields the visible ones."""
        if condition is not None:
            raise ValueError("this Boltzmann machine takes no condition")
        h1 = bernoulli(self.hidden_bias1.new_full((n, len(self.hidden_bias1)), 0.5), generator)
        for step in range(1, (steps or self.sampling_steps) + 1):
            h1 = self.gibbs(h1, generator)
            mean = self.visible_given(h1)
            check_finite(mean, "the mean of the visible units", step)
            yield bernoulli(mean, generator)

    # Exact values ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def energy(self, x: Tensor) -> Tensor:
        """Exact free energy of visible units (B, V), (B,), by a sum over the first hidden layer.

        Raises:
            ValueError: if that layer is too large to enumerate.
        """
        return -x @ self.visible_bias - self.first_layer(x).logsumexp(1)

    @torch.no_grad()
    def posterior(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Exact posterior means of both hidden layers given v (B, V), (B, H1) and (B, H2)."""
        states = self.first_states()
        share = self.first_layer(v).softmax(1)
        return share @ states, share @ self.second_given(states)

    @torch.no_grad()
    def log_partition(self) -> Tensor:
        """Exact log Z, by a sum over the first hidden layer."""
        states = self.first_states()
        visible = F.softplus(self.visible_bias + states @ self.weight1.T).sum(1)
        return (self.given_first(states) + visible).double().logsumexp(0)

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Exact log-likelihood of data (B, V), (B,) [nats]."""
        return -self.energy(x).double() - self.log_partition()

    def first_states(self) -> Tensor:
        """All states of the first hidden layer, (2^H1, H1)."""
        return torch.cat(list(binary_states(len(self.hidden_bias1), self.hidden_bias1)))

    def first_layer(self, v: Tensor) -> Tensor:
        """Log weight of each state of the first hidden layer given v, without the visible bias, (B, 2^H1)."""
        states = self.first_states()
        return v @ self.weight1 @ states.T + self.given_first(states)

    def given_first(self, states: Tensor) -> Tensor:
        """Log weight of states (S, H1) with the second hidden layer summed out, (S,)."""
        return states @ self.hidden_bias1 + F.softplus(self.hidden_bias2 + states @ self.weight2).sum(1)


def entropy(p: Tensor) -> Tensor:
    """Of independent binary units with probabilities p (B, H), (B,) [nats]."""
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)).sum(1)
