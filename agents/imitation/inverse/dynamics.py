"""Finite dynamics: which states follow a state and an action; on maps of cells, and of poses with four directions."""

from typing import NamedTuple

import torch
from torch import Tensor

MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1))
"""(row, column) of the moves between cells: right, down, left, up, then the diagonals."""


class Dynamics(NamedTuple):
    """Transitions of a finite Markov decision process, in the layout of `planners`' finite models."""

    outcome: Tensor
    """Next states (S, A, K) int64."""
    probability: Tensor
    """Their probabilities (S, A, K)."""


def slippery_cells(height: int, width: int, slip: float) -> Dynamics:
    """Return moves right, down, left, up and a stay on cells; with probability `slip` another of the five happens.

    A move off the map has no effect.
    """
    outcome = torch.cat([cell_outcomes(height, width, 4), torch.arange(height * width)[:, None]], 1)
    chances = torch.full((5, 5), slip / 4) + (1 - slip - slip / 4) * torch.eye(5)
    return Dynamics(outcome[:, None].expand(-1, 5, -1), chances.expand(height * width, -1, -1))


def cells(height: int, width: int, moves: int = 8) -> Dynamics:
    """Return deterministic moves between cells, the first 4 or all 8 of `MOVES`. A move off the map has no effect."""
    outcome = cell_outcomes(height, width, moves)[..., None]
    return Dynamics(outcome, torch.ones(outcome.shape))


def poses(height: int, width: int) -> Dynamics:
    """Return MiniGrid's moves left, right and forward between poses. A step off the map has no effect.

    A pose is 4 * cell + direction; direction is 0 right, 1 down, 2 left, 3 up.
    """
    pose = torch.arange(4 * height * width).view(-1, 4)
    ahead = 4 * cell_outcomes(height, width, 4) + torch.arange(4)
    outcome = torch.stack([pose.roll(1, 1), pose.roll(-1, 1), ahead], -1).view(-1, 3, 1)
    return Dynamics(outcome, torch.ones(outcome.shape))


def cell_outcomes(height: int, width: int, moves: int) -> Tensor:
    """Return the cell (H * W, moves) that each move leads to."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    found = []
    for down, right in MOVES[:moves]:
        r, c = row + down, column + right
        inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
        found.append(torch.where(inside, r * width + c, row * width + column).flatten())
    return torch.stack(found, 1)
