"""Score models against exact laws: score matching, NCSN's published toy, likelihood by the probability flow."""

import torch
from torch import Tensor, nn

from embodia.perception.generative.denoisers.mlp import MLPDenoiser
from embodia.perception.generative.mcmc.langevin import langevin
from embodia.perception.generative.score_models.annealed_langevin import annealed_langevin
from embodia.perception.generative.score_models.ncsn import NCSN, geometric
from embodia.perception.generative.score_models.score_matching import ScoreModel
from embodia.perception.generative.score_models.score_sde import ScoreSDE
from embodia.perception.generative.score_models.sde import SDE, VP, SubVP
from embodia.perception.generative.score_models.sde_samplers import (
    TimedScore,
    log_likelihood,
    predictor_corrector,
    probability_flow,
)
from embodia.perception.generative.toy_densities import GaussianMixture, eight_gaussians, unequal_pair
from embodia.perception.scores.mmd import mmd2
from embodia.scripts.bench.generative.training import Budget, Numbers, drawing, seeded, trained

SIGMAS = geometric(20.0, 1.0, 10)
BOX = 8.0
"""Chains start uniformly within this distance of the origin, on each axis."""


def small_mode(x: Tensor) -> float:
    return (x[:, 0] < 0).float().mean().item()


def ncsn(seed: int, budget: Budget) -> Numbers:
    """Weight of the small mode of the published toy, by plain and by annealed Langevin dynamics (truth: 0.2)."""
    law, n, steps = unequal_pair(), budget.samples(1280), budget.steps(100)
    start = BOX * (2 * torch.rand(n, 2, generator=seeded(seed)) - 1)
    noised = {sigma: law.noised(1.0, sigma) for sigma in SIGMAS}
    plain = langevin(law.score, start, 0.1, 10 * steps, seeded(100 + seed))
    annealed = annealed_langevin(lambda x, s: noised[s].score(x), start, SIGMAS, 0.1, steps, seeded(200 + seed))
    torch.manual_seed(seed)
    model = NCSN(MLPDenoiser((2,), 64, 3), (2,), SIGMAS, step_size=0.1, steps=steps, denoise=False)
    trained(model, drawing(law), budget.steps(1500), seed)
    learned = model.sample(n, generator=seeded(300 + seed), start=start)
    budget.keep(f"ncsn-{seed}", plain=plain, annealed=annealed, learned=learned, data=law.sample(n, seeded(seed)))
    return {"plain": small_mode(plain), "annealed": small_mode(annealed), "learned": small_mode(learned)}


def matching(seed: int, budget: Budget) -> Numbers:
    """Relative error of the precision of a Gaussian in ten dimensions, by each of the three losses."""
    basis = torch.linalg.qr(torch.randn(10, 10, generator=seeded(seed)))[0]
    covariance = basis @ torch.diag(torch.linspace(0.5, 2.0, 10)) @ basis.T
    x = torch.randn(10_000, 10, generator=seeded(100 + seed)) @ torch.linalg.cholesky(covariance).T
    found = {}
    for by, noise in (("exact", 0.0), ("sliced", 0.0), ("denoising", 0.5)):
        torch.manual_seed(seed)
        model = ScoreModel(nn.Linear(10, 10), (10,), by, noise)  # type: ignore[arg-type]
        steps = budget.steps(1200 if noise else 400)
        trained(model, lambda rng, n: {"x": x[rng.integers(0, len(x), n)]}, steps, seed, 500, 0.03, 0.98)
        precision = torch.linalg.inv(covariance + noise**2 * torch.eye(10))
        weight = -model.network.weight.detach()  # type: ignore[operator]
        found[by] = ((weight - precision).norm() / precision.norm()).item()
    return found


def exact_score(law: GaussianMixture, sde: SDE) -> TimedScore:
    """Of the law noised by the SDE."""

    def score(x: Tensor, t: float) -> Tensor:
        mean, std = (each.item() for each in sde.marginal(torch.tensor(t, dtype=torch.float64)))
        return law.noised(mean, std).score(x)

    return score


def likelihood(seed: int, budget: Budget) -> Numbers:
    """Mean absolute error of the log-likelihood [nats], with the exact score and with a learned one."""
    law = eight_gaussians(std=0.3)
    double = GaussianMixture(law.means.double(), 0.3)
    x = double.sample(budget.samples(200), seeded(seed))
    truth, numbers = double.log_prob(x), {}
    for name, sde in (("vp", VP()), ("sub-vp", SubVP())):
        found = log_likelihood(exact_score(double, sde), sde, x, steps=60)
        numbers[name] = (found - truth).abs().mean().item()
    torch.manual_seed(seed)
    model = ScoreSDE(MLPDenoiser((2,), 128, 3), (2,), VP())
    trained(model, drawing(law), budget.steps(2500), seed)
    gap = truth.mean() - model.log_prob(x.float(), steps=40).mean()
    return numbers | {"learned gap": abs(gap.item())} | marginals(seed, budget)


def marginals(seed: int, budget: Budget) -> Numbers:
    """MMD^2 between data and the samples of the reverse SDE, predictor-corrector and ODE, with the exact score."""
    law, sde, n = eight_gaussians(), VP(), budget.samples(1000)
    score, noise = exact_score(law, sde), torch.randn(n, 2, generator=seeded(seed))
    data, ode = law.sample(n, seeded(100 + seed)), probability_flow(score, sde, noise, 40)
    reverse = predictor_corrector(score, sde, noise, 200, 0, generator=seeded(200 + seed))
    corrected = predictor_corrector(score, sde, noise, 100, 1, generator=seeded(300 + seed))
    return {
        "ode mmd": mmd2(ode, data),
        "sde mmd": mmd2(reverse, data),
        "pc mmd": mmd2(corrected, data),
        "sde to ode mmd": mmd2(reverse, ode),
    }
