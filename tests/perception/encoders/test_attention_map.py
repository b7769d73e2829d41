"""Tests of attention maps as images."""

import torch

from embodia.perception.encoders.attention_map import attention_pictures, heat, mass_mask
from embodia.perception.encoders.vit import ViT
from embodia.perception.pictures.shapes10 import SPACE, shapes10


def test_picture_and_every_head_side_by_side():
    pictures, _ = shapes10(4, 0)
    encoder = ViT(SPACE, dim=24, depth=2, num_heads=3, patch_size=8)
    shown = attention_pictures(encoder, {"image": pictures.view(2, 2, 32, 32, 3)})
    assert shown.shape == (4, 32, 32 * 4, 3)
    assert (torch.from_numpy(shown[:, :, :32]).int() - pictures.int()).abs().max() <= 1
    assert shown[:, :, 32:].std() > 5


def test_heat_runs_from_black_to_white():
    colours = heat(torch.tensor([0.0, 1 / 3, 2 / 3, 1.0]).view(1, 1, 1, 4))[0, 0, :, 0].T
    expected = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
    torch.testing.assert_close(colours, expected, atol=1e-6, rtol=0)


def test_mass_mask_takes_the_fewest_cells():
    maps = torch.tensor([[[0.5, 0.2], [0.2, 0.1]], [[0.1, 0.0], [0.0, 0.9]]])
    assert mass_mask(maps, 0.6).sum((1, 2)).tolist() == [2, 1]
    assert mass_mask(maps, 0.6)[1].tolist() == [[False, False], [False, True]]
    assert mass_mask(maps, 0.95)[0].all()
