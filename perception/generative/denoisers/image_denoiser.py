"""A denoiser for pictures by name, conditional on their class where they have classes."""

from collections.abc import Sequence
from typing import Literal

from embodia.perception.generative import Denoiser
from embodia.perception.generative.denoisers.conditioning import ClassEmbedding
from embodia.perception.generative.denoisers.dit import DiT
from embodia.perception.generative.denoisers.mlp import MLPDenoiser
from embodia.perception.generative.denoisers.unet import UNet

Network = Literal["unet", "dit", "mlp"]


def image_denoiser(shape: Sequence[int], classes: int, network: Network, width: int, depth: int) -> Denoiser:
    """A network for pictures (C, H, W).

    Args:
        shape: (C, H, W).
        classes: number of classes; 0 for an unconditional network.
        network: unet, dit or mlp.
        width: channels of the U-Net's first level, or width of a token or layer.
        depth: levels of the U-Net, or number of blocks or layers.

    Raises:
        ValueError: if the network does not fit the picture's size.
    """

    def embed(dim: int) -> ClassEmbedding | None:
        return ClassEmbedding(classes, dim) if classes else None

    if network == "unet":
        return UNet(shape, width, [2**level for level in range(depth)], embed=embed(4 * width))
    if network == "dit":
        return DiT(shape, width, depth, embed=embed(width))
    return MLPDenoiser(shape, width, depth, embed(width))
