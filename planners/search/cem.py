"""Cross-entropy method (Rubinstein 1999; as a planner: Chua et al. 2018, PETS, section 5).

Sample plans, score their imagined futures, refit the sampling distribution to the elites, repeat. Continuous actions
are Gaussian with independent steps, discrete ones categorical.
"""

from dataclasses import dataclass, field

import torch
from gymnasium import spaces
from torch import Tensor

from embodia.planners import Carry, Objective, State, WorldModel
from embodia.planners.models.actions import action_width
from embodia.planners.models.imagination import imagine_plan, world_noise
from embodia.planners.models.state import batch_size, device_of, repeat


@dataclass(frozen=True)
class CEM:
    """Plan by the cross-entropy method; the plan returned is the distribution's mean (mode, if discrete)."""

    action_space: spaces.Space
    horizon: int = 12
    """Steps of a plan."""
    samples: int = 256
    """Candidates per iteration."""
    elites: int = 32
    """Candidates to which the distribution is refitted."""
    iterations: int = 5
    """Refits."""
    init_std: float = 0.5
    """Of the first iteration, in halves of the action range."""
    min_std: float = 0.05
    """Keeps the distribution from collapsing before the last iteration, in the same unit."""
    momentum: float = 0.1
    """Share of the old distribution that a refit keeps."""
    warm_start: bool = True
    """Begin from the last plan, one step later."""
    seed: int = 0
    """Of the candidates' noise."""
    is_discrete: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_discrete", isinstance(self.action_space, spaces.Discrete))
        if not self.is_discrete and not isinstance(self.action_space, spaces.Box):
            raise TypeError(f"CEM plans in Box or Discrete action spaces, not in {self.action_space}")
        if not 1 < self.elites <= self.samples:
            raise ValueError(f"CEM needs 1 < elites <= samples, got elites={self.elites}, samples={self.samples}")

    def plan(self, model: WorldModel, state: State, objective: Objective, carry: Carry) -> tuple[Tensor, Carry]:
        """state (B, ...) -> actions (B, H, A) or (B, H) int64; carry holds the last distribution and a call count."""
        carry = carry or self.initial_carry(batch_size(state), device_of(state))
        noise = world_noise(self.seed, carry["calls"], (self.iterations, self.samples, self.horizon, self.width))
        solve = self.plan_categorical if self.is_discrete else self.plan_gaussian
        actions, mean = solve(model, repeat(state, self.samples), objective, carry["mean"], noise)
        kept = shift(mean) if self.warm_start else self.initial_carry(len(mean), mean.device)["mean"]
        return actions, {"mean": kept, "calls": carry["calls"] + 1}

    @property
    def width(self) -> int:
        """Numbers that describe one step's distribution: A coordinates, or n logits."""
        return action_width(self.action_space)

    def initial_carry(self, worlds: int, device: torch.device | None = None) -> Carry:
        """mean (B, H, A): the centre of the range, or equal logits; calls (B,)."""
        mean = torch.zeros(worlds, self.horizon, self.width, device=device)
        if not self.is_discrete:
            low, high = bounds(self.action_space, device)
            mean = mean + (low + high) / 2
        return {"mean": mean, "calls": torch.zeros(worlds, dtype=torch.int64, device=device)}

    def plan_gaussian(
        self, model: WorldModel, states: State, objective: Objective, mean: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        low, high = bounds(self.action_space, mean.device)
        half = (high - low) / 2
        std = torch.ones_like(mean) * self.init_std * half  # (B, H, A)
        for i in range(self.iterations):
            plans = (mean[:, None] + std[:, None] * noise[:, i]).clamp(low, high)  # (B, K, H, A)
            score = objective(imagine_plan(model, states, plans.flatten(0, 1)), plans.flatten(0, 1))
            elite = take_elites(plans, score.view(plans.shape[:2]), self.elites)  # (B, E, H, A)
            mean = self.momentum * mean + (1 - self.momentum) * elite.mean(1)
            spread = elite.std(1, unbiased=False).maximum(self.min_std * half)
            std = self.momentum * std + (1 - self.momentum) * spread
        return mean, mean

    def plan_categorical(
        self, model: WorldModel, states: State, objective: Objective, mean: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        assert isinstance(self.action_space, spaces.Discrete)
        start = int(self.action_space.start)
        logits = mean  # (B, H, n)
        for i in range(self.iterations):
            # Gumbel-max: Gaussian noise becomes Gumbel noise through both distribution functions.
            uniform = torch.special.ndtr(noise[:, i].double()).clamp(1e-12, 1 - 1e-12)
            gumbel = -(-uniform.log()).log()
            plans = (logits[:, None] + gumbel).argmax(-1)  # (B, K, H)
            score = objective(imagine_plan(model, states, plans.flatten(0, 1) + start), plans.flatten(0, 1) + start)
            elite = take_elites(plans, score.view(plans.shape[:2]), self.elites)
            frequency = torch.nn.functional.one_hot(elite, self.width).float().mean(1)  # (B, H, n)
            kept = self.momentum * logits.softmax(-1) + (1 - self.momentum) * frequency
            logits = kept.clamp_min(self.min_std / self.width).log()
        return logits.argmax(-1) + start, logits


def bounds(space: spaces.Space, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """low, high (A,) of a bounded Box. Raises ValueError where a bound is infinite: there is nothing to sample from."""
    assert isinstance(space, spaces.Box)
    if not space.is_bounded():
        raise ValueError(f"the planner samples inside the action bounds, but {space} is unbounded; wrap it first")
    low, high = (torch.as_tensor(end, dtype=torch.float32, device=device) for end in (space.low, space.high))
    return low, high


def take_elites(plans: Tensor, score: Tensor, elites: int) -> Tensor:
    """The best plans of each world: (B, K, ...), (B, K) -> (B, E, ...), best first. NaN counts as worst."""
    order = score.nan_to_num(nan=-torch.inf).topk(elites, dim=1).indices
    return plans[torch.arange(len(plans), device=plans.device)[:, None], order]


def shift(mean: Tensor) -> Tensor:
    """The plan one step later; its last step is repeated. (B, H, A)."""
    return torch.cat([mean[:, 1:], mean[:, -1:]], 1)
