"""`embodia sample RUN`: samples of a trained generative model as pictures, a video of how they form, their quality."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
import tyro
from torch import Tensor

from embodia.agents.training.device import choose_device
from embodia.perception.generative import Generative
from embodia.perception.generative.diffusion.diffusion import Diffusion
from embodia.perception.generative.diffusion.samplers import DDIM, DDPM, DPMSolver, Sampler
from embodia.perception.generative.energies import EnergyModel
from embodia.perception.scores.frechet import copies_ratio, frechet_distance, principal_features
from embodia.scripts.assembly import runs
from embodia.scripts.assembly.generative import Trained, load
from embodia.scripts.commands.models import sample_autoencoder
from embodia.scripts.data.examples import as_pictures, held_out
from embodia.scripts.mistake import Mistake, at_least_one, nearest
from embodia.scripts.report.picture_grid import Frame, picture_grid
from embodia.scripts.report.progress import over
from embodia.scripts.report.video import Video

FEATURES = 16
"""Principal components of pixels in which samples are compared with held-out pictures."""
FRAMES = 60
"""Most frames of a video; the last is then shown for a second more."""


@dataclass(frozen=True)
class Args:
    """Sample a generative model: a picture grid, a video of the denoising or the Markov chain, a measure of quality.

    A run of `embodia pretrain vae` or `autoencoder` also gives reconstructions beside their originals.

    The measure is the Frechet distance between samples and held-out pictures, in principal components of their pixels;
    beside it, that of as many real training pictures. Lower is better; the real pictures' is the best to hope for.
    """

    run: tyro.conf.Positional[Path]
    """The run folder."""
    n: int = 64
    """Number of samples."""
    class_: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Class of all samples, by its number or its folder's name; by default each class in turn."""
    sampler: Literal["ddim", "ddpm", "dpm-solver"] = "ddim"
    """Sampler of a diffusion model."""
    steps: int | None = None
    """Sampling steps; by default 50 of ddim, 20 of dpm-solver, all levels of ddpm, and as many as the model was made
    for otherwise."""
    eta: float = 0.0
    """Noise of ddim's steps: 0 deterministic, 1 as much as ddpm's."""
    guidance: float = 1.0
    """Scale of classifier-free guidance: 0 ignores the class, 1 is the conditional model."""
    seed: int = 0
    """Seed of the noise. The same seed gives the same samples."""
    scale: int = 2
    """Times each pixel is repeated."""
    fps: int = 15
    """Frames of the video per second."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    out: Path | None = None
    """Folder of the results; by default a fresh one in the run."""
    json: bool = False
    """End with one JSON object."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia sample")
    check(args)
    if sample_autoencoder.is_encoder(args.run):
        return autoencoder(args)
    trained = load(args.run)
    generator = torch.Generator().manual_seed(args.seed)
    condition = labels(args, trained)
    try:
        model = trained.model.to(choose_device(args.device))
        x, frames = drawn(args, model, condition, generator)
    except ValueError as error:
        raise Mistake(f"{args.run}: {error}") from error
    folder = runs.exactly(args.out) if args.out else runs.fresh(args.run / "samples")
    picture = picture_grid(as_pictures(x), scale=args.scale)
    cv2.imwrite(str(folder / "samples.png"), picture[:, :, ::-1])
    print(folder / "samples.png", f"{len(x)} samples after {trained.step:,} updates")
    if frames:
        print(film(folder, frames, args.fps, isinstance(model, Diffusion)))
    found = quality(x.cpu(), trained, None if args.class_ is None or condition is None else int(condition[0]))
    say(found)
    (folder / "quality.json").write_text(json.dumps(found, indent=2))
    if args.json:
        print(json.dumps({"folder": str(folder), **found}))
    return 0


def autoencoder(args: Args) -> int:
    """Sample a run of `vae` or `autoencoder`."""
    if args.class_ is not None or args.steps is not None or args.guidance != 1 or args.eta:
        raise Mistake(f"{args.run} is an autoencoder; omit --class, --steps, --eta and --guidance")
    with runs.filled(args.out, args.run / "samples") as folder:
        try:
            found = sample_autoencoder.sample(args.run, args.n, args.seed, args.scale, args.device, folder)
        except ValueError as error:
            raise Mistake(f"{args.run}: {error}") from error
        (folder / "quality.json").write_text(json.dumps(found, indent=2))
    if args.json:
        print(json.dumps({"folder": str(folder), **found}))
    return 0


def check(args: Args) -> None:
    """Raise Mistake for numbers that cannot be."""
    at_least_one(n=args.n, steps=args.steps, scale=args.scale, fps=args.fps)
    if not 0 <= args.seed < 2**63:
        raise Mistake(f"--seed is {args.seed}; it must be from 0 to {2**63 - 1}")


def labels(args: Args, trained: Trained) -> Tensor | None:
    """The class of each sample (n,); None for an unconditional model. Raises Mistake for a class there is not."""
    names = trained.classes
    if not names:
        if args.class_ is not None:
            raise Mistake(f"--class {args.class_}: {args.run} was trained without classes; leave --class out")
        return None
    if args.class_ is None:
        return torch.arange(args.n) % len(names)
    if args.class_ in names:
        return torch.full((args.n,), names.index(args.class_))
    if args.class_.isdecimal() and int(args.class_) < len(names):
        return torch.full((args.n,), int(args.class_))
    raise Mistake(
        f"--class {args.class_}: {args.run} knows classes 0 to {len(names) - 1}. {nearest(args.class_, names)}"
    )


def drawn(
    args: Args, model: Generative, condition: Tensor | None, generator: torch.Generator
) -> tuple[Tensor, list[Frame]]:
    """The samples, and frames of the denoising or of the Markov chain; other models have none."""
    condition = None if condition is None else condition.to(next(model.parameters()).device)
    if not isinstance(model, Diffusion) and args.guidance != 1:
        raise ValueError("guidance works on diffusion models; leave --guidance out")
    if isinstance(model, EnergyModel):
        steps = args.steps or model.sampling_steps
        chain = model.chain(args.n, condition, generator, steps)
        return watched(((x,) for x in chain), spaced(steps), args.scale)
    if not isinstance(model, Diffusion):
        options: dict[str, Any] = {"steps": args.steps} if args.steps else {}
        return model.sample(args.n, condition, generator, **options), []
    sampler = sampler_of(args, model)
    visited = len(sampler.levels(model.schedule))
    path = model.path(args.n, condition, generator, sampler=sampler, guidance=args.guidance)
    states = over(path, "sampling", "steps", visited)
    return watched(((state.x, state.x0) for state in states), spaced(visited), args.scale)


def spaced(steps: int) -> set[int]:
    """The steps that are shown in a video, at most FRAMES of them."""
    return set(np.linspace(1, steps, min(FRAMES, steps)).round().astype(int).tolist())


def sampler_of(args: Args, model: Diffusion) -> Sampler:
    steps = args.steps
    if args.eta and args.sampler != "ddim":
        raise ValueError(f"--eta belongs to ddim; leave it out with {args.sampler}")
    if args.sampler == "ddpm":
        return DDPM(steps)
    few = min(model.schedule.steps, 50 if args.sampler == "ddim" else 20)
    return DDIM(steps or few, args.eta) if args.sampler == "ddim" else DPMSolver(steps or few)


def watched(path: Iterable[tuple[Tensor, ...]], shown: set[int], scale: int) -> tuple[Tensor, list[Frame]]:
    """The last sample, and a picture of each step whose number is in `shown`: the tensors of the step side by side."""
    frames, x = [], torch.empty(0)
    for number, step in enumerate(path, start=1):
        x = step[0]
        if number in shown:
            frames.append(np.concatenate([picture_grid(as_pictures(each), scale=scale) for each in step], 1))
    return x, frames


def film(folder: Path, frames: list[Frame], fps: int, denoising: bool) -> str:
    path = folder / ("denoising.mp4" if denoising else "chain.mp4")
    with Video(path, fps) as video:
        for frame in [*frames, *[frames[-1]] * fps]:
            video.add(frame)
    seen = "the samples (left) and the pictures predicted (right)" if denoising else "the Markov chain of each sample"
    return f"{path} {seen}, {len(frames)} of the steps"


def quality(x: Tensor, trained: Trained, label: int | None) -> dict[str, float]:
    """Frechet distance of samples to held-out pictures, that of as many training pictures, and whether they are copies.

    {} where there are too few samples or pictures to say. `label` is the class of the samples, if it is one.
    """
    real = held_out(trained.config.data, None if label is None else trained.classes[label])
    if real is None:
        print("no quality: it needs the pictures that the model was trained on, 3 of them held out", file=sys.stderr)
        return {}
    train, rest = real
    dim = min(FEATURES, (min(len(x), len(rest)) - 1) // 2)
    if dim < 1:
        print("no quality: it needs at least 3 samples", file=sys.stderr)
        return {}
    mean, axes = principal_features(train, dim)

    def features(pictures: Tensor) -> Tensor:
        return (pictures.flatten(1) - mean) @ axes

    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: len(x)]
    return {
        "components": dim,
        "frechet": frechet_distance(features(x), features(rest)),
        "frechet_of_real": frechet_distance(features(train[chosen]), features(rest)),
        "copies_ratio": copies_ratio(x, rest, train),
    }


def say(found: dict[str, float]) -> None:
    if found:
        print(
            f"Frechet distance to held-out pictures in {found['components']} principal components: "
            f"{found['frechet']:.2f} (as many real pictures: {found['frechet_of_real']:.2f})"
        )
        print(
            f"distance to the nearest training picture, over that of held-out pictures: {found['copies_ratio']:.2f} "
            "(1: as new as those; near 0: copies)"
        )
