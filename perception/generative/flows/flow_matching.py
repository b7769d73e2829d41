"""Flow matching along straight lines from noise to data (Lipman et al. 2023; Liu et al. 2023)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from embodia.perception.generative import Condition, Denoiser, Generative
from embodia.perception.generative.conditions import check_rows
from embodia.perception.generative.denoisers.image_denoiser import Network, image_denoiser
from embodia.perception.generative.noise import check_finite, normal, per_sample


class FlowMatching(Generative):
    """Learns the velocity of x_t = (1 - t) x_0 + t noise, noise - x_0, and samples by following it back.

    Args:
        denoiser: predicts the velocity; time 0 is the data, 1 the noise.
        event: shape of one sample.
        drop: share of the conditions dropped in training.
        steps: midpoint steps of the default sampler, two evaluations each.
    """

    def __init__(self, denoiser: Denoiser, event: Sequence[int], drop: float = 0.1, steps: int = 25):
        super().__init__()
        self.denoiser, self.event, self.drop, self.steps = denoiser, tuple(event), drop, steps

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        x0, condition = batch["x"], batch.get("condition")
        noise, t = torch.randn_like(x0), torch.rand(len(x0), device=x0.device)
        drop = torch.rand(len(x0), device=x0.device) < self.drop if condition is not None else None
        found = self.denoiser(x0.lerp(noise, per_sample(t, x0)), t, condition, drop)
        return (found - (noise - x0)).square().mean(), {}

    def velocity(self, x: Tensor, t: float, condition: Condition | None) -> Tensor:
        return self.denoiser(x, x.new_full((len(x),), t), condition)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """n samples in `steps` midpoint steps."""
        if condition is not None:
            check_rows(condition, n)
        x = normal((n, *self.event), generator, next(self.denoiser.parameters()).device)
        count = steps or self.steps
        for number in range(count):
            t, h = 1 - number / count, 1 / count
            middle = x - h / 2 * self.velocity(x, t, condition)
            x = x - h * self.velocity(middle, t - h / 2, condition)
            check_finite(x, "the sample", number + 1)
        return x


def image_flow(
    shape: Sequence[int],
    classes: int = 0,
    network: Network = "unet",
    width: int = 32,
    depth: int = 3,
    steps: int = 25,
) -> FlowMatching:
    """Flow matching of pictures of -1 to 1, conditional on their class where they have classes.

    Args:
        shape: (C, H, W).
        classes: number of classes; 0 for an unconditional model.
        network: a U-Net, a transformer of 4x4 patches, or an MLP for tiny pictures.
        width: channels of the U-Net's first level, or width of a token or layer.
        depth: levels of the U-Net, each half the size of the one before; or number of blocks or layers.
        steps: midpoint steps of sampling.
    """
    return FlowMatching(image_denoiser(shape, classes, network, width, depth), shape, steps=steps)
