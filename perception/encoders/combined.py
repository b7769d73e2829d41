"""Encoder of all keys of an observation: one encoder per key, fused to one token or concatenated as tokens."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception import Encoder, Obs
from embodia.perception.encoders.mission import MissionEncoder
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.perception.encoders.observation import WrongObservation, kind
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.encoders.symbol_grid import SymbolGridCNN

EncoderFor = Callable[[spaces.Dict], Encoder]
"""Builds an encoder for an observation space with only its own keys."""


def encoder_for(space: spaces.Dict, key: str) -> EncoderFor:
    """Return the default encoder class of a key.

    ResNet for images and depth, SymbolGridCNN for grids of symbols, MissionEncoder for tokens, MLPEncoder for vectors
    and discrete values.
    """
    what = kind(space[key])
    if what in ("image", "depth"):
        return ResNet
    if what == "symbols":
        return SymbolGridCNN
    return MissionEncoder if what == "tokens" else MLPEncoder


class CombinedEncoder(Encoder):
    """One encoder per key, in parallel.

    Args:
        space: Observation space.
        dim: Width of a token.
        encoders: {key: builder} that replace the choice of `encoder_for`.
        fuse: True maps all tokens to one with a linear layer, (*B, 1, dim). False projects every token to `dim` and
            keeps them all in the order of the keys, (*B, num_tokens, dim).
        keys: Keys to read; by default all.

    Raises:
        ValueError: If `encoders` names a key that is not read.
    """

    def __init__(
        self,
        space: spaces.Dict,
        dim: int = 256,
        encoders: Mapping[str, EncoderFor] | None = None,
        fuse: bool = True,
        keys: Sequence[str] | None = None,
    ):
        super().__init__(space)
        self.keys = tuple(keys) if keys is not None else tuple(space.keys())
        chosen = {key: encoder_for(space, key) for key in self.keys} | dict(encoders or {})
        if unknown := set(chosen) - set(self.keys):
            raise ValueError(f"encoders for keys that are not read: {sorted(unknown)}; the keys are {self.keys}")
        self.parts = nn.ModuleDict({key: chosen[key](spaces.Dict({key: space[key]})) for key in self.keys})
        self.dim, self.fuse = dim, fuse
        tokens = [(part.num_tokens, part.dim) for part in self._encoders()]
        self.num_tokens = 1 if fuse else sum(n for n, _ in tokens)
        self.project = nn.ModuleList(
            [nn.Linear(sum(n * width for n, width in tokens), dim)]
            if fuse
            else [nn.Linear(width, dim) for _, width in tokens]
        )
        self.norm = nn.LayerNorm(dim)

    def _encoders(self) -> list[Encoder]:
        return [cast(Encoder, self.parts[key]) for key in self.keys]  # ModuleDict is typed as Module

    def forward(self, obs: Obs) -> Tensor:
        tokens = [part(obs) for part in self._encoders()]  # each (*B, n, width)
        batches = {key: tuple(token.shape[:-2]) for key, token in zip(self.keys, tokens)}
        if any(each != batches[self.keys[0]] for each in batches.values()):
            raise WrongObservation(f"batch axes differ between the keys: {batches}")
        if self.fuse:
            return self.norm(self.project[0](torch.cat([token.flatten(-2) for token in tokens], -1)))[..., None, :]
        return self.norm(torch.cat([project(token) for project, token in zip(self.project, tokens)], -2))
