"""Grids of symbols, such as MiniGrid's (object, colour, state) codes: embeddings and a residual convolutional net."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from perception import Encoder, Obs
from perception.observation import keys_of, take


class DilatedBlock(nn.Module):
    """A residual block whose dilation lets a few of them see across a room, (N, C, H, W) unchanged in shape."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.mix.weight)
        assert self.mix.bias is not None
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(F.relu(self.conv(F.relu(x))))


class SymbolGridCNN(Encoder):
    """Each cell's codes embedded and summed, dilated residual blocks over the map, one token (*B, 1, dim).

    The token is read where the agent stands and from the map's maximum. An egocentric view has the agent always at
    `agent_cell`; on a whole map it is the cell whose first code is `agent_code`, and the map is first turned so that
    the agent looks up: turning the world changes nothing about what to do, so a quarter of the data suffices.

    Args:
        space: observations with a grid of symbols (H, W, C).
        agent_code: first code of the agent's cell on a whole map; its last code is the direction (0 right, 1 down,
            2 left, 3 up). None: an egocentric view.
        agent_cell: (row, column) of the agent in an egocentric view; by default the middle of the last row.
        key: the grid to read; by default the only one.
    """

    offset: Tensor

    def __init__(
        self,
        space: spaces.Dict,
        dim: int = 128,
        channels: int = 32,
        dilations: Sequence[int] = (1, 2, 4, 8, 1, 2, 4, 8),
        agent_code: int | None = None,
        agent_cell: tuple[int, int] | None = None,
        key: str | None = None,
    ):
        super().__init__(space)
        self.keys = (key,) if key is not None else keys_of(space, ("symbols",), "SymbolGridCNN")
        if len(self.keys) != 1:
            raise ValueError(f"SymbolGridCNN reads one grid; name one of {self.keys}")
        grid = space[self.keys[0]]
        assert isinstance(grid, spaces.Box)
        rows, columns, _ = grid.shape
        if agent_code is not None and rows != columns:
            raise ValueError(f"{self.keys[0]!r}: only a square map can be turned; got {grid.shape}")
        self.num_tokens, self.dim = 1, dim
        self.agent_code, self.agent_cell = agent_code, agent_cell or (rows - 1, columns // 2)
        sizes = [int(high) + 1 for high in grid.high.reshape(-1, grid.shape[-1]).max(0)]
        self.register_buffer("offset", torch.tensor([sum(sizes[:i]) for i in range(len(sizes))]), persistent=False)
        self.embedding = nn.EmbeddingBag(sum(sizes), channels, mode="sum")
        self.blocks = nn.Sequential(*(DilatedBlock(channels, dilation) for dilation in dilations))
        self.project = nn.Sequential(nn.Linear(2 * channels, dim), nn.LayerNorm(dim), nn.SiLU())

    def forward(self, obs: Obs) -> Tensor:
        grid, batch = take(obs, self.space, self.keys[0])  # (N, H, W, C)
        grid, cell = self._centred(grid.long())
        n, height, width, _ = grid.shape
        codes = (grid + self.offset).flatten(0, 2)
        cells = self.embedding(codes).view(n, height, width, -1).permute(0, 3, 1, 2)
        features = F.relu(self.blocks(cells)).flatten(2)  # (N, channels, H * W)
        here = features.gather(2, cell[:, None, None].expand(-1, features.shape[1], 1))[..., 0]
        return self.project(torch.cat([here, features.amax(2)], 1)).view(*batch, 1, self.dim)

    def _centred(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """The grid turned so that the agent looks up, and the flat index (N,) of its cell."""
        if self.agent_code is None:
            row, column = self.agent_cell
            return grid, torch.full((len(grid),), row * grid.shape[2] + column, device=grid.device)
        agent = (grid[..., 0] == self.agent_code).flatten(1).float().argmax(1)  # (N,)
        direction = grid[..., -1].flatten(1).gather(1, agent[:, None])[:, 0]  # (N,)
        cells = torch.arange(grid.shape[1] * grid.shape[2], device=grid.device).view(grid.shape[1:3])
        turns = torch.stack([torch.rot90(cells, quarter) for quarter in (1, 2, 3, 0)]).flatten(1)  # (4, H * W)
        order = turns[direction]  # (N, H * W): the cell that comes to stand at each place
        turned = grid.flatten(1, 2).gather(1, order[..., None].expand(-1, -1, grid.shape[3]))
        cell = (order == agent[:, None]).float().argmax(1)
        turned[torch.arange(len(turned), device=grid.device), cell, -1] = 3  # it looks up now
        return turned.view_as(grid), cell
