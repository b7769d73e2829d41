"""Random image augmentation on the device: geometry, colour, greyscale, blur and noise."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random augmentation of a batch of images, sampled independently for each image.

    The geometry is one affine map, sampled bilinearly with reflection padding. Colours are mixed by a random 3x3 matrix
    around the identity, which changes hue, saturation, brightness and contrast at once. Images without three channels
    (such as stacked depth and colour) keep their colours.
    """

    scale: tuple[float, float] = (0.55, 1.0)
    """Range of the crop's side, as a fraction of the image's side. Above 1 the crop reaches beyond the border."""
    shift: float = 0.0
    """Maximum shift of the crop beyond the positions inside the image, as a fraction of the image's side."""
    rotation: float = 0.0
    """Maximum rotation to either side [degrees]."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    colour: float = 0.3
    """Standard deviation of the colour mixing matrix around the identity."""
    brightness: float = 0.2
    """Standard deviation of an offset per channel, for images with a value range of 1."""
    grey: float = 0.2
    """Probability of conversion to greyscale."""
    blur: float = 0.3
    """Probability of a 3x3 binomial blur."""
    noise: float = 0.02
    """Standard deviation of the noise per pixel."""

    def __call__(self, images: Tensor, size: int | None = None) -> Tensor:
        """Return a view of each image (N, C, H, W), about -0.5 to 0.5: the same shape, or (N, C, size, size)."""
        return self._recolour(self._move(images, size))

    def _move(self, images: Tensor, size: int | None) -> Tensor:
        n, channels, height, width = images.shape
        shape = [n, channels, size or height, size or width]
        return F.grid_sample(
            images,
            F.affine_grid(self._affine(n, images.device), shape, align_corners=False),
            padding_mode="reflection",
            align_corners=False,
        )

    def _affine(self, n: int, device: torch.device) -> Tensor:
        """Sample affine maps (n, 2, 3) from the view to the image, both in coordinates from -1 to 1."""
        low, high = self.scale
        scale = low + (high - low) * torch.rand(n, device=device)
        angle = math.radians(self.rotation) * (2 * torch.rand(n, device=device) - 1)
        mirror = torch.where(torch.rand(n, device=device) < self.flip, -1.0, 1.0)
        reach = (1 - scale).clamp(min=0) + 2 * self.shift
        move = reach[:, None] * (2 * torch.rand(n, 2, device=device) - 1)
        cos, sin = scale * angle.cos(), scale * angle.sin()
        turn = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)
        return torch.cat([turn, move[:, :, None]], 2)

    def _recolour(self, images: Tensor) -> Tensor:
        n, channels = images.shape[:2]
        device = images.device
        if channels == 3:
            mix = torch.eye(3, device=device) + self.colour * torch.randn(n, 3, 3, device=device)
            grey = torch.rand(n, device=device) < self.grey
            mix = torch.where(grey[:, None, None], mix.mean(1, keepdim=True).expand(-1, 3, -1), mix)
            images = torch.einsum("nij,njhw->nihw", mix, images)
            images = images + self.brightness * torch.randn(n, 3, 1, 1, device=device)
        if self.blur > 0:
            kernel = torch.tensor([1.0, 2.0, 1.0], device=device) / 4
            weight = torch.outer(kernel, kernel).expand(channels, 1, 3, 3)
            soft = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), weight, groups=channels)
            images = torch.where(torch.rand(n, 1, 1, 1, device=device) < self.blur, soft, images)
        return images + self.noise * torch.randn_like(images)
