"""The fully connected conditional random field with Gaussian pairs, by mean field (Kraehenbuehl & Koltun 2011).

    E(x) = sum_i unary_i(x_i) + sum_{i<j} k(i, j) mu(x_i, x_j)
    k(i, j) = w_1 exp(-|p_i - p_j|^2 / 2 a^2 - |I_i - I_j|^2 / 2 b^2) + w_2 exp(-|p_i - p_j|^2 / 2 c^2)

Mean field approximates p(x) ~ exp(-E(x)) by independent Q_i and minimises the variational free energy
F(Q) = E_Q[E(x)] - H(Q) >= -log Z. The sequential update never raises F. The parallel update can oscillate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs.compiled import compiled_exactly
from embodia.perception.structured.segmentation import BadLabels
from embodia.perception.structured.segmentation.gaussian_kernels import (
    Filter,
    appearance,
    exact_filter,
    normalized,
    positions,
)
from embodia.perception.structured.segmentation.permutohedral_lattice import lattice_filter

Array = NDArray[Any]
EXACT_PIXELS = 4096
"""The largest image that is filtered exactly by default."""


@dataclass(frozen=True)
class DenseCRFConfig:
    """Kernels of a dense CRF. Both are normalised symmetrically, so weights do not depend on the size of images."""

    appearance_weight: float = 4.0
    """Weight w_1 of the appearance kernel."""
    appearance_sigma: float = 15.0
    """Range a of the appearance kernel in space [pixels]."""
    colour_sigma: float = 0.15
    """Range b of the appearance kernel in colour; colours span 1."""
    smoothness_weight: float = 1.0
    """Weight w_2 of the smoothness kernel."""
    smoothness_sigma: float = 1.5
    """Range c of the smoothness kernel [pixels]."""
    iterations: int = 10
    """Number of parallel mean-field updates."""


def potts(classes: int) -> Tensor:
    """Return the Potts compatibility mu (K, K): 1 for different classes, 0 for equal ones."""
    return 1 - torch.eye(classes)


def filters(
    images: Tensor, config: DenseCRFConfig, fast: bool | None = None, normalize: bool = True
) -> tuple[Filter, Filter]:
    """Return the appearance and the smoothness filter of images (N, C, H, W), without their weights.

    Args:
        images: Colours that span 1.
        config: Ranges of the kernels.
        fast: Filter on the permutohedral lattice; by default for images of more than EXACT_PIXELS pixels.
        normalize: Use D^-1/2 K D^-1/2 instead of K.

    Raises:
        BadLabels: If the images are empty or not finite.
    """
    n, _, height, width = images.shape
    if not images.numel() or not torch.isfinite(images).all():
        raise BadLabels(f"images of shape {tuple(images.shape)} must have pixels, and all of them finite")
    make = lattice_filter if (height * width > EXACT_PIXELS if fast is None else fast) else exact_filter
    place = positions(height, width, config.smoothness_sigma).to(images)
    look = make(appearance(images, config.appearance_sigma, config.colour_sigma))
    smooth = make(place)
    if normalize:
        ones = images.new_ones(n, height * width, 1)
        return normalized(look, ones), normalized(smooth, ones)
    return look, smooth


def weighted(pair: tuple[Filter, Filter], config: DenseCRFConfig) -> Filter:
    """Return the filter of the sum of both kernels."""
    look, smooth = pair
    return lambda q: config.appearance_weight * look(q) + config.smoothness_weight * smooth(q)


def mean_field(
    unary: Tensor, apply: Filter, compatibility: Tensor, iterations: int = 10, damping: float = 0.0
) -> Tensor:
    """Return log Q (*B, N, K) after parallel updates, starting at Q = softmax(-unary).

    Args:
        unary: Energies (*B, N, K).
        apply: Filter of the weighted sum of the kernels.
        compatibility: mu (K, K), symmetric.
        iterations: Number of updates.
        damping: Share of the old Q that is kept, 0 to 1. Strong kernels oscillate without it.
    """
    log_q = (-unary).log_softmax(-1)
    for _ in range(iterations):
        new = (-unary - apply(log_q.exp()) @ compatibility).log_softmax(-1)
        log_q = (damping * log_q.exp() + (1 - damping) * new.exp()).log() if damping else new
    return log_q


def sequential_mean_field(
    unary: Array, kernel: Array, compatibility: Array, sweeps: int = 10, start: Array | None = None
) -> tuple[Array, Array]:
    """Update one pixel at a time.

    Args:
        unary: Energies (N, K).
        kernel: Weighted sum of the kernel matrices (N, N), symmetric with zero diagonal.
        compatibility: mu (K, K), symmetric.
        sweeps: Number of passes over all pixels.
        start: Q (N, K) to start from; softmax(-unary) by default.

    Returns:
        Q (N, K), and the free energies (sweeps + 1,) before the first and after each sweep; they never rise.
    """
    unary, kernel, compatibility = (np.ascontiguousarray(x, np.float64) for x in (unary, kernel, compatibility))
    q = torch.from_numpy(-unary).softmax(-1).numpy() if start is None else np.array(start, np.float64)
    energies = [free_energy(unary, kernel, compatibility, q)]
    for _ in range(sweeps):
        _sweep(q, unary, kernel, compatibility)
        energies.append(free_energy(unary, kernel, compatibility, q))
    return q, np.array(energies)


@compiled_exactly
def _sweep(q: Array, unary: Array, kernel: Array, compatibility: Array) -> None:
    n, k = q.shape
    received = np.empty(k)
    for i in range(n):
        received[:] = 0
        for j in range(n):
            for label in range(k):
                received[label] += kernel[i, j] * q[j, label]
        energy = unary[i] + compatibility @ received
        q[i] = np.exp(energy.min() - energy)
        q[i] /= q[i].sum()


def free_energy(unary: Array, kernel: Array, compatibility: Array, q: Array) -> float:
    """Return F(Q) [nats] of Q (N, K), for the arguments of `sequential_mean_field`."""
    pairs = 0.5 * (q * (kernel @ q @ compatibility)).sum()
    entropy = -(q * np.log(np.maximum(q, 1e-300))).sum()
    return float((q * unary).sum() + pairs - entropy)


def as_matrix(apply: Filter, pixels: int) -> Array:
    """Return the matrix (N, N) of the filter of one image, exactly symmetric."""
    matrix = apply(torch.eye(pixels, dtype=torch.float64)[None])[0].numpy()
    return (matrix + matrix.T) / 2


def refine(
    log_probabilities: Tensor, images: Tensor, config: DenseCRFConfig | None = None, fast: bool | None = None
) -> Tensor:
    """Refine the output of any segmenter by a dense CRF with the Potts compatibility.

    Args:
        log_probabilities: (N, K, H, W).
        images: (N, C, H, W), colours that span 1.
        config: Kernels.
        fast: As in `filters`.

    Returns:
        log Q (N, K, H, W).
    """
    config = config or DenseCRFConfig()
    pairs = weighted(filters(images, config, fast), config)
    return on_pixels(log_probabilities, lambda x: mean_field(-x, pairs, potts(x.shape[-1]).to(x), config.iterations))


def on_pixels(maps: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply (N, H * W, K) -> (N, H * W, K) to maps (N, K, H, W)."""
    return work(maps.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(maps.shape)
