"""Action heads: exact likelihoods, compared with torch.distributions and numerical integrals."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import distributions as D

from embodia.agents.heads import ClassHead, MixtureHead, draw, make_head

FEATURES = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))  # (*B, D) with B = (3, 4)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_classes_match_torch():
    space = spaces.MultiDiscrete([3, 5], start=[1, -2])
    head = ClassHead(6, space)
    action = torch.from_numpy(np.stack([space.sample() for _ in range(12)])).view(3, 4, 2)
    expected = sum(
        D.Categorical(logits=logits).log_prob(action[..., i] - int(space.start[i]))
        for i, logits in enumerate(head.logits(FEATURES))
    )
    torch.testing.assert_close(head.loss(FEATURES, action), -expected)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4, start=2),
        spaces.MultiDiscrete([2, 3]),
        spaces.Box(-1.0, 3.0, (2,), np.float32),
        spaces.Box(-np.inf, np.inf, (2, 1), np.float32),
    ],
)
def test_actions_lie_in_their_space(space):
    head = make_head(6, space)
    for action in (head.mode(FEATURES), head.sample(FEATURES)):
        assert action.shape == (3, 4, *space.shape)
        assert all(space.contains(one) for one in action.detach().numpy().astype(space.dtype).reshape(12, *space.shape))
    assert head.loss(FEATURES, head.sample(FEATURES)).shape == (3, 4)


def test_mode_has_the_greatest_class_likelihood():
    head = ClassHead(6, spaces.Discrete(5, start=-1))
    losses = torch.stack([head.loss(FEATURES, torch.full((3, 4), a)) for a in range(-1, 4)])
    assert torch.equal(losses.argmin(0) - 1, head.mode(FEATURES))


def test_drawn_classes_have_the_softmax_frequencies():
    logits = torch.tensor([1.0, -0.5, 0.3, -3.0])
    drawn = draw(logits.expand(200_000, 4), torch.Generator().manual_seed(1))
    share = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(share, logits.softmax(0), atol=0.004, rtol=0)


def test_a_boundless_mixture_matches_torch():
    head = MixtureHead(6, spaces.Box(-np.inf, np.inf, (2,), np.float32), components=3)
    action = torch.randn(3, 4, 2)
    log_weight, mean, std = head.mixture(FEATURES)
    mixture = D.MixtureSameFamily(D.Categorical(logits=log_weight), D.Independent(D.Normal(mean, std), 1))
    torch.testing.assert_close(head.loss(FEATURES, action), -mixture.log_prob(action))


def wide(head):
    """Means near the bounds, so that the clipped probability mass matters."""
    torch.nn.init.normal_(head.linear.weight, 0.0, 1.0)
    return head.double()


@pytest.mark.parametrize(("low", "high"), [(-2.0, 5.0), (0.0, np.inf), (-np.inf, 1.0)])
def test_density_inside_and_mass_at_the_bounds_sum_to_one(low, high):
    head = wide(MixtureHead(6, spaces.Box(low, high, (1,), np.float32), components=3, least_std=0.05))
    x = torch.linspace(max(low, -60) + 1e-4, min(high, 60) - 1e-4, 40_001, dtype=torch.float64)
    for features in FEATURES.double().flatten(0, 1)[:4]:
        density = torch.exp(-head.loss(features.expand(len(x), 6), x[:, None]))
        total = torch.trapezoid(density, x)
        for bound in (low, high):
            if math.isfinite(bound):
                total = total + torch.exp(-head.loss(features[None], torch.tensor([[bound]])))[0]
        assert abs(total.item() - 1) < 2e-3


def test_samples_have_the_clipped_mixtures_mass_and_mean():
    space = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 4.0], np.float32))
    head = wide(MixtureHead(6, space, components=2)).float()
    features = FEATURES[0, 0].expand(100_000, 6)
    samples = head.sample(features, torch.Generator().manual_seed(2))
    log_weight, mean, std = (value[0] for value in head.mixture(features[:1]))
    for axis in (0, 1):
        normal = D.Normal(mean[:, axis], std[:, axis])
        at_low = (log_weight.exp() * normal.cdf(torch.tensor(-1.0))).sum()
        assert ((samples[:, axis] == space.low[axis]).float().mean() - at_low).abs() < 0.006


def test_gradients_are_finite_at_and_beyond_the_bounds():
    head = MixtureHead(6, spaces.Box(-1.0, 1.0, (1,), np.float32))
    action = torch.tensor([[-1.0], [1.0], [0.0], [0.9999999]])
    head.loss(1000 * FEATURES[0], action).mean().backward()
    assert torch.isfinite(head.linear.weight.grad).all()


def test_a_saturating_expert_is_fitted():
    """Half the actions at the bound, half at 0.25: the mixture finds both and their shares."""
    head = MixtureHead(1, spaces.Box(-1.0, 1.0, (1,), np.float32), components=2)
    action = torch.tensor([[1.0], [0.25]]).repeat(32, 1)
    features = torch.ones(64, 1)
    optimizer = torch.optim.Adam(head.parameters(), 0.04, fused=True)
    for _ in range(200):
        optimizer.zero_grad()
        head.loss(features, action).mean().backward()
        optimizer.step()
    at_bound, inside = head.loss(features[:2], action[:2]).detach()
    assert abs(at_bound - math.log(2)) < 0.05
    assert inside < 0.69 + math.log(0.015 * math.sqrt(2 * math.pi))  # a spike of about the least width at 0.25


def test_a_space_without_a_head_is_named():
    with pytest.raises(TypeError, match="no action head for MultiBinary"):
        make_head(4, spaces.MultiBinary(3))
