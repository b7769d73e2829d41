"""Deep Sets (Zaheer et al. 2017): one network for each row of a set, and the maximum of every feature."""

from collections.abc import Sequence

import torch
from gymnasium import spaces
from torch import Tensor

from embodia.perception import Encoder, Obs
from embodia.perception.encoders.mlp import mlp
from embodia.perception.encoders.observation import take


class DeepSets(Encoder):
    """Encode an unordered set of rows (K, D) as one token (*B, 1, dim).

    A row of zeros counts as missing and has no effect; an empty set gives zeros. Features are combined by their
    maximum, as in PointNet (Qi et al. 2017), not their sum, so the number of rows does not change the scale.

    Args:
        space: Observation space with one key of rows (K, D).
        dim: Width of the token.
        hidden: Widths of the hidden layers.

    Raises:
        ValueError: If the space is not one key of rows.
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
