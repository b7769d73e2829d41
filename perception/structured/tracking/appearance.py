"""Appearance of detections: features of the image inside each box, by any function of images."""

from collections.abc import Callable

import cv2
import numpy as np
import torch

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.structured.tracking import Array

Embed = Callable[[Array], Array]
"""Images (n, size, size, 3) uint8 to vectors (n, D)."""


def crops(image: Array, boxes: Array, size: int = 32) -> Array:
    """Return the parts (n, size, size, 3) of an image (H, W, 3) uint8 inside boxes (n, 4), scaled to squares.

    A box outside the image gives the nearest pixel.
    """
    height, width = image.shape[:2]
    found = np.empty((len(boxes), size, size, 3), np.uint8)
    for row, (left, top, right, bottom) in zip(found, np.round(boxes).astype(int)):
        left, top = np.clip(left, 0, width - 1), np.clip(top, 0, height - 1)
        part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
        row[:] = cv2.resize(np.ascontiguousarray(part), (size, size), interpolation=cv2.INTER_LINEAR)
    return found


def by_encoder(encoder: ImageEncoder) -> Embed:
    """Return an embedding by a pretrained encoder of colour images: the mean of its tokens."""
    (key,) = encoder.keys

    @torch.no_grad()
    def embed(images: Array) -> Array:
        return encoder({key: torch.from_numpy(images)}).mean(1).float().cpu().numpy()

    return embed


def by_colour(images: Array, bins: int = 4) -> Array:
    """Return the square roots of colour histograms (n, bins^3) of images (n, H, W, 3) uint8."""
    levels = images.astype(int) * bins // 256
    codes = (levels @ [bins * bins, bins, 1]).reshape(len(images), int(np.prod(images.shape[1:3])))
    return np.sqrt([np.bincount(code, minlength=bins**3) / len(code) for code in codes]).reshape(-1, bins**3)
