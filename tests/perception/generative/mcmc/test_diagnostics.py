"""Effective sample size and R-hat, of processes for which they are known."""

import pytest
import torch

from embodia.perception.generative.mcmc.diagnostics import autocovariance, effective_sample_size, split_r_hat


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def autoregressive(rho, draws, chains, generator):
    """x_t = rho x_(t-1) + noise, stationary with unit variance, (draws, chains)."""
    noise = torch.randn(draws, chains, generator=generator)
    x = [noise[0]]
    for each in noise[1:]:
        x.append(rho * x[-1] + (1 - rho**2) ** 0.5 * each)
    return torch.stack(x)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_effective_sample_size_of_an_autoregressive_process(rho):
    """N (1 - rho) / (1 + rho)."""
    draws = torch.stack([autoregressive(rho, 4000, 10, seeded(i)) for i in range(3)], 2)
    found = effective_sample_size(draws) / 40_000
    assert found.shape == (3,)
    assert found.mean().item() == pytest.approx((1 - rho) / (1 + rho), rel=0.08)


def test_effective_sample_size_of_chains_that_stay_apart_is_small():
    draws = torch.randn(1000, 4, generator=seeded()) + 5 * torch.arange(4)
    assert effective_sample_size(draws) < 10


def test_r_hat_of_chains_that_agree_or_not():
    draws = torch.randn(2000, 4, generator=seeded())
    assert split_r_hat(draws).item() == pytest.approx(1, abs=2e-3)
    shift = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    # The eight half chains' means are four times -1 and four times +1: variance 8 / 7 beside 1 within.
    assert split_r_hat(draws + shift).item() == pytest.approx((1 + 8 / 7) ** 0.5, abs=0.02)


def test_r_hat_sees_a_trend_within_one_chain():
    drift = torch.randn(2000, 1, generator=seeded()) + torch.linspace(-2, 2, 2000)[:, None]
    assert split_r_hat(drift) > 1.5


def test_autocovariance_is_the_definition():
    x = torch.randn(50, 2, generator=seeded(), dtype=torch.float64)
    centred = x - x.mean(0)
    direct = torch.stack([(centred[: 50 - lag] * centred[lag:]).sum(0) / 50 for lag in range(50)])
    torch.testing.assert_close(autocovariance(x), direct)


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match="3 draws of each chain are too few"):
        split_r_hat(torch.zeros(3, 2))
