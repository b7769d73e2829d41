"""Convolutional encoder and decoder of pictures, mirror images of each other.

They are normalised per batch: without it, the code holds hardly more than the mean brightness for hundreds of updates.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def conv_encoder(shape: Sequence[int], outputs: int, width: int = 32, depth: int = 3) -> nn.Sequential:
    """Build a network from pictures (N, C, H, W) to vectors (N, outputs).

    Args:
        shape: (C, H, W). H and W are multiples of 2^depth.
        outputs: Length of the vector.
        width: Channels of the first stage; each further stage has twice as many, at most 4 * width.
        depth: Number of 4x4 convolutions with stride 2.

    Raises:
        ValueError: If the size of the picture does not fit, or there is no stage.
    """
    rows, columns = inner_size(shape, depth)
    channels = [shape[0], *stages(width, depth)]
    layers: list[nn.Module] = []
    for inputs, outs in pairwise(channels):
        layers += [nn.Conv2d(inputs, outs, 4, 2, 1, bias=False), nn.BatchNorm2d(outs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * rows * columns, outputs))


def conv_decoder(shape: Sequence[int], dim: int, width: int = 32, depth: int = 3) -> nn.Sequential:
    """Build a network from codes (N, dim) to pictures (N, C, H, W) of any value; arguments as of `conv_encoder`."""
    rows, columns = inner_size(shape, depth)
    channels = [*reversed(stages(width, depth)), shape[0]]
    layers: list[nn.Module] = [nn.Linear(dim, channels[0] * rows * columns), nn.Unflatten(1, (-1, rows, columns))]
    for inputs, outs in pairwise(channels):
        layers += [nn.BatchNorm2d(inputs), nn.ReLU(), nn.ConvTranspose2d(inputs, outs, 4, 2, 1)]
    return nn.Sequential(*layers)


def stages(width: int, depth: int) -> list[int]:
    return [width * min(2**i, 4) for i in range(depth)]


def inner_size(shape: Sequence[int], depth: int) -> tuple[int, int]:
    """Return rows and columns of the innermost feature map."""
    _, height, width = shape
    if depth < 1:
        raise ValueError(f"a convolutional autoencoder needs a depth of 1 or more; got {depth}")
    if height % 2**depth or width % 2**depth:
        raise ValueError(
            f"{depth} convolutions with stride 2 need image sides that are multiples of {2**depth}; got "
            f"{height}x{width}; choose another image size or depth"
        )
    return height // 2**depth, width // 2**depth
