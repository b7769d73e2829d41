"""What is seen: encoders, self-supervision, object discovery, structured outputs, mapping.

The promise of this folder. It imports no other folder of this project: observations arrive as a dict of arrays,
described by a `gymnasium.spaces.Dict`.
"""

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from torch import Tensor, nn

Obs = Mapping[str, Tensor]
"""Observations as the environment names them, batched: images uint8 (*B, H, W, C), vectors (*B, D),
tokens int64 (*B, L)."""


class Encoder(nn.Module):
    """Observations to tokens: a global vector is one token, a patch grid is N, object slots are K.

    An encoder is built from the observation space it reads and says what it gives. Images come as the environments
    emit them, uint8 and channels last; the encoder scales and transposes. `*B` is any number of batch axes (batch;
    time and batch), none of them mixed with another.
    """

    keys: tuple[str, ...]
    """The observation keys it reads."""
    num_tokens: int
    dim: int

    def __init__(self, space: spaces.Dict):
        super().__init__()
        self.space = space

    def forward(self, obs: Obs) -> Tensor:
        """(*B, num_tokens, dim), float32 whatever the inputs' types."""
        raise NotImplementedError("forward(obs) -> (*B, num_tokens, dim)")


class SelfSupervised(Encoder):
    """An encoder that teaches itself."""

    encoder: Encoder
    """What is trained."""
    steady: Mapping[str, float] = {}
    """Submodules whose learning rate is not annealed, each with how many times as high as the others' it is."""

    @property
    def kept(self) -> Encoder:
        """What is kept after training: the trained encoder, unless a method holds a better copy of it."""
        return self.encoder

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss and the numbers to log (losses, collapse indicators), each a scalar tensor."""
        raise NotImplementedError("loss(batch) -> (scalar, {name: scalar})")

    def after_update(self) -> None:
        """What follows an optimizer step (a momentum teacher moves); nothing by default."""


class ObjectDiscovery(Encoder):
    """An encoder whose tokens are objects."""

    def masks(self, obs: Obs) -> Tensor:
        """(*B, num_tokens, H, W) soft masks that sum to 1 over the tokens."""
        raise NotImplementedError("masks(obs) -> (*B, num_tokens, H, W)")


__all__ = ["Encoder", "ObjectDiscovery", "Obs", "SelfSupervised"]
