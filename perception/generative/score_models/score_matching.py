"""Losses that fit a score from samples alone: exact, denoising and sliced score matching."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from embodia.perception.generative import Condition, Generative
from embodia.perception.generative.mcmc.langevin import langevin
from embodia.perception.generative.noise import flat_sum, normal

Score = Callable[[Tensor], Tensor]
"""x (B, *event) -> the gradient of the log density, (B, *event)."""


def exact_score_matching(score: Score, x: Tensor) -> Tensor:
    """E[|s|^2 / 2 + div s] (Hyvarinen 2005); one backward pass per dimension."""
    x = x.detach().requires_grad_()
    s = score(x)
    return (0.5 * flat_sum(s.square()) + divergence(s, x)).mean()


def denoising_score_matching(score: Score, x: Tensor, sigma: float) -> Tensor:
    """E|sigma s(x + sigma e) + e|^2 / 2 (Vincent 2011). Its optimum is the score of the noised density."""
    noise = torch.randn_like(x)
    return 0.5 * flat_sum((sigma * score(x + sigma * noise) + noise).square()).mean()


def sliced_score_matching(score: Score, x: Tensor) -> Tensor:
    """E[v' (ds/dx) v + |s|^2 / 2] over random directions v, with reduced variance (Song et al. 2019, equation 8)."""
    x = x.detach().requires_grad_()
    s, v = score(x), torch.randn_like(x)
    (slope,) = torch.autograd.grad((s * v).sum(), x, create_graph=True)
    return (flat_sum(slope * v) + 0.5 * flat_sum(s.square())).mean()


def divergence(s: Tensor, x: Tensor, create_graph: bool = True) -> Tensor:
    """Trace of ds/dx, (B,), of s computed from x (B, *event), which requires a gradient."""
    flat = s.flatten(1)
    parts = [
        torch.autograd.grad(flat[:, i].sum(), x, create_graph=create_graph, retain_graph=True)[0].flatten(1)[:, i]
        for i in range(flat.shape[1])
    ]
    return torch.stack(parts).sum(0)


class ScoreModel(Generative):
    """A score fitted by one of the three losses, and sampled by Langevin dynamics.

    Args:
        network: x (B, *event) -> (B, *event).
        event: shape of one sample.
        by: the loss.
        sigma: noise of the denoising loss.
        step_size: of Langevin sampling.
        steps: of Langevin sampling, from standard normal noise.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        event: Sequence[int],
        by: Literal["exact", "denoising", "sliced"] = "denoising",
        sigma: float = 0.1,
        step_size: float = 0.01,
        steps: int = 1000,
    ):
        super().__init__()
        self.network, self.event, self.by, self.sigma = network, tuple(event), by, sigma
        self.step_size, self.steps = step_size, steps

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        x = batch["x"]
        if self.by == "exact":
            return exact_score_matching(self.network, x), {}
        if self.by == "sliced":
            return sliced_score_matching(self.network, x), {}
        return denoising_score_matching(self.network, x, self.sigma), {}

    @torch.no_grad()
    def sample(self, n: int, condition: Condition | None = None, generator: torch.Generator | None = None) -> Tensor:
        if condition is not None:
            raise ValueError("this score model takes no condition")
        x = normal((n, *self.event), generator, next(self.network.parameters()).device)
        return langevin(self.network, x, self.step_size, self.steps, generator)
