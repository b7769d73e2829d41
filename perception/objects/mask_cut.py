"""MaskCut: TokenCut repeated on the patches that no earlier mask covers (Wang et al. 2023, CutLER)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from embodia.perception.encoders.image_encoder import PatchEncoder
from embodia.perception.objects.image_discovery import ImageDiscovery, pooled
from embodia.perception.objects.normalized_cut import second_eigenvector
from embodia.perception.objects.token_cut import around, patch_graph, patch_keys_of, pixels

Array = NDArray[Any]
LEAST_AREA = 0.01
MOST_IOU = 0.5


def mask_cut(
    features: Array, grid: tuple[int, int], objects: int = 3, threshold: float = 0.15, epsilon: float = 1e-5
) -> NDArray[np.bool_]:
    """Find up to `objects` objects, the most salient first.

    The foreground is the side of the cut with the largest magnitude, unless it contains three of the four corners. From
    the second object on, a mask is dropped if it repeats the previous one (IoU above 0.5) or covers at most 1 % of the
    image.

    Args:
        features: Patch features (rows * columns, D).
        grid: (rows, columns) of patches.
        objects: Maximum number of objects.
        threshold: Cosine similarity above which two patches are connected.
        epsilon: Affinity of patches that are not connected.

    Returns:
        Masks (M, rows, columns) with M <= objects.
    """
    features = np.array(features, np.float64)
    found: list[Array] = []
    taken = np.zeros(grid, bool)
    for _ in range(objects):
        mask = _foreground(features, grid, threshold, epsilon)
        repeats = bool(found) and _iou(mask, found[-1]) > MOST_IOU
        mask &= ~taken
        if found and (repeats or mask.mean() <= LEAST_AREA):
            break  # no patch was removed, so the next cut would be the same
        found.append(mask)
        taken |= mask
        features[mask.ravel()] = 0.0
    return np.stack(found)


def _foreground(features: Array, grid: tuple[int, int], threshold: float, epsilon: float) -> Array:
    vector = second_eigenvector(patch_graph(features, threshold, epsilon))
    side = (vector > vector.mean()).reshape(grid)
    if side[[0, 0, -1, -1], [0, -1, 0, -1]].sum() >= 3:
        vector, side = -vector, ~side
    return around(side, int(vector.argmax()))


def _iou(a: Array, b: Array) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


class MaskCut(ImageDiscovery):
    """Several objects of an image, the most salient first, then the background. It trains nothing beyond the encoder.

    Args:
        encoder: Patch encoder. The cuts use its keys; the tokens are pooled from its patches.
        objects: Maximum number of objects. An unused mask is empty and its token is 0.
        threshold: Cosine similarity above which two patches are connected.
        epsilon: Affinity of patches that are not connected.
        centred: Subtract each image's mean key before the cut, as in `TokenCut`.
        usual: (P, D) average key at each patch, subtracted first, as in `TokenCut`.
    """

    def __init__(
        self,
        encoder: PatchEncoder,
        objects: int = 3,
        threshold: float = 0.15,
        epsilon: float = 1e-5,
        centred: bool = False,
        usual: Array | None = None,
    ):
        super().__init__(encoder.space, encoder.keys)
        self.encoder, self.objects, self.threshold, self.epsilon = encoder, objects, threshold, epsilon
        self.centred, self.usual = centred, usual
        self.num_tokens, self.dim = objects + 1, encoder.dim

    def segment(self, images: Tensor) -> Tensor:
        """Return masks of the objects, then of the background."""
        grid = self.encoder.grid
        masks = np.zeros((len(images), self.num_tokens, *grid), bool)
        for i, features in enumerate(patch_keys_of(self.encoder, images, self.centred, self.usual)):
            found = mask_cut(features, grid, self.objects, self.threshold, self.epsilon)
            masks[i, : len(found)] = found
            masks[i, -1] = ~found.any(0)
        return pixels(masks, self.encoder, images)

    def encode(self, images: Tensor) -> Tensor:
        return pooled(self.encoder.patch_map(images), self.segment(images))
