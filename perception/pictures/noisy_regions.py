"""Images of flat-coloured regions with noise, and noisy unary probabilities of their labels, for dense CRFs.

The colours are random, so they tell which pixels belong together but not the label. Faint stripes can tell the label.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from embodia.perception.pictures.scenes import Scenes

Array = NDArray[Any]


def noisy_regions(
    n: int,
    seed: int,
    size: int = 48,
    regions: int = 3,
    noise: float = 0.08,
    stripes: float = 0.0,
    apart: float = 0.5,
) -> Scenes:
    """Generate n images (size, size, 3) of regions with wavy borders; labels 0 to regions - 1.

    The colours of an image are uniform, but at least `apart` from each other.

    Args:
        n: Number of images.
        seed: Seed of the random generator.
        size: Side of an image [pixels].
        regions: Number of regions.
        noise: Standard deviation of the pixels' noise; colours span 1.
        stripes: Amplitude of stripes of 4 pixels, whose direction depends on the label only.
        apart: Smallest Euclidean distance of two colours.
    """
    rng = np.random.default_rng(seed)
    fields = gaussian_filter(rng.normal(size=(n, regions, size, size)), (0, 0, size / 8, size / 8))
    labels = fields.argmax(1)
    colours = np.stack([different_colours(regions, rng, apart) for _ in range(n)])
    flat = colours[np.arange(n)[:, None, None], labels]
    images = flat + rng.normal(0, noise, flat.shape)
    if stripes:
        images += stripes * _gratings(labels, regions, rng)[..., None]
    return Scenes((255 * images.clip(0, 1)).round().astype(np.uint8), labels.astype(np.int64))


def different_colours(number: int, rng: np.random.Generator, apart: float) -> Array:
    """Return colours (number, 3) of at least this Euclidean distance from each other."""
    while True:
        colours = rng.uniform(0, 1, (number, 3))
        distances = np.linalg.norm(colours[:, None] - colours, axis=-1) + 10 * np.eye(number)
        if distances.min() >= apart:
            return colours


def _gratings(labels: Array, regions: int, rng: np.random.Generator) -> Array:
    """Return waves (n, H, W) of -1 to 1, of random phase, whose direction is pi k / regions for label k."""
    n, height, width = labels.shape
    y, x = np.mgrid[:height, :width]
    angle = np.pi * labels / regions
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    return np.sin(np.pi / 2 * (np.cos(angle) * x + np.sin(angle) * y) + phase)


def corrupted(
    labels: Array, classes: int, seed: int, wrong: float = 0.22, blur: float = 2.0, confidence: float = 0.6
) -> Array:
    """Return probabilities (n, H, W, classes) of labels (n, H, W) of which a share is wrong.

    Wrong pixels lie in blobs, where white noise blurred by `blur` pixels is highest; each blob claims one other class.
    The claimed class has the probability `confidence`, the others share the rest.
    """
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=labels.shape), (0, blur, blur))
    threshold = np.quantile(field, 1 - wrong, axis=(1, 2), keepdims=True)
    other = gaussian_filter(rng.normal(size=(classes, *labels.shape)), (0, 0, blur, blur))
    np.put_along_axis(other, labels[None], -np.inf, 0)
    claimed = np.where(field > threshold, other.argmax(0), labels)
    return np.where(np.arange(classes) == claimed[..., None], confidence, (1 - confidence) / (classes - 1))
