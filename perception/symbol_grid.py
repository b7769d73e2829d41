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
    first turned so that the agent looks up: turning the world changes nothing about what to do, so a quarter of the
    data suffices. Where no agent is drawn, the grid is taken for its own view: it stands in the middle of the last row
    and looks up already.

    Args:
        space: observations with a grid of symbols (H, W, C).
        agent_code: first code of the agent's cell on a whole map; its last code is the direction (0 right, 1 down,
            2 left, 3 up).
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
        key: str | None = None,
    ):
        super().__init__(space)
        self.keys = (key,) if key is not None else keys_of(space, ("symbols",), "SymbolGridCNN")
        if len(self.keys) != 1:
            raise ValueError(f"SymbolGridCNN reads one grid; name one of {self.keys}")
        grid = space[self.keys[0]]
        assert isinstance(grid, spaces.Box)
        self.num_tokens, self.dim = 1, dim
        self.agent_code = agent_code
        sizes = [int(high) + 1 for high in grid.high.reshape(-1, grid.shape[-1]).max(0)]
        self.register_buffer("offset", torch.tensor([sum(sizes[:i]) for i in range(len(sizes))]), persistent=False)
        self.embedding = nn.EmbeddingBag(sum(sizes), channels, mode="sum")
        self.blocks = nn.Sequential(*(DilatedBlock(channels, dilation) for dilation in dilations))
        self.project = nn.Sequential(nn.Linear(2 * channels, dim), nn.LayerNorm(dim), nn.SiLU())

    def forward(self, obs: Obs) -> Tensor:
        grid, batch = take(obs, self.space, self.keys[0])  # (N, H, W, C)
        grid, cell = self._turned(grid.long())
        n, height, width, _ = grid.shape
        codes = (grid + self.offset).flatten(0, 2)
        cells = self.embedding(codes).view(n, height, width, -1).permute(0, 3, 1, 2)
        features = F.relu(self.blocks(cells)).flatten(2)  # (N, channels, H * W)
        here = features.gather(2, cell[:, None, None].expand(-1, features.shape[1], 1))[..., 0]
        return self.project(torch.cat([here, features.amax(2)], 1)).view(*batch, 1, self.dim)

    def _turned(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """(N, S, S, C) the grid padded to a square and turned so that the agent looks up, and its cell (N,)."""
        _, rows, columns, _ = grid.shape
        side = max(rows, columns)
        grid = F.pad(grid, (0, 0, 0, side - columns, 0, side - rows)).flatten(1, 2)  # (N, S * S, C)
        drawn = grid[..., 0] == self.agent_code
        agent = torch.where(drawn.any(1), drawn.float().argmax(1), (rows - 1) * side + columns // 2)  # (N,)
        direction = grid[..., -1].gather(1, agent[:, None])[:, 0]
        cells = torch.arange(side * side, device=grid.device).view(side, side)
        turns = torch.stack([torch.rot90(cells, quarter) for quarter in (1, 2, 3, 0)]).flatten(1)  # (4, S * S)
        order = turns[torch.where(drawn.any(1), direction, UP)]  # (N, S * S): the cell that comes to stand there
        turned = grid.gather(1, order[..., None].expand_as(grid))
        here = order == agent[:, None]
        turned[..., -1] = torch.where(here & drawn.any(1, keepdim=True), UP, turned[..., -1])
        return turned.unflatten(1, (side, side)), here.float().argmax(1)
