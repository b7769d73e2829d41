"""Samplers against closed forms, against each other, and step for step against diffusers."""

import math

import diffusers
import pytest
import torch

from embodia.perception.generative import NonFinite
from embodia.perception.generative.diffusion.exact import exact_predictor
from embodia.perception.generative.diffusion.parametrization import of_eps, prediction, target
from embodia.perception.generative.diffusion.samplers import (
    DDIM,
    DDPM,
    DPMSolver,
    State,
    final,
    invert,
    sample_path,
)
from embodia.perception.generative.diffusion.schedule import Schedule, cosine, levels, linear
from embodia.perception.generative.toy_densities import GaussianMixture, eight_gaussians
from embodia.perception.scores.mmd import mmd2
from embodia.perception.scores.modes import mode_weights

BETAS = {"linear": ("linear", linear), "cosine": ("squaredcos_cap_v2", cosine)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def curved(schedule):
    """A denoiser that is no straight line."""

    def predict(x, t):
        eps = (x + 0.3 * torch.sin(3 * x)) * schedule.sigmas[t]
        return of_eps(eps, x, schedule.alphas[t], schedule.sigmas[t])

    return predict


# Schedules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BETAS)
def test_schedules_are_those_of_diffusers(name):
    theirs = diffusers.DDPMScheduler(1000, beta_schedule=BETAS[name][0]).alphas_cumprod
    torch.testing.assert_close(torch.from_numpy(BETAS[name][1]().alpha_bar).float(), theirs, atol=2e-6, rtol=1e-3)


def test_a_schedule_that_does_not_end_in_noise_is_refused():
    with pytest.raises(ValueError, match="does not end in noise: 60% of the data's amplitude"):
        linear(100)
    with pytest.raises(ValueError, match="decreasing"):
        Schedule([0.5, 0.6, 0.001])


def test_levels_are_spaced_as_they_are_named():
    assert levels(1000, 4, "leading") == [750, 500, 250, 0]
    assert levels(1000, 4, "trailing") == [999, 749, 499, 249]
    assert levels(1000, 3, "linspace") == [999, 500, 0]
    assert levels(1000, 1) == [999]
    assert levels(100, 100) == list(range(99, -1, -1))
    quadratic = levels(1000, 10, "quadratic")
    assert quadratic[0] == 999
    assert quadratic[-2] - quadratic[-1] < quadratic[0] - quadratic[1]
    with pytest.raises(ValueError, match="choose 1 to 100"):
        levels(100, 101)


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
def test_each_parametrisation_gives_back_data_and_noise(kind):
    x0, eps, alpha, sigma = torch.randn(5, 2), torch.randn(5, 2), 0.6, 0.8
    found = prediction(kind, target(kind, x0, eps, alpha, sigma), alpha * x0 + sigma * eps, alpha, sigma)
    torch.testing.assert_close(found.x0, x0)
    torch.testing.assert_close(found.eps, eps)


# Against diffusers ------------------------------------------------------------------------------------------------


def both(theirs, ours, schedule, seed=7, **given):
    """Yield (theirs, ours) after each step, both from where ours stands."""
    predict, noise = curved(schedule), torch.randn(6, 4, 2, generator=seeded(seed))
    path = sample_path(predict, schedule, ours, noise, seeded())
    x, generator = noise, seeded()
    for t, state in zip(theirs.timesteps.tolist(), path, strict=True):
        more = {"generator": generator, **given} if "Solver" not in type(theirs).__name__ else {}
        yield theirs.step(predict(x, t).eps, t, x, **more).prev_sample, state.x
        x = state.x


@pytest.mark.parametrize("name", BETAS)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_that_of_diffusers(name, eta):
    schedule = BETAS[name][1]()
    theirs = diffusers.DDIMScheduler(1000, beta_schedule=BETAS[name][0], clip_sample=False)
    theirs.set_timesteps(50)
    for one, other in both(theirs, DDIM(50, eta, "leading"), schedule, eta=eta):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("variance", "named"), [("small", "fixed_small"), ("large", "fixed_large")])
@pytest.mark.parametrize("steps", [1000, 50])
def test_ddpm_is_that_of_diffusers(variance, named, steps):
    theirs = diffusers.DDPMScheduler(1000, clip_sample=False, variance_type=named)
    theirs.set_timesteps(steps)
    # In float32 their 1 - alpha_bar_t / alpha_bar_s keeps three digits where beta is 1e-4.
    theirs.alphas_cumprod, theirs.one = theirs.alphas_cumprod.double(), theirs.one.double()
    for one, other in both(theirs, DDPM(steps, variance, "leading"), linear()):
        torch.testing.assert_close(other.double(), one.double(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("order", [1, 2])
def test_dpm_solver_is_that_of_diffusers(order):
    theirs = diffusers.DPMSolverMultistepScheduler(1000, solver_order=order, timestep_spacing="trailing")
    theirs.set_timesteps(25)
    for one, other in both(theirs, DPMSolver(25, order, "trailing"), linear()):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)


# Against closed forms ---------------------------------------------------------------------------------------------


def gaussian(std=0.5, mean=1.5):
    return GaussianMixture(torch.tensor([[mean, -mean]], dtype=torch.float64), std)


def flow_of(law, schedule, x, t):
    """Where the probability flow of one Gaussian leads from x at level t."""
    alpha, std = schedule.alphas[t], law.std[0]
    spread = (alpha**2 * std**2 + schedule.sigmas[t] ** 2).sqrt()
    return law.means[0] + std / spread * (x - alpha * law.means[0])


@pytest.mark.parametrize(("order", "ratio"), [(1, 2), (2, 4)])
def test_the_error_falls_with_the_order_of_the_solver(order, ratio):
    """Down to a level where little noise is left; the last step to the data is of first order by its nature."""
    law, schedule = gaussian(), cosine(20_000)
    predict = exact_predictor(law, schedule)
    noise = torch.randn(50, 2, generator=seeded(), dtype=torch.float64)
    start, end = 19_000, 1_000
    truth = noised_flow(law, schedule, noise, start, end)
    errors = []
    for steps in (20, 40, 80):
        state, solver = State(noise, noise, start, {}), DPMSolver(steps, order)
        for s in torch.linspace(start, end, steps + 1, dtype=torch.float64).round().int().tolist()[1:]:
            state = solver.step(predict, schedule, state, s, None)
        errors.append((state.x - truth).abs().mean().item())
    assert errors[0] / errors[1] == pytest.approx(ratio, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(ratio, rel=0.2)


def noised_flow(law, schedule, x, t, s):
    """The probability flow of one Gaussian from level t to s."""
    spread = [(schedule.alphas[i] ** 2 * law.std[0] ** 2 + schedule.sigmas[i] ** 2).sqrt() for i in (t, s)]
    return schedule.alphas[s] * law.means[0] + spread[1] / spread[0] * (x - schedule.alphas[t] * law.means[0])


def test_ddim_follows_the_probability_flow():
    law, schedule = gaussian(), cosine(1000)
    noise = torch.randn(50, 2, generator=seeded(), dtype=torch.float64)
    found = final(sample_path(exact_predictor(law, schedule), schedule, DDIM(1000), noise))
    torch.testing.assert_close(found, flow_of(law, schedule, noise, 999), atol=0.01, rtol=0)


def test_ddpm_gives_the_density_and_its_steps_are_stochastic():
    mixture, schedule = eight_gaussians(), cosine(200)
    predict, noise = exact_predictor(mixture, schedule), torch.randn(1000, 2, generator=seeded())
    found = final(sample_path(predict, schedule, DDPM(), noise, seeded(1)))
    assert abs(mmd2(found, mixture.sample(1000, seeded(2)))) < 0.003
    assert mode_weights(found, mixture.means).min() > 0.08
    assert not torch.equal(found, final(sample_path(predict, schedule, DDPM(), noise, seeded(3))))


def test_ddim_is_deterministic_and_consistent_and_eta_1_is_not():
    mixture, schedule = eight_gaussians(), cosine(200)
    predict, noise = exact_predictor(mixture, schedule), torch.randn(500, 2, generator=seeded())
    few, many = (final(sample_path(predict, schedule, DDIM(steps), noise)) for steps in (20, 200))
    assert torch.equal(few, final(sample_path(predict, schedule, DDIM(20), noise)))
    assert torch.corrcoef(torch.stack([few.flatten(), many.flatten()]))[0, 1] > 0.95
    random = final(sample_path(predict, schedule, DDIM(20, eta=1.0), noise, seeded(4)))
    assert torch.corrcoef(torch.stack([random.flatten(), many.flatten()]))[0, 1] < 0.8


def test_inversion_leads_back_to_the_noise():
    mixture, schedule = eight_gaussians(), cosine(1000)
    predict, x = exact_predictor(mixture, schedule), mixture.sample(300, seeded())
    noise = invert(predict, schedule, x, 200)
    back = final(sample_path(predict, schedule, DDIM(200), noise))
    assert ((back - x).norm() / x.norm()).item() < 0.05
    assert noise.std().item() == pytest.approx(1, abs=0.1)


def test_a_sample_that_is_not_finite_stops_with_its_step():
    schedule = cosine(10)

    def predict(x, t):
        return of_eps(x * (math.nan if t == 7 else 0.1), x, 1.0, 0.5)

    with pytest.raises(NonFinite, match="at step 3"):
        final(sample_path(predict, schedule, DDIM(10), torch.zeros(2, 2)))
