"""Guidance: functions around the denoiser that a sampler is given."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from embodia.perception.generative import Condition
from embodia.perception.generative.conditions import mapped
from embodia.perception.generative.diffusion.parametrization import Prediction, of_eps, of_x0
from embodia.perception.generative.diffusion.samplers import Predict
from embodia.perception.generative.diffusion.schedule import Schedule
from embodia.perception.generative.noise import per_sample

if TYPE_CHECKING:
    from embodia.perception.generative.diffusion.diffusion import Diffusion

Scale = float | Tensor
"""Strength of guidance: one number, or one per sample (B,)."""


def classifier_free(model: "Diffusion", condition: Condition | None, scale: Scale = 1.0) -> Predict:
    """eps_u + w (eps_c - eps_u) (Ho and Salimans 2021): w = 0 unconditional, 1 conditional, above 1 guided.

    The paper's own scale is w - 1. Both predictions are made in one pass of twice the batch.

    Raises:
        ValueError: for a scale other than 1 without a condition, or a model that was trained without dropping it.
    """
    single = not isinstance(scale, Tensor) and scale == 1.0
    if condition is not None and not model.denoiser.conditional:
        raise ValueError("a condition was given to an unconditional model; leave it out, or train with conditions")
    if condition is None and not single:
        raise ValueError(f"a guidance scale of {scale} needs a conditional model and a condition; use 1 without them")
    if condition is None:
        return model.predict
    if single:
        return lambda x, t: model.predict(x, t, condition)
    if not model.drop:
        raise ValueError("guidance needs the unconditional model too, and this one was trained with drop 0; retrain it")
    both = mapped(condition, lambda each: torch.cat([each, each]))

    def predict(x: Tensor, t: int) -> Prediction:
        drop = torch.arange(2 * len(x), device=x.device) >= len(x)
        weight = per_sample(scale.to(x), x) if isinstance(scale, Tensor) else scale
        found = model.predict(torch.cat([x, x]), t, both, drop)
        pairs = [each.chunk(2) for each in found]
        # Both are mixed as they are: data computed from mixed noise would be divided by an alpha of nearly 0.
        return Prediction(*(without + weight * (given - without) for given, without in pairs))

    return predict


def by_gradient(
    predict: Predict, schedule: Schedule, log_prob: Callable[[Tensor, int], Tensor], scale: Scale = 1.0
) -> Predict:
    """Classifier guidance, eps - s sigma_t grad_x log p(y | x_t) (Dhariwal and Nichol 2021, algorithm 2).

    Args:
        predict: the denoiser.
        schedule: its noise levels.
        log_prob: (x_t, t) -> (B,): of a classifier of noisy samples, or minus any cost. To score the predicted data,
            call `predict` in it; the gradient then goes through the denoiser. At the first levels of a schedule whose
            alpha is nearly 0 there, a small error of a gradient moves the data far: put `clipped` around the result.
        scale: s.

    Raises:
        ValueError: if log_prob does not give one number per sample.
    """

    def guided(x: Tensor, t: int) -> Prediction:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            value = log_prob(leaf, t)
            if value.shape != (len(x),):
                raise ValueError(f"log_prob gives the shape {tuple(value.shape)} for {len(x)} samples; give (B,)")
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        weight = per_sample(scale.to(x), x) if isinstance(scale, Tensor) else scale
        sigma = schedule.sigmas[t]
        return of_eps(predict(x, t).eps - weight * sigma * gradient, x, schedule.alphas[t], sigma)

    return guided


def clipped(predict: Predict, schedule: Schedule, limit: float = 1.0) -> Predict:
    """Predicted data clipped to -limit to limit, the noise made consistent with it."""

    def within(x: Tensor, t: int) -> Prediction:
        return of_x0(predict(x, t).x0.clamp(-limit, limit), x, schedule.alphas[t], schedule.sigmas[t])

    return within
