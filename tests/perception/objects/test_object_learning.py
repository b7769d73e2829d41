"""Tests of the complex autoencoder and slot attention: equations, invariances and a short training."""

import numpy as np
import pytest
import torch
from torch import nn

from embodia.perception import ObjectDiscovery, SelfSupervised
from embodia.perception.objects.complex_autoencoder import LEAST_LENGTH, ComplexAutoEncoder, ComplexLayer, Polar
from embodia.perception.objects.slot_attention import SlotAttention, SlotAutoEncoder, SpatialBroadcastDecoder, bounded
from embodia.perception.pictures.outlined_shapes import STAMPS, THREE_SHAPES, outlined_shapes
from embodia.perception.pictures.scenes import OVERLAP
from embodia.perception.pictures.sprites import sprites
from embodia.perception.pictures.tetrominoes import COLOURS, orientations, tetrominoes
from embodia.perception.scores.clustering_scores import ari

SHAPES = outlined_shapes(8, 0)
PIECES = tetrominoes(8, 0, size=16, cell=3, objects=2)
MODELS = {
    "complex": lambda: ComplexAutoEncoder(SHAPES.space(), hidden=8, bottleneck=16),
    "slots": lambda: SlotAutoEncoder(PIECES.space(), num_slots=3, dim=16, width=8, hidden=16),
    "implicit": lambda: SlotAutoEncoder(PIECES.space(), num_slots=3, dim=16, width=8, hidden=16, implicit=True),
}


def seen(model):
    images = (PIECES if isinstance(model, SlotAutoEncoder) else SHAPES).images
    return {"image": torch.from_numpy(images)}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", MODELS)
def test_the_contracts(name):
    model = MODELS[name]().eval()
    assert isinstance(model, ObjectDiscovery)
    assert isinstance(model, SelfSupervised)
    assert model.kept is model
    image = seen(model)["image"]
    obs = {"image": image.unflatten(0, (2, 4))}
    tokens, masks = model(obs), model.masks(obs)
    assert tokens.shape == (2, 4, model.num_tokens, model.dim)
    assert tokens.dtype == masks.dtype == torch.float32
    assert masks.shape == (2, 4, model.num_tokens, *image.shape[1:3])
    torch.testing.assert_close(masks.sum(2), torch.ones(2, 4, *image.shape[1:3]))
    torch.testing.assert_close(
        model({"image": image[5:6]})[0], tokens[1, 1], atol=1e-4, rtol=1e-3
    )  # elements of a batch do not mix
    loss, logs = model.train().loss({"obs": {"image": image}})
    loss.backward()
    assert logs["loss"].item() == pytest.approx(loss.item())
    untouched = {name.split(".")[-1] for name, weight in model.named_parameters() if weight.grad is None}
    assert untouched == ({"mean", "log_std"} if name == "implicit" else set())
    assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


@pytest.mark.parametrize("name", MODELS)
def test_a_few_steps_lower_the_loss(name):
    model = MODELS[name]()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss, _ = model.loss({"obs": seen(model)})
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


# The complex autoencoder


def stacked(z):
    return torch.cat([z.real, z.imag, z.abs()])


def by_the_book(layer, z):
    """Compare with the paper's equations, written with complex numbers and angles."""
    f, w = layer.f, layer.chi
    psi = torch.complex(f(z.real), f(z.imag))
    magnitude = (1 - w) * (psi.abs() + layer.magnitude_bias) + w * (f(z.abs()) + layer.magnitude_bias)
    return torch.relu(layer.norm(magnitude)) * torch.exp(1j * (psi.angle() + layer.phase_bias))


@pytest.mark.parametrize("chi", [0.0, 0.5, 1.0])
def test_a_layer_is_the_papers(chi):
    convolution = nn.ConvTranspose2d(3, 5, 3, 2, 1, output_padding=1, bias=False)
    layer = ComplexLayer(convolution, nn.BatchNorm2d(5), 45, (5, 1, 1), chi)
    nn.init.normal_(layer.phase_bias)
    z = torch.randn(4, 3, 6, 6, dtype=torch.complex64)
    real, imaginary, magnitude = layer(stacked(z)).chunk(3)
    expected = by_the_book(layer, z)
    torch.testing.assert_close(torch.complex(real, imaginary), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(magnitude, expected.abs(), atol=1e-5, rtol=1e-4)
    assert layer.magnitude_bias.abs().max() <= 45**-0.5
    assert nn.init.zeros_(layer.phase_bias).sum() == 0


def test_chi_lets_opposite_phases_excite():
    """For two inputs of unit weight, |psi| and chi agree in phase; in antiphase |psi| is 0 and chi is not."""
    layer = ComplexLayer(nn.Linear(2, 1, bias=False), nn.Identity(), 2, (1,), 0.5)
    nn.init.ones_(layer.f.weight)
    nn.init.zeros_(layer.magnitude_bias)
    turn = torch.exp(torch.tensor([[0j, 0j], [0j, 1j * torch.pi], [0j, 0.5j * torch.pi]]))
    magnitude = layer(stacked(turn)).chunk(3)[2].ravel()
    torch.testing.assert_close(magnitude, torch.tensor([2.0, 1.0, (2**0.5 + 2) / 2]))


def test_turning_the_input_turns_the_output():
    """The layers depend on phase differences only: a common rotation does not change reconstructions."""
    model = ComplexAutoEncoder(SHAPES.space(), hidden=4, bottleneck=8).eval()
    layers = nn.Sequential(model.encoding_layers, model.decoding_layers, model.last)
    z = torch.randn(2, 1, 32, 32, dtype=torch.complex64)
    one, turned = layers(stacked(z)), layers(stacked(z * torch.exp(torch.tensor(0.7j))))
    real, imaginary, magnitude = one.chunk(3)
    turned_real, turned_imaginary, same = turned.chunk(3)
    torch.testing.assert_close(same, magnitude, atol=1e-4, rtol=1e-3)
    expected = torch.complex(real, imaginary) * torch.exp(torch.tensor(0.7j))
    torch.testing.assert_close(torch.complex(turned_real, turned_imaginary), expected, atol=1e-3, rtol=1e-3)


def test_zeros_have_gradients():
    """With black images every psi of the first layer is 0; the gradient must stay finite."""
    model = ComplexAutoEncoder(SHAPES.space(), hidden=4, bottleneck=8)
    loss, _ = model.loss({"obs": {"image": torch.zeros(3, 32, 32, 1, dtype=torch.uint8)}})
    loss.backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


def test_polar_coordinates_have_the_right_derivative():
    parts = torch.randn(2, 20, dtype=torch.float64, requires_grad=True).unbind()
    assert torch.autograd.gradcheck(Polar.apply, parts)
    real, imaginary = (
        torch.tensor([x], requires_grad=True) for x in (0.0, 1e-8)
    )  # magnitude too small for a meaningful phase
    Polar.apply(real, imaginary)[0].backward()
    assert 0 < real.grad.abs() <= 1 / LEAST_LENGTH


def test_phases_become_clusters():
    """Masks of a synthetic output: two phases, and a weak background whose phases are noise."""
    model = ComplexAutoEncoder(SHAPES.space())
    truth = torch.from_numpy(SHAPES.labels).clamp(min=0)
    angle = torch.where(truth == 0, 6.28 * torch.rand(truth.shape), truth * 1.5)
    magnitude = torch.where(truth == 0, 0.005, 0.8)
    output = torch.cat([magnitude * angle.cos(), magnitude * angle.sin(), magnitude])[:, None]
    found = model._masks(output).argmax(1).numpy()
    assert (ari(SHAPES.labels, found) > 0.999).all()


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="multiples of 8; got 35x35"):
        ComplexAutoEncoder(tetrominoes(1, 0).space())


# Slot attention


def test_attention_is_a_competition_and_updates_are_means():
    attention = SlotAttention(6, 8, 16)
    features, start = torch.randn(2, 10, 6), torch.randn(2, 3, 8)
    _, weights = attention(features, start)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 10))  # over the slots, not over the locations
    caught = {}
    attention.gru.register_forward_pre_hook(lambda _, inputs: caught.update(update=inputs[0]))
    keys, values = torch.randn(1, 10, 8), torch.full((1, 10, 8), 3.0)
    attention.step(keys, values, start[:1])
    torch.testing.assert_close(
        caught["update"], torch.full((3, 8), 3.0)
    )  # the weighted mean of equal values is that value


def test_slots_follow_their_start_and_places_have_no_order():
    attention = SlotAttention(6, 8, 16)
    features, start = torch.randn(2, 10, 6), torch.randn(2, 3, 8)
    slots, weights = attention(features, start)
    order, places = torch.tensor([2, 0, 1]), torch.randperm(10)
    permuted, moved = attention(features[:, places], start[:, order])
    torch.testing.assert_close(permuted, slots[:, order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved, weights[:, order][:, :, places], atol=1e-5, rtol=1e-4)


def test_evaluation_is_the_same_every_time_and_training_is_not():
    attention = SlotAttention(6, 8, 16)
    assert not torch.equal(attention.start(2, 3), attention.start(2, 3))
    attention.eval()
    assert torch.equal(attention.start(2, 3), attention.start(2, 3))


def test_implicit_has_the_same_slots_and_the_last_steps_gradient():
    explicit, implicit = SlotAttention(6, 8, 16), SlotAttention(6, 8, 16, implicit=True)
    implicit.load_state_dict(explicit.state_dict())
    features, start = torch.randn(2, 10, 6), torch.randn(2, 3, 8, requires_grad=True)
    one, other = explicit(features, start)[0], implicit(features, start)[0]
    torch.testing.assert_close(one, other)
    # The gradient of one explicit step from the result of the earlier iterations; none reaches the initial slots.
    once, twice = SlotAttention(6, 8, 16, iterations=1), SlotAttention(6, 8, 16, iterations=2)
    once.load_state_dict(explicit.state_dict())
    twice.load_state_dict(explicit.state_dict())
    led = twice(features, start)[0].detach()
    other.square().sum().backward()
    once(features, led)[0].square().sum().backward()
    assert start.grad is None
    for ours, theirs in zip(implicit.parameters(), once.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert torch.autograd.grad(one.sum(), start)[0].abs().sum() > 0


def test_the_decoders_first_layer_is_that_of_slots_on_every_place():
    decoder = SpatialBroadcastDecoder(6, 4, (3, 7, 9))
    slots = torch.randn(5, 6)
    everywhere = decoder.position(slots[:, :, None, None].expand(-1, -1, 7, 9))
    torch.testing.assert_close(decoder.first_layer(slots), decoder.first(everywhere))


def test_the_papers_size():
    """The Tetrominoes network has about 241 thousand weights and reconstructs the mixture of its slots."""
    scenes = tetrominoes(2, 0)
    model = SlotAutoEncoder(scenes.space()).eval()
    assert sum(weight.numel() for weight in model.parameters()) == 241_028
    images, _ = model.images({"image": torch.from_numpy(scenes.images)})
    pictures, masks = model.draw(model.encode(images))
    assert pictures.shape == (2, 4, 3, 35, 35)
    torch.testing.assert_close(model.reconstruct(images), torch.einsum("nkchw,nkhw->nchw", pictures, masks) / 2)


def test_at_the_start_a_place_shows_the_picture():
    """Features must be visible beside positions: 4 to 8 % of the variation; with PyTorch's weights 0.3 to 0.8 %."""
    scenes = tetrominoes(64, 0, size=16, cell=3, objects=2)
    shares = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = SlotAutoEncoder(scenes.space(), num_slots=2, dim=32, width=16)
        images, _ = model.images({"image": torch.from_numpy(scenes.images)})
        features = model.features(2 * images).flatten(2)  # (N, D, P)
        by_place = features.mean(0).var(1, correction=0).sum()
        shares.append(1 - by_place / features.var((0, 2), correction=0).sum())
    assert min(shares) > 0.02


def test_no_slot_draws_far_beyond_the_colours_there_are():
    """Otherwise a location painted in three times its colour needs only a third of the mask."""
    x = torch.tensor([-101.0, -1.0, -0.5, 0.0, 0.7, 1.0, 51.0], requires_grad=True)
    found = bounded(x)
    torch.testing.assert_close(found, torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.7, 1.0, 2.0]))
    assert (torch.autograd.grad(found.sum(), x)[0] > 0).all()  # the gradient never vanishes
    model = SlotAutoEncoder(PIECES.space(), num_slots=2, dim=16, width=8, hidden=16)
    slots = 1000 * torch.randn(4, 2, 16)
    drawn = model.decoder(slots.flatten(0, 1)).unflatten(0, (4, 2))[:, :, :-1]
    torch.testing.assert_close(model.draw(slots)[0], bounded(drawn))


# The image sets


def test_outlined_shapes():
    assert [STAMPS[shape].shape for shape in THREE_SHAPES] == [(13, 13), (13, 13), (9, 17)]
    scenes = outlined_shapes(200, 3, THREE_SHAPES)
    assert ((scenes.images[..., 0] > 0) == (scenes.labels != 0)).all()
    assert set(np.unique(scenes.images)) == {0, 255}
    for number, shape in enumerate(THREE_SHAPES, start=1):
        mine = (scenes.labels == number).sum((1, 2))
        hidden = (scenes.labels == OVERLAP).sum((1, 2))
        assert mine.max() == STAMPS[shape].sum()  # in some image nothing crosses it
        assert (mine + hidden >= STAMPS[shape].sum()).all()
    np.testing.assert_array_equal(scenes.images, outlined_shapes(200, 3, THREE_SHAPES).images)


def test_tetrominoes():
    pieces = orientations()
    assert len(pieces) == 19
    assert all(piece.sum() == 4 for piece in pieces)
    scenes = tetrominoes(50, 1)
    for image, label in zip(scenes.images, scenes.labels):
        assert np.bincount(label.ravel())[1:].tolist() == [100, 100, 100]
        assert (image[label == 0] == 0).all()
        for number in (1, 2, 3):
            colours = np.unique(image[label == number], axis=0)
            assert len(colours) == 1
            assert (colours[0] == COLOURS).all(1).any()
    with pytest.raises(ValueError, match="make cells smaller"):
        tetrominoes(1, 0, size=16)


def test_sprites():
    scenes = sprites(40, 0, objects=(1, 3))
    counts = scenes.labels.max((1, 2))
    assert set(counts.tolist()) == {1, 2, 3}
    for label in scenes.labels:
        assert np.bincount(label.ravel()).min() >= 0.01 * label.size
    one = sprites(40, 1, objects=(1, 1), area=(0.1, 0.4))
    assert (one.labels.max((1, 2)) == 1).all()
    assert 0.05 < (one.labels > 0).mean() < 0.4
