"""Bars and stripes: all pictures whose rows are equal or whose columns are (MacKay 2003, chapter 43)."""

import torch
from torch import Tensor


def bars_and_stripes(side: int = 4) -> Tensor:
    """All 2^(side + 1) - 2 different patterns of 0 and 1, (N, side * side)."""
    lines = (torch.arange(2**side)[:, None] >> torch.arange(side) & 1).float()
    bars = lines[:, :, None].expand(-1, side, side)
    return torch.cat([bars, bars.mT]).flatten(1).unique(dim=0)


def valid_share(x: Tensor) -> float:
    """Share of pictures (B, side * side) of 0 and 1 that are bars or stripes."""
    side = round(x.shape[1] ** 0.5)
    rows = x.view(-1, side, side)
    bars = (rows == rows[:, :, :1]).flatten(1).all(1)
    stripes = (rows == rows[:, :1]).flatten(1).all(1)
    return (bars | stripes).float().mean().item()
