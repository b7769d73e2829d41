"""Deep Sets (Zaheer et al. 2017): a set of rows through one network, and the greatest of every feature."""

from collections.abc import Sequence

import torch
from gymnasium import spaces
from torch import Tensor

from embodia.perception import Encoder, Obs
from embodia.perception.encoders.mlp import mlp
from embodia.perception.encoders.observation import take


class DeepSets(Encoder):
    """One key of rows (K, D) whose order means nothing: one token (*B, 1, dim).

    A row of zeros is missing and changes nothing; a set without rows gives zeros. The greatest, not the sum, is taken
    over the rows, as PointNet does (Qi et al. 2017): the number of objects then does not change the scale.

    Raises:
        ValueError: for a space that is not one key of rows.
    """

    def __init__(self, space: spaces.Dict, dim: int = 64, hidden: Sequence[int] = (64,)):
        super().__init__(space)
        self.keys = tuple(space.keys())
        shapes = [space[key].shape or () for key in self.keys]
        if len(shapes) != 1 or len(shapes[0]) != 2:
            raise ValueError(f"DeepSets reads one key of rows (K, D); got {dict(zip(self.keys, shapes))}")
        self.num_tokens, self.dim = 1, dim
        self.net = mlp(shapes[0][1], (*hidden, dim))

    def forward(self, obs: Obs) -> Tensor:
        rows, batch = take(obs, self.space, self.keys[0])
        rows = rows.float()
        there = (rows != 0).any(-1, keepdim=True)
        features = torch.where(there, self.net(rows), -torch.inf).amax(-2)
        return torch.where(there.any(-2), features, 0.0).view(*batch, 1, self.dim)
