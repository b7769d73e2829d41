"""A log density with its gradient by autograd, and the checks that all kernels share."""

from collections.abc import Callable

import torch
from torch import Tensor

from embodia.perception.generative import NonFinite
from embodia.perception.generative.mcmc import LogProb


def log_prob_and_score(log_prob: LogProb, x: Tensor) -> tuple[Tensor, Tensor]:
    """Log density at x (C, *event), (C,), and its gradient, (C, *event).

    Raises:
        ValueError: if the log density does not have the shape (C,).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = checked_shape(log_prob(x), x)
        (score,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), score


def score_of(log_prob: LogProb) -> Callable[[Tensor], Tensor]:
    """The gradient of a log density, as a function of x."""
    return lambda x: log_prob_and_score(log_prob, x)[1]


def checked_shape(value: Tensor, x: Tensor) -> Tensor:
    """`value`, if it holds one number per chain; ValueError otherwise."""
    if value.shape != x.shape[:1]:
        raise ValueError(f"a log density of {len(x)} chains has the shape {tuple(value.shape)}; return ({len(x)},)")
    return value


def check_start(log_prob: Tensor) -> None:
    """Raise NonFinite if a chain starts where the density is zero, infinite or NaN."""
    if not torch.isfinite(log_prob).all():
        raise NonFinite("the log density is NaN or infinite at step 0; start the chains where the density is positive")


def check_density(log_prob: Tensor, step: int) -> None:
    """Raise NonFinite if a log density is NaN or +inf. A density of zero (-inf) is allowed: it is never accepted."""
    if (log_prob.isnan() | (log_prob == torch.inf)).any():
        raise NonFinite(f"the log density is NaN or infinite at step {step}; take smaller steps, or check the density")


def check_step_size(step_size: float) -> None:
    """Raise ValueError unless the step size is positive."""
    if not step_size > 0:
        raise ValueError(f"the step size is {step_size}; give a positive number")
