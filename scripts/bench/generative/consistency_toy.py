"""One step from noise to two moons: distilled from a teacher, trained alone, and the teacher itself in one step."""

import numpy as np
import torch
from torch import Tensor

from embodia.perception.generative.denoisers.mlp import MLPDenoiser
from embodia.perception.generative.diffusion.consistency import Consistency
from embodia.perception.generative.diffusion.edm import EDM, NoiseRange
from embodia.perception.generative.toy_densities import two_moons
from embodia.perception.scores.mmd import mmd2
from embodia.scripts.bench.generative.training import Budget, Numbers, seeded, trained

NOISE = NoiseRange(0.02, 10.0, 7.0, 0.7)
LEVELS = 18


def draw(rng: np.random.Generator, n: int) -> dict[str, Tensor]:
    return {"x": torch.from_numpy(two_moons(rng, n))}


def consistency(seed: int, budget: Budget) -> Numbers:
    """MMD^2 to data of a teacher of 18 steps, of students of one and two, and of the teacher in one."""
    torch.manual_seed(seed)
    teacher = EDM(MLPDenoiser((2,), 128, 3), (2,), NOISE, log_mean=-1.0, log_std=1.4, steps=LEVELS)
    trained(teacher, draw, budget.steps(2500), seed)
    distilled = Consistency(MLPDenoiser((2,), 128, 3), (2,), NOISE, LEVELS, teacher, momentum=0.95)
    distilled.denoiser.load_state_dict(teacher.denoiser.state_dict())
    distilled.target.module.load_state_dict(teacher.denoiser.state_dict())
    trained(distilled, draw, budget.steps(2500), seed, rate=1e-3)
    torch.manual_seed(seed)
    steps = budget.steps(2000)
    alone = Consistency(MLPDenoiser((2,), 128, 3), (2,), NOISE, 40, momentum=0.9, steps=steps, huber=0.03)
    trained(alone, draw, steps, seed, rate=1e-3)
    n = budget.samples(2000)
    data = draw(np.random.default_rng(100 + seed), n)["x"]
    samples = {
        "teacher": teacher.sample(n, generator=seeded(seed)),
        "teacher in one step": teacher.sample(n, generator=seeded(seed), steps=1),
        "distilled": distilled.sample(n, generator=seeded(seed)),
        "distilled, two steps": distilled.sample(n, generator=seeded(seed), sigmas=(0.5,)),
        "trained alone": alone.sample(n, generator=seeded(seed)),
    }
    budget.keep(f"consistency-{seed}", data=data, **{name.replace(" ", "_"): x for name, x in samples.items()})
    return {name: mmd2(x, data) for name, x in samples.items()}
