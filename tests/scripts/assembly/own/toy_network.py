"""A network that can be pretrained."""

from torch import nn

from embodia.perception.encoders.image_encoder import ImageEncoder


class Wide(ImageEncoder):
    """One convolution; the mean over all places is the one token."""

    def __init__(self, space, dim: int = 16, keys=None):
        super().__init__(space, keys)
        self.num_tokens, self.dim = 1, dim
        self.conv = nn.Conv2d(self.image_shape[0], dim, 8, stride=8)

    def encode(self, images):
        return self.conv(images).flatten(2).mean(2)[:, None]
