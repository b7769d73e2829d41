"""Base classes of image encoders, which read observations or images (such as augmented views)."""

from collections.abc import Sequence

from gymnasium import spaces
from torch import Tensor

from embodia.perception import Encoder, Obs
from embodia.perception.encoders.observation import image_shape, keys_of, take_images


class ImageEncoder(Encoder):
    """Base class of encoders of images and depth of one size. Several keys are stacked along the channels.

    Args:
        space: Observation space.
        keys: Image keys to read; by default all images and depth.

    Raises:
        ValueError: If there is no image, sizes differ, or an image is below 16x16 pixels.
    """

    def __init__(self, space: spaces.Dict, keys: Sequence[str] | None = None):
        super().__init__(space)
        self.keys = tuple(keys) if keys is not None else keys_of(space, ("image", "depth"), type(self).__name__)
        self.image_shape = image_shape(space, self.keys)  # (C, H, W)

    def images(self, obs: Obs) -> tuple[Tensor, tuple[int, ...]]:
        """Extract images from observations.

        Returns:
            Images (N, C, H, W) float, about -0.5 to 0.5, and the batch axes *B that were flattened to N.
        """
        return take_images(obs, self.space, self.keys)

    def encode(self, images: Tensor) -> Tensor:
        """Encode images (N, C, H, W), as `images` returns them, to tokens (N, num_tokens, dim)."""
        raise NotImplementedError("encode(images) -> (N, num_tokens, dim)")

    def summary(self, images: Tensor) -> Tensor:
        """Encode each image (N, C, H, W) as one vector (N, dim), which self-supervised losses compare."""
        return self.encode(images).mean(1)

    def forward(self, obs: Obs) -> Tensor:
        images, batch = self.images(obs)
        return self.encode(images).reshape(*batch, self.num_tokens, self.dim)


class PatchEncoder(ImageEncoder):
    """Base class of image encoders with square patches."""

    patch_size: int
    """Side of a patch [pixels]."""
    grid: tuple[int, int]
    """(rows, columns) of patches. Images are padded to a multiple of the patch size."""

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return one vector per image (N, dim) and patch tokens (N, rows * columns, dim) of images (N, C, H, W)."""
        raise NotImplementedError("tokens(images) -> (N, dim), (N, P, dim)")

    def patch_keys(self, images: Tensor) -> Tensor:
        """Return the features that graph cuts compare, the last attention layer's keys: (N, rows * columns, D)."""
        raise NotImplementedError("patch_keys(images) -> (N, P, D)")

    def patch_map(self, images: Tensor) -> Tensor:
        """Return patch tokens as a feature map (N, dim, rows, columns)."""
        return self.tokens(images)[1].transpose(1, 2).unflatten(2, self.grid)
