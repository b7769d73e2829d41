"""A diffusion model: a denoiser, a noise schedule, and what the denoiser predicts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from embodia.perception.generative import Condition, Denoiser, Generative
from embodia.perception.generative.conditions import check_rows
from embodia.perception.generative.diffusion.guidance import Scale, classifier_free, clipped
from embodia.perception.generative.diffusion.inpainting import Inpainting
from embodia.perception.generative.diffusion.parametrization import Kind, Prediction, prediction, target
from embodia.perception.generative.diffusion.samplers import (
    DDIM,
    Between,
    Predict,
    Sampler,
    State,
    final,
    sample_path,
)
from embodia.perception.generative.diffusion.schedule import Schedule
from embodia.perception.generative.noise import normal, per_sample


class Diffusion(Generative):
    """Denoising diffusion (Ho et al. 2020; Song et al. 2021) of samples of any shape.

    Args:
        denoiser: (x, time, condition, drop) -> (B, *event).
        event: shape of one sample.
        schedule: the noise levels.
        predicts: what the denoiser predicts: noise "eps", data "x0" or velocity "v".
        drop: share of the conditions dropped in training, so that the model is unconditional too and can be guided.
        limit: data lie within -limit to limit, and predicted data are clipped to it; None for no clipping.
        sampler: the default of `sample`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        event: Sequence[int],
        schedule: Schedule,
        predicts: Kind = "eps",
        drop: float = 0.1,
        limit: float | None = None,
        sampler: Sampler | None = None,
    ):
        super().__init__()
        self.denoiser, self.event, self.schedule = denoiser, tuple(event), schedule
        self.predicts, self.drop, self.limit = predicts, drop, limit
        self.sampler = sampler or DDIM(min(50, schedule.steps))

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the prediction at random levels.

        Args:
            batch: "x" (B, *event); optionally "condition", and "known" (B, *event) bool: entries that are given at
                sampling time, stay clean here and cost nothing.
        """
        x0, condition, known = batch["x"], batch.get("condition"), batch.get("known")
        t = torch.randint(self.schedule.steps, (len(x0),), device=x0.device)
        x, eps = self.noised(x0, t)
        if known is not None:
            x = torch.where(known, x0, x)
        return self.error(x, x0, eps, t, condition, known), {}

    def noised(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(x at levels t (B,), the noise in it)."""
        alpha, sigma = (per_sample(each, x0) for each in self.schedule.at(t))
        eps = torch.randn_like(x0)
        return alpha * x0 + sigma * eps, eps

    def error(
        self,
        x: Tensor,
        x0: Tensor,
        eps: Tensor,
        t: Tensor,
        condition: Condition | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the prediction for x at levels t (B,), which holds the data x0 and the noise eps."""
        alpha, sigma = (per_sample(each, x0) for each in self.schedule.at(t))
        drop = torch.rand(len(x), device=x.device) < self.drop if condition is not None and self.drop else None
        output = self.denoiser(x, self.schedule.time(t), condition, drop)
        square = (output - target(self.predicts, x0, eps, alpha, sigma)).square()
        return square.mean() if known is None else square[~known].mean()

    def predict(self, x: Tensor, t: int, condition: Condition | None = None, drop: Tensor | None = None) -> Prediction:
        """What the denoiser says of x (B, *event) at level t, without guidance or clipping."""
        level = torch.full((len(x),), t, device=x.device)
        output = self.denoiser(x, self.schedule.time(level), condition, drop)
        return prediction(self.predicts, output, x, self.schedule.alphas[t], self.schedule.sigmas[t])

    def predictor(self, condition: Condition | None = None, guidance: Scale = 1.0) -> Predict:
        """The denoiser under a condition, guided and clipped: what samplers are given.

        Raises:
            ValueError: for a guidance scale without a condition, or a model that was trained without dropping it.
        """
        guided = classifier_free(self, condition, guidance)
        return guided if self.limit is None else clipped(guided, self.schedule, self.limit)

    def path(
        self,
        n: int,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
        *,
        sampler: Sampler | None = None,
        guidance: Scale = 1.0,
        predict: Predict | None = None,
        known: tuple[Tensor, Tensor] | None = None,
        between: Between | None = None,
    ) -> Iterator[State]:
        """Yield the state after each step of sampling.

        Args:
            n: number of samples.
            condition: n rows.
            generator: of all random numbers.
            sampler: DDPM, DDIM, DPMSolver or your own.
            guidance: scale w of classifier-free guidance, one number or (n,): eps_u + w (eps_c - eps_u).
            predict: used in place of `predictor(condition, guidance)`: guidance of your own around it.
            known: entries that are given, as (mask bool, values), each broadcast to (n, *event). They are put back
                after every step, as in Diffuser; a model trained with "known" in its batches expects this.
            between: called between steps, for steering.

        Raises:
            NonFinite: naming the step.
            ValueError: if condition, guidance and model do not go together.
        """
        if condition is not None:
            check_rows(condition, n)
        predict = predict or self.predictor(condition, guidance)
        noise = normal((n, *self.event), generator, next(self.denoiser.parameters()).device)
        if known is not None:
            inpainting = Inpainting(*known)
            noise, between = inpainting.put(noise), inpainting.then(between)
        return sample_path(predict, self.schedule, sampler or self.sampler, noise, generator, between)

    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Tensor:
        """n samples (n, *event). Options, errors as in `path`."""
        return final(self.path(n, condition, generator, **options))
