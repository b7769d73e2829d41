"""Slow features: commute times in closed form, and what is kept."""

import itertools

import numpy as np
import torch
from gymnasium import spaces

from embodia.perception import Encoder
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.self_supervision.slow_features import SlowFeatures

PLACES = 9
SPACE = spaces.Dict({"place": spaces.Box(0, PLACES, (1,), np.int64)})


class Mixed(Encoder):
    """A place as two tokens, each a mixture of its own of the place's one-hot code, beside an offset."""

    keys, num_tokens, dim = ("place",), 2, 12

    def __init__(self):
        super().__init__(SPACE)
        g = torch.Generator().manual_seed(0)
        self.codes = torch.linalg.qr(torch.randn(2, 12, PLACES, generator=g))[0].permute(2, 0, 1)
        self.offset = torch.randn(2, 12, generator=g)

    def forward(self, obs):
        return self.codes[obs["place"][..., 0]] + self.offset


def walk(way):
    """Every step of a walk along `way` once in each direction; who would leave stays."""
    pairs = [*itertools.pairwise(way), *itertools.pairwise(way[::-1]), (way[0], way[0]), (way[-1], way[-1])]
    return torch.tensor(pairs).T[..., None]  # (2, B, 1)


def test_squared_distance_is_commute_time():
    """On a path the commute time of two places is proportional to the steps between them, whatever their codes."""
    order = torch.randperm(PLACES, generator=torch.Generator().manual_seed(1)).tolist()
    encoder = SlowFeatures(Mixed(), dim=10)
    encoder.fit([{"place": walk(order)}])
    z = encoder({"place": torch.tensor(order)[:, None]})
    assert z.shape == (PLACES, 2, 10)
    torch.testing.assert_close(z[..., PLACES - 1 :], torch.zeros(PLACES, 2, 11 - PLACES), atol=1e-5, rtol=0)
    steps = (torch.arange(PLACES)[:, None] - torch.arange(PLACES)).abs().float()
    for token in (0, 1):
        distance = torch.cdist(z[:, token], z[:, token]).square()
        torch.testing.assert_close(distance / distance[0, 1], steps, atol=1e-3, rtol=1e-3)


def test_the_slowest_come_first_and_what_is_always_there_does_not_count():
    encoder = SlowFeatures(Mixed(), dim=8)
    rows = {"place": walk(list(range(PLACES)))}
    encoder.fit([rows])
    z = encoder(rows).double()
    torch.testing.assert_close(z.mean((0, 1)), torch.zeros_like(z[0, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.square().mean(), torch.ones((), dtype=z.dtype), atol=1e-4, rtol=0)
    speed = (z[1] - z[0]).square().mean((0, 1)) / z.square().mean((0, 1, 2))
    assert (speed.diff() > 0).all()


def test_of_pictures_frozen_patches_or_one_token():
    torch.manual_seed(0)
    space = spaces.Dict({"rgb": spaces.Box(0, 255, (32, 32, 3), np.uint8)})
    pictures = torch.randint(0, 255, (4, 20, 32, 32, 3), dtype=torch.uint8)
    for pooled, tokens in ((False, 16), (True, 1)):
        net = ResNet(space, dim=8, width=8, tokens="grid", blocks=(1, 1, 1, 1))
        encoder = SlowFeatures(net, dim=6, pooled=pooled)
        encoder.fit([{"rgb": pictures[:, :10]}, {"rgb": pictures[:, 10:]}])
        assert encoder({"rgb": pictures}).shape == (4, 20, tokens, 6)
        assert not any(weight.requires_grad for weight in encoder.parameters())
