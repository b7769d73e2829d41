"""Grids of symbols, such as MiniGrid's (object, colour, state) codes: embeddings and a residual convolutional net."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from perception import Encoder, Obs
from perception.observation import keys_of, take

UP = 3


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

    The token is read where the agent stands and from the map's maximum. A whole map, on which the agent is drawn, is
    first turned so that the agent looks up: turning the world changes nothing about what to do. It is then read without
    the agent, once for all rows of a batch that share it: along an episode little changes but the agent, so a batch of
    pieces of episodes costs a fraction of one of scattered rows. Where no agent is drawn, the grid is taken for the
    agent's own view: it stands in the middle of the last row and looks up already.

    Args:
        space: observations with a grid of symbols (H, W, C).
        agent_code: first code of the agent's cell on a whole map; its last code is the direction (0 right, 1 down,
            2 left, 3 up).
        empty_code: first code of a cell with nothing in it, which is put where the agent stands.
        key: the grid to read; by default the only one.
    """

    offset: Tensor
    turns: Tensor

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
        rows, columns, _ = grid.shape
        self.side = max(rows, columns)
        self.own_cell = (rows - 1) * self.side + columns // 2
        cells = torch.arange(self.side**2).view(self.side, self.side)
        turns = torch.stack([torch.rot90(cells, quarter) for quarter in (1, 2, 3, 0)])  # by direction
        self.register_buffer(
            "turns", turns.flatten(1), persistent=False
        )  # (4, S * S): the cell that comes to each place
        sizes = [int(high) + 1 for high in grid.high.reshape(-1, grid.shape[-1]).max(0)]
        self.register_buffer("offset", torch.tensor([sum(sizes[:i]) for i in range(len(sizes))]), persistent=False)
        self.embedding = nn.EmbeddingBag(sum(sizes), channels, mode="sum")
        self.blocks = nn.Sequential(*(DilatedBlock(channels, dilation) for dilation in dilations))
        self.project = nn.Sequential(nn.Linear(2 * channels, dim), nn.LayerNorm(dim), nn.SiLU())

    def forward(self, obs: Obs) -> Tensor:
        grid, batch = take(obs, self.space, self.keys[0])  # (N, H, W, C)
        grid, cell = self._turned(grid)
        maps, which = torch.unique(grid, dim=0, return_inverse=True)  # (U, S * S, C), (N,)
        features = self._read(maps.long())  # (U, S * S, channels)
        here = features.flatten(0, 1).index_select(0, which * self.side**2 + cell)
        anywhere = features.amax(1).index_select(0, which)
        return self.project(torch.cat([here, anywhere], 1)).view(*batch, 1, self.dim)

    def _turned(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W, C) -> (N, S * S, C) padded to a square, the agent looking up and lifted off; and its cell (N,)."""
        below, right = self.side - grid.shape[1], self.side - grid.shape[2]
        grid = F.pad(grid, (0, 0, 0, right, 0, below)).flatten(1, 2)
        drawn = grid[..., 0] == self.agent_code
        cell = torch.where(drawn.any(1), drawn.to(torch.uint8).argmax(1), self.own_cell)
        direction = torch.where(drawn.any(1), grid[..., -1].gather(1, cell[:, None])[:, 0].long(), UP)
        empty = torch.zeros_like(grid[0, 0])
        empty[0] = self.empty_code
        order = self.turns[direction]  # (N, S * S)
        turned = torch.where(drawn[..., None], empty, grid).gather(1, order[..., None].expand_as(grid))
        return turned, (order == cell[:, None]).to(torch.uint8).argmax(1)

    def _read(self, maps: Tensor) -> Tensor:
        """(U, S * S, C) codes -> (U, S * S, channels)."""
        cells = self.embedding((maps + self.offset).flatten(0, 1)).view(len(maps), self.side, self.side, -1)
        return F.relu(self.blocks(cells.permute(0, 3, 1, 2))).flatten(2).transpose(1, 2)
