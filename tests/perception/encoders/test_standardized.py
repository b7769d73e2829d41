"""Tests of Standardized: tokens are centred per token and scaled by one number, so distances keep their order."""

import numpy as np
import torch
from gymnasium import spaces

from embodia.perception.encoders.resnet import ResNet
from embodia.perception.encoders.standardized import Standardized

SPACE = spaces.Dict({"rgb": spaces.Box(0, 255, (16, 16, 3), np.uint8)})


def test_centred_scaled_and_in_order():
    torch.manual_seed(0)
    net = ResNet(SPACE, dim=8, width=8, blocks=(1, 1), tokens="grid")
    encoder = Standardized(net)
    rows = torch.randint(256, (3, 10, 16, 16, 3), dtype=torch.uint8)
    encoder.fit([{"rgb": rows[:2]}, {"rgb": rows[2:]}])
    tokens, raw = (each({"rgb": rows}).flatten(0, 1) for each in (encoder, net))
    torch.testing.assert_close(tokens.mean(0), torch.zeros_like(tokens[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.square().mean(), torch.tensor(1.0))
    apart, before = ((each[1:] - each[:-1]).flatten(1).norm(dim=1) for each in (tokens, raw))
    torch.testing.assert_close(apart * encoder.scale, before, atol=1e-4, rtol=1e-4)
    assert not any(weight.requires_grad for weight in encoder.parameters())
