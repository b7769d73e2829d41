"""Gaussian kernels between all pixels of an image, exp(-|f_i - f_j|^2 / 2) for features f, and exact filtering."""

from collections.abc import Callable

import torch
from torch import Tensor

Filter = Callable[[Tensor], Tensor]
"""Maps values (*B, N, K) to sum_{j != i} k(f_i, f_j) values_j, for features (*B, N, D) or (N, D)."""

LEAST = 0.1
"""Smallest normaliser. A pixel that resembles no other hears little, and errors of a fast filter are not magnified."""


def positions(height: int, width: int, sigma: float) -> Tensor:
    """Return the features of the smoothness kernel (H * W, 2): rows and columns, in units of `sigma` [pixels]."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns], -1).reshape(-1, 2) / sigma


def appearance(images: Tensor, sigma: float, sigma_colour: float) -> Tensor:
    """Return the features of the appearance kernel (N, H * W, 2 + C): position and colour.

    Args:
        images: (N, C, H, W).
        sigma: Range in space [pixels].
        sigma_colour: Range in colour, in the unit of the images.
    """
    n, _, height, width = images.shape
    place = positions(height, width, sigma).to(images)
    return torch.cat([place.expand(n, -1, -1), images.flatten(2).transpose(1, 2) / sigma_colour], -1)


def kernel_matrix(features: Tensor) -> Tensor:
    """Return the kernel (*B, N, N) of features (*B, N, D), with zeros on the diagonal: a pixel sends itself nothing."""
    squares = features.square().sum(-1)
    distances = squares[..., :, None] + squares[..., None, :] - 2 * features @ features.transpose(-1, -2)
    kernel = (-0.5 * distances.clamp(min=0)).exp_()
    kernel.diagonal(dim1=-2, dim2=-1).zero_()
    return kernel


def exact_filter(features: Tensor) -> Filter:
    """Filter by the whole kernel matrix: O(N^2) time and memory."""
    kernel = kernel_matrix(features.detach())
    return lambda values: kernel @ values


def normalized(apply: Filter, ones: Tensor) -> Filter:
    """Return the filter D^-1/2 K D^-1/2, which stays symmetric, where D = K 1, but at least LEAST.

    Args:
        apply: The filter K.
        ones: Ones (*B, N, 1).
    """
    scale = apply(ones).clamp(min=LEAST).rsqrt()
    return lambda values: scale * apply(scale * values)
