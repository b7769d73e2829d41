"""Attention maps of a ViT's last block as images (Caron et al. 2021, figures 1 and 4)."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from embodia.perception import Obs
from embodia.perception.encoders.vit import ViT


@torch.no_grad()
def attention_pictures(encoder: ViT, obs: Obs) -> NDArray[np.uint8]:
    """Render the image and each head's attention over it, brightest at its maximum.

    Args:
        encoder: Vision transformer.
        obs: Observations with an image; consecutive frames give a video.

    Returns:
        (N, H, W * (1 + heads), 3) uint8, with the batch axes flattened. Images without three channels are shown in
        grey.
    """
    images, _ = encoder.images(obs)
    height, width = images.shape[2:]
    maps = encoder.attention(images)  # (N, heads, rows, columns)
    whole = (maps.shape[2] * encoder.patch_size, maps.shape[3] * encoder.patch_size)
    maps = F.interpolate(maps, whole, mode="bilinear", align_corners=False)[:, :, :height, :width]
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    share = (maps - low) / (high - low).clamp(min=1e-12)
    picture = rgb(images)[:, None]  # (N, 1, 3, H, W)
    heads = 0.35 * picture.mean(2, keepdim=True) + 0.65 * heat(share)
    row = torch.cat([picture, heads], 1).permute(0, 3, 1, 4, 2).flatten(2, 3)  # (N, H, (1 + heads) W, 3)
    return (255 * row.clamp(0, 1)).round().byte().cpu().numpy()


def rgb(images: Tensor) -> Tensor:
    """Convert images (N, C, H, W), about -0.5 to 0.5, to (N, 3, H, W) in [0, 1]; grey unless C is 3."""
    grey = images.shape[1] != 3
    return 0.5 + (images.mean(1, keepdim=True).expand(-1, 3, -1, -1) if grey else images)


def heat(share: Tensor) -> Tensor:
    """Colour values (N, K, H, W) in [0, 1] from black over red and yellow to white: (N, K, 3, H, W)."""
    return torch.stack([(3 * share - i).clamp(0, 1) for i in range(3)], 2)


def mass_mask(maps: Tensor, mass: float = 0.6) -> Tensor:
    """Return the fewest cells that hold `mass` of each map's sum, (..., rows, columns) bool, as in the paper."""
    flat = maps.flatten(-2) / maps.flatten(-2).sum(-1, keepdim=True)
    value, order = flat.sort(-1, descending=True)
    kept = value.cumsum(-1) - value < mass
    return torch.zeros_like(kept).scatter(-1, order, kept).view(maps.shape)
