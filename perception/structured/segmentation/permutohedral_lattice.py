"""Fast Gaussian filtering on the permutohedral lattice (Adams, Baek & Davis 2010), in O(N D^2) for N features of D.

The lattice is the projection of the grid (D + 1) Z^(D+1) along (1, ..., 1). Values are splatted on the corners of the
simplex around each feature with barycentric weights, blurred along the D + 1 axes, and sliced with the same weights.
All three are sparse matrices.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from embodia.perception.structured.segmentation.gaussian_kernels import Filter

Array = NDArray[Any]


class PermutohedralLattice:
    """The lattice of features (N, D), D >= 1, whose kernel is exp(-|f_i - f_j|^2 / 2).

    `filter` approximates the kernel matrix times values, each value's own share included. The lattice has only the
    corners around features, so a part of each kernel is lost where features are sparse; `normalized` corrects for it.

    Raises:
        ValueError: If a feature is not finite, or features spread so far that corners cannot be numbered.
    """

    def __init__(self, features: Array):
        if not np.isfinite(features).all():
            raise ValueError("a feature is NaN or infinite; correct the image")
        n, d = features.shape
        corners, weights = enclosing_simplex(features)  # (N, D + 1, D), (N, D + 1)
        low = corners.min((0, 1)) - (d + 1)  # leaves room for the neighbours
        spans = (corners.max((0, 1)) + (d + 2) - low).tolist()
        steps = [int(np.prod(spans[k + 1 :], dtype=object)) for k in range(d)]
        if steps[0] * spans[0] >= 2**63:
            raise ValueError(f"features spread over {spans} lattice steps, too many; use wider kernels")
        numbers = (corners - low) @ np.array(steps, np.int64)
        known, place = np.unique(numbers, return_inverse=True)
        rows = np.repeat(np.arange(n), d + 1)
        self.slice = csr_matrix((weights.ravel(), (rows, place.ravel())), (n, len(known)))
        self.splat = self.slice.T.tocsr()
        self.blurs = [blur(known, sum(steps) - (d + 1) * (steps[axis] if axis < d else 0)) for axis in range(d + 1)]
        self.scale = (4 * np.pi / 3) ** (d / 2) * np.sqrt(d + 1) / 2 ** (d + 1)  # the integral of the Gaussian

    def filter(self, values: Array, backwards: bool = False) -> Array:
        """Filter values (N, K). `backwards` applies the transposed matrix: the blurs in the other order."""
        at_corners = self.splat @ values
        for matrix in self.blurs[::-1] if backwards else self.blurs:
            at_corners = matrix @ at_corners
        return self.scale * (self.slice @ at_corners)


def enclosing_simplex(features: Array) -> tuple[Array, Array]:
    """Return the corners around each feature, the first D of their D + 1 integer coordinates (N, D + 1, D), and the
    barycentric weights (N, D + 1).
    """
    n, d = features.shape
    index = np.arange(1, d + 1)
    scaled = features * ((d + 1) * np.sqrt(2 / 3) / np.sqrt(index * (index + 1)))
    elevated = np.zeros((n, d + 1))
    elevated[:, :d] = np.cumsum(scaled[:, ::-1], 1)[:, ::-1]
    elevated[:, 1:] -= index * scaled
    nearest = np.round(elevated / (d + 1)) * (d + 1)  # a corner of remainder 0, if its coordinates sum to 0
    excess = np.round(nearest.sum(1, keepdims=True) / (d + 1)).astype(np.int64)
    order = np.argsort(-(elevated - nearest), axis=1, kind="stable")
    rank = np.argsort(order, axis=1) + excess
    wrapped = (rank < 0).astype(np.int64) - (rank > d)
    rank, nearest = rank + (d + 1) * wrapped, nearest + (d + 1) * wrapped
    offset = (elevated - nearest) / (d + 1)
    weights, rows = np.zeros((n, d + 2)), np.arange(n)[:, None]
    weights[rows, d - rank] += offset
    weights[rows, d + 1 - rank] -= offset
    weights[:, 0] += 1 + weights[:, d + 1]
    remainder = np.arange(d + 1)[:, None]
    canonical = np.where(np.arange(d + 1) <= d - remainder, remainder, remainder - (d + 1))  # (D + 1, D + 1)
    corners = nearest.astype(np.int64)[:, None] + canonical[:, rank].transpose(1, 0, 2)
    return corners[..., :d], weights[:, : d + 1]


def blur(known: Array, step: int) -> csr_matrix:
    """Return the matrix that adds half of both neighbours along one axis, for sorted numbers of corners (M,)."""
    m = len(known)
    entries = [(np.ones(m), np.arange(m), np.arange(m))]
    for wanted in (known - step, known + step):
        found = np.minimum(np.searchsorted(known, wanted), m - 1)
        there = np.flatnonzero(known[found] == wanted)
        entries.append((np.full(len(there), 0.5), there, found[there]))
    values, rows, columns = (np.concatenate(each) for each in zip(*entries))
    return csr_matrix((values, (rows, columns)), (m, m))


class _Filtering(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, lattices: list[PermutohedralLattice]) -> Tensor:
        ctx.lattices = lattices
        return filtered(values, lattices, False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return filtered(gradients[0], ctx.lattices, True), None


def filtered(values: Tensor, lattices: list[PermutohedralLattice], backwards: bool) -> Tensor:
    flat = values.detach().cpu().double().numpy()
    lattices = lattices * len(flat) if len(lattices) == 1 else lattices
    found = np.stack([lattice.filter(each, backwards) for lattice, each in zip(lattices, flat, strict=True)])
    return torch.from_numpy(found).to(values)


def lattice_filter(features: Tensor) -> Filter:
    """Filter values (B, N, K) by the lattices of features (B, N, D) or by that of (N, D), without each value's own
    share. Differentiable in the values.
    """
    numbers = features.detach().cpu().double().numpy()
    lattices = [PermutohedralLattice(each) for each in numbers.reshape(-1, *numbers.shape[-2:])]
    return lambda values: _Filtering.apply(values, lattices) - values
