"""A score learned in continuous time, for any of the SDEs."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from embodia.perception.generative import Condition, Denoiser, Generative
from embodia.perception.generative.conditions import check_rows
from embodia.perception.generative.noise import normal, per_sample
from embodia.perception.generative.score_models.sde import SDE
from embodia.perception.generative.score_models.sde_samplers import (
    log_likelihood,
    predictor_corrector,
    probability_flow,
)


class ScoreSDE(Generative):
    """Denoising score matching at all times of an SDE (Song et al. 2021, equation 7, weighted by the variance).

    Args:
        denoiser: predicts minus the noise; the score is its output over the standard deviation.
        event: shape of one sample.
        sde: VE, VP or SubVP.
        sampler: "pc" predictor-corrector, "ode" the probability flow.
        steps: of the sampler.
        corrections: Langevin steps after each step of "pc".
    """

    def __init__(
        self,
        denoiser: Denoiser,
        event: Sequence[int],
        sde: SDE,
        sampler: Literal["pc", "ode"] = "pc",
        steps: int = 200,
        corrections: int = 1,
    ):
        super().__init__()
        self.denoiser, self.event, self.sde = denoiser, tuple(event), sde
        self.sampler, self.steps, self.corrections = sampler, steps, corrections

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        x0, condition = batch["x"], batch.get("condition")
        t = self.sde.end + (1 - self.sde.end) * torch.rand(len(x0), device=x0.device)
        mean, std = (per_sample(each, x0) for each in self.sde.marginal(t))
        noise = torch.randn_like(x0)
        output = self.network(mean * x0 + std * noise, std, t, condition)
        return (output + noise).square().mean(), {}

    def network(self, x: Tensor, std: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        """The denoiser on an input of about unit size whatever the noise."""
        scale = (1 + std**2).rsqrt() if self.sde.prior_std > 1 else 1.0
        return self.denoiser(scale * x, t, condition)

    def score(self, x: Tensor, t: float, condition: Condition | None = None) -> Tensor:
        """Of x_t (B, *event) at time t."""
        time = x.new_full((len(x),), t)
        std = per_sample(self.sde.marginal(time)[1], x)
        return self.network(x, std, time, condition) / std

    def log_prob(self, x: Tensor, condition: Condition | None = None, steps: int = 100, probes: int = 0) -> Tensor:
        """Log density of data x under the probability flow, (B,) [nats]."""
        return log_likelihood(lambda x, t: self.score(x, t, condition), self.sde, x, steps, probes)

    @torch.no_grad()
    def sample(self, n: int, condition: Condition | None = None, generator: torch.Generator | None = None) -> Tensor:
        if condition is not None:
            check_rows(condition, n)
        noise = self.sde.prior_std * normal((n, *self.event), generator, next(self.denoiser.parameters()).device)
        if self.sampler == "ode":
            return probability_flow(lambda x, t: self.score(x, t, condition), self.sde, noise, self.steps)
        return predictor_corrector(
            lambda x, t: self.score(x, t, condition),
            self.sde,
            noise,
            self.steps,
            self.corrections,
            generator=generator,
        )
