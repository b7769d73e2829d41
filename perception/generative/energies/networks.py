"""Smooth networks that give an energy: their gradient in x drives Langevin chains, so they use SiLU and no norms."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

Network = Literal["mlp", "conv"]


def energy_network(
    shape: Sequence[int],
    outputs: int = 1,
    network: Network = "mlp",
    width: int = 128,
    depth: int = 3,
    spectral: bool = False,
) -> nn.Sequential:
    """Build a network (B, *shape) -> (B, outputs).

    Args:
        shape: shape of one sample; (C, H, W) for "conv".
        outputs: number of outputs.
        network: an MLP, or convolutions of which all but the first halve the size and double the channels.
        width: of the hidden layers, or channels of the first convolution.
        depth: number of hidden layers or convolutions.
        spectral: divide each weight by its largest singular value (Miyato et al. 2018).

    Raises:
        ValueError: if convolutions do not fit the size.
    """
    if network == "conv":
        if len(shape) != 3 or min(shape[1:]) < 2**depth:
            raise ValueError(f"{depth} convolutions do not fit {tuple(shape)}; take fewer, or the network mlp")
        channels = [shape[0], *(width * 2**level for level in range(depth))]
        layers: list[nn.Module] = [
            nn.Conv2d(a, b, 4 if level else 3, 2 if level else 1, 1)
            for level, (a, b) in enumerate(itertools.pairwise(channels))
        ]
        last = channels[-1] * math.prod(side // 2 ** (depth - 1) for side in shape[1:])
    else:
        layers = [nn.Linear(width if level else math.prod(shape), width) for level in range(depth)]
        last = width
    head: list[nn.Module] = [nn.Flatten()] if network == "mlp" else []
    body = [each for layer in layers for each in (normed(layer, spectral), nn.SiLU())]
    return nn.Sequential(*head, *body, nn.Flatten(), normed(nn.Linear(last, outputs), spectral))


def normed(layer: nn.Module, spectral: bool) -> nn.Module:
    return spectral_norm(layer) if spectral else layer
