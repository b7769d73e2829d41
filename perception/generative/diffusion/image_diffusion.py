"""Diffusion of pictures, by a few options."""

from collections.abc import Sequence
from typing import Literal

from embodia.perception.generative.denoisers.image_denoiser import Network, image_denoiser
from embodia.perception.generative.diffusion.diffusion import Diffusion
from embodia.perception.generative.diffusion.parametrization import Kind
from embodia.perception.generative.diffusion.schedule import cosine, linear


def ddpm(
    shape: Sequence[int],
    classes: int = 0,
    network: Network = "unet",
    width: int = 32,
    depth: int = 3,
    schedule: Literal["cosine", "linear"] = "cosine",
    levels: int = 1000,
    predicts: Kind = "v",
    drop: float = 0.1,
) -> Diffusion:
    """Denoising diffusion of pictures of -1 to 1, conditional on their class where they have classes.

    Args:
        shape: (C, H, W).
        classes: number of classes; 0 for an unconditional model.
        network: of the denoiser: a U-Net, a transformer of 4x4 patches, or an MLP for tiny pictures.
        width: channels of the U-Net's first level, or width of a token or layer.
        depth: levels of the U-Net, each half the size of the one before; or number of blocks or layers.
        schedule: of the noise.
        levels: number of noise levels (T).
        predicts: what the network predicts: noise (eps), data (x0) or velocity (v).
        drop: share of the class labels dropped in training, without which guidance is not possible.
    """
    denoiser = image_denoiser(shape, classes, network, width, depth)
    noise = cosine(levels) if schedule == "cosine" else linear(levels)
    return Diffusion(denoiser, shape, noise, predicts, drop, limit=1.0)
