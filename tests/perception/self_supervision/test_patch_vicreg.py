"""Tests of patch-wise VICReg: closed forms, collapse, and slow tokens that measure distance."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.self_supervision.augmentation import Augmentation
from embodia.perception.self_supervision.patch_vicreg import PatchVICReg, covariance
from embodia.perception.self_supervision.vicreg import covariance as covariance_of_vectors
from embodia.perception.self_supervision.views import Views

SPACE = spaces.Dict({"rgb": spaces.Box(0, 255, (32, 32, 3), np.uint8)})


class Constant(ImageEncoder):
    """Encoder that returns the same tokens for every image, different at every patch."""

    num_tokens, dim = 4, 8

    def encode(self, images):
        return torch.arange(32.0).view(1, 4, 8).expand(len(images), -1, -1)


def test_covariance_is_that_of_each_patch():
    z = torch.randn(40, 5, 6, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([covariance_of_vectors(z[:, patch]) for patch in range(5)]).mean()
    torch.testing.assert_close(covariance(z), expected)


def test_what_patches_say_of_their_place_is_no_variance():
    """An encoder that distinguishes patches but not images has collapsed: the hinge takes its maximum."""
    method = PatchVICReg(Constant(SPACE), Views(Augmentation((1.0, 1.0), flip=0.0)))
    loss, numbers = method.loss({"obs": {"rgb": torch.zeros(6, 32, 32, 3)}})
    assert float(loss) == pytest.approx(25 * (1 - 1e-2), rel=1e-3)
    assert float(numbers["embedding_std"]) < 1e-3


def spots(places):
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    squared = (x - places[:, 0, None, None]) ** 2 + (y - places[:, 1, None, None]) ** 2
    return (255 * torch.exp(-squared / 4))[..., None].expand(-1, -1, -1, 3).to(torch.uint8)


def reach(encoder):
    """Ratio of the token distance of spots 12 pixels apart to that of spots 6 pixels apart."""
    g = torch.Generator().manual_seed(9)
    place = 10 + 12 * torch.rand(60, 2, generator=g)
    angle = 2 * torch.pi * torch.rand(60, generator=g)
    way = torch.stack([angle.cos(), angle.sin()], -1)
    with torch.no_grad():
        here, near, far = (encoder({"rgb": spots(place + r * way)}) for r in (0, 5, 10))
    return float((far - here).square().mean() / (near - here).square().mean())


def test_tokens_taught_in_time_measure_how_far_a_thing_is():
    torch.manual_seed(0)
    net = ResNet(SPACE, dim=16, width=8, blocks=(1, 1, 1), tokens="grid")
    before = reach(net)
    method = PatchVICReg(net, Views(augmentation=None, gap=1))
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    for _ in range(60):
        place = 4 + 24 * torch.rand(48, 2)
        rows = torch.stack([spots(place), spots(place + 4 * torch.randn(48, 2))])
        optimizer.zero_grad()
        method.loss({"obs": {"rgb": rows}})[0].backward()
        optimizer.step()
    after = reach(net)
    assert before < 1.35, "to an untaught encoder all that does not overlap is equally far"
    assert after > before + 0.3
