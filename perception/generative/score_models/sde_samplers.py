"""The reverse SDE, predictor-corrector, and the probability-flow ODE with exact likelihood (Song et al. 2021)."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from embodia.perception.generative.noise import check_finite, flat_sum, noise_like
from embodia.perception.generative.score_models.score_matching import divergence
from embodia.perception.generative.score_models.sde import SDE, prior_log_prob

TimedScore = Callable[[Tensor, float], Tensor]
"""(x (B, *event), time) -> the score of x_t."""


@torch.no_grad()
def predictor_corrector(
    score: TimedScore,
    sde: SDE,
    x: Tensor,
    steps: int,
    corrections: int = 0,
    snr: float = 0.16,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Euler-Maruyama steps of the reverse SDE, each followed by Langevin corrections (algorithms 2 to 5).

    Args:
        score: of x_t.
        sde: the diffusion to reverse.
        x: (B, *event), noise at time 1.
        steps: from time 1 to `sde.end`.
        corrections: Langevin steps after each; 0 is the plain reverse SDE.
        snr: of the corrections; sets their size.
        generator: of the noise.

    Raises:
        NonFinite: naming the step.
    """
    times = torch.linspace(1, sde.end, steps + 1, dtype=torch.float64).tolist()
    mean = x
    for number, (t, s) in enumerate(pairwise(times), start=1):
        g, dt = sde.diffusion(t), t - s
        mean = x - dt * (sde.drift(t) * x - g**2 * score(x, t))
        x = mean + g * dt**0.5 * noise_like(x, generator)
        for _ in range(corrections):
            x = corrected(score(x, s), x, snr, generator)
        check_finite(x, "the sample", number)
    return x if corrections else mean


def corrected(score: Tensor, x: Tensor, snr: float, generator: torch.Generator | None) -> Tensor:
    """One Langevin step, of a size that keeps the ratio of noise to score (algorithm 4)."""
    noise = noise_like(x, generator)
    norms = [each.flatten(1).norm(dim=1).mean() for each in (noise, score)]
    size = 2 * (snr * norms[0] / norms[1]) ** 2
    return x + size * score + (2 * size).sqrt() * noise


def ode_drift(score: TimedScore, sde: SDE, x: Tensor, t: float) -> Tensor:
    """dx / dt of the probability flow: f - g^2 s / 2."""
    return sde.drift(t) * x - 0.5 * sde.diffusion(t) ** 2 * score(x, t)


@torch.no_grad()
def probability_flow(score: TimedScore, sde: SDE, x: Tensor, steps: int = 100, encode: bool = False) -> Tensor:
    """From noise at time 1 to data, or with `encode` from data to noise, by Runge-Kutta steps of fourth order."""
    for number, (t, s) in enumerate(grid(sde, steps, encode), start=1):
        x = runge_kutta(lambda x, t: ode_drift(score, sde, x, t), x, t, s)
        check_finite(x, "the sample", number)
    return x


def log_likelihood(
    score: TimedScore,
    sde: SDE,
    x: Tensor,
    steps: int = 100,
    probes: int = 0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Log density of data x (B, *event) under the probability flow, (B,) [nats] (equation 39).

    Args:
        score: of x_t; differentiable.
        sde: the diffusion.
        x: data; taken as the state at time `sde.end`.
        steps: of the ODE.
        probes: random vectors that estimate the divergence (Hutchinson), the same along the whole path; 0 computes it
            exactly, with one backward pass per dimension.
        generator: of the probes.

    Raises:
        NonFinite: naming the step.
    """
    vectors = [noise_like(x, generator) for _ in range(probes)]

    def change(state: Tensor, t: float) -> Tensor:
        """(B, D + 1): of x, and of the log density along the path."""
        with torch.enable_grad():
            here = state[:, :-1].reshape(x.shape).detach().requires_grad_()
            drift = ode_drift(score, sde, here, t)
            trace = trace_of(drift, here, vectors)
        return torch.cat([drift.detach().flatten(1), trace.detach()[:, None]], 1)

    state = torch.cat([x.flatten(1), torch.zeros_like(x.flatten(1)[:, :1])], 1)
    for number, (t, s) in enumerate(grid(sde, steps, encode=True), start=1):
        state = runge_kutta(change, state, t, s)
        check_finite(state, "the state", number)
    return prior_log_prob(sde, state[:, :-1]) + state[:, -1]


def trace_of(drift: Tensor, x: Tensor, vectors: list[Tensor]) -> Tensor:
    """Divergence of the drift at x, (B,): exact, or averaged over the probes."""
    if not vectors:
        return divergence(drift, x, create_graph=False)
    slopes = [torch.autograd.grad((drift * v).sum(), x, retain_graph=True)[0] for v in vectors]
    return torch.stack([flat_sum(slope * v) for slope, v in zip(slopes, vectors)]).mean(0)


def grid(sde: SDE, steps: int, encode: bool) -> list[tuple[float, float]]:
    """Steps between the end and 1, finer near the data, where the score is steep."""
    times = (sde.end**0.5 + (1 - sde.end**0.5) * torch.linspace(0, 1, steps + 1, dtype=torch.float64)) ** 2
    points = times.tolist() if encode else times.tolist()[::-1]
    return list(pairwise(points))


def runge_kutta(change: Callable[[Tensor, float], Tensor], x: Tensor, t: float, s: float) -> Tensor:
    """The classical fourth-order step from time t to s."""
    h = s - t
    a = change(x, t)
    b = change(x + h / 2 * a, t + h / 2)
    c = change(x + h / 2 * b, t + h / 2)
    d = change(x + h * c, s)
    return x + h / 6 * (a + 2 * b + 2 * c + d)
