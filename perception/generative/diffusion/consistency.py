"""Consistency models: one step from noise to data, distilled from a teacher or trained alone (Song et al. 2023)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from embodia.perception.generative import Condition, Denoiser, Generative
from embodia.perception.generative.conditions import check_rows
from embodia.perception.generative.diffusion.edm import EDM, NoiseRange, heun_steps
from embodia.perception.generative.noise import noise_like, normal, per_sample
from embodia.perception.self_supervision.teacher import Teacher


class Consistency(Generative):
    """f(x, sigma) = c_skip x + c_out F(c_in x, sigma) leads from any point of an ODE path to its data.

    With a teacher the point one level below is reached by a step of the teacher's ODE (distillation, algorithm 2);
    without, it is the same data with less of the same noise (training, algorithm 3). The boundary condition
    f(x, sigma_min) = x holds by construction (equation 5).

    Args:
        denoiser: F.
        event: shape of one sample.
        noise: range of noise levels.
        levels: N, the levels between which consistency is asked for. Training alone rises to it from 2.
        teacher: a trained EDM, which stays as it is.
        momentum: of the target network, a moving average of this one.
        steps: updates over which training alone raises N; 0 has N at once.
        huber: c of the pseudo-Huber metric sqrt(d^2 + c^2) - c; 0 is the squared distance.
    """

    updates: Tensor

    def __init__(
        self,
        denoiser: Denoiser,
        event: Sequence[int],
        noise: NoiseRange | None = None,
        levels: int = 18,
        teacher: EDM | None = None,
        momentum: float = 0.95,
        steps: int = 0,
        huber: float = 0.0,
    ):
        super().__init__()
        self.denoiser, self.event, self.noise = denoiser, tuple(event), noise or NoiseRange()
        self.levels, self.steps, self.huber = levels, steps, huber
        self.teacher = teacher.requires_grad_(False) if teacher is not None else None
        self.target = Teacher(denoiser, momentum)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def after_update(self) -> None:
        self.target.follow(self.denoiser)
        self.updates += 1

    def current_levels(self) -> int:
        """N at this point of training (appendix C: it grows as the square root of training)."""
        if not self.steps:
            return self.levels
        progress = min(1.0, self.updates.item() / self.steps)
        return math.ceil(math.sqrt(4 + progress * (self.levels**2 - 4)))

    def consistent(self, x: Tensor, sigma: Tensor, condition: Condition | None = None, target: bool = False) -> Tensor:
        """f: x (B, *event) at noise levels sigma (B,) -> data; `target` asks the moving average."""
        network = self.target.module if target else self.denoiser
        level, data = per_sample(sigma, x), self.noise.sigma_data
        above = level - self.noise.sigma_min
        skip, total = data**2 / (above**2 + data**2), (level**2 + data**2).sqrt()
        return skip * x + above * data / total * network(x / total, self.noise.time(sigma), condition)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        x0, condition = batch["x"], batch.get("condition")
        sigmas = self.noise.levels(self.current_levels()).to(x0)
        i = torch.randint(len(sigmas) - 1, (len(x0),), device=x0.device)
        low, high = sigmas[i], sigmas[i + 1]
        noise = torch.randn_like(x0)
        x = x0 + per_sample(high, x0) * noise
        with torch.no_grad():
            below = x0 + per_sample(low, x0) * noise if self.teacher is None else self.step(x, high, low, condition)
            wanted = self.consistent(below, low, condition, target=True)
        square = (self.consistent(x, high, condition) - wanted).square().flatten(1)
        if self.huber:
            return ((square.sum(1) + self.huber**2).sqrt() - self.huber).mean(), {}
        return square.mean(), {}

    def step(self, x: Tensor, high: Tensor, low: Tensor, condition: Condition | None) -> Tensor:
        """Where the teacher's ODE leads."""
        teacher = self.teacher
        assert teacher is not None
        return heun_steps(lambda x, sigma: teacher.denoise(x, sigma, condition), x, high, low)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
        sigmas: Sequence[float] = (),
    ) -> Tensor:
        """n samples in one step, and one more for each of `sigmas`, to which data are noised again (algorithm 1)."""
        if condition is not None:
            check_rows(condition, n)
        first, device = self.noise.sigma_max, next(self.denoiser.parameters()).device
        x = self.consistent(
            first * normal((n, *self.event), generator, device), torch.full((n,), first, device=device), condition
        )
        for sigma in sigmas:
            noised = x + (sigma**2 - self.noise.sigma_min**2) ** 0.5 * noise_like(x, generator)
            x = self.consistent(noised, torch.full((n,), sigma, device=device), condition)
        return x
