"""Encoder of grids of symbols, such as MiniGrid's (object, colour, state) codes: embeddings and a residual CNN."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception import Encoder, Obs
from embodia.perception.encoders.observation import keys_of, take

DIRECTIONS, UP = 4, 3


class DilatedBlock(nn.Module):
    """Residual block with a dilated convolution, (N, C, H, W) -> (N, C, H, W). Few blocks cover a whole room."""

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
    """Embed and sum each cell's codes, apply dilated residual blocks, and return one token (*B, 1, dim).

    The token combines the features at the agent's cell, with weights that depend on its direction, and the maximum over
    the map. The convolutions read the map without the agent, once per distinct map of a batch. Along an episode little
    changes besides the agent, so batches of consecutive rows cost a fraction of batches of scattered rows. A grid
    without an agent is taken as the agent's own view: the agent stands in the middle of the last row and looks up.

    Args:
        space: Observation space with a grid of symbols (H, W, C).
        dim: Width of the token.
        channels: Number of channels of the convolutions.
        dilations: Dilation of each residual block.
        agent_code: First code of the agent's cell on a whole map; its last code is the direction (0 right, 1 down, 2
            left, 3 up).
        empty_code: First code of an empty cell, which replaces the agent.
        key: The grid to read; by default the only one.

    Raises:
        ValueError: If there is more than one grid and no `key`.
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
        maps, which = distinct(grid)  # (U, H * W, C), (N,)
        features = self._read(maps.long())  # (U, H * W, channels)
        here = features.flatten(0, 1).index_select(0, which * grid.shape[1] + cell)
        anywhere = features.amax(1).index_select(0, which)
        tokens = self.project(torch.cat([here, anywhere], 1)).unflatten(1, (DIRECTIONS, self.dim))
        token = tokens.gather(1, direction[:, None, None].expand(-1, 1, self.dim))
        return F.relu(token).view(*batch, 1, self.dim)

    def _lift_agent(self, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Separate the agent from grids (N, H * W, C): the grids without it, its cell (N,) and direction (N,)."""
        drawn = grid[..., 0] == self.agent_code
        found = drawn.any(1)
        cell = torch.where(found, drawn.to(torch.uint8).argmax(1), self.own_cell)
        direction = torch.where(found, grid[..., -1].gather(1, cell[:, None])[:, 0].long(), UP)
        empty = torch.zeros_like(grid[0, 0])
        empty[0] = self.empty_code
        return torch.where(drawn[..., None], empty, grid), cell, direction

    def _read(self, maps: Tensor) -> Tensor:
        """Features (U, H * W, channels) of codes (U, H * W, C)."""
        cells = self.embedding((maps + self.offset).flatten(0, 1)).view(maps.shape[0], self.rows, self.columns, -1)
        return F.relu(self.blocks(cells.permute(0, 3, 1, 2))).flatten(2).transpose(1, 2)


def distinct(grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows (U, ...) of grid (N, ...), and which of them each row is (N,)."""
    if torch.compiler.is_exporting():  # an exported program has no shapes that depend on data
        return grid, torch.arange(grid.shape[0], device=grid.device)
    maps, which = torch.unique(grid, dim=0, return_inverse=True)
    return maps, which
