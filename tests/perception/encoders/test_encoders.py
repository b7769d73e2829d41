"""Tests of the contract of every encoder: shapes, batch axes, gradients, error messages."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.perception.encoders.combined import CombinedEncoder
from embodia.perception.encoders.conv_net import ConvNet
from embodia.perception.encoders.frozen import Frozen
from embodia.perception.encoders.mission import MissionEncoder
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.perception.encoders.nature_cnn import NatureCNN
from embodia.perception.encoders.observation import WrongObservation
from embodia.perception.encoders.patch_cnn import PatchCNN
from embodia.perception.encoders.point_goal import PointGoalEncoder
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.encoders.symbol_grid import SymbolGridCNN
from embodia.perception.encoders.vit import ViT


def image(height, width=None, channels=3):
    return spaces.Box(0, 255, (height, width or height, channels), np.uint8)


CODES = np.broadcast_to(np.array([10, 5, 3], np.uint8), (7, 7, 3))
SPACE = spaces.Dict(
    {
        "rgb": image(32),
        "depth": spaces.Box(0.0, 1.0, (32, 32, 1), np.float32),
        "symbolic": spaces.Box(np.zeros_like(CODES), CODES.copy(), dtype=np.uint8),
        "goal": spaces.Box(-np.inf, np.inf, (2,), np.float32),
        "direction": spaces.Discrete(4),
        "carrying": spaces.Box(np.zeros(2, np.int64), np.array([10, 5]), dtype=np.int64),
        "buttons": spaces.MultiBinary(3),
        "mission": spaces.Box(0, 20, (9,), np.int64),
    }
)

ENCODERS = {
    "mlp": MLPEncoder,
    "nature_cnn": NatureCNN,
    "patch_cnn": PatchCNN,
    "resnet": ResNet,
    "resnet_grid": lambda space: ResNet(space, tokens="grid"),
    "vit": lambda space: ViT(space, dim=32, depth=2, num_heads=2),
    "vit_registers": lambda space: ViT(space, dim=32, depth=2, num_heads=2, num_registers=3, output="cls"),
    "conv": lambda space: ConvNet(space, (8, 16), (2, 2)).eval(),
    "mission": MissionEncoder,
    "symbol_grid": SymbolGridCNN,
    "combined": CombinedEncoder,
    "combined_tokens": lambda space: CombinedEncoder(space, fuse=False, encoders={"rgb": NatureCNN}),
}


def observations(*batch, space=SPACE, seed=0):
    space.seed(seed)
    stacked = [space.sample() for _ in range(int(np.prod(batch)))]
    return {
        key: torch.from_numpy(np.stack([one[key] for one in stacked])).view(*batch, *space[key].shape) for key in space
    }


@pytest.fixture(params=ENCODERS)
def encoder(request):
    torch.manual_seed(0)
    return ENCODERS[request.param](SPACE)


def test_tokens_have_the_declared_shape(encoder):
    for batch in ((1,), (4,), (2, 3), (2, 1, 3)):
        tokens = encoder(observations(*batch))
        assert tokens.shape == (*batch, encoder.num_tokens, encoder.dim)
        assert tokens.dtype == torch.float32


def test_batch_members_do_not_mix(encoder):
    obs = observations(6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    with torch.no_grad():
        tokens = encoder(obs)
        shuffled = encoder({key: value[order] for key, value in obs.items()})
    torch.testing.assert_close(shuffled, tokens[order], atol=1e-5, rtol=1e-4)


def test_time_and_batch_equal_a_loop_over_time(encoder):
    obs = observations(3, 2)
    with torch.no_grad():
        whole = encoder(obs)
        steps = torch.stack([encoder({key: value[t] for key, value in obs.items()}) for t in range(3)])
    torch.testing.assert_close(whole, steps, atol=1e-5, rtol=1e-4)


def test_observations_make_a_difference(encoder):
    with torch.no_grad():
        tokens = encoder(observations(4))
    assert (tokens[1:] - tokens[:1]).abs().amax((1, 2)).min() > 1e-4


def test_every_parameter_learns(encoder):
    for parameter in encoder.parameters():  # residual branches start at zero; move them away from it
        torch.nn.init.normal_(parameter, 0.0, 0.05)
    encoder(observations(4)).square().sum().backward()
    still = [name for name, parameter in encoder.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert still == []


def test_wrong_shape_names_key_got_and_expected(encoder):
    key = encoder.keys[0]
    obs = observations(2)
    wrong = obs | {key: torch.zeros(2, *(size + 1 for size in obs[key].shape[1:] or (3, 3)))}
    if SPACE[key].shape:  # a Discrete takes any batch axes
        with pytest.raises(WrongObservation, match=rf"'{key}' has shape .*expected \(\*B, "):
            encoder(wrong)
    del obs[key]
    with pytest.raises(WrongObservation, match=f"'{key}' is missing"):
        encoder(obs)


def test_batch_axes_must_agree():
    obs = observations(2) | {"goal": torch.zeros(3, 2)}
    with pytest.raises(WrongObservation, match="batch axes differ"):
        CombinedEncoder(SPACE)(obs)


@pytest.mark.parametrize("size", [16, 17, 35, 36, 84, 96, 128])
@pytest.mark.parametrize("name", ["nature_cnn", "resnet", "vit"])
def test_images_of_any_size_from_16(name, size):
    space = spaces.Dict({"rgb": image(size, size + 3)})
    encoder = ENCODERS[name](space)
    assert encoder(observations(1, space=space)).shape == (1, encoder.num_tokens, encoder.dim)


def test_smaller_images_are_refused():
    with pytest.raises(ValueError, match="at least 16x16"):
        NatureCNN(spaces.Dict({"rgb": image(15)}))


def test_an_encoder_without_its_kind_says_so():
    with pytest.raises(ValueError, match="ResNet reads image or depth"):
        ResNet(spaces.Dict({"goal": SPACE["goal"]}))


def test_nature_cnn_is_the_papers_at_84_pixels():
    encoder = NatureCNN(spaces.Dict({"rgb": image(84, channels=4)}))
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 8224 + 32832 + 36928 + 1606144


def test_padding_does_not_change_a_mission():
    short, long = (spaces.Dict({"mission": spaces.Box(0, 20, (size,), np.int64)}) for size in (4, 9))
    torch.manual_seed(0)
    reader, padded = MissionEncoder(short), MissionEncoder(long)
    padded.load_state_dict(reader.state_dict())
    words = torch.tensor([[3, 7, 2, 5], [4, 4, 0, 0], [0, 0, 0, 0]])
    more = torch.cat([words, torch.zeros(3, 5, dtype=torch.long)], 1)
    torch.testing.assert_close(reader({"mission": words}), padded({"mission": more}))
    assert not torch.allclose(reader({"mission": words[:1]}), reader({"mission": words[:1].flip(1)}))


def test_vit_attention_is_a_distribution_and_positions_stretch():
    encoder = ViT(SPACE, keys=["rgb"], dim=32, depth=2, num_heads=2, num_registers=2)
    images = torch.rand(3, 3, 32, 32) - 0.5
    with torch.no_grad():
        maps = encoder.attention(images)
        assert maps.shape == (3, 2, 4, 4)
        assert (maps >= 0).all()
        assert (maps.sum((2, 3)) < 1).all()
        cls, patches = encoder.tokens(torch.rand(2, 3, 24, 50))
    assert (cls.shape, patches.shape) == ((2, 32), (2, 3 * 7, 32))
    assert encoder.patch_keys(images).shape == (3, 16, 32)


def test_vit_stands_for_a_picture_by_its_class_token_or_its_patches_mean():
    images = torch.rand(2, 3, 32, 32) - 0.5
    for pool in ("cls", "mean"):
        encoder = ViT(SPACE, keys=["rgb"], dim=32, depth=2, num_heads=2, pool=pool)
        cls, patches = encoder.tokens(images)
        torch.testing.assert_close(encoder.summary(images), {"cls": cls, "mean": patches.mean(1)}[pool])
    with pytest.raises(ValueError, match='"cls" or "mean"'):
        ViT(SPACE, keys=["rgb"], pool="max")


def test_vit_sees_patches_as_a_set_once_placed():
    """MAE hides patches, so `transform` must accept a subset in any order."""
    encoder = ViT(SPACE, keys=["rgb"], dim=32, depth=2, num_heads=2)
    with torch.no_grad():
        visible = encoder.embed(torch.rand(2, 3, 32, 32))[:, [3, 0, 9]]
        cls, patches = encoder.transform(visible)
        cls_turned, patches_turned = encoder.transform(visible.flip(1))
    torch.testing.assert_close(cls, cls_turned, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(patches, patches_turned.flip(1), atol=1e-5, rtol=1e-4)


def whole_map_encoder(rows, columns):
    high = np.broadcast_to(np.array([10, 5, 3], np.uint8), (rows, columns, 3)).copy()
    encoder = SymbolGridCNN(spaces.Dict({"symbolic": spaces.Box(np.zeros_like(high), high, dtype=np.uint8)}))
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.1)
    return encoder


def random_maps(n, rows, columns, seed=0):
    """(n, rows, columns, 3) random maps with an agent (code 10) in each."""
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, [9, 6, 3], (n, rows, columns, 3))
    for one in maps:
        one[rng.integers(rows), rng.integers(columns)] = (10, 0, rng.integers(4))
    return torch.from_numpy(maps.astype(np.uint8))


@pytest.mark.parametrize("shape", [(9, 9), (6, 11)])
def test_symbol_grid_finds_the_agent_and_its_direction(shape):
    encoder, maps = whole_map_encoder(*shape), random_maps(5, *shape)
    empty, cell, direction = encoder._lift_agent(maps.flatten(1, 2))
    for one, lifted, place, way in zip(maps.flatten(1, 2), empty, cell, direction):
        assert one[place].tolist() == [10, 0, way]
        assert lifted[place].tolist() == [1, 0, 0]
        assert (lifted != one).any(1).sum() == 1
    with torch.no_grad():
        tokens = encoder({"symbolic": maps})
        maps[..., 2] = torch.where(maps[..., 0] == 10, (maps[..., 2] + 1) % 4, maps[..., 2])
        assert (tokens - encoder({"symbolic": maps})).abs().amax((1, 2)).min() > 1e-4


def test_a_shared_map_is_read_once():
    encoder = whole_map_encoder(9, 9)
    rows = random_maps(2, 9, 9).repeat(6, 1, 1, 1)
    rows[rows[..., 0] == 10] = 1
    rows[:, :, 2] = torch.tensor([1, 0, 0], dtype=torch.uint8)  # a corridor in which the agent is visible
    for i, row in enumerate(rows):
        row[i // 2, 2] = torch.tensor([10, 0, i % 4], dtype=torch.uint8)
    read = []
    encoder.blocks.register_forward_hook(lambda module, inputs, output: read.append(len(output)))
    with torch.no_grad():
        together = encoder({"symbolic": rows})
        alone = torch.stack([encoder({"symbolic": row}) for row in rows])
    assert read[0] == 2
    torch.testing.assert_close(together, alone)


def test_an_egocentric_view_is_read_from_the_middle_of_the_last_row():
    view = torch.randint(0, 3, (2, 49, 3), generator=torch.Generator().manual_seed(0))
    lifted, cell, direction = SymbolGridCNN(SPACE)._lift_agent(view)
    assert torch.equal(lifted, view)
    assert cell.tolist() == [6 * 7 + 3] * 2
    assert direction.tolist() == [3, 3]


def test_a_point_goal_is_read_alike_on_both_sides_of_pi_and_finely_near_zero():
    encoder = PointGoalEncoder(spaces.Dict(goal=SPACE["goal"]))
    goals = torch.tensor([[3.0, np.pi], [3.0, -np.pi], [0.15, 0.0], [0.25, 0.0], [500.0, 0.0]])
    tokens = encoder({"goal": goals})[:, 0]
    assert tokens.shape == (5, encoder.dim)
    assert tokens.abs().max() <= 1
    torch.testing.assert_close(tokens[0], tokens[1], atol=1e-6, rtol=0)
    assert (tokens[2] - tokens[3]).abs().max() > 0.2, "stopping 5 cm inside or outside the goal looks the same"


def test_a_goal_that_is_not_polar_is_refused():
    with pytest.raises(ValueError, match="shape"):
        PointGoalEncoder(spaces.Dict(goal=spaces.Box(-1, 1, (4,), np.float32)))


def test_a_frozen_encoder_stays_as_it_is():
    inside = ConvNet(SPACE, (4, 4), (2, 2), keys=["rgb"])
    frozen = Frozen(inside)
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    tokens = frozen.train()(observations(2, 3))
    assert tokens.shape == (2, 3, frozen.num_tokens, frozen.dim)
    assert not tokens.requires_grad
    assert frozen.training
    assert not inside.training
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
