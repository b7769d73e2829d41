"""MaxEnt IRL in continuous spaces by sampling: guided cost learning (Finn, Levine & Abbeel 2016).

Trajectories have probability proportional to exp(-cost). The normaliser is estimated by importance sampling from a
proposal, a Gaussian over action sequences, which is refitted to the costs as they are learned ("guided"): with a fixed
proposal few samples have low cost, and the estimate is poor.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class GaussianProposal(nn.Module):
    """A Gaussian over action sequences (H, A), refitted to weighted samples as in the cross-entropy method.

    Args:
        horizon: H.
        actions: A.
        std: standard deviation of every action at the start.
        rate: share of a refit in the new mean and covariance.
    """

    mean: Tensor
    covariance: Tensor

    def __init__(self, horizon: int, actions: int, std: float = 1.0, rate: float = 0.3):
        super().__init__()
        self.shape, self.rate = (horizon, actions), rate
        size = horizon * actions
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("covariance", std**2 * torch.eye(size))

    def law(self) -> torch.distributions.MultivariateNormal:
        return torch.distributions.MultivariateNormal(self.mean, self.covariance)

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """Return action sequences (n, H, A) and their log densities (n,)."""
        law = self.law()
        flat = law.sample((n,))
        return flat.view(n, *self.shape), law.log_prob(flat)

    def refit(self, samples: Tensor, weights: Tensor) -> None:
        """Move towards the mean and covariance of samples (n, H, A) with weights (n,) that sum to 1."""
        flat = samples.flatten(1)
        mean = weights @ flat
        away = flat - mean
        spread = (weights[:, None] * away).T @ away
        # With few effective samples their covariance is singular; what is kept of the old one prevents that.
        share = self.rate * min(1.0, 1 / (float(weights.square().sum()) * flat.shape[1]))
        self.mean = torch.lerp(self.mean, mean, share)
        self.covariance = torch.lerp(self.covariance, spread, share) + 1e-6 * torch.eye(len(mean))


class SampledIRL(nn.Module):
    """MaxEnt IRL by importance sampling, as a learner: minus the mean log-likelihood of demonstrated actions.

    Args:
        cost: maps action sequences (N, H, A) to costs (N,); it knows the dynamics, if costs are of states.
        proposal: the distribution of samples.
        samples: samples per update.
        guided: refit the proposal after each update; otherwise it stays as it is.
    """

    def __init__(self, cost: nn.Module, proposal: GaussianProposal, samples: int = 512, guided: bool = True):
        super().__init__()
        self.cost, self.proposal, self.samples, self.guided = cost, proposal, samples, guided
        self.drawn: tuple[Tensor, Tensor] | None = None

    def log_weights(self, n: int) -> tuple[Tensor, Tensor]:
        """Return n samples and their log importance weights, -cost - log density."""
        actions, density = self.proposal.draw(n)
        return actions, -self.cost(actions) - density

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Take {"actions" (N, H, A)} of demonstrations. Samples come from torch's global generator.

        Raises:
            ValueError: if there are no demonstrations, or they have another shape or are not finite.
        """
        shown = batch["actions"]
        if len(shown) == 0 or shown.shape[1:] != self.proposal.shape or not bool(torch.isfinite(shown).all()):
            raise ValueError(f"demonstrated actions {tuple(shown.shape)} must be finite, of shape (N, "
                             f"{', '.join(map(str, self.proposal.shape))}) with N > 0")  # fmt: skip
        samples, log_weights = self.log_weights(self.samples)
        log_z = log_weights.logsumexp(0) - math.log(self.samples)
        weights = log_weights.detach().softmax(0)
        self.drawn = samples, weights
        effective = 1 / weights.square().sum() / self.samples
        return self.cost(shown).mean() + log_z, {"log_z": log_z, "effective": effective}

    def after_update(self) -> None:
        if self.guided and self.drawn is not None:
            self.proposal.refit(*self.drawn)
