"""An encoder of pictures."""

from math import prod

from torch import nn

from embodia.perception import Encoder


class Flat(Encoder):
    """Every pixel through one layer: one token."""

    def __init__(self, space, dim: int = 64):
        super().__init__(space)
        self.keys, self.num_tokens, self.dim = tuple(space), 1, dim
        pixels = prod(space[self.keys[0]].shape)
        self.net = nn.Sequential(nn.Flatten(-3), nn.Linear(pixels, dim), nn.ReLU())

    def forward(self, obs):
        return self.net(obs[self.keys[0]].float() / 255)[..., None, :]


class Blind(Encoder):
    pass
