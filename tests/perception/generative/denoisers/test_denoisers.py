"""Every denoiser: shapes, conditions that are dropped, and what it refuses."""

import pytest
import torch
from torch import nn

from embodia.perception.generative.denoisers.conditioning import ClassEmbedding, DictEmbedding, VectorEmbedding
from embodia.perception.generative.denoisers.dit import DiT
from embodia.perception.generative.denoisers.image_denoiser import image_denoiser
from embodia.perception.generative.denoisers.mlp import MLPDenoiser
from embodia.perception.generative.denoisers.unet import TemporalUNet, UNet

CASES = {
    "mlp": ((2,), 16, lambda event, embed: MLPDenoiser(event, 16, 3, embed)),
    "temporal": ((8, 3), 32, lambda event, embed: TemporalUNet(event, 8, (1, 2), embed=embed)),
    "unet": ((3, 8, 8), 32, lambda event, embed: UNet(event, 8, (1, 2), embed=embed)),
    "dit-picture": ((3, 8, 12), 16, lambda event, embed: DiT(event, 16, 2, 4, embed=embed)),
    "dit-boxes": ((5, 4), 16, lambda event, embed: DiT(event, 16, 2, 4, embed=embed)),
}


def awake(net):
    """Layers that start at zero say something."""
    torch.manual_seed(1)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return net


@pytest.mark.parametrize("name", CASES)
def test_every_event_is_denoised_with_and_without_a_condition(name):
    event, dim, make = CASES[name]
    net = awake(make(event, ClassEmbedding(3, dim)))
    x, time, label = torch.randn(4, *event), torch.rand(4), torch.tensor([0, 1, 2, 0])
    given = net(x, time, label)
    assert given.shape == x.shape
    drop = torch.tensor([True, False, True, False])
    dropped, without = net(x, time, label, drop), net(x, time)
    torch.testing.assert_close(dropped[drop], without[drop])
    torch.testing.assert_close(dropped[~drop], given[~drop])
    assert not torch.allclose(given, without, atol=1e-4)
    assert not torch.allclose(given, net(x, 1 - time, label), atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_an_unconditional_network_refuses_a_condition(name):
    event, _, make = CASES[name]
    net = make(event, None)
    assert not net.conditional
    with pytest.raises(ValueError, match="unconditional"):
        net(torch.randn(2, *event), torch.rand(2), torch.tensor([0, 1]))


def test_rows_do_not_feel_each_other():
    net = awake(UNet((1, 4, 4), 8, (1, 2)))
    x, time = torch.randn(3, 1, 4, 4), torch.rand(3)
    torch.testing.assert_close(net(x, time)[1:2], net(x[1:2], time[1:2]), atol=1e-5, rtol=1e-4)


def test_a_dict_of_conditions_is_summed():
    embed = DictEmbedding({"goal": VectorEmbedding(2, 16), "task": ClassEmbedding(4, 16)})
    condition = {"goal": torch.randn(5, 2), "task": torch.tensor([0, 1, 2, 3, 0])}
    parts = [embed.entries[name](value) for name, value in condition.items()]
    torch.testing.assert_close(embed(condition), sum(parts))
    net = MLPDenoiser((2,), 16, 2, embed)
    assert net(torch.randn(5, 2), torch.rand(5), condition).shape == (5, 2)


def test_patches_are_cut_and_put_back():
    net = DiT((2, 8, 12), 16, 1, 4, patch_size=(4, 6))
    x = torch.randn(3, 2, 8, 12)
    patches = net.patches(x)
    assert patches.shape == (3, 4, 48)
    torch.testing.assert_close(patches[0, 1], x[0, :, :4, 6:].flatten())
    torch.testing.assert_close(net.picture(patches), x)


def test_a_set_without_positions_keeps_no_order():
    net = awake(DiT((5, 4), 16, 2, 4, positions=False))
    x, time, order = torch.randn(2, 5, 4), torch.rand(2), torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(net(x[:, order], time), net(x, time)[:, order], atol=1e-5, rtol=1e-4)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="multiples of 4"):
        image_denoiser((3, 10, 8), 0, "unet", 8, 3)
    with pytest.raises(ValueError, match="4x4"):
        image_denoiser((3, 10, 8), 0, "dit", 16, 1)
    with pytest.raises(ValueError, match="classes 0 to 2"):
        image_denoiser((1, 4, 4), 3, "mlp", 8, 1)(torch.zeros(1, 1, 4, 4), torch.zeros(1), torch.tensor([3]))
