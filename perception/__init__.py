"""Perception: encoders, self-supervised learning, object discovery and scores.

This module defines the contracts of the folder. `perception` imports no other folder of this project: observations
arrive as a dict of arrays, described by a `gymnasium.spaces.Dict`.
"""

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from torch import Tensor, nn

Obs = Mapping[str, Tensor]
"""Batched observations by key: images uint8 (*B, H, W, C), vectors (*B, D), tokens int64 (*B, L)."""


class Encoder(nn.Module):
    """Base class of networks that map observations to tokens.

    A global vector is one token, a patch grid is N tokens, object slots are K tokens. An encoder is built from the
    observation space that it reads. Images keep the environment's format, uint8 and channels last; the encoder scales
    and transposes them. `*B` stands for any number of batch axes (batch, or time and batch); every element is encoded
    independently.

    Args:
        space: Observation space.
    """

    keys: tuple[str, ...]
    """Keys of the observations that the encoder reads."""
    num_tokens: int
    """Number of tokens per observation."""
    dim: int
    """Width of a token."""

    def __init__(self, space: spaces.Dict):
        super().__init__()
        self.space = space

    def forward(self, obs: Obs) -> Tensor:
        """Encode observations.

        Args:
            obs: Observations with batch axes *B, as described by `space`.

        Returns:
            Tokens (*B, num_tokens, dim), float32 for every input type.

        Raises:
            WrongObservation: If a key is missing or has another shape than in `space`.
        """
        raise NotImplementedError("forward(obs) -> (*B, num_tokens, dim)")


class SelfSupervised(Encoder):
    """Base class of self-supervised learners. As an encoder, it gives the tokens of the encoder under training."""

    encoder: Encoder
    """The encoder to train."""
    steady: Mapping[str, float] = {}
    """Submodules with a constant learning rate: {name: factor on the base learning rate}."""

    @property
    def kept(self) -> Encoder:
        """The encoder to save after training: `encoder`, unless a method keeps a better copy (a momentum teacher)."""
        return self.encoder

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the training loss.

        Args:
            batch: Observations under "obs", (*B, ...); methods that use time also read "first" (T, B).

        Returns:
            The scalar loss, and the values to log (losses, collapse indicators), each a scalar tensor.
        """
        raise NotImplementedError("loss(batch) -> (scalar, {name: scalar})")

    def after_update(self) -> None:
        """Hook that runs after every optimizer step, for example to update a momentum teacher. The default does
        nothing.
        """


class ObjectDiscovery(Encoder):
    """Base class of encoders whose tokens are objects."""

    def masks(self, obs: Obs) -> Tensor:
        """Return soft object masks (*B, num_tokens, H, W) of observations (*B, ...). They sum to 1 over the tokens."""
        raise NotImplementedError("masks(obs) -> (*B, num_tokens, H, W)")


__all__ = ["Encoder", "ObjectDiscovery", "Obs", "SelfSupervised"]
