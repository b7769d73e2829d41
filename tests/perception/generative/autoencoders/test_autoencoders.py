"""Autoencoders against closed forms: PCA, the linear autoencoder, denoising, stacked RBMs, densities of codes."""

import pytest
import torch
from torch import nn

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.generative.autoencoders import reconstruction_error
from embodia.perception.generative.autoencoders.autoencoder import Autoencoder, linear_autoencoder
from embodia.perception.generative.autoencoders.code_density import fit_clusters
from embodia.perception.generative.autoencoders.conv_networks import conv_decoder, conv_encoder
from embodia.perception.generative.autoencoders.deep_autoencoder import deep_autoencoder, unrolled
from embodia.perception.generative.autoencoders.denoising import Corruption
from embodia.perception.generative.autoencoders.pca import fit_pca, principal_angles
from embodia.perception.generative.autoencoders.stacked_rbm import StackedRBM, pretrained_stack


def train(model, x, steps, rate=0.02, batch=128):
    config = FitConfig(steps=steps, batch_size=batch, learning_rate=rate, weight_decay=0.0, warmup=5, device="cpu")
    data = RandomBatches(lambda rng, n: {"x": x[rng.integers(0, len(x), n)]}, 0)
    fit(model, data, config, logger=Logger(console=False))
    return model


def gaussian(n=2000, d=6, seed=0):
    """Samples with standard deviations 2, 1.6, 1.2, 0.5, 0.4, 0.3 along random axes."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(d, d, generator=generator))[0]
    std = torch.tensor([2.0, 1.6, 1.2, 0.5, 0.4, 0.3])
    return 0.5 + torch.randn(n, d, generator=generator) * std @ axes.T


def test_the_error_of_pca_is_the_sum_of_the_discarded_eigenvalues():
    x = gaussian().view(-1, 2, 3).double()
    pca = fit_pca(x, 3)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.flatten(1).T, correction=0)).flip(0)
    assert 6 * reconstruction_error(pca, x) == pytest.approx(eigenvalues[3:].sum().item())
    assert pca.discarded == pytest.approx(eigenvalues[3:].sum().item())
    torch.testing.assert_close(pca.variances, eigenvalues[:3])
    assert reconstruction_error(fit_pca(x, 6), x) < 1e-20
    drawn = pca.sample(20_000, torch.Generator().manual_seed(0))
    assert drawn.shape == (20_000, 2, 3)
    torch.testing.assert_close(fit_pca(drawn, 3).variances, pca.variances, rtol=0.05, atol=0)


def test_principal_angles_are_those_between_the_planes():
    angle = torch.tensor(30.0).deg2rad()
    a = torch.eye(4)[:, :2]
    b = torch.stack([torch.eye(4)[:, 0], angle.cos() * torch.eye(4)[:, 1] + angle.sin() * torch.eye(4)[:, 2]], 1)
    angles = principal_angles(a, b @ torch.tensor([[2.0, 1.0], [0.0, 3.0]]))
    torch.testing.assert_close(angles, torch.tensor([0.0, 30.0], dtype=torch.float64), atol=1e-4, rtol=0)


def test_a_linear_autoencoder_spans_the_principal_subspace():
    torch.manual_seed(0)
    x = gaussian()
    model, pca = linear_autoencoder((6,), 3), fit_pca(x, 3)
    config = FitConfig(steps=200, optimizer="sgd", learning_rate=0.2, weight_decay=0.0, warmup=5, device="cpu")
    fit(model, RandomBatches(lambda rng, n: {"x": x}), config, logger=Logger(console=False))
    assert principal_angles(model.decoder[0].weight.detach(), pca.axes).max() < 1
    with torch.no_grad():
        assert reconstruction_error(model, x) == pytest.approx(reconstruction_error(pca, x), rel=5e-3)
        assert reconstruction_error(model, x) >= reconstruction_error(pca, x) * (1 - 1e-5)


def test_a_linear_denoising_autoencoder_shrinks_by_the_signal_to_noise_ratio():
    """The best reconstruction of a normal sample x with noise of std s is linear, with gain C (C + s^2 I)^-1."""
    torch.manual_seed(0)
    x = torch.randn(4000, 2) * torch.tensor([2.0, 0.5])
    model = Autoencoder(nn.Linear(2, 2), nn.Linear(2, 2), (2,), 2, Corruption("gaussian", 0.5))
    train(model, x, 200, batch=500)
    gain = (model.decoder.weight @ model.encoder.weight).detach()
    torch.testing.assert_close(gain, torch.diag(torch.tensor([4 / 4.25, 0.25 / 0.5])), atol=0.05, rtol=0)


def test_masking_sets_a_fraction_to_zero_and_keeps_the_rest():
    torch.manual_seed(0)
    masked = Corruption("masking", 0.3)(torch.ones(100, 100))
    assert masked.unique().tolist() == [0, 1]
    assert masked.mean() == pytest.approx(0.7, abs=0.02)


def test_the_gradient_of_an_rbm_is_that_of_contrastive_divergence():
    torch.manual_seed(0)
    rbm, v = StackedRBM(5, 3), torch.rand(400, 5).round()
    torch.manual_seed(1)
    rbm.loss({"x": v})[0].backward()
    torch.manual_seed(1)
    with torch.no_grad():
        h = rbm.hidden(v)
        v1 = rbm.visible(torch.bernoulli(h))
        h1 = rbm.hidden(v1)
    torch.testing.assert_close(rbm.weight.grad, (v1.T @ h1 - v.T @ h) / 400)
    torch.testing.assert_close(rbm.visible_bias.grad, (v1 - v).mean(0))
    torch.testing.assert_close(rbm.hidden_bias.grad, (h1 - h).mean(0))


def test_a_stack_of_rbms_unrolls_to_the_autoencoder_it_approximates():
    torch.manual_seed(0)
    patterns = torch.tensor([[1.0, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 0, 0], [1, 0, 1, 0, 1, 0, 1, 1]])
    x = patterns[torch.randint(3, (300,))]
    stack = pretrained_stack(x, (8, 2), lambda rbm, data: train(rbm, data, 200, batch=64))
    assert [tuple(rbm.weight.shape) for rbm in stack] == [(8, 8), (8, 2)]
    model = unrolled(stack, (8,))
    with torch.no_grad():
        codes = stack[1].hidden(stack[0].hidden(x))
        torch.testing.assert_close(model.encode(x), codes)
        torch.testing.assert_close(model.decode(codes), stack[0].visible(stack[1].visible(codes)))
        random = deep_autoencoder((8,), (8, 2))
        assert reconstruction_error(model, x) < 0.75 * reconstruction_error(random, x)
    model.loss({"x": x})[0].backward()
    assert model.encoder[1].weight.grad is not None
    assert stack[0].weight.data_ptr() != model.decoder[2].weight.data_ptr()


def test_a_density_of_codes_has_the_moments_of_its_clusters():
    torch.manual_seed(0)
    codes = torch.cat([torch.randn(300, 2) * 0.2 + 5, torch.randn(100, 2) * torch.tensor([1.0, 0.1]) - 5])
    whole, clusters = fit_clusters(codes), fit_clusters(codes, 2)
    generator = torch.Generator().manual_seed(0)
    drawn = whole.sample(20_000, generator)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(codes.T), atol=0.6, rtol=0.05)
    near = clusters.sample(4000, generator)
    assert (near[:, 0] > 0).float().mean() == pytest.approx(0.75, abs=0.03)
    assert near[near[:, 0] < 0].std(0).tolist() == pytest.approx([1.0, 0.1], rel=0.2)
    assert torch.cdist(near, codes).amin(1).median() < 0.2 * torch.cdist(drawn, codes).amin(1).median()
    assert len(fit_clusters(codes, 2, spread=False).sample(100, generator).unique(dim=0)) == 2


def test_convolutions_mirror_each_other():
    shape = (3, 16, 24)
    encoder, decoder = conv_encoder(shape, 7, 4, 3), conv_decoder(shape, 7, 4, 3)
    x = torch.rand(2, *shape)
    assert encoder(x).shape == (2, 7)
    assert decoder(encoder(x)).shape == x.shape


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: linear_autoencoder((4,), 0), "at least one dimension; dim is 0"),
        (lambda: fit_pca(torch.rand(10, 4), 0), "at least one dimension"),
        (lambda: fit_pca(torch.rand(10, 4), 5), "10 samples of 4 numbers have no 5 principal components"),
        (lambda: conv_encoder((3, 20, 32), 8), "multiples of 8; got 20x32"),
        (lambda: conv_decoder((3, 32, 32), 8, depth=0), "depth of 1 or more"),
        (lambda: Corruption("blur"), "unknown corruption blur"),
        (lambda: Corruption("masking", 1.0), "cannot have a level of 1"),
        (lambda: Corruption(level=-0.1), "cannot have a level of -0.1"),
        (lambda: fit_clusters(torch.rand(3, 2), 4), "3 codes cannot form 4 clusters"),
    ],
)
def test_what_cannot_be_built_says_so(make, said):
    with pytest.raises(ValueError, match=said):
        make()
