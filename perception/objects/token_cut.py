"""TokenCut: the most salient object by a normalised cut of patch features (Wang et al. 2022)."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from embodia.perception.encoders.image_encoder import PatchEncoder
from embodia.perception.objects.image_discovery import ImageDiscovery, pooled
from embodia.perception.objects.normalized_cut import second_eigenvector

Array = NDArray[Any]


class Cut(NamedTuple):
    """One object on a grid of patches."""

    mask: NDArray[np.bool_]  # (rows, columns): the connected component of the seed
    vector: Array  # (rows, columns): the second eigenvector, positive in the foreground


def patch_graph(features: Array, threshold: float, epsilon: float) -> Array:
    """Affinities (P, P) of features (P, D): 1 if the cosine is above `threshold`, else `epsilon` (equation 4).

    A feature of zeros is connected to no other.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return np.where(unit @ unit.T > threshold, 1.0, epsilon)


def token_cut(features: Array, grid: tuple[int, int], threshold: float = 0.2, epsilon: float = 1e-5) -> Cut:
    """Find the most salient object.

    The second eigenvector splits the patches at its mean. The object is the connected component around the entry of
    largest magnitude, on the same side.

    Args:
        features: Patch features (rows * columns, D).
        grid: (rows, columns) of patches.
        threshold: Cosine similarity above which two patches are connected.
        epsilon: Affinity of patches that are not connected.
    """
    vector = second_eigenvector(patch_graph(features, threshold, epsilon))
    return Cut(around((vector > vector.mean()).reshape(grid), int(vector.argmax())), vector.reshape(grid))


def around(side: Array, seed: int) -> NDArray[np.bool_]:
    """Return the 4-connected component of side (rows, columns) bool that contains patch `seed`."""
    parts, _ = ndimage.label(side)
    return parts == parts.ravel()[seed]


def patch_keys_of(encoder: PatchEncoder, images: Tensor, centred: bool, usual: Array | None = None) -> Array:
    """Return the encoder's patch keys (N, P, D), float64 on the CPU.

    `usual` (P, D) is subtracted first; with `centred`, each image's mean key is subtracted next.
    """
    with torch.no_grad():
        keys = encoder.patch_keys(images).double().cpu().numpy()
    keys = keys if usual is None else keys - usual
    return keys - keys.mean(1, keepdims=True) if centred else keys


def pixels(masks: Array, encoder: PatchEncoder, images: Tensor) -> Tensor:
    """Upsample patch masks (N, K, rows, columns) to pixels, (N, K, H, W) float."""
    fine = (
        torch.from_numpy(masks)
        .to(images)
        .repeat_interleave(encoder.patch_size, 2)
        .repeat_interleave(encoder.patch_size, 3)
    )
    return fine[:, :, : images.shape[2], : images.shape[3]]


class TokenCut(ImageDiscovery):
    """The most salient object of an image, and the background. It trains nothing beyond the encoder.

    Args:
        encoder: Patch encoder. The cut uses its keys; the tokens are pooled from its patches.
        threshold: Cosine similarity above which two patches are connected.
        epsilon: Affinity of patches that are not connected.
        centred: Subtract each image's mean key before the cut. Not in the paper. Keys of small networks have a large
            common part (mean cosine 0.9), so every pair would pass the paper's thresholds.
        usual: (P, D) average key at each patch over other images, subtracted first. Not in the paper. In frames of an
            upright camera, ceiling and floor always differ, and the cut would find only that.
    """

    def __init__(
        self,
        encoder: PatchEncoder,
        threshold: float = 0.2,
        epsilon: float = 1e-5,
        centred: bool = False,
        usual: Array | None = None,
    ):
        super().__init__(encoder.space, encoder.keys)
        self.encoder, self.threshold, self.epsilon, self.centred = encoder, threshold, epsilon, centred
        self.usual = usual
        self.num_tokens, self.dim = 2, encoder.dim

    def cuts(self, images: Tensor) -> list[Cut]:
        """Return one cut per image (N, C, H, W)."""
        keys = patch_keys_of(self.encoder, images, self.centred, self.usual)
        return [token_cut(features, self.encoder.grid, self.threshold, self.epsilon) for features in keys]

    def segment(self, images: Tensor) -> Tensor:
        """Return masks of the object, then of the background."""
        found = np.stack([cut.mask for cut in self.cuts(images)])
        return pixels(np.stack([found, ~found], 1), self.encoder, images)

    def encode(self, images: Tensor) -> Tensor:
        return pooled(self.encoder.patch_map(images), self.segment(images))
