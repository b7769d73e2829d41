"""Multilayer perceptron over vectors and discrete observations."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import Space, spaces
from torch import Tensor, nn

from embodia.perception import Encoder, Obs
from embodia.perception.encoders.observation import keys_of, kind, take


def mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int | None = None,
    layer: Callable[[int, int], nn.Module] | None = None,
) -> nn.Sequential:
    """Linear, LayerNorm, SiLU per hidden width, then a bare linear layer where `outputs` is given.

    `layer(inputs, width)` makes other hidden layers, each one module.
    """
    modules: list[nn.Module] = []
    for width in hidden:
        modules += [layer(inputs, width)] if layer else [nn.Linear(inputs, width), nn.LayerNorm(width), nn.SiLU()]
        inputs = width
    if outputs is not None:
        modules.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*modules)


def zeroed(net: nn.Sequential) -> nn.Sequential:
    """The same net, its last, linear layer at zero: it says nothing at first."""
    last = net[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return net


def classes(space: Space[Any]) -> list[tuple[int, int]]:
    """(start, n) of every variable of a discrete space; [] for what is not made of classes."""
    if kind(space) != "discrete" or isinstance(space, spaces.MultiBinary):
        return []
    if isinstance(space, spaces.Discrete):
        return [(int(space.start), int(space.n))]
    if isinstance(space, spaces.MultiDiscrete):
        return [(int(start), int(n)) for start, n in zip(space.start.ravel(), space.nvec.ravel())]
    assert isinstance(space, spaces.Box)
    return [(int(low), int(high) - int(low) + 1) for low, high in zip(space.low, space.high)]


def flat_width(space: Space[Any]) -> int:
    """Numbers in the vector that `as_vector` makes of one element of the space."""
    if variables := classes(space):
        return sum(n for _, n in variables)
    return int(np.prod(space.shape or (1,)))


def as_vector(value: Tensor, space: Space[Any]) -> Tensor:
    """(N, *shape) -> (N, flat_width): classes one-hot (a linear layer then embeds them), all else flattened."""
    if variables := classes(space):
        columns = value.reshape(len(value), -1).long().unbind(1)
        return torch.cat([F.one_hot(column - start, n) for column, (start, n) in zip(columns, variables)], 1).float()
    return value.reshape(len(value), -1).float()


class MLPEncoder(Encoder):
    """All vectors and discrete observations, concatenated, through an MLP: one token (*B, 1, dim)."""

    def __init__(
        self, space: spaces.Dict, dim: int = 64, hidden: Sequence[int] = (64,), keys: Sequence[str] | None = None
    ):
        super().__init__(space)
        self.keys = tuple(keys) if keys is not None else keys_of(space, ("vector", "discrete"), "MLPEncoder")
        self.num_tokens, self.dim = 1, dim
        self.net = mlp(sum(flat_width(space[key]) for key in self.keys), hidden, dim)

    def forward(self, obs: Obs) -> Tensor:
        taken = [take(obs, self.space, key) for key in self.keys]
        vector = torch.cat([as_vector(value, self.space[key]) for key, (value, _) in zip(self.keys, taken)], 1)
        return self.net(vector).view(*taken[0][1], 1, self.dim)
