"""One diffusion model of eight Gaussians: its samplers, their order, and steering towards a reward."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from embodia.perception.generative.denoisers.mlp import MLPDenoiser
from embodia.perception.generative.diffusion.diffusion import Diffusion
from embodia.perception.generative.diffusion.exact import exact_predictor
from embodia.perception.generative.diffusion.samplers import (
    DDIM,
    DDPM,
    DPMSolver,
    Sampler,
    State,
    final,
    invert,
    sample_path,
)
from embodia.perception.generative.diffusion.schedule import cosine
from embodia.perception.generative.diffusion.steering import SteeringConfig, best_of, steer
from embodia.perception.generative.toy_densities import GaussianMixture, eight_gaussians
from embodia.perception.scores.mmd import mmd2
from embodia.perception.scores.modes import mode_weights, total_variation
from embodia.scripts.bench.generative.training import Budget, Numbers, drawing, seeded, trained

LAW = eight_gaussians()
TILT = torch.tensor([2.0, 0.0])
LEVELS = 200


def diffusion(seed: int, budget: Budget) -> Numbers:
    """All numbers of one seed."""
    torch.manual_seed(seed)
    model = Diffusion(MLPDenoiser((2,), 128, 3), (2,), cosine(LEVELS), "v")
    untrained = model.sample(budget.samples(2000), generator=seeded(seed), sampler=DDPM())
    trained(model, drawing(LAW), budget.steps(2500), seed)
    data = LAW.sample(budget.samples(2000), seeded(100 + seed))
    numbers = ancestral(model, data, seed, budget) | {"untrained": mmd2(untrained, data)}
    return numbers | deterministic(model, data, seed) | steering(model, seed, budget)


def ancestral(model: Diffusion, data: Tensor, seed: int, budget: Budget) -> Numbers:
    states = list(model.path(len(data), generator=seeded(200 + seed), sampler=DDPM()))
    x = states[-1].x
    shown = [states[i].x for i in np.linspace(0, len(states) - 1, 6).astype(int)]
    budget.keep(f"ddpm-{seed}", data=data, path=torch.stack(shown))
    return {
        "ddpm": mmd2(x, data),
        "data against data": mmd2(LAW.sample(len(data), seeded(300 + seed)), data),
        "smallest mode": mode_weights(x, LAW.means).min().item(),
    }


def deterministic(model: Diffusion, data: Tensor, seed: int) -> Numbers:
    """DDIM and DPM-Solver++ from the same noise, against a fine solution."""
    noise = torch.randn(len(data), 2, generator=seeded(400 + seed))

    def ends(sampler: Sampler, draws: int = 0) -> Tensor:
        return final(sample_path(model.predictor(), model.schedule, sampler, noise, seeded(draws)))

    fine = ends(DPMSolver(LEVELS))
    ddim = {steps: ends(DDIM(steps)) for steps in (10, 20, 50, LEVELS)}
    inverted = invert(model.predictor(), model.schedule, data, LEVELS)
    back = final(sample_path(model.predictor(), model.schedule, DDIM(LEVELS), inverted))
    return {
        "deterministic": float(torch.equal(ddim[20], ends(DDIM(20), draws=1))),
        "ddim consistency": correlation(ddim[20], ddim[LEVELS]),
        "eta 1 consistency": correlation(ends(DDIM(20, eta=1.0), 500 + seed), ddim[LEVELS]),
        "inversion error": ((back - data).norm() / data.norm()).item(),
        "dpm-solver 20": rms(ends(DPMSolver(20)) - fine),
        "ddim 50": rms(ddim[50] - fine),
        "dpm-solver 20 mmd": mmd2(ends(DPMSolver(20)), data),
        "ddim 50 mmd": mmd2(ddim[50], data),
        "ddim 10 mmd": mmd2(ddim[10], data),
    }


def solver(seed: int, budget: Budget) -> Numbers:
    """The power of the step with which the error against a fine solution falls, of the exact score.

    Between two levels of a schedule with so many that any step is made of whole ones.
    """
    schedule = cosine(20_000)
    law = GaussianMixture(LAW.means.double(), 0.15)
    predict = exact_predictor(law, schedule)
    noise = torch.randn(budget.samples(200), 2, generator=seeded(seed), dtype=torch.float64)

    def end(order: Literal[1, 2], steps: int) -> Tensor:
        state, sampler = State(noise, noise, 19_000, {}), DPMSolver(order=order)
        for s in np.linspace(19_000, 3_000, steps + 1).round().astype(int).tolist()[1:]:
            state = sampler.step(predict, schedule, state, s, None)
        return state.x

    fine = end(2, 2_000)
    errors = {order: {steps: rms(end(order, steps) - fine) for steps in (40, 80, 160)} for order in (1, 2)}
    return {"order": slope(errors[2]), "ddim order": slope(errors[1]), **few_steps(law, noise)}


def few_steps(law: GaussianMixture, noise: Tensor) -> Numbers:
    """Error of whole samples against a fine solution, of the exact score on the model's own levels."""
    schedule = cosine(LEVELS)
    predict = exact_predictor(law, schedule)
    samplers: dict[str, Sampler] = {
        "fine": DPMSolver(LEVELS),
        "dpm-solver 20, exact score": DPMSolver(20),
        "ddim 20, exact score": DDIM(20),
        "ddim 50, exact score": DDIM(50),
    }
    x = {name: final(sample_path(predict, schedule, sampler, noise)) for name, sampler in samplers.items()}
    return {name: rms(each - x["fine"]) for name, each in x.items() if name != "fine"}


def steering(model: Diffusion, seed: int, budget: Budget) -> Numbers:
    """Towards large first coordinates; the tilted law p(x) exp(2 x_1) is known exactly."""
    tilted, n, k = LAW.tilted(TILT), budget.samples(1000), 8
    sampler = DDIM(50, eta=1.0)

    def reward(x: Tensor) -> Tensor:
        return x[:, 0]

    steered = steer(model, n, reward, SteeringConfig(k, 2.0), sampler, generator=seeded(600 + seed))
    many = steer(model, n // 8, reward, SteeringConfig(64, 2.0), sampler, generator=seeded(650 + seed))
    plain = model.sample(n * k, generator=seeded(700 + seed), sampler=sampler)
    best = best_of(plain, reward(plain), k)
    budget.keep(f"steering-{seed}", steered=steered, best=best, plain=plain[:n], exact=tilted.sample(n, seeded(seed)))
    weights = {name: mode_weights(x, LAW.means) for name, x in (("steered", steered), ("best", best), ("plain", plain))}
    return {
        "exact mean": (tilted.weights @ tilted.means)[0].item(),
        "steering": total_variation(weights["steered"], tilted.weights),
        "steering mean": steered[:, 0].mean().item(),
        "steering mean, 64 particles": many[:, 0].mean().item(),
        "best of 8": total_variation(weights["best"], tilted.weights),
        "best of 8 mean": best[:, 0].mean().item(),
        "best of 64 mean": best_of(plain, reward(plain), min(64, len(plain)))[:, 0].mean().item(),
        "unsteered": total_variation(weights["plain"], tilted.weights),
    }


def rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


def slope(errors: dict[int, float]) -> float:
    """The power of the step with which an error falls."""
    return float(-np.polyfit(np.log(list(errors)), np.log(list(errors.values())), 1)[0])


def correlation(x: Tensor, y: Tensor) -> float:
    return torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1].item()
