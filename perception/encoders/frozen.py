"""An encoder that stays as it is: no gradient, no running statistics, no dropout."""

import torch
from torch import Tensor

from embodia.perception import Encoder, Obs


class Frozen(Encoder):
    """Gives the tokens of `encoder`, which nothing that happens to this module in training changes."""

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
