"""`embodia sample RUN` of an autoencoder: reconstructions beside their originals, samples, and their quality."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor

from embodia.agents.training.device import choose_device
from embodia.perception.generative.autoencoders.autoencoder import Autoencoder
from embodia.perception.generative.autoencoders.code_density import fit_clusters
from embodia.perception.generative.autoencoders.image_autoencoders import ImageCodec
from embodia.perception.generative.autoencoders.posterior_collapse import active_units
from embodia.perception.generative.autoencoders.vae import VAE
from embodia.perception.scores.frechet import frechet_distance, principal_features
from embodia.scripts.assembly.image_encoders import ABOUT, pretrained
from embodia.scripts.assembly.runs import CONFIG
from embodia.scripts.assembly.stored import read
from embodia.scripts.commands.models.pretrain_config import PretrainConfig
from embodia.scripts.data.examples import as_pictures
from embodia.scripts.data.frames import Pool, source
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.picture_grid import picture_grid

IMAGES, PIECE = 2000, 256
"""Maximum number of images of the data that are read, and of images in a batch."""
SHOWN, COLUMNS = 32, 8
"""Number of reconstructions shown, and images in a row."""
COMPONENTS = 16
"""Maximum number of principal components of pixels in which samples are compared with images."""
CLUSTERS = 10
NO_DENSITY = (
    "an autoencoder is no generative model: it learns no density of its codes (a vae does). For comparison, codes are "
    f"sampled from a normal distribution, and from {CLUSTERS} k-means clusters, fitted to the codes of the data"
)


def is_encoder(run: Path) -> bool:
    """Return whether the run is one of an image encoder, not of a diffusion model or flow."""
    return any((run / "checkpoints").glob(f"*/{ABOUT}"))


def sample(run: Path, n: int, seed: int, scale: int, device: str, out: Path) -> dict[str, Any]:
    """Draw reconstructions and samples of a run, and return their measures.

    Args:
        run: A run of `vae`, `autoencoder` or `denoising-autoencoder`.
        n: Number of samples.
        seed: Random seed of the codes.
        scale: Integer upscaling factor.
        device: cpu, cuda or auto.
        out: Output folder.

    Raises:
        Mistake: If the run holds another encoder, or an autoencoder whose data is missing.
    """
    encoder = pretrained(run)
    if not isinstance(encoder, ImageCodec):
        kind = type(encoder).__name__
        raise Mistake(f"{run} holds a {kind}, which has no decoder; pretrain vae, autoencoder, ddpm or flow-matching")
    images = images_of(run, encoder)
    model = encoder.model.eval().to(choose_device(device))
    if images is None and isinstance(model, Autoencoder):
        raise Mistake(f"{run}: its data is missing; an autoencoder can only be sampled near the codes of its data")
    found: dict[str, Any] = {}
    with torch.no_grad():
        if images is not None:
            images = images.to(next(model.parameters()).device)
            found = reconstructed(model, images, out, scale)
        for name, drawn in samples(model, images, n, seed).items():
            save(out / f"{name}.png", drawn, scale, f"{n} samples")
            if images is not None:
                found |= compared(name, drawn, images)
    return found


def images_of(run: Path, encoder: ImageCodec) -> Tensor | None:
    """Return images (n, C, H, W) of 0 to 1 of the data that the run was trained on; None if it is missing."""
    data = read(run / CONFIG, PretrainConfig).data
    if not Path(data.path).exists():
        print(f"{data.path} is missing: no reconstructions, no measure of quality", file=sys.stderr)
        return None
    pool = Pool(source(Path(data.path), 1, 1, data.size, data.fps, data.key, data.episode_size), IMAGES)
    pool.draw(1)  # fills the pool
    frames, _ = pool.draw(len(pool.clips))
    return encoder.images({pool.key: torch.from_numpy(frames)})[0] + 0.5


def batched(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function of a batch to x in pieces."""
    return torch.cat([f(piece) for piece in x.split(PIECE)])


def reconstructed(model: Autoencoder | VAE, x: Tensor, out: Path, scale: int) -> dict[str, Any]:
    """Draw reconstructions below their originals, and measure those of all images."""
    shown = zip(x[:SHOWN].split(COLUMNS), model.decode(model.encode(x[:SHOWN])).split(COLUMNS))
    rows = torch.cat([row for pair in shown for row in pair])
    save(out / "reconstructions.png", rows, scale, "images, and below each row their reconstructions", COLUMNS)
    errors = batched(lambda piece: (model.decode(model.encode(piece)) - piece).square().flatten(1).mean(1), x)
    found: dict[str, Any] = {"squared_error": errors.mean().item()}
    print(f"mean squared error of the reconstruction {found['squared_error']:.4f} (pixels have values of 0 to 1)")
    return found | (latents(model, x) if isinstance(model, VAE) else {})


def latents(model: VAE, x: Tensor) -> dict[str, Any]:
    """Measure the bound and how many dimensions of the code are in use."""
    decoded, divergences = (torch.cat(each) for each in zip(*(model.elbo(piece) for piece in x.split(PIECE))))
    kl, active = divergences.sum(1).mean().item(), int(active_units(batched(model.encode, x)).sum())
    bound = decoded.mean().item() - kl
    print(f"bound {bound:.1f} nats, of which KL {kl:.1f}; {active} of {model.dim} dimensions of the code are active")
    if not active:
        print("posterior collapse: the code does not depend on the image; lower --method.beta", file=sys.stderr)
    return {"bound": bound, "kl": kl, "active_units": active}


def samples(model: Autoencoder | VAE, images: Tensor | None, n: int, seed: int) -> dict[str, Tensor]:
    """Return samples (n, C, H, W) by the name of their file."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(model, VAE):
        return {"samples": model.sample(n, generator=generator)}
    assert images is not None
    print(NO_DENSITY)
    codes = batched(model.encode, images)
    densities = {"gaussian_codes": 1, "cluster_codes": min(CLUSTERS, len(codes))}
    return {name: model.decode(fit_clusters(codes, k).sample(n, generator)) for name, k in densities.items()}


def compared(name: str, drawn: Tensor, images: Tensor) -> dict[str, float]:
    """Frechet distance of samples to half of the images, in principal components of the pixels of the other half."""
    reference, rest = images[::2], images[1::2]
    dim = min(COMPONENTS, (min(len(drawn), len(rest)) - 1) // 2)
    if dim < 1:
        return {}
    mean, axes = principal_features(reference, dim)
    distances = [
        frechet_distance((each.flatten(1) - mean) @ axes, (rest.flatten(1) - mean) @ axes)
        for each in (drawn, reference[: len(drawn)])
    ]
    print(f"{name}: Frechet distance to images {distances[0]:.2f} (of as many other images: {distances[1]:.2f})")
    return {f"{name}_frechet": distances[0], f"{name}_frechet_of_real": distances[1]}


def save(path: Path, x: Tensor, scale: int, says: str, columns: int | None = None) -> None:
    """Write images (n, C, H, W) of 0 to 1 as one PNG."""
    cv2.imwrite(str(path), picture_grid(as_pictures(2 * x.cpu() - 1), columns, scale)[:, :, ::-1])
    print(path, says)
