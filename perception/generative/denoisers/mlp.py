"""Denoiser for points and other short vectors."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.generative import Condition, Denoiser
from embodia.perception.generative.denoisers.conditioning import Conditioning


class MLPDenoiser(Denoiser):
    """Layers of one width; time and condition are added before each.

    Args:
        event: shape of one sample, flattened here.
        width: of the hidden layers.
        depth: number of hidden layers.
        embed: module of the condition, (B, ...) -> (B, width).
        outputs: numbers given instead of (B, *event), as (B, outputs).
    """

    def __init__(
        self,
        event: Sequence[int],
        width: int = 128,
        depth: int = 3,
        embed: nn.Module | None = None,
        outputs: int | None = None,
    ):
        super().__init__()
        size = math.prod(event)
        self.shape = tuple(event) if outputs is None else (outputs,)
        self.conditional = embed is not None
        self.conditioning = Conditioning(width, embed)
        self.layers = nn.ModuleList(nn.Linear(width if i else size, width) for i in range(depth))
        self.last = nn.Linear(width, size if outputs is None else outputs)

    def forward(
        self, x: Tensor, time: Tensor, condition: Condition | None = None, drop: Tensor | None = None
    ) -> Tensor:
        known, h = self.conditioning(time, condition, drop), x.flatten(1)
        for layer in self.layers:
            h = F.silu(layer(h) + known)
        return self.last(h).view(-1, *self.shape)
