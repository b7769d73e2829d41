"""Inference on pairwise models: enumeration, mean field, message passing."""

import itertools

import pytest
import torch

from embodia.perception.generative.energies.enumeration import all_states
from embodia.perception.generative.energies.graphical_model import PairwiseModel, enumerated, ising
from embodia.perception.generative.energies.mean_field import free_energy, mean_field
from embodia.perception.generative.energies.message_passing import belief_propagation


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_model(n, k, edges, scale=1.0, seed=0):
    generator = seeded(seed)
    unary = torch.randn(n, k, generator=generator, dtype=torch.float64)
    pairwise = scale * torch.randn(len(edges), k, k, generator=generator, dtype=torch.float64)
    return PairwiseModel(unary, torch.tensor(edges), pairwise)


TREE = [(0, 1), (3, 1), (1, 2), (4, 3), (3, 5)]
CYCLE = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]


def test_enumeration_is_the_sum_by_hand():
    model = random_model(3, 3, [(0, 1), (2, 1)])
    p = {}
    for x in itertools.product(range(3), repeat=3):
        own = sum(model.unary[i, value] for i, value in enumerate(x))
        p[x] = (own + model.pairwise[0, x[0], x[1]] + model.pairwise[1, x[2], x[1]]).exp()
    total = torch.stack(list(p.values())).sum()
    exact = enumerated(model)
    assert exact.log_partition == pytest.approx(total.log().item())
    by_hand = sum(value for x, value in p.items() if x[2] == 1) / total
    assert exact.single[2, 1].item() == pytest.approx(by_hand.item())
    pair = sum(value for x, value in p.items() if x[2] == 1 and x[1] == 2) / total
    assert exact.pairs[1, 1, 2].item() == pytest.approx(pair.item())


def test_all_states_come_once():
    states = torch.cat(list(all_states(4, 3)))
    assert len(states.unique(dim=0)) == 81
    assert states.min() == 0
    assert states.max() == 2


def test_belief_propagation_is_exact_on_a_tree():
    model = random_model(6, 3, TREE)
    exact, beliefs = enumerated(model), belief_propagation(model)
    torch.testing.assert_close(beliefs.single, exact.single)
    torch.testing.assert_close(beliefs.pairs, exact.pairs)
    assert beliefs.log_partition == pytest.approx(exact.log_partition)
    assert beliefs.converged
    assert beliefs.rounds <= 5  # the longest path has 4 edges


def test_belief_propagation_on_a_cycle_is_close_but_not_exact():
    model = random_model(4, 2, CYCLE, 0.5)
    exact, beliefs = enumerated(model), belief_propagation(model)
    error = (beliefs.single - exact.single).abs().max()
    assert 1e-4 < error < 0.05
    damped = belief_propagation(model, damping=0.5)
    torch.testing.assert_close(damped.single, beliefs.single, atol=1e-6, rtol=0)
    assert damped.rounds > beliefs.rounds
    assert not belief_propagation(model, rounds=1).converged


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_the_mean_field_free_energy_never_rises_and_bounds_log_z(scale):
    model = random_model(6, 3, [*TREE, (0, 5), (2, 4)], scale)
    start = torch.rand(6, 3, generator=seeded(1), dtype=torch.float64)
    found = mean_field(model, start / start.sum(1, keepdim=True))
    energies = torch.tensor(found.free_energies)
    assert (energies.diff() < 1e-12).all()
    assert energies[0] - energies[-1] > 0.1
    assert found.log_partition < enumerated(model).log_partition
    assert found.log_partition == pytest.approx(-free_energy(model, found.single))


def test_mean_field_is_exact_without_edges_and_overconfident_with_them():
    alone = random_model(4, 3, CYCLE, 0.0)
    exact = enumerated(alone)
    torch.testing.assert_close(mean_field(alone).single, exact.single)
    assert mean_field(alone).log_partition == pytest.approx(exact.log_partition)
    magnet = ising(3, 3, 0.8, 0.05)
    assert mean_field(magnet).single[:, 1].min() > enumerated(magnet).single[:, 1].max()


def test_the_mean_field_free_energy_is_the_mean_over_states():
    model = random_model(4, 2, CYCLE)
    q = torch.rand(4, 2, generator=seeded(), dtype=torch.float64)
    q = q / q.sum(1, keepdim=True)
    states = torch.cat(list(all_states(4, 2)))
    weight = q[torch.arange(4), states].prod(1)
    assert free_energy(model, q) == pytest.approx((weight * (weight.log() - model.log_prob(states))).sum().item())


def test_an_ising_model_of_one_pair():
    """Equal spins have the probability e^c / (e^c + e^-c)."""
    exact = enumerated(ising(1, 2, 0.5))
    assert (exact.pairs[0, 0, 0] + exact.pairs[0, 1, 1]).item() == pytest.approx(1 / (1 + 2.718281828 ** (-1.0)))
    assert len(ising(3, 4, 0.1).edges) == 17


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: enumerated(ising(5, 5, 0.1)), "25 variables with 2 values each have too many states to enumerate"),
        (lambda: random_model(3, 2, [(0, 3)]), "two different variables of 0 to 2"),
        (lambda: random_model(3, 2, [(1, 1)]), "two different variables of 0 to 2"),
        (lambda: PairwiseModel(torch.zeros(3, 2), torch.tensor([[0, 1]]), torch.zeros(1, 3, 3)), "do not fit unary"),
        (lambda: ising(2, 2, float("nan")), "must be finite"),
        (lambda: belief_propagation(ising(2, 2, 0.1), damping=1.0), "damping is 1.0"),
    ],
)
def test_bad_input_is_one_message(made, said):
    with pytest.raises(ValueError, match=said):
        made()
