"""Random changes of a picture that leave what it shows as it is: geometry, colour, grey, blur, noise; on the device."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """A random view of each picture of a batch, every picture drawn by itself.

    Geometry is one affine map sampled bilinearly, places outside reflected. Colour is mixed by a random 3x3 matrix
    about the identity, which turns hue and changes saturation, brightness and contrast at once; pictures of other than
    three channels (depth stacked on colour, say) keep their colours.
    """

    scale: tuple[float, float] = (0.55, 1.0)
    """Side of the window looked at, in sides of the picture; above 1 looks beyond its border."""
    shift: float = 0.0
    """Greatest shift of the window beyond what keeps it inside the picture, in sides of the picture."""
    rotation: float = 0.0
    """Greatest turn to either side [degrees]."""
    flip: float = 0.5
    """Probability of mirroring left and right."""
    colour: float = 0.3
    """Standard deviation of the mixing matrix about the identity."""
    brightness: float = 0.2
    """Standard deviation of an offset per channel; the picture spans 1."""
    grey: float = 0.2
    """Probability of taking the colours away."""
    blur: float = 0.3
    """Probability of a 3x3 binomial blur."""
    noise: float = 0.02
    """Standard deviation of noise per pixel."""

    def __call__(self, images: Tensor, size: int | None = None) -> Tensor:
        """(N, C, H, W) of about -0.5 to 0.5 -> a view of each, the same shape, or (N, C, size, size)."""
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
        """(n, 2, 3) maps from the view to the picture, both of -1 to 1."""
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
