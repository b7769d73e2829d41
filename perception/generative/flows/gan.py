"""Generative adversarial network (Goodfellow et al. 2014), with a gradient penalty on data (Mescheder et al. 2018)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.generative import Condition, Generative
from embodia.perception.generative.noise import flat_sum, normal


def net(inputs: int, width: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Linear(inputs, width), nn.LeakyReLU(0.2)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class GAN(Generative):
    """A generator that a discriminator cannot tell from data. It has optimizers of its own, so `fit` calls `update`.

    Args:
        event: shape of one sample.
        latent: numbers of noise that a sample is made of.
        width: of both networks.
        learning_rate: of both; the schedule of `fit` scales it.
        penalty: weight of the squared gradient at data, gamma / 2 (R1).
    """

    def __init__(
        self,
        event: Sequence[int],
        latent: int = 8,
        width: int = 128,
        learning_rate: float = 1e-3,
        penalty: float = 0.1,
    ):
        super().__init__()
        self.event, self.latent, self.penalty = tuple(event), latent, penalty
        size = math.prod(event)
        self.generator, self.discriminator = net(latent, width, size), net(size, width, 1)
        self.optimizers = [
            torch.optim.Adam(each.parameters(), learning_rate, betas=(0.0, 0.99))
            for each in (self.generator, self.discriminator)
        ]

    @property
    def kept(self) -> nn.Module:
        return self.generator

    def update(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """One step of the discriminator, then one of the generator."""
        x = batch["x"]
        judged, penalty = self.discriminator_loss(x)
        step(self.optimizers[1], judged + penalty)
        fooled = F.softplus(-self.discriminator(self.made(len(x)))).mean()
        step(self.optimizers[0], fooled)
        numbers = {"loss": fooled, "discriminator_loss": judged, "gradient_penalty": penalty}
        return {name: value.detach() for name, value in numbers.items()}

    def discriminator_loss(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(cross-entropy of data against samples, gradient penalty)."""
        x = x.flatten(1).detach().requires_grad_()
        true = self.discriminator(x)
        (slope,) = torch.autograd.grad(true.sum(), x, create_graph=True)
        judged = F.softplus(-true).mean() + F.softplus(self.discriminator(self.made(len(x)).detach())).mean()
        return judged, self.penalty * flat_sum(slope.square()).mean()

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's loss on a batch, for evaluation; `update` trains."""
        return F.softplus(-self.discriminator(self.made(len(batch["x"])))).mean(), {}

    def made(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, numbers of an event)."""
        return self.generator(normal((n, self.latent), generator, next(self.generator.parameters()).device))

    @torch.no_grad()
    def sample(self, n: int, condition: Condition | None = None, generator: torch.Generator | None = None) -> Tensor:
        if condition is not None:
            raise ValueError("this generator takes no condition")
        return self.made(n, generator).view(n, *self.event)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
