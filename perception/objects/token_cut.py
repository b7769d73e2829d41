"""TokenCut: the object is the side of a normalised cut of patch features that stands out most (Wang et al. 2022)."""

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
    """One object of a grid of patches."""

    mask: NDArray[np.bool_]  # (rows, columns): connected, around the seed
    vector: Array  # (rows, columns): the second eigenvector, its foreground positive


def patch_graph(features: Array, threshold: float, epsilon: float) -> Array:
    """(P, D) -> (P, P): 1 where the cosine is above `threshold`, else `epsilon` (equation 4 of the paper).

    A feature of zeros is like no other.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return np.where(unit @ unit.T > threshold, 1.0, epsilon)


def token_cut(features: Array, grid: tuple[int, int], threshold: float = 0.2, epsilon: float = 1e-5) -> Cut:
    """Patch features (rows * columns, D) -> the object: of the eigenvector's two sides about its mean the one with the
    greatest magnitude, and of that the connected part around the greatest."""
    vector = second_eigenvector(patch_graph(features, threshold, epsilon))
    return Cut(around((vector > vector.mean()).reshape(grid), int(vector.argmax())), vector.reshape(grid))


def around(side: Array, seed: int) -> NDArray[np.bool_]:
    """The 4-connected part of side (rows, columns) bool that holds patch `seed`."""
    parts, _ = ndimage.label(side)
    return parts == parts.ravel()[seed]


def patch_keys_of(encoder: PatchEncoder, images: Tensor, centred: bool, usual: Array | None = None) -> Array:
    """(N, P, D) float64 on the CPU, less `usual` (P, D); then each picture's mean is 0 where `centred`."""
    with torch.no_grad():
        keys = encoder.patch_keys(images).double().cpu().numpy()
    keys = keys if usual is None else keys - usual
    return keys - keys.mean(1, keepdims=True) if centred else keys


def pixels(masks: Array, encoder: PatchEncoder, images: Tensor) -> Tensor:
    """Masks of patches (N, K, rows, columns) -> of pixels (N, K, H, W) float."""
    fine = (
        torch.from_numpy(masks)
        .to(images)
        .repeat_interleave(encoder.patch_size, 2)
        .repeat_interleave(encoder.patch_size, 3)
    )
    return fine[:, :, : images.shape[2], : images.shape[3]]


class TokenCut(ImageDiscovery):
    """The most salient object of a picture, and the rest; nothing is learned beyond the encoder.

    Args:
        encoder: gives patches; its keys are cut, its tokens are pooled.
        threshold: cosine above which two patches are alike.
        epsilon: affinity of unlike patches.
        centred: subtract the picture's mean key first. Not in the paper, whose features need it not; keys of small
            networks have so much in common (mean cosine 0.9) that at any threshold of the paper's all are alike.
        usual: (P, D) what keys are at each place in other pictures on average, subtracted before that. Not in the paper
            either; in frames of an upright camera the ceiling is above and the floor below, and a cut finds just that.
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
        keys = patch_keys_of(self.encoder, images, self.centred, self.usual)
        return [token_cut(features, self.encoder.grid, self.threshold, self.epsilon) for features in keys]

    def segment(self, images: Tensor) -> Tensor:
        """Object, then background."""
        found = np.stack([cut.mask for cut in self.cuts(images)])
        return pixels(np.stack([found, ~found], 1), self.encoder, images)

    def encode(self, images: Tensor) -> Tensor:
        return pooled(self.encoder.patch_map(images), self.segment(images))
