"""Semantic segmentation: a network gives the logits of each pixel, which a CRF may refine; trained by cross-entropy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from embodia.perception import Obs
from embodia.perception.structured.segmentation import IGNORED, Segmenter, Segments, check_labels
from embodia.perception.structured.segmentation.crf_rnn import CRFRNN
from embodia.perception.structured.segmentation.dense_crf import DenseCRFConfig
from embodia.perception.structured.segmentation.encoder_decoder import FCN, UNet


class PixelSegmenter(Segmenter):
    """A classifier of pixels. Its instances are the connected parts of each class but the background.

    Args:
        space: Observation space with one colour image.
        categories: Names of the K classes.
        network: Images (N, 3, H, W) -> logits (N, K, H, W).
        crf: Refines the logits; trained with the network.
    """

    def __init__(self, space: spaces.Dict, categories: Sequence[str], network: nn.Module, crf: CRFRNN | None = None):
        super().__init__(space, categories)
        self.network, self.crf = network, crf

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (N, K, H, W)."""
        logits = self.network(images)
        return logits if self.crf is None else self.crf(logits, images)

    def forward(self, obs: Obs) -> Segments:
        labels = self.logits(self.images(obs)).argmax(1)
        instances = np.stack([connected(each) for each in labels.cpu().numpy()])
        return Segments(labels, torch.from_numpy(instances).to(labels.device))

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        images, labels = self.images(batch["obs"]), batch["labels"]
        check_labels(labels, len(self.categories), (len(images), *images.shape[2:]))
        logits = self.logits(images)
        known = labels != IGNORED
        losses = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
        right = (logits.argmax(1) == labels) & known
        total = known.sum().clamp(min=1)
        return losses.sum() / total, {"accuracy": right.sum() / total}


def connected(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the instances (H, W) of a label map (H, W): connected pixels of one class, 0 for class 0."""
    found = np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        parts = ndimage.label(labels == label)[0]
        found[parts > 0] = parts[parts > 0] + found.max()
    return found


def unet(space: spaces.Dict, categories: Sequence[str], width: int = 16, levels: int = 3) -> PixelSegmenter:
    """U-Net: an encoder-decoder with skips (Ronneberger et al. 2015).

    Args:
        space: Observation space with one colour image.
        categories: Names of the classes.
        width: Number of channels at full resolution; each level doubles it.
        levels: Number of resolutions.
    """
    return PixelSegmenter(space, categories, UNet(3, len(categories), width, levels))


def fcn(space: spaces.Dict, categories: Sequence[str], width: int = 16) -> PixelSegmenter:
    """Fully convolutional network of stride 4 whose logits are upsampled (Long et al. 2015).

    Args:
        space: Observation space with one colour image.
        categories: Names of the classes.
        width: Number of channels of the first convolution.
    """
    return PixelSegmenter(space, categories, FCN(3, len(categories), width))


def crf_rnn(
    space: spaces.Dict,
    categories: Sequence[str],
    width: int = 16,
    appearance_sigma: float = 15.0,
    colour_sigma: float = 0.15,
    smoothness_sigma: float = 1.5,
    iterations: int = 10,
    train_iterations: int = 5,
) -> PixelSegmenter:
    """FCN and a dense CRF by mean field, trained end to end (Zheng et al. 2015).

    Args:
        space: Observation space with one colour image.
        categories: Names of the classes.
        width: Number of channels of the FCN's first convolution.
        appearance_sigma: Range of the appearance kernel in space [pixels].
        colour_sigma: Range of the appearance kernel in colour; colours span 1.
        smoothness_sigma: Range of the smoothness kernel [pixels].
        iterations: Number of mean-field updates in evaluation.
        train_iterations: Number of mean-field updates in training.
    """
    config = DenseCRFConfig(
        appearance_sigma=appearance_sigma,
        colour_sigma=colour_sigma,
        smoothness_sigma=smoothness_sigma,
        iterations=iterations,
    )
    return PixelSegmenter(
        space, categories, FCN(3, len(categories), width), CRFRNN(len(categories), config, train_iterations)
    )
