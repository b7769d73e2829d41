"""Models that can be sampled: scores, diffusion, flows, adversarial networks; autoencoders and energies.

The promise of this folder. A sample has the shape `event`: (2,) a point, (C, H, W) a picture, (N, 4) boxes, (H, D) a
trajectory of H steps. The same code serves all of them.

A diffusion model is a noise schedule, a denoiser and a sampler, which are chosen independently. Guidance wraps the
denoiser; steering and inpainting run between the steps of a sampler.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

Condition = Tensor | Mapping[str, Tensor]
"""What samples are conditioned on: class labels int64 (B,), vectors (B, D), or a dict of such; one row per sample."""


class NonFinite(ArithmeticError):
    """A sample, score or energy is NaN or infinite; the message names the step."""


class Denoiser(nn.Module):
    """Network of a noisy sample and a time. What it predicts (noise, data, velocity, score) its user decides."""

    conditional: bool
    """Whether it takes a condition."""

    def forward(
        self, x: Tensor, time: Tensor, condition: Condition | None = None, drop: Tensor | None = None
    ) -> Tensor:
        """x (B, *event), time (B,) from 0 (data) to 1 (noise) -> (B, *event).

        Without a condition, and in the rows where `drop` (B,) bool is set, the network predicts unconditionally.
        """
        raise NotImplementedError("forward(x, time, condition, drop) -> (B, *event)")


class Generative(nn.Module):
    """A density that learns from samples and can be sampled."""

    event: tuple[int, ...]
    """Shape of one sample."""

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scalar loss, and the scalar tensors to log, of `{"x": (B, *event)}`, optionally with "condition".

        Random numbers come from torch's global generator.
        """
        raise NotImplementedError('loss({"x": ..., "condition": ...}) -> (scalar, {name: scalar})')

    def sample(self, n: int, condition: Condition | None = None, generator: Any = None) -> Tensor:
        """Return n samples (n, *event).

        Args:
            n: number of samples.
            condition: n rows; None samples unconditionally.
            generator: `torch.Generator` of all random numbers; None takes torch's global one.

        Raises:
            NonFinite: if a step gives NaN or infinity.
            ValueError: if the condition does not have n rows, or the model takes none.
        """
        raise NotImplementedError("sample(n, condition, generator) -> (n, *event)")


__all__ = ["Condition", "Denoiser", "Generative", "NonFinite"]
