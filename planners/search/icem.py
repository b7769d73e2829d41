"""Improved cross-entropy method (iCEM, Pinneri et al. 2020): coloured noise, kept elites, fewer and fewer samples."""

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from embodia.planners import Carry, Objective, State, WorldModel
from embodia.planners.models.imagination import imagine_plan, world_noise
from embodia.planners.models.state import batch_size, device_of, repeat
from embodia.planners.search.cem import bounds, shift, take_elites


@dataclass(frozen=True)
class ICEM:
    """CEM with 1/f^beta noise. Elites are kept across iterations and time steps; the best plan found is returned."""

    action_space: spaces.Space
    """Action space: a bounded Box (A,)."""
    horizon: int = 30
    """Number of steps of a plan."""
    samples: int = 64
    """Number of candidates of the first iteration."""
    elites: int = 10
    """Number of best candidates to which the distribution is refitted."""
    iterations: int = 3
    """Number of iterations."""
    beta: float = 2.0
    """Exponent of the noise colour: 0 white, 1 pink, 2 red. Actions correlated over time explore further."""
    decay: float = 1.25
    """Factor by which the number of candidates falls per iteration; at least twice the elites remain."""
    keep: float = 0.3
    """Fraction of the elites kept for the next iteration and, shifted by one step, for the next call."""
    init_std: float = 0.5
    """Initial standard deviation, as a fraction of half the action range."""
    min_std: float = 0.0
    """Minimum standard deviation, in the same unit."""
    momentum: float = 0.1
    """Weight of the previous distribution in a refit."""
    seed: int = 0
    """Seed of the candidates' noise."""

    def __post_init__(self) -> None:
        if not isinstance(self.action_space, spaces.Box):
            raise TypeError(f"iCEM needs continuous actions; for {self.action_space} use CEM")

    def plan(self, model: WorldModel, state: State, objective: Objective, carry: Carry) -> tuple[Tensor, Carry]:
        """Return the best plans found (B, H, A) for states (B, ...)."""
        worlds = batch_size(state)
        low, high = bounds(self.action_space, device_of(state))
        half = (high - low) / 2
        carry = carry or self.initial_carry(worlds, device_of(state))
        mean, std = carry["mean"], torch.ones_like(carry["mean"]) * self.init_std * half
        kept = carry["elites"] if bool(carry["calls"].min() > 0) else carry["elites"][:, :0]  # (B, E', H, A)
        best, best_score = mean, torch.full((worlds,), -torch.inf, device=mean.device)
        for i in range(self.iterations):
            count = max(int(self.samples / self.decay**i), 2 * self.elites)
            noise = world_noise(self.seed + i, carry["calls"], (count, self.horizon, mean.shape[-1]))
            plans = (mean[:, None] + std[:, None] * coloured(noise, self.beta)).clamp(low, high)
            if i == self.iterations - 1:
                plans = torch.cat([plans[:, 1:], mean[:, None]], 1)  # the last iteration includes the mean
            plans = torch.cat([plans, kept], 1)
            futures = imagine_plan(model, repeat(state, plans.shape[1]), plans.flatten(0, 1))
            score = objective(futures, plans.flatten(0, 1)).view(plans.shape[:2])
            elite = take_elites(plans, score, self.elites)
            mean = self.momentum * mean + (1 - self.momentum) * elite.mean(1)
            std = self.momentum * std + (1 - self.momentum) * elite.std(1, unbiased=False).maximum(self.min_std * half)
            kept = elite[:, : max(1, round(self.keep * self.elites))]
            top = score.nan_to_num(nan=-torch.inf).max(1).values
            better = top > best_score
            best = torch.where(better[:, None, None], elite[:, 0], best)
            best_score = torch.maximum(top, best_score)
        later = torch.stack([shift(kept[:, j]) for j in range(kept.shape[1])], 1)
        return best, {"mean": shift(mean), "elites": later, "calls": carry["calls"] + 1}

    def initial_carry(self, worlds: int, device: torch.device | None = None) -> Carry:
        """Return the initial carry: mean (B, H, A) at the centre of the range, elites equal to it, and calls (B,)."""
        low, high = bounds(self.action_space, device)
        mean = torch.zeros(worlds, self.horizon, len(low), device=device) + (low + high) / 2
        elites = mean[:, None].repeat(1, max(1, round(self.keep * self.elites)), 1, 1)
        return {"mean": mean, "elites": elites, "calls": torch.zeros(worlds, dtype=torch.int64, device=device)}


def coloured(white: Tensor, beta: float) -> Tensor:
    """Turn white noise (..., H, A) into noise of unit variance with power 1 / f^beta along H (Timmer & Koenig 1995)."""
    horizon = white.shape[-2]
    frequency = torch.fft.rfftfreq(horizon, device=white.device).clamp_min(1.0 / horizon)
    scale = frequency ** (-beta / 2)  # (F,)
    spectrum = torch.fft.rfft(white, dim=-2) * scale[:, None]
    multiplicity = torch.full_like(scale, 2.0)
    multiplicity[0] = 1.0
    if horizon % 2 == 0:
        multiplicity[-1] = 1.0
    power = (multiplicity * scale.square()).sum() / horizon  # Parseval
    return torch.fft.irfft(spectrum, n=horizon, dim=-2) / power.sqrt()
