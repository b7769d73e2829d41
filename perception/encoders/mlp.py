"""Multilayer perceptron encoder of vectors and discrete observations."""

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
    """Build an MLP: Linear, LayerNorm and SiLU per hidden width, then a linear layer if `outputs` is given.

    Args:
        inputs: Width of the input.
        hidden: Widths of the hidden layers.
        outputs: Width of the final linear layer; None omits it.
        layer: Builds a hidden layer from (inputs, width) instead of Linear, LayerNorm and SiLU.
    """
    modules: list[nn.Module] = []
    for width in hidden:
        modules += [layer(inputs, width)] if layer else [nn.Linear(inputs, width), nn.LayerNorm(width), nn.SiLU()]
        inputs = width
    if outputs is not None:
        modules.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*modules)


def zeroed(net: nn.Sequential) -> nn.Sequential:
    """Set the net's last linear layer to zero, so that its initial output is 0. Returns the net."""
    last = net[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return net


def classes(space: Space[Any]) -> list[tuple[int, int]]:
    """Return (start, n) of each variable of a discrete space; [] for other spaces."""
    if kind(space) != "discrete" or isinstance(space, spaces.MultiBinary):
        return []
    if isinstance(space, spaces.Discrete):
        return [(int(space.start), int(space.n))]
    if isinstance(space, spaces.MultiDiscrete):
        return [(int(start), int(n)) for start, n in zip(space.start.ravel(), space.nvec.ravel())]
    assert isinstance(space, spaces.Box)
    return [(int(low), int(high) - int(low) + 1) for low, high in zip(space.low, space.high)]


def flat_width(space: Space[Any]) -> int:
    """Return the length of the vector that `as_vector` makes of one element of the space."""
    if variables := classes(space):
        return sum(n for _, n in variables)
    return int(np.prod(space.shape or (1,)))


def as_vector(value: Tensor, space: Space[Any]) -> Tensor:
    """Flatten values (N, *shape) to (N, flat_width); classes become one-hot, so a linear layer embeds them."""
    if variables := classes(space):
        columns = value.reshape(value.shape[0], -1).long().unbind(1)
        return torch.cat([F.one_hot(column - start, n) for column, (start, n) in zip(columns, variables)], 1).float()
    return value.reshape(value.shape[0], -1).float()


class MLPEncoder(Encoder):
    """Concatenate all vectors and discrete observations and apply an MLP: one token (*B, 1, dim).

    Args:
        space: Observation space with vectors or discrete observations.
        dim: Width of the token.
        hidden: Widths of the hidden layers.
        keys: Keys to read; by default all vectors and discrete observations.
    """

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
