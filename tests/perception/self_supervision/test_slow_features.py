"""Tests of slow features: commute times in closed form, and saved weights."""

import itertools

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.self_supervision.slow_features import SlowFeatureAnalysis, SlowFeatures

PLACES = 9
SPACE = spaces.Dict({"place": spaces.Box(0, 255, (16, 16, 1), np.uint8)})
"""The image's brightness encodes the place."""


class Mixed(ImageEncoder):
    """Encode a place as two tokens, each with its own mixture of the one-hot code, plus an offset."""

    num_tokens, dim = 2, 12

    def __init__(self):
        super().__init__(SPACE)
        g = torch.Generator().manual_seed(0)
        self.codes = torch.linalg.qr(torch.randn(2, 12, PLACES, generator=g))[0].permute(2, 0, 1)
        self.offset = torch.randn(2, 12, generator=g)

    def encode(self, images):
        place = (255 * (images[:, 0, 0, 0] + 0.5)).round().long()
        return self.codes[place] + self.offset


def walk(way):
    """Every step of a walk along `way`, once in each direction; steps over the end stay in place."""
    pairs = [*itertools.pairwise(way), *itertools.pairwise(way[::-1]), (way[0], way[0]), (way[-1], way[-1])]
    return pictures(torch.tensor(pairs).T)  # (2, B, 16, 16, 1)


def pictures(places):
    return places.to(torch.uint8)[..., None, None, None].expand(*places.shape, 16, 16, 1)


def test_squared_distance_is_commute_time():
    """On a path the commute time of two places is proportional to the steps between them, for any codes."""
    order = torch.randperm(PLACES, generator=torch.Generator().manual_seed(1)).tolist()
    encoder = SlowFeatures(Mixed(), dim=10)
    encoder.fit([{"place": walk(order)}])
    z = encoder({"place": pictures(torch.tensor(order))})
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


def test_batches_give_what_the_whole_gives():
    order = torch.randperm(PLACES, generator=torch.Generator().manual_seed(1)).tolist()
    rows = walk(order)
    whole, learner = SlowFeatures(Mixed(), dim=6), SlowFeatureAnalysis(SlowFeatures(Mixed(), dim=6))
    whole.fit([{"place": rows}])
    for part in rows.split(5, 1):
        told = learner.update({"obs": {"place": part}})
    z = whole({"place": rows})
    torch.testing.assert_close(learner({"place": rows}).abs(), z.abs(), atol=1e-3, rtol=1e-3)
    assert told["embedding_std"] > 0
    last = z.split(5, 1)[-1]
    assert told["slowness"] == pytest.approx(float((last[1] - last[0]).square().mean() / 2), rel=1e-3)
    with pytest.raises(ValueError, match="two frames or more; got"):
        learner.update({"obs": {"place": rows[:1]}})


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
