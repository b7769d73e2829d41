"""Wrapper that freezes an encoder: no gradients, fixed running statistics, no dropout."""

import torch
from torch import Tensor

from embodia.perception import Encoder, Obs


class Frozen(Encoder):
    """Encoder whose weights and statistics training does not change. It gives the tokens of `encoder`."""

    def __init__(self, encoder: Encoder):
        super().__init__(encoder.space)
        self.keys, self.num_tokens, self.dim = encoder.keys, encoder.num_tokens, encoder.dim
        self.encoder = encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, obs: Obs) -> Tensor:
        with torch.no_grad():
            return self.encoder(obs)
