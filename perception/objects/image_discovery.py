"""Base class of object discovery in images: masks, and features pooled under masks as tokens."""

import torch.nn.functional as F
from torch import Tensor

from embodia.perception import ObjectDiscovery, Obs
from embodia.perception.encoders.image_encoder import ImageEncoder


class ImageDiscovery(ImageEncoder, ObjectDiscovery):
    """An image encoder whose tokens are objects."""

    def segment(self, images: Tensor) -> Tensor:
        """Return masks (N, num_tokens, H, W), which sum to 1 over the tokens, of images (N, C, H, W) as `images`
        returns them.
        """
        raise NotImplementedError("segment(images) -> (N, num_tokens, H, W)")

    def masks(self, obs: Obs) -> Tensor:
        images, batch = self.images(obs)
        return self.segment(images).reshape(*batch, self.num_tokens, *images.shape[2:])


def pooled(features: Tensor, masks: Tensor) -> Tensor:
    """Average features (N, D, h, w) under each mask (N, K, H, W). Returns (N, K, D), with 0 for an empty mask."""
    small = F.interpolate(masks, features.shape[2:], mode="area")
    share = small / small.sum((2, 3), keepdim=True).clamp(min=1e-6)
    return (share.flatten(2) @ features.flatten(2).transpose(1, 2)).float()
