"""Scheduled sampling for diffusion: training states come from the model, as DAgger's come from the learner's policy.

A plain diffusion model sees noised data in training and its own samples in use. Here a share of the training states is
rolled in: noised data a few levels up, then denoised by the model itself (Deng, Kojima and Rush 2023).
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from embodia.perception.generative import Condition
from embodia.perception.generative.diffusion.diffusion import Diffusion
from embodia.perception.generative.diffusion.parametrization import prediction
from embodia.perception.generative.noise import per_sample


class ScheduledSampling(nn.Module):
    """Trains a diffusion model on states that it reached itself.

    A model that predicts data ("x0") suits it best: where the model stands far from noised data, the noise that leads
    to the true data is far from normal, and its error at low noise outweighs all others.

    Args:
        diffusion: is trained and kept.
        roll_in: model steps between the noised data and the training state (m).
        stride: levels of one such step; that of the sampler to be used.
        share: of the batch that is rolled in, at the end of training.
        steps: updates over which the share rises linearly to it; 0 starts there.
    """

    updates: Tensor

    def __init__(self, diffusion: Diffusion, roll_in: int = 1, stride: int = 1, share: float = 0.5, steps: int = 0):
        super().__init__()
        self.diffusion, self.roll_in, self.stride = diffusion, roll_in, stride
        self.share, self.steps = share, steps
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @property
    def kept(self) -> Diffusion:
        return self.diffusion

    def after_update(self) -> None:
        self.updates += 1

    def current_share(self) -> float:
        return self.share * min(1.0, self.updates.item() / self.steps) if self.steps else self.share

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """batch: "x" (B, *event), optionally "condition". The target is always the true data."""
        x0, condition = batch["x"], batch.get("condition")
        schedule = self.diffusion.schedule
        t = torch.randint(schedule.steps, (len(x0),), device=x0.device)
        x, eps = self.diffusion.noised(x0, t)
        rolled = torch.rand(len(x0), device=x0.device) < self.current_share()
        if rolled.any():
            own = self.rolled_in(x0, t, condition)
            x = torch.where(per_sample(rolled, x0), own, x)
            alpha, sigma = (per_sample(each, x0) for each in schedule.at(t))
            # Where the model stands is not where noised data would be: the noise that leads to the true data is this.
            eps = torch.where(per_sample(rolled, x0), (own - alpha * x0) / sigma, eps)
        return self.diffusion.error(x, x0, eps, t, condition), {}

    @torch.no_grad()
    def rolled_in(self, x0: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        """What the model reaches at levels t (B,), by deterministic steps from data noised some levels above."""
        model = self.diffusion
        last = model.schedule.steps - 1
        levels = [(t + k * self.stride).clamp(max=last) for k in range(self.roll_in, -1, -1)]
        x, _ = model.noised(x0, levels[0])
        for level, below in pairwise(levels):
            alpha, sigma = (per_sample(each, x) for each in model.schedule.at(level))
            output = model.denoiser(x, model.schedule.time(level), condition)
            data, noise = prediction(model.predicts, output, x, alpha, sigma)
            if model.limit is not None:
                data = data.clamp(-model.limit, model.limit)
                noise = (x - alpha * data) / sigma
            alpha, sigma = (per_sample(each, x) for each in model.schedule.at(below))
            x = alpha * data + sigma * noise
        return x
