"""Samples of which some entries are given: start and goal of a trajectory, what a camera already saw."""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.perception.generative.diffusion.samplers import Between, State
from embodia.perception.generative.diffusion.schedule import Schedule
from embodia.perception.generative.noise import noise_like


@dataclass(frozen=True)
class Inpainting:
    """Put the known entries back after every step (Janner et al. 2022, section 3.3).

    They are clean at every level, for a model trained so ("known" in its batches). For a model trained without known
    entries, give `schedule`: they are then noised to the level of the rest (Lugmayr et al. 2022, without resampling).
    """

    mask: Tensor
    """Where entries are known, bool, broadcast to (B, *event)."""
    values: Tensor
    """The known entries, of the same shape; others are ignored."""
    schedule: Schedule | None = None
    generator: torch.Generator | None = None

    def put(self, x: Tensor, t: int = -1) -> Tensor:
        """x (B, *event) at level t with its known entries."""
        values = self.values.to(x)
        if self.schedule is not None and t >= 0:
            values = self.schedule.alphas[t] * values + self.schedule.sigmas[t] * noise_like(x, self.generator)
        return torch.where(self.mask.to(x.device), values, x)

    def __call__(self, state: State) -> State:
        return state._replace(x=self.put(state.x, state.t))

    def then(self, between: Between | None) -> Between:
        """First `between`, then the known entries."""
        return self if between is None else lambda state: self(between(state))
