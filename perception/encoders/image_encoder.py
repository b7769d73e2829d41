"""What image encoders share: they read pictures from observations, or pictures already made (augmented views)."""

from collections.abc import Sequence

from gymnasium import spaces
from torch import Tensor

from embodia.perception import Encoder, Obs
from embodia.perception.encoders.observation import image_shape, keys_of, take_images


class ImageEncoder(Encoder):
    """An encoder of images (and depth) of one size, several keys stacked along channels.

    Args:
        space: the observations.
        keys: the images to read; by default all.

    Raises:
        ValueError: where there is no image, sizes differ, or one is below 16x16 pixels.
    """

    def __init__(self, space: spaces.Dict, keys: Sequence[str] | None = None):
        super().__init__(space)
        self.keys = tuple(keys) if keys is not None else keys_of(space, ("image", "depth"), type(self).__name__)
        self.image_shape = image_shape(space, self.keys)  # (C, H, W)

    def images(self, obs: Obs) -> tuple[Tensor, tuple[int, ...]]:
        """(N, C, H, W) float of about -0.5 to 0.5, and the batch axes *B that were joined."""
        return take_images(obs, self.space, self.keys)

    def encode(self, images: Tensor) -> Tensor:
        """(N, C, H, W) as `images` gives them -> (N, num_tokens, dim)."""
        raise NotImplementedError("encode(images) -> (N, num_tokens, dim)")

    def summary(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, dim): the whole image in one vector, what self-supervision compares."""
        return self.encode(images).mean(1)

    def forward(self, obs: Obs) -> Tensor:
        images, batch = self.images(obs)
        return self.encode(images).reshape(*batch, self.num_tokens, self.dim)


class PatchEncoder(ImageEncoder):
    """An image encoder that looks at square patches."""

    patch_size: int
    """Side of a patch [pixels]."""
    grid: tuple[int, int]
    """(rows, columns) of patches; the last ones are padded where the picture is no multiple of a patch."""

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> one vector of the whole (N, dim), and patches (N, rows * columns, dim)."""
        raise NotImplementedError("tokens(images) -> (N, dim), (N, P, dim)")

    def patch_keys(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, rows * columns, D), what graph cuts compare: the last attention's keys."""
        raise NotImplementedError("patch_keys(images) -> (N, P, D)")

    def patch_map(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> patches as a picture (N, dim, rows, columns)."""
        return self.tokens(images)[1].transpose(1, 2).unflatten(2, self.grid)
