"""Variational autoencoder (Kingma & Welling 2014), its beta (Higgins et al. 2017) and importance-weighted bound."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embodia.perception.generative import Condition, Generative
from embodia.perception.generative.autoencoders import check_dim
from embodia.perception.generative.autoencoders.likelihoods import Likelihood
from embodia.perception.generative.autoencoders.posterior_collapse import active_by_kl
from embodia.perception.generative.noise import noise_like, normal


class VAE(Generative):
    """Latent codes z with prior N(0, I), decoded to p(x | z); q(z | x) is a diagonal normal distribution.

    It maximises E_q[log p(x | z)] - beta KL(q(z | x) || N(0, I)). For beta = 1 this is a lower bound of log p(x). With
    `samples` = k > 1 it maximises the importance-weighted bound (Burda et al. 2016)
    L_k = E log (1/k) sum_i p(x, z_i) / q(z_i | x), which rises with k and tends to log p(x).

    Args:
        encoder: Network from samples (N, *event) to means and log variances (N, 2 * dim).
        decoder: Network from codes (N, dim) to the parameters of the likelihood (N, *event).
        event: Shape of one sample.
        dim: Length of a code.
        likelihood: p(x | output of the decoder).
        beta: Weight of the KL divergence.
        samples: Codes per example in training (k).

    Raises:
        ValueError: If `dim` or `samples` is below 1, beta is negative, or beta is not 1 with several samples.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        event: Sequence[int],
        dim: int,
        likelihood: Likelihood,
        beta: float = 1.0,
        samples: int = 1,
    ):
        super().__init__()
        self.encoder, self.decoder, self.event, self.dim = encoder, decoder, tuple(event), check_dim(dim)
        self.likelihood = likelihood
        self.objective(beta, samples)

    def objective(self, beta: float, samples: int) -> None:
        """Set the weight of the KL divergence and the number of codes per example."""
        if beta < 0 or samples < 1:
            raise ValueError(f"a VAE needs beta >= 0 and samples >= 1; got beta {beta}, samples {samples}")
        if samples > 1 and beta != 1:
            raise ValueError(f"the importance-weighted bound has no beta; with samples {samples} leave beta at 1")
        self.beta, self.samples = beta, samples

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log variances (N, dim) of q(z | x) for samples x (N, *event)."""
        mean, log_variance = self.encoder(x).to(x).chunk(2, 1)
        return mean, log_variance

    def encode(self, x: Tensor) -> Tensor:
        """Encode samples (N, *event) as the posterior's means (N, dim)."""
        return self.posterior(x)[0]

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes (N, dim) to the mean of x (N, *event)."""
        return self.likelihood.mean(self.decoder(codes))

    def elbo(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return log p(x | z) (N,) of one sampled code per example, and the exact KL divergence (N, dim) [nats]."""
        mean, log_variance = self.posterior(x)
        z = mean + (0.5 * log_variance).exp() * noise_like(mean, generator)
        return self.likelihood.log_prob(x, self.decoder(z)), kl_to_standard_normal(mean, log_variance)

    def bound(self, x: Tensor, k: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Return the importance-weighted bound L_k (N,) [nats], estimated with k codes per example.

        k = 1 estimates the ELBO with a sampled KL divergence.
        """
        mean, log_variance = self.posterior(x)
        noise = normal((k, *mean.shape), generator, mean.device).to(mean)
        z = mean + (0.5 * log_variance).exp() * noise
        decoded = self.likelihood.log_prob(x.repeat(k, *[1] * len(self.event)), self.decoder(z.flatten(0, 1)))
        # The normalising constants of prior and posterior cancel.
        prior, posterior = -0.5 * z.square().sum(2), -0.5 * (noise.square() + log_variance).sum(2)
        return (decoded.view(k, -1) + prior - posterior).logsumexp(0) - math.log(k)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative bound per value [nats]; batch is `{"x": (N, *event)}`.

        Both terms are sums divided by the number of values, so beta has the paper's meaning. Logged: the loss, the
        bound without beta and the KL divergence [nats per example], and the number of active dimensions in the batch.
        """
        x, size = batch["x"], math.prod(self.event)
        if self.samples > 1:
            bound = self.bound(x, self.samples).mean()
            return -bound / size, {"loss": -bound.detach() / size, "bound": bound.detach()}
        decoded, divergences = self.elbo(x)
        kl = divergences.sum(1).mean()
        loss = (self.beta * kl - decoded.mean()) / size
        logs = {"loss": loss, "bound": decoded.mean() - kl, "kl": kl}
        active = active_by_kl(divergences).sum().float()
        return loss, {name: value.detach() for name, value in logs.items()} | {"active_units": active}

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
        noise: bool = False,
    ) -> Tensor:
        """Decode n codes of the prior: the mean of p(x | z), or with `noise` a sample of it, (n, *event)."""
        if condition is not None:
            raise ValueError("this VAE takes no condition")
        weights = next(self.decoder.parameters())
        z = normal((n, self.dim), generator, weights.device).to(weights)
        output = self.decoder(z)
        return self.likelihood.draw(output, generator) if noise else self.likelihood.mean(output)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), for each entry, in closed form."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
