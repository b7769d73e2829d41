"""Random numbers from a given generator, and numbers per sample beside tensors of any shape."""

from collections.abc import Sequence

import torch
from torch import Tensor

from embodia.perception.generative import NonFinite


def normal(
    shape: Sequence[int], generator: torch.Generator | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Standard normal noise. A CPU generator gives the same numbers whatever the device."""
    made_on = generator.device if generator is not None else device
    return torch.randn(tuple(shape), generator=generator, device=made_on).to(device or made_on or "cpu")


def uniform(
    shape: Sequence[int], generator: torch.Generator | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Numbers from 0 to 1. A CPU generator gives the same ones whatever the device."""
    made_on = generator.device if generator is not None else device
    return torch.rand(tuple(shape), generator=generator, device=made_on).to(device or made_on or "cpu")


def bernoulli(probability: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """1 with the given probability, else 0, in the same shape."""
    return (uniform(probability.shape, generator, probability.device) < probability).to(probability.dtype)


def noise_like(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    return normal(x.shape, generator, x.device)


def per_sample(values: Tensor, x: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), to be multiplied with x (B, *event)."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def flat_sum(x: Tensor) -> Tensor:
    """(B, *event) -> (B,)."""
    return x.flatten(1).sum(1)


def check_finite(x: Tensor, what: str, step: int) -> None:
    """Raise NonFinite if x holds NaN or infinity."""
    if not torch.isfinite(x).all():
        raise NonFinite(f"{what} is NaN or infinite at step {step}; take smaller steps, or train with a lower rate")
