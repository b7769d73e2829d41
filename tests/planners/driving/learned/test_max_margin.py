"""The structured hinge: zero when the expert is best by its margin, and what it is otherwise."""

import pytest
import torch

from embodia.planners.driving.learned.max_margin import margin_over_time, max_margin, max_margin_over_time


def test_it_is_zero_exactly_when_the_expert_is_cheapest_by_the_margin():
    costs, margin = torch.tensor([[3.0, 4.0], [3.0, 4.0]]), torch.tensor([[2.0, 1.0], [2.5, 1.0]])
    found = max_margin(torch.tensor([1.0, 1.0]), costs, margin)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.5]))


def test_its_gradient_lowers_the_expert_and_raises_the_worst_violator_only():
    expert, costs = torch.tensor([2.0], requires_grad=True), torch.tensor([[1.0, 3.0]], requires_grad=True)
    max_margin(expert, costs, torch.tensor([[1.0, 1.0]])).sum().backward()
    assert expert.grad.tolist() == [1.0]
    assert costs.grad.tolist() == [[-1.0, 0.0]]


def test_over_time_a_good_moment_does_not_make_up_for_a_bad_one():
    expert, costs = torch.tensor([[1.0, 1.0]]), torch.tensor([[[9.0, 0.5]]])
    margin = torch.tensor([[[1.0, 1.0]]])
    assert max_margin_over_time(expert, costs, margin).item() == pytest.approx(1.5)
    assert max_margin(expert.sum(-1), costs.sum(-1), margin.sum(-1)).item() == 0.0


def test_margins_grow_with_distance_and_collisions():
    distance, collides = torch.tensor([[[1.0, 50.0]]]), torch.tensor([[[True, False]]])
    torch.testing.assert_close(margin_over_time(distance, collides, 30.0), torch.tensor([[[31.0, 10.0]]]))
