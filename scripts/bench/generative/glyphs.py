"""Scheduled sampling on strings of symbols drawn as pictures: a picture is fully determined by its string."""

import numpy as np
import torch
from torch import Tensor, nn

from embodia.perception.generative.denoisers.conditioning import VectorEmbedding
from embodia.perception.generative.denoisers.mlp import MLPDenoiser
from embodia.perception.generative.diffusion.diffusion import Diffusion
from embodia.perception.generative.diffusion.samplers import DDIM
from embodia.perception.generative.diffusion.schedule import cosine
from embodia.perception.generative.diffusion.scheduled_sampling import ScheduledSampling
from embodia.scripts.bench.generative.training import Budget, Numbers, seeded, trained

SLOTS, BITS, LEVELS, STEPS = 8, 4, 100, 20
SYMBOLS, WIDTH = 2**BITS, 128
ROLL_IN, SHARE = 8, 0.75
LOW = LEVELS // 5
"""Drift is averaged over levels below this one."""


def font(seed: int) -> Tensor:
    """(SYMBOLS, 8, 4) random glyphs of -1 and 1."""
    return 2.0 * torch.randint(2, (SYMBOLS, 8, 4), generator=seeded(seed)) - 1


def written(symbols: Tensor, glyphs: Tensor) -> Tensor:
    """Strings (n, SLOTS) -> pictures (n, 1, 8, 32)."""
    return glyphs[symbols].permute(0, 2, 1, 3).flatten(2)[:, None]


def read(pictures: Tensor, glyphs: Tensor) -> Tensor:
    """The symbol nearest to each slot of pictures (n, 1, 8, 32), (n, SLOTS)."""
    cells = pictures[:, 0].unflatten(2, (SLOTS, 4)).permute(0, 2, 1, 3).flatten(2)
    return torch.cdist(cells, glyphs.flatten(1)[None].expand(len(cells), -1, -1)).argmin(2)


def condition_of(symbols: Tensor) -> Tensor:
    """The binary code of each symbol, (n, SLOTS * BITS) of -1 and 1: a network has to learn the font as a table."""
    return 2.0 * ((symbols[..., None] >> torch.arange(BITS)) & 1).flatten(1) - 1


def scheduled_sampling(seed: int, budget: Budget) -> Numbers:
    """Glyph errors and drift of plain training and of scheduled sampling, after as many updates; and of plain training
    for about as long, a roll-in being half of the work."""
    glyphs = font(seed)

    def draw(rng: np.random.Generator, n: int) -> dict[str, Tensor]:
        symbols = torch.from_numpy(rng.integers(0, SYMBOLS, (n, SLOTS)))
        return {"x": written(symbols, glyphs), "condition": condition_of(symbols)}

    numbers: Numbers = {}
    for name, steps in (("plain", 1000), ("scheduled", 1000), ("longer plain", 2000)):
        torch.manual_seed(seed)
        embed = VectorEmbedding(SLOTS * BITS, WIDTH)
        model = Diffusion(
            MLPDenoiser((1, 8, 32), WIDTH, 3, embed), (1, 8, 32), cosine(LEVELS), "x0", drop=0.0, limit=1.0
        )
        steps = budget.steps(steps)
        learner: nn.Module = model
        if name == "scheduled":
            learner = ScheduledSampling(model, ROLL_IN, LEVELS // STEPS, SHARE, steps // 4)
        trained(learner, draw, steps, seed, batch=64)
        symbols = torch.randint(SYMBOLS, (budget.samples(500), SLOTS), generator=seeded(100 + seed))
        errors, drift = judged(model, symbols, glyphs, seed, f"glyphs-{seed}-{name.replace(' ', '-')}", budget)
        numbers |= {f"{name} glyph errors": errors, f"{name} drift": drift}
    return numbers


def judged(
    model: Diffusion, symbols: Tensor, glyphs: Tensor, seed: int, name: str, budget: Budget
) -> tuple[float, float]:
    """Sample the strings; drift is what the distance to the data exceeds the noise of a training state by."""
    truth, drifts, x = written(symbols, glyphs), [], torch.empty(0)
    for state in model.path(len(symbols), condition_of(symbols), seeded(seed), sampler=DDIM(STEPS)):
        x = state.x
        if state.t < LOW:
            square = (x - model.schedule.alphas[state.t] * truth).square().mean().item()
            drifts.append(max(0.0, square - model.schedule.sigmas[state.t] ** 2) ** 0.5)
    budget.keep(name, x=x[:12], truth=truth[:12])
    return (read(x, glyphs) != symbols).float().mean().item(), float(np.mean(drifts))
