"""Sum-product against enumeration: exact on trees, close on three actors that may collide."""

import pytest
import torch

from embodia.planners.driving.learned.sum_product import enumerated, sum_product


def pairs(n, m, k, generator, chance=0.2):
    touching = (torch.rand(n, m, m, k, k, generator=generator) < chance).float()
    upper = torch.ones(m, m).triu(1)[None, :, :, None, None]
    touching = touching * upper
    return touching + touching.permute(0, 2, 1, 4, 3)


def test_two_variables_are_exact():
    generator = torch.Generator().manual_seed(0)
    unary = torch.randn(5, 2, 6, generator=generator)
    pairwise = 3 * pairs(5, 2, 6, generator)
    found = sum_product(unary, pairwise, rounds=30).exp()
    torch.testing.assert_close(found, enumerated(unary, pairwise), atol=1e-4, rtol=0)


def test_three_actors_are_within_three_percent_of_enumeration():
    generator = torch.Generator().manual_seed(1)
    unary = torch.randn(100, 3, 16, generator=generator)
    pairwise = 2 * pairs(100, 3, 16, generator)
    exact = enumerated(unary, pairwise)
    found = sum_product(unary, pairwise).exp()
    alone = torch.softmax(-unary, -1)
    assert (found - exact).abs().sum(-1).mean() / 2 <= 0.03
    assert (alone - exact).abs().sum(-1).mean() / 2 > 2 * (found - exact).abs().sum(-1).mean() / 2


def test_marginals_sum_to_one_and_one_variable_is_a_softmax():
    unary = torch.tensor([[[0.0, 1.0, torch.inf]]])
    found = sum_product(unary, torch.zeros(1, 1, 1, 3, 3)).exp()
    assert found.sum().item() == pytest.approx(1.0)
    torch.testing.assert_close(found[0, 0], torch.softmax(-unary[0, 0], -1))


def test_undamped_messages_can_oscillate_where_damped_ones_settle():
    """Three variables that want to differ, of two values each: a frustrated triangle."""
    unary = torch.tensor([[[0.0, 0.3], [0.0, 0.0], [0.0, 0.0]]])
    pairwise = 4 * torch.eye(2).expand(1, 3, 3, 2, 2)
    steps = {d: [sum_product(unary, pairwise, rounds, d).exp() for rounds in (40, 41)] for d in (0.0, 0.5)}
    moved = {d: float((first - second).abs().max()) for d, (first, second) in steps.items()}
    assert moved[0.0] > 0.01
    assert moved[0.5] < 0.1 * moved[0.0]
