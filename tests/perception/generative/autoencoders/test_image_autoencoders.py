"""Autoencoders as image encoders of agents, and their learners."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.perception.generative.autoencoders.image_autoencoders import (
    ImageAutoencoder,
    ImageVAE,
    autoencoder,
    denoising_autoencoder,
    vae,
)

SPACE = spaces.Dict({"rgb": spaces.Box(0, 255, (16, 24, 3), np.uint8)})
OBS = {"rgb": torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 16, 24, 3), np.uint8))}


@pytest.mark.parametrize("kind", [ImageAutoencoder, ImageVAE])
def test_the_token_is_the_code_of_the_model(kind):
    torch.manual_seed(0)
    encoder = kind(SPACE, dim=5, width=4).eval()
    tokens = encoder(OBS)
    assert tokens.shape == (2, 3, 1, 5)
    unit = OBS["rgb"].flatten(0, 1).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(tokens[1, 2, 0], encoder.model.encode(unit)[5])
    assert encoder.model.decode(tokens.flatten(0, 2)).shape == unit.shape
    assert encoder.kept is encoder


def test_learners_set_the_objective_and_train_every_weight():
    torch.manual_seed(0)
    learners = {
        "autoencoder": autoencoder(ImageAutoencoder(SPACE, dim=5, width=4)),
        "denoising": denoising_autoencoder(ImageAutoencoder(SPACE, dim=5, width=4), "masking", 0.5),
        "vae": vae(ImageVAE(SPACE, dim=5, width=4), beta=2.0),
        "importance-weighted": vae(ImageVAE(SPACE, dim=5, width=4, likelihood="bernoulli"), samples=3),
    }
    for name, learner in learners.items():
        loss, logs = learner.loss({"obs": OBS})
        loss.backward()
        assert torch.isfinite(loss), name
        assert logs["loss"] == loss, name
        assert all(weight.grad is not None for weight in learner.parameters()), name
    assert learners["denoising"].model.corruption.level == 0.5
    assert learners["vae"].model.beta == 2
    assert learners["importance-weighted"].model.samples == 3


def test_a_fixed_standard_deviation_is_not_trained():
    model = ImageVAE(SPACE, dim=5, width=4, std=0.3, learn_std=False).model
    assert not model.likelihood.log_std.requires_grad
    assert model.likelihood.std.item() == pytest.approx(0.3)


def test_depth_in_bounds_is_scaled_to_one_and_without_bounds_refused():
    def space(high):
        return spaces.Dict({"depth": spaces.Box(0.0, high, (16, 16, 1), np.float32)})

    encoder = ImageAutoencoder(space(10.0), dim=5, width=4)
    images, _ = encoder.images({"depth": torch.full((1, 16, 16, 1), 5.0)})
    assert (images + 0.5).unique().tolist() == [0.5]
    with pytest.raises(ValueError, match="finite bounds; depth is Box"):
        ImageAutoencoder(space(np.inf))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ImageAutoencoder(SPACE, depth=4), "multiples of 16; got 16x24"),
        (lambda: ImageVAE(SPACE, depth=4), "multiples of 16; got 16x24"),
        (lambda: ImageAutoencoder(SPACE, dim=0), "at least one dimension"),
        (lambda: ImageVAE(SPACE, likelihood="laplace"), "unknown likelihood laplace"),
        (lambda: ImageVAE(SPACE, std=-1.0), "must be positive"),
    ],
)
def test_what_does_not_fit_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
