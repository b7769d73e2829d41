"""Convolutional autoencoders and VAE as image encoders of agents: the code is one token."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from torch import Tensor

from embodia.perception import SelfSupervised
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.generative.autoencoders import check_dim
from embodia.perception.generative.autoencoders.autoencoder import Autoencoder
from embodia.perception.generative.autoencoders.conv_networks import conv_decoder, conv_encoder
from embodia.perception.generative.autoencoders.denoising import Corruption
from embodia.perception.generative.autoencoders.likelihoods import likelihood as likelihood_of
from embodia.perception.generative.autoencoders.vae import VAE


class ImageCodec(ImageEncoder, SelfSupervised):
    """Base class of encoders of images of 0 to 1 that can decode their token, the code."""

    model: Autoencoder | VAE
    """The model of images (N, C, H, W) of 0 to 1."""

    def __init__(self, space: spaces.Dict, dim: int, keys: Sequence[str] | None):
        super().__init__(space, keys)
        self.num_tokens, self.dim = 1, check_dim(dim)
        for key in self.keys:
            if not np.isfinite([space[key].low, space[key].high]).all():  # type: ignore[attr-defined]
                raise ValueError(f"an autoencoder needs images with finite bounds; {key} is {space[key]}")

    @property
    def kept(self) -> "ImageCodec":
        """The whole network: the decoder reconstructs and samples."""
        return self

    def encode(self, images: Tensor) -> Tensor:
        return self.model.encode(images + 0.5)[:, None]

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the model; batch is `{"obs": {...}}` with any batch axes."""
        images, _ = self.images(batch["obs"])
        return self.model.loss({"x": images + 0.5})


class ImageAutoencoder(ImageCodec):
    """Convolutional autoencoder. Its token is the code.

    Args:
        space: Observation space with images and depth of one size, whose sides are multiples of 2^depth.
        dim: Length of the code.
        width: Channels of the first convolution; further ones have up to four times as many.
        depth: Number of convolutions with stride 2.
        keys: Image keys to read, stacked along the channels; by default all.

    Raises:
        ValueError: If the size of the images does not fit, they have no finite bounds, or `dim` is not positive.
    """

    model: Autoencoder

    def __init__(
        self, space: spaces.Dict, dim: int = 64, width: int = 32, depth: int = 3, keys: Sequence[str] | None = None
    ):
        super().__init__(space, dim, keys)
        encoder = conv_encoder(self.image_shape, dim, width, depth)
        decoder = conv_decoder(self.image_shape, dim, width, depth)
        self.model = Autoencoder(encoder, decoder, self.image_shape, dim)


class ImageVAE(ImageCodec):
    """Convolutional VAE. Its token is the mean of the posterior.

    Args:
        space: Observation space with images and depth of one size, whose sides are multiples of 2^depth.
        dim: Length of the code.
        width: Channels of the first convolution; further ones have up to four times as many.
        depth: Number of convolutions with stride 2.
        likelihood: gaussian, or bernoulli for black and white images.
        std: Initial standard deviation of the Gaussian likelihood.
        learn_std: Train that standard deviation.
        keys: Image keys to read, stacked along the channels; by default all.

    Raises:
        ValueError: As of `ImageAutoencoder`, and for an unknown likelihood or a std that is not positive.
    """

    model: VAE

    def __init__(
        self,
        space: spaces.Dict,
        dim: int = 32,
        width: int = 32,
        depth: int = 3,
        likelihood: Literal["gaussian", "bernoulli"] = "gaussian",
        std: float = 0.1,
        learn_std: bool = True,
        keys: Sequence[str] | None = None,
    ):
        super().__init__(space, dim, keys)
        encoder = conv_encoder(self.image_shape, 2 * dim, width, depth)
        decoder = conv_decoder(self.image_shape, dim, width, depth)
        self.model = VAE(encoder, decoder, self.image_shape, dim, likelihood_of(likelihood, std, learn_std))


def autoencoder(encoder: ImageAutoencoder) -> ImageAutoencoder:
    """Convolutional autoencoder. The trained network is the encoder itself."""
    return encoder


def denoising_autoencoder(
    encoder: ImageAutoencoder, corruption: Literal["gaussian", "masking"] = "gaussian", level: float = 0.2
) -> ImageAutoencoder:
    """Denoising autoencoder (Vincent et al. 2008). The trained network is the encoder itself.

    Args:
        encoder: Encoder to train.
        corruption: gaussian adds normal noise to the images; masking sets values to 0.
        level: Standard deviation of the noise, or fraction of masked values; images have values of 0 to 1.
    """
    encoder.model.corruption = Corruption(corruption, level)
    return encoder


def vae(encoder: ImageVAE, beta: float = 1.0, samples: int = 1) -> ImageVAE:
    """Variational autoencoder (Kingma & Welling 2014). The trained network is the encoder itself.

    Args:
        encoder: Encoder to train.
        beta: Weight of the KL divergence (Higgins et al. 2017).
        samples: Codes per image; above 1, the importance-weighted bound is maximised (Burda et al. 2016).
    """
    encoder.model.objective(beta, samples)
    return encoder
