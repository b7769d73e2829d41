"""Windows of fixed size on boxes of images, read and written by Gaussian filters (Gregor et al. 2015, DRAW)."""

import torch
from torch import Tensor


def window_filters(boxes: Tensor, side: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the filters (N, side, height) and (N, side, width) of the rows and columns of windows.

    Args:
        boxes: (N, 4) centre row, centre column, height and width, as shares of the image.
        side: Number of rows and of columns of a window.
        height, width: Size of the image [pixels].
    """
    return _bank(boxes[:, 0] * height, boxes[:, 2] * height, side, height), _bank(
        boxes[:, 1] * width, boxes[:, 3] * width, side, width
    )


def _bank(centre: Tensor, extent: Tensor, side: int, pixels: int) -> Tensor:
    steps = (torch.arange(side, device=centre.device) + 0.5) / side - 0.5
    means = centre[:, None] + extent[:, None] * steps
    sigma = (extent / side / 2).clamp(min=0.5)[:, None, None]
    places = torch.arange(pixels, device=centre.device) + 0.5
    return (-((places - means[..., None]) ** 2) / (2 * sigma**2)).exp()


def read(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return windows (N, C, side, side) of images (N, C, H, W)."""
    rows, columns = (each / each.sum(-1, keepdim=True).clamp(min=1e-6) for each in (rows, columns))
    return rows[:, None] @ images @ columns[:, None].transpose(-1, -2)


def write(windows: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return images (N, C, H, W) with windows (N, C, side, side) in their place and about 0 outside."""
    rows, columns = (each / each.sum(-2, keepdim=True).clamp(min=0.5) for each in (rows, columns))
    return rows[:, None].transpose(-1, -2) @ windows @ columns[:, None]
