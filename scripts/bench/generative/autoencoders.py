"""Autoencoders beside PCA: the linear one, the deep one, the VAE, sampling their codes, and convolutions."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.encoders.mlp import mlp
from embodia.perception.generative.autoencoders import Codec, reconstruction_error
from embodia.perception.generative.autoencoders.autoencoder import Autoencoder, linear_autoencoder
from embodia.perception.generative.autoencoders.code_density import fit_clusters
from embodia.perception.generative.autoencoders.conv_networks import conv_decoder, conv_encoder
from embodia.perception.generative.autoencoders.deep_autoencoder import deep_autoencoder, unrolled
from embodia.perception.generative.autoencoders.denoising import Corruption
from embodia.perception.generative.autoencoders.likelihoods import Gaussian
from embodia.perception.generative.autoencoders.pca import PCA, fit_pca, principal_angles
from embodia.perception.generative.autoencoders.posterior_collapse import active_units
from embodia.perception.generative.autoencoders.stacked_rbm import StackedRBM, pretrained_stack
from embodia.perception.generative.autoencoders.vae import VAE
from embodia.perception.pictures.outlined_shapes import outlined_shapes
from embodia.perception.scores.frechet import copies_ratio
from embodia.perception.scores.mmd import mmd2
from embodia.scripts.bench.generative.guidance import load_digits
from embodia.scripts.bench.generative.training import Asked, Budget, Draw, Numbers, seeded, trained

DIGIT = (1, 8, 8)
CODE = 8
"""Length of the codes of digits; the VAE of the bound has 2."""
BETAS = (0.1, 1.0, 4.0, 20.0)
SCALES = (0.5, 1.0, 2.0)
"""Bandwidths of the kernel between digits, whose distances are about 2."""


def digit_pictures(seed: int) -> tuple[Tensor, Tensor]:
    """(train, test) pictures (n, 1, 8, 8) of 0 to 1."""
    train, _, test, _ = load_digits(seed)
    return (train + 1) / 2, (test + 1) / 2


def drawn_from(x: Tensor) -> Draw:
    """Batches of x."""
    return lambda rng, n: {"x": x[torch.from_numpy(rng.integers(0, len(x), n))]}


def linear(seed: int, budget: Budget) -> Numbers:
    """Largest angle between the subspaces of a linear autoencoder and of PCA, and the ratio of their errors.

    Full batches and momentum: the eighth and ninth variance of the digits are close, so the last axis turns slowly.
    """
    x, _ = digit_pictures(seed)
    x = x - x.mean(0)
    torch.manual_seed(seed)
    model, pca = linear_autoencoder(DIGIT, CODE), fit_pca(x, CODE)
    before = principal_angles(decoder_axes(model), pca.axes).max().item()
    config = FitConfig(
        steps=budget.steps(1500),
        optimizer="sgd",
        learning_rate=8.0,
        weight_decay=0.0,
        warmup=20,
        clip=None,
        device="cpu",
    )
    fit(model, RandomBatches(lambda rng, n: {"x": x}), config, logger=Logger(console=False))
    with torch.no_grad():
        return {
            "linear angle": principal_angles(decoder_axes(model), pca.axes).max().item(),
            "untrained angle": before,
            "linear error ratio": reconstruction_error(model, x) / reconstruction_error(pca, x),
        }


def decoder_axes(model: Autoencoder) -> Tensor:
    """Weights (D, dim) of a linear decoder."""
    weight = model.decoder[0].weight  # type: ignore[index]
    assert isinstance(weight, Tensor)
    return weight.detach()


def digit_networks(dim: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """Encoder to `outputs` numbers and decoder from `dim`, of digits."""
    encoder = nn.Sequential(nn.Flatten(), mlp(64, (128, 128), outputs))
    return encoder, nn.Sequential(mlp(dim, (128, 128), 64), nn.Unflatten(1, DIGIT))


def digit_autoencoder(corruption: Corruption | None = None) -> Autoencoder:
    return Autoencoder(*digit_networks(CODE, CODE), DIGIT, CODE, corruption)


def digit_vae(dim: int, std: float | Tensor, beta: float = 1.0, samples: int = 1) -> VAE:
    encoder, decoder = digit_networks(dim, 2 * dim)
    return VAE(encoder, decoder, DIGIT, dim, Gaussian(std, learned=True), beta, samples)


def bound(seed: int, budget: Budget) -> Numbers:
    """Nats of held-out digits under VAEs with two latent dimensions, by beta, beside independent pixels.

    The grey levels are spread over their steps (dequantised), so that there is a density. The likelihood has a standard
    deviation for each pixel, which starts at that of the data: with a collapsed posterior it is that of independent
    pixels.
    """
    torch.manual_seed(seed)
    x, test = (torch.rand_like(each).add(each * 16).div(17) for each in digit_pictures(seed))
    std = x.std(0, unbiased=False)
    independent = Gaussian(std).log_prob(test, x.mean(0).expand_as(test)).mean().item()
    numbers: Numbers = {"independent pixels": independent}
    for beta in BETAS:
        torch.manual_seed(seed)
        model = digit_vae(2, std, beta)
        trained(model, drawn_from(x), budget.steps(1000), seed, batch=128)
        numbers |= judged(model, test, seed, f"beta {beta:g}")
        if beta == 1:
            budget.keep(f"vae-{seed}", test=test[:20], reconstructed=model.decode(model.encode(test[:20])))
    torch.manual_seed(seed)
    model = digit_vae(2, std, samples=5)
    trained(model, drawn_from(x), budget.steps(1000), seed, batch=128)
    return numbers | judged(model, test, seed, "importance-weighted")


@torch.no_grad()
def judged(model: VAE, test: Tensor, seed: int, name: str) -> Numbers:
    """Bounds, KL divergence, error and active dimensions of a VAE on held-out digits."""
    decoded, divergences = model.elbo(test, seeded(seed))
    return {
        f"{name} bound": (decoded - divergences.sum(1)).mean().item(),
        f"{name} L_50": model.bound(test, 50, seeded(seed)).mean().item(),
        f"{name} kl": divergences.sum(1).mean().item(),
        f"{name} error": reconstruction_error(model, test),
        f"{name} active": active_units(model.encode(test)).sum().item(),
    }


WIDTHS = (200, 100, 50, CODE)


def deep(seed: int, budget: Budget) -> Numbers:
    """Error of a deep autoencoder of logistic units on held-out digits, with and without pretraining, and of PCA.

    Without pretraining it is trained for as many updates as pretraining and fine-tuning take together.
    """
    x, test = digit_pictures(seed)
    layers, tuning = budget.steps(300), budget.steps(1000)

    def train(rbm: StackedRBM, data: Tensor) -> None:
        trained(rbm, drawn_from(data), layers, seed, batch=100, rate=2e-3 if rbm.linear else 1e-2, average=0.0)

    torch.manual_seed(seed)
    pretrained = unrolled(pretrained_stack(x.flatten(1), WIDTHS, train), DIGIT)
    random = deep_autoencoder(DIGIT, WIDTHS)
    errors = {"stacked RBMs": reconstruction_error(pretrained, test)}
    trained(pretrained, drawn_from(x), tuning, seed, batch=100)
    trained(random, drawn_from(x), tuning + len(WIDTHS) * layers, seed, batch=100)
    codecs: dict[str, Codec] = {"pretrained": pretrained, "random weights": random, "PCA": fit_pca(x, CODE)}
    with torch.no_grad():
        errors |= {name: reconstruction_error(each, test) for name, each in codecs.items()}
        pictures = {name.replace(" ", "_"): each.decode(each.encode(test[:20])) for name, each in codecs.items()}
    budget.keep(f"deep-{seed}", test=test[:20], **pictures)
    return errors | {"mean of the data": (test - x.mean(0)).square().mean().item()}


def code(seed: int, budget: Budget) -> Numbers:
    """Samples of a VAE, of PCA, and of densities of an autoencoder's codes, beside held-out digits.

    MMD^2 compares them as a whole. The distance to the nearest training digit, over that of held-out digits, is 1 for
    pictures that are as much like digits, more for others, and less for averages and copies.
    """
    x, test = digit_pictures(seed)
    n = budget.samples(1000)
    torch.manual_seed(seed)
    plain, vae = digit_autoencoder(), digit_vae(CODE, 0.2)
    for model in (plain, vae):
        trained(model, drawn_from(x), budget.steps(1500), seed, batch=128)
    with torch.no_grad():
        codes = plain.encode(x)
        decoded = {
            "standard normal codes": torch.randn(n, CODE, generator=seeded(seed)),
            "normal codes": fit_clusters(codes).sample(n, seeded(seed)),
            "k-means centres": fit_clusters(codes, 10, spread=False).sample(n, seeded(seed)),
            "k-means codes": fit_clusters(codes, 10).sample(n, seeded(seed)),
            "reconstructed": plain.encode(test),
        }
        samples = {name: plain.decode(each) for name, each in decoded.items()}
        samples |= {"PCA": fit_pca(x, CODE).sample(n, seeded(seed)), "vae": vae.sample(n, generator=seeded(seed))}
    budget.keep(f"code-{seed}", data=test[:25], **{name.replace(" ", "_"): each[:25] for name, each in samples.items()})
    distances = {f"{name}, distance": copies_ratio(each, test, x) for name, each in samples.items()}
    numbers = {name: mmd2(each, test, SCALES) for name, each in {**samples, "training digits": x}.items()}
    return numbers | distances


NOISE = 0.4


def denoising(seed: int, budget: Budget) -> Numbers:
    """Error of the reconstruction of held-out digits from noisy ones, of a denoising and a plain autoencoder."""
    x, test = digit_pictures(seed)
    noisy = test + NOISE * torch.randn(test.shape, generator=seeded(seed))
    models: dict[str, Autoencoder | PCA] = {"PCA": fit_pca(x, CODE)}
    for name, corruption in (("plain", None), ("denoising", Corruption("gaussian", NOISE))):
        torch.manual_seed(seed)
        model = digit_autoencoder(corruption)
        trained(model, drawn_from(x), budget.steps(1500), seed, batch=128)
        models[name] = model
    with torch.no_grad():
        pictures = {name: each.decode(each.encode(noisy)) for name, each in models.items()}
    budget.keep(f"denoising-{seed}", test=test[:20], noisy=noisy[:20], **{k: v[:20] for k, v in pictures.items()})
    errors = {f"{name}, noisy": (each - test).square().mean().item() for name, each in pictures.items()}
    with torch.no_grad():
        clean = {f"{name}, clean": reconstruction_error(each, test) for name, each in models.items()}
    return errors | clean | {"noise": NOISE**2}


SHAPE, LENGTH = (1, 32, 32), 64


def conv(seed: int, budget: Budget) -> Numbers:
    """Error of a convolutional autoencoder on held-out pictures of a square and a circle, over that of PCA."""
    x, test = (
        torch.from_numpy(outlined_shapes(n, 10 * seed + i).images).permute(0, 3, 1, 2).float() / 255
        for i, n in enumerate((budget.samples(5000), budget.samples(1000)))
    )
    length = min(LENGTH, len(x))
    torch.manual_seed(seed)
    model = Autoencoder(conv_encoder(SHAPE, length, 16), conv_decoder(SHAPE, length, 16), SHAPE, length)
    trained(model, drawn_from(x), budget.steps(3000), seed, batch=32, rate=3e-3)
    codecs: dict[str, Codec] = {"PCA": fit_pca(x, length), "conv": model}
    with torch.no_grad():
        errors = {name: reconstruction_error(each, test) for name, each in codecs.items()}
        pictures = {name: each.decode(each.encode(test[:20])) for name, each in codecs.items()}
    budget.keep(f"conv-{seed}", test=test[:20], **pictures)
    errors["mean of the data"] = (test - x.mean(0)).square().mean().item()
    return errors | {"conv over PCA": errors["conv"] / errors["PCA"]}


PARTS: dict[str, Callable[[int, Budget], Numbers]] = {
    "linear": linear,
    "bound": bound,
    "deep": deep,
    "code": code,
    "denoising": denoising,
    "conv": conv,
}

DENSITIES = ("PCA", "standard normal codes", "normal codes", "k-means centres", "k-means codes", "reconstructed")
ERROR, NATS, MMD = "mean squared error", "nats", "MMD^2"
ROWS = (
    Asked(
        "linear autoencoder",
        "linear",
        "linear angle",
        "degrees to the subspace of PCA",
        {"": ("untrained angle",), "error over that of PCA": ("linear error ratio",)},
    ),
    Asked(
        "conv autoencoder",
        "conv",
        "conv over PCA",
        "error over that of PCA-64",
        {ERROR: ("conv", "PCA", "mean of the data")},
    ),
    Asked(
        "denoising autoencoder",
        "denoising",
        "denoising, noisy",
        ERROR,
        {
            "": ("plain, noisy", "PCA, noisy", "noise"),
            "mean squared error without noise": ("denoising, clean", "plain, clean", "PCA, clean"),
        },
    ),
    Asked(
        "vae",
        "bound",
        "beta 1 bound",
        NATS,
        {
            "": ("beta 1 L_50", "importance-weighted L_50", "independent pixels"),
            "nats of KL divergence": tuple(f"beta {beta:g} kl" for beta in BETAS),
            ERROR: tuple(f"beta {beta:g} error" for beta in BETAS),
            "active dimensions of 2": tuple(f"beta {beta:g} active" for beta in BETAS),
        },
    ),
    Asked(
        "deep autoencoder",
        "deep",
        "pretrained",
        ERROR,
        {"": ("random weights", "stacked RBMs", "PCA", "mean of the data")},
    ),
    Asked(
        "sampling the code",
        "code",
        "vae",
        MMD,
        {
            "": ("training digits", *DENSITIES),
            "distance to the nearest training digit": tuple(f"{name}, distance" for name in ("vae", *DENSITIES)),
        },
    ),
)
