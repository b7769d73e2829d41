"""Encoder of a goal given by distance and bearing; it has no weights."""

from collections.abc import Sequence

import torch
from gymnasium import spaces
from torch import Tensor

from embodia.perception import Encoder, Obs
from embodia.perception.encoders.observation import take

SCALES = (0.1, 0.4, 1.6, 6.4)  # [m]


class PointGoalEncoder(Encoder):
    """Encode a polar goal [rho (m), phi (rad), ...] as one token (*B, 1, dim), without weights.

    Each angle becomes its cosine and sine, since -pi and pi are the same direction. The distance becomes exp(-rho / s)
    at scales s from the stopping distance to the length of a home: near the goal centimetres matter, far away only
    metres. All features lie in [-1, 1].

    Args:
        space: Observation space with Habitat's `pointgoal` or `pointgoal_with_gps_compass` in POLAR format (2 or 3
            numbers).
        keys: The key to read; by default the only one.

    Raises:
        ValueError: If there is more than one key, or the goal does not have 2 or 3 numbers.
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
