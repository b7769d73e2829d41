"""Encoder of grids of symbols by one learned vector for each code in each cell: an MLP's first layer, as a table."""

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception import Encoder, Obs
from embodia.perception.encoders.observation import keys_of, take


class SymbolTable(Encoder):
    """Add up the vectors of all codes of a grid and apply ReLU: one token (*B, 1, dim).

    This is a linear layer on one-hot codes. It does not see that two cells are neighbours, so it suits an agent's own
    view, and it costs a hundredth of convolutions, so it suits millions of steps.

    Args:
        space: Observation space with a grid of symbols (H, W, C).
        dim: Width of the token.
        key: The grid to read; by default the only one.

    Raises:
        ValueError: If there is more than one grid and no `key`.
    """

    places: Tensor

    def __init__(self, space: spaces.Dict, dim: int = 64, key: str | None = None):
        super().__init__(space)
        self.keys = (key,) if key is not None else keys_of(space, ("symbols",), "SymbolTable")
        if len(self.keys) != 1:
            raise ValueError(f"SymbolTable reads one grid; name one of {self.keys}")
        grid = space[self.keys[0]]
        assert isinstance(grid, spaces.Box)
        self.num_tokens, self.dim = 1, dim
        sizes = (grid.high.astype(int) + 1).ravel()  # number of codes of each channel of each cell
        starts = torch.from_numpy(sizes.cumsum() - sizes)
        self.register_buffer("places", starts, persistent=False)
        self.table = nn.Parameter(torch.randn(int(sizes.sum()), dim) * len(sizes) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, obs: Obs) -> Tensor:
        grid, batch = take(obs, self.space, self.keys[0])  # (N, H, W, C)
        codes = grid.flatten(1).long() + self.places
        if torch.is_grad_enabled() and self.table.requires_grad:
            # The gradient of a product of matrices is several times faster than that of looking up rows.
            ones = torch.zeros(len(codes), len(self.table), dtype=self.table.dtype, device=codes.device)
            total = ones.scatter_(1, codes, 1.0) @ self.table
        else:
            total = F.embedding_bag(codes, self.table, mode="sum")
        return F.relu(total + self.bias).view(*batch, 1, self.dim)
