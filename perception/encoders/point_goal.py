"""A goal given by distance and bearing, in features a network can use at once."""

from collections.abc import Sequence

import torch
from gymnasium import spaces
from torch import Tensor

from embodia.perception import Encoder, Obs
from embodia.perception.encoders.observation import take

SCALES = (0.1, 0.4, 1.6, 6.4)  # [m]


class PointGoalEncoder(Encoder):
    """Polar goals [rho (m), phi (rad), ...] -> one token (*B, 1, dim) without weights.

    Per angle its cosine and sine, as -pi and pi are one direction; of the distance exp(-rho / s) at scales from a
    stopping distance to a home's length, as centimetres decide at the goal and only metres far from it. All lie in
    [-1, 1]. Reads Habitat's `pointgoal` and `pointgoal_with_gps_compass` in their POLAR format, 2 or 3 numbers.
    """

    scales: Tensor

    def __init__(self, space: spaces.Dict, keys: Sequence[str] | None = None):
        super().__init__(space)
        self.keys = tuple(keys) if keys is not None else tuple(space.keys())
        if len(self.keys) != 1:
            raise ValueError(f"PointGoalEncoder reads one goal; name one of {self.keys}")
        shape = space[self.keys[0]].shape
        if shape not in ((2,), (3,)):
            raise ValueError(f"a polar goal has 2 or 3 numbers; {self.keys[0]} has the shape {shape}")
        self.num_tokens, self.dim = 1, len(SCALES) + 2 * (shape[0] - 1)
        self.register_buffer("scales", torch.tensor(SCALES), persistent=False)

    def forward(self, obs: Obs) -> Tensor:
        goal, batch = take(obs, self.space, self.keys[0])
        distance, angles = goal[:, :1].float(), goal[:, 1:].float()
        near = 2 * torch.exp(-distance / self.scales) - 1
        return torch.cat([near, angles.cos(), angles.sin()], 1).view(*batch, 1, self.dim)
