"""Grids of symbols, such as MiniGrid's (object, colour, state) codes: embeddings and a residual convolutional net."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception import Encoder, Obs
from embodia.perception.encoders.observation import keys_of, take

DIRECTIONS, UP = 4, 3


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

    The token is read where the agent stands, by weights of the agent's direction, and from the map's maximum. The map
    is read without the agent, once for all rows of a batch that share it: along an episode little changes but the
    agent, so a batch of pieces of episodes costs a fraction of one of scattered rows. Where no agent is drawn, the grid
    is taken for the agent's own view: it stands in the middle of the last row and looks up.

    Args:
        space: observations with a grid of symbols (H, W, C).
        agent_code: first code of the agent's cell on a whole map; its last code is the direction (0 right, 1 down,
            2 left, 3 up).
        empty_code: first code of a cell with nothing in it, which is put where the agent stands.
        key: the grid to read; by default the only one.
    """

    offset: Tensor

    def __init__(
        self,
        space: spaces.Dict,
        dim: int = 128,
        channels: int = 32,
        dilations: Sequence[int] = (1, 2, 4, 8, 1, 2, 4, 8),
        agent_code: int = 10,
        empty_code: int = 1,
        key: str | None = None,
    ):
        super().__init__(space)
        self.keys = (key,) if key is not None else keys_of(space, ("symbols",), "SymbolGridCNN")
        if len(self.keys) != 1:
            raise ValueError(f"SymbolGridCNN reads one grid; name one of {self.keys}")
        grid = space[self.keys[0]]
        assert isinstance(grid, spaces.Box)
        self.num_tokens, self.dim = 1, dim
        self.agent_code, self.empty_code = agent_code, empty_code
        self.rows, self.columns, _ = grid.shape
        self.own_cell = (self.rows - 1) * self.columns + self.columns // 2
        sizes = [int(high) + 1 for high in grid.high.reshape(-1, grid.shape[-1]).max(0)]
        self.register_buffer("offset", torch.tensor([sum(sizes[:i]) for i in range(len(sizes))]), persistent=False)
        self.embedding = nn.EmbeddingBag(sum(sizes), channels, mode="sum")
        self.blocks = nn.Sequential(*(DilatedBlock(channels, dilation) for dilation in dilations))
        self.project = nn.Linear(2 * channels, DIRECTIONS * dim)

    def forward(self, obs: Obs) -> Tensor:
        grid, batch = take(obs, self.space, self.keys[0])  # (N, H, W, C)
        grid, cell, direction = self._lift_agent(grid.flatten(1, 2))
        maps, which = torch.unique(grid, dim=0, return_inverse=True)  # (U, H * W, C), (N,)
        features = self._read(maps.long())  # (U, H * W, channels)
        here = features.flatten(0, 1).index_select(0, which * grid.shape[1] + cell)
        anywhere = features.amax(1).index_select(0, which)
        tokens = self.project(torch.cat([here, anywhere], 1)).unflatten(1, (DIRECTIONS, self.dim))
        token = tokens.gather(1, direction[:, None, None].expand(-1, 1, self.dim))
        return F.relu(token).view(*batch, 1, self.dim)

    def _lift_agent(self, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, H * W, C) -> the grid without the agent, its cell (N,) and its direction (N,)."""
        drawn = grid[..., 0] == self.agent_code
        found = drawn.any(1)
        cell = torch.where(found, drawn.to(torch.uint8).argmax(1), self.own_cell)
        direction = torch.where(found, grid[..., -1].gather(1, cell[:, None])[:, 0].long(), UP)
        empty = torch.zeros_like(grid[0, 0])
        empty[0] = self.empty_code
        return torch.where(drawn[..., None], empty, grid), cell, direction

    def _read(self, maps: Tensor) -> Tensor:
        """(U, H * W, C) codes -> (U, H * W, channels)."""
        cells = self.embedding((maps + self.offset).flatten(0, 1)).view(len(maps), self.rows, self.columns, -1)
        return F.relu(self.blocks(cells.permute(0, 3, 1, 2))).flatten(2).transpose(1, 2)
