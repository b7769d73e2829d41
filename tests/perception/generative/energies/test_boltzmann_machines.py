"""Boltzmann machines against sums over all states: likelihood, its gradient, Gibbs steps, AIS, posterior marginals."""

import itertools
import math

import pytest
import torch

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.generative import NonFinite
from embodia.perception.generative.energies.annealed_importance_sampling import (
    annealed_importance_sampling,
    data_bias,
    rbm_log_partition,
)
from embodia.perception.generative.energies.deep_boltzmann_machine import DeepBoltzmannMachine
from embodia.perception.generative.energies.graphical_model import PairwiseModel, enumerated
from embodia.perception.generative.energies.mean_field import mean_field
from embodia.perception.generative.energies.rbm import RBM
from embodia.perception.pictures.bars_and_stripes import bars_and_stripes, valid_share


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def states(n):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def machine(visible=5, hidden=3, **options):
    """An RBM in double precision with large random weights and biases."""
    model = RBM(visible, hidden, **options).double()
    with torch.no_grad():
        for seed, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(seed)))
    return model


def joint(model):
    """Log weights of all (v, h), (2^V, 2^H), by the definition of the energy."""
    v, h = states(len(model.visible_bias)), states(len(model.hidden_bias))
    return (v @ model.visible_bias)[:, None] + h @ model.hidden_bias + v @ model.weight @ h.T


# Restricted Boltzmann machine -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("visible", "hidden"), [(5, 3), (3, 5)])
def test_free_energy_and_log_z_are_sums_over_all_states(visible, hidden):
    model = machine(visible, hidden)
    torch.testing.assert_close(-model.energy(states(visible)), joint(model).logsumexp(1))
    torch.testing.assert_close(model.log_partition(), joint(model).logsumexp((0, 1)))
    assert model.log_likelihood(states(visible)).exp().sum().item() == pytest.approx(1)


def test_conditionals_are_those_of_the_joint():
    model = machine()
    p = joint(model).softmax(1)
    torch.testing.assert_close(model.hidden_given_visible(states(5)), p @ states(3))
    q = joint(model).softmax(0)
    torch.testing.assert_close(model.visible_given_hidden(states(3)), q.T @ states(5))


def test_a_gaussian_machine_is_a_mixture_with_the_same_normaliser():
    """Integrated on a grid of the two visible units."""
    model = machine(2, 3, units="gaussian", std=0.7)
    axis = torch.linspace(-12, 12, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        integral = (-model.energy(grid)).exp().sum() * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(integral.log(), model.log_partition(), atol=1e-5, rtol=0)
    v = model.gibbs(torch.zeros(50_000, 2, dtype=torch.float64), seeded())
    h = model.hidden_given_visible(torch.zeros(1, 2, dtype=torch.float64))
    torch.testing.assert_close(v.mean(0), model.visible_given_hidden(h)[0], atol=0.02, rtol=0)


def test_the_gradient_of_the_log_likelihood_is_that_of_finite_differences():
    """The loss's form, F(data) - F(model's samples), with the expectation over the model by enumeration."""
    model, data = machine(), states(5)[[3, 7, 21]]
    with torch.no_grad():
        p = model.log_likelihood(states(5)).exp()
    loss = model.energy(data).mean() - (p * model.energy(states(5))).sum()
    found = torch.autograd.grad(loss, list(model.parameters()))
    step = 1e-5
    for parameter, gradient in zip(model.parameters(), found):
        for i in range(parameter.numel()):
            flat, sides = parameter.data.view(-1), []
            for sign in (1, -2):
                flat[i] += sign * step
                sides.append(-model.log_likelihood(data).mean())
            flat[i] += step
            assert gradient.flatten()[i].item() == pytest.approx((sides[0] - sides[1]).item() / (2 * step), abs=1e-6)


def test_contrastive_divergence_from_the_model_itself_has_no_gradient():
    """Chains that start in the law of the model stay there, so that data and chains have the same statistics."""
    model = machine(4, 2)
    p = model.log_likelihood(states(4)).exp()
    data = states(4)[torch.multinomial(p, 100_000, replacement=True, generator=seeded())]
    torch.manual_seed(0)
    loss, _ = model.loss({"x": data})
    for gradient in torch.autograd.grad(loss, list(model.parameters())):
        assert gradient.abs().max() < 0.01


def test_gibbs_steps_leave_the_law_invariant():
    model = machine(4, 2)
    p = model.log_likelihood(states(4)).exp()
    which = torch.multinomial(p, 100_000, replacement=True, generator=seeded())
    after = model.gibbs(states(4)[which], seeded(1))
    found = torch.bincount((after @ torch.tensor([8.0, 4.0, 2.0, 1.0]).double()).long(), minlength=16) / 100_000
    torch.testing.assert_close(found.double(), p, atol=5e-3, rtol=0)


def test_persistent_chains_move_in_training_only_and_are_kept():
    torch.manual_seed(0)
    model = RBM(6, 3, persistent=20)
    before = model.chains.clone()
    model.eval().loss({"x": torch.ones(4, 6)})
    assert torch.equal(model.chains, before)
    model.train().loss({"x": torch.ones(4, 6)})
    assert not torch.equal(model.chains, before)
    assert "chains" in model.state_dict()


@pytest.mark.slow
def test_persistent_chains_learn_bars_and_stripes():
    patterns = bars_and_stripes(3)
    torch.manual_seed(0)
    model = RBM(9, 10, gibbs_steps=5, persistent=50)
    data = RandomBatches(lambda rng, n: {"x": patterns[torch.from_numpy(rng.integers(0, 14, n))]})
    fit(model, data, FitConfig(steps=1500, batch_size=30, learning_rate=0.02, weight_decay=0.0, average=0.99))
    assert model.log_likelihood(patterns).mean() > -math.log(14) - 0.8  # independent pixels: -6.2
    assert valid_share(model.sample(300, generator=seeded(), steps=200)) > 0.8


def test_patterns():
    patterns = bars_and_stripes(4)
    assert patterns.shape == (30, 16)
    assert valid_share(patterns) == 1
    every = states(4).float()  # of the 16 pictures of 2x2, 6 are bars or stripes
    assert valid_share(every) == 6 / 16 == len(bars_and_stripes(2)) / 16


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: RBM(0, 3), "each must be positive"),
        (lambda: RBM(3, 3, units="gaussian", std=0.0), "each must be positive"),
        (lambda: RBM(30, 25).log_partition(), "25 variables with 2 values each have too many states"),
        (lambda: RBM(3, 3).sample(2, torch.zeros(2)), "takes no condition"),
        (lambda: DeepBoltzmannMachine(4, (0, 2)), "must be positive"),
        (lambda: DeepBoltzmannMachine(4, (22, 2)).log_partition(), "too many states to enumerate"),
        (lambda: rbm_log_partition(RBM(3, 2, units="gaussian"), torch.zeros(3), 5, 5), "Bernoulli visible units"),
        (lambda: annealed_importance_sampling(None, None, torch.zeros(3, 1), [0.0, 0.5]), "must rise from 0 to 1"),
    ],
)
def test_bad_input_is_one_message(made, said):
    with pytest.raises(ValueError, match=said):
        made()


def test_a_machine_that_has_diverged_stops_with_the_step():
    for model in (RBM(3, 2), RBM(3, 2, units="gaussian"), DeepBoltzmannMachine(3, (2, 2))):
        model.visible_bias.data.fill_(math.nan)
        with pytest.raises(NonFinite, match="at step 1;"):
            model.sample(2)


# Annealed importance sampling -------------------------------------------------------------------------------------


def test_annealed_importance_sampling_finds_log_z():
    model = machine(6, 4)
    found = rbm_log_partition(model, torch.zeros(6).double(), 200, 300, seeded())
    exact = model.log_partition().item()
    assert found.low < exact < found.high
    assert found.log_ratio == pytest.approx(exact, abs=0.1)
    coarse = rbm_log_partition(model, torch.zeros(6).double(), 200, 2, seeded())
    assert coarse.high - coarse.low > 2 * (found.high - found.low)


def test_annealing_between_gaussians():
    """From N(0, 1) to the unnormalised exp(-x^2 / (2 * 4)): a ratio of 2."""

    def log_prob(x, beta):
        return -0.5 * (1 - 0.75 * beta) * x[:, 0].square()

    def transition(x, beta):
        return torch.randn(x.shape, generator=generator) / (1 - 0.75 * beta) ** 0.5

    generator = seeded()
    start = torch.randn(500, 1, generator=generator)
    found = annealed_importance_sampling(log_prob, transition, start, torch.linspace(0, 1, 50).tolist())
    assert found.log_ratio == pytest.approx(math.log(2), abs=0.05)
    with pytest.raises(NonFinite, match="importance weight is NaN or infinite at step 1;"):
        annealed_importance_sampling(lambda x, beta: x[:, 0] * math.nan, transition, start, [0.0, 1.0])


def test_data_bias_gives_the_means_of_the_data():
    x = (torch.rand(1000, 3, generator=seeded()) < torch.tensor([0.1, 0.5, 0.9])).float()
    torch.testing.assert_close(data_bias(x).sigmoid(), x.mean(0), atol=2e-3, rtol=0)
    assert torch.isfinite(data_bias(torch.ones(5, 2))).all()


# Deep Boltzmann machine -------------------------------------------------------------------------------------------


def deep():
    model = DeepBoltzmannMachine(4, (3, 2), persistent=10).double()
    with torch.no_grad():
        for seed, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(seed)))
    return model


def every(model):
    """All states of the three layers, (2^9, .) each, and their energies."""
    layers = states(9).split([4, 3, 2], 1)
    return layers, model.joint_energy(*layers)


def test_exact_values_of_a_deep_machine_are_sums_over_all_states():
    model = deep()
    (v, h1, h2), energy = every(model)
    torch.testing.assert_close(model.log_partition(), (-energy).logsumexp(0))
    assert model.log_likelihood(states(4)).exp().sum().item() == pytest.approx(1)
    here = (v == torch.tensor([1.0, 0.0, 1.0, 1.0]).double()).all(1)
    p = (-energy[here]).softmax(0)
    first, second = model.posterior(torch.tensor([[1.0, 0.0, 1.0, 1.0]]).double())
    torch.testing.assert_close(first[0], p @ h1[here])
    torch.testing.assert_close(second[0], p @ h2[here])


def test_gibbs_steps_of_a_deep_machine_leave_its_law_invariant():
    model = deep()
    (_, h1, _), energy = every(model)
    p = (-energy).softmax(0)
    which = torch.multinomial(p, 100_000, replacement=True, generator=seeded())
    after = model.gibbs(h1[which], seeded(1))
    torch.testing.assert_close(after.T @ after / 100_000, (h1.T * p) @ h1, atol=8e-3, rtol=0)


def test_its_mean_field_is_that_of_its_graph():
    """The hidden layers given v are a pairwise model, on which coordinate ascent finds the same fixed point."""
    model, v = deep(), torch.tensor([[1.0, 0.0, 1.0, 1.0]]).double()
    field = torch.cat([model.hidden_bias1 + v[0] @ model.weight1, model.hidden_bias2]).detach()
    edges = torch.tensor([(i, 3 + j) for i in range(3) for j in range(2)])
    table = torch.zeros(6, 2, 2, dtype=torch.float64)
    table[:, 1, 1] = model.weight2.detach().flatten()
    graph = PairwiseModel(torch.stack([torch.zeros(5).double(), field], 1), edges, table)
    q = torch.cat(model.mean_field(v, 200), 1)[0]
    torch.testing.assert_close(q, mean_field(graph).single[:, 1], atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.cat(model.posterior(v), 1)[0], enumerated(graph).single[:, 1])
    bound = model.bound(v, *model.mean_field(v, 200)) + v @ -model.visible_bias
    assert bound.item() == pytest.approx(mean_field(graph).log_partition, abs=1e-6)


def test_the_bound_lies_below_the_likelihood_and_rises_with_the_sweeps():
    model = deep()
    log_likelihood = model.log_likelihood(states(4))
    bounds = [model.bound(states(4), *model.mean_field(states(4), n)) - model.log_partition() for n in (1, 3, 30)]
    assert (bounds[-1] < log_likelihood).all()
    assert (bounds[0] <= bounds[1] + 1e-12).all()
    assert (bounds[1] <= bounds[2] + 1e-12).all()


@pytest.mark.slow
def test_a_deep_machine_learns_bars_and_stripes():
    patterns = bars_and_stripes(3)
    torch.manual_seed(0)
    model = DeepBoltzmannMachine(9, (8, 4))
    data = RandomBatches(lambda rng, n: {"x": patterns[torch.from_numpy(rng.integers(0, 14, n))]})
    fit(model, data, FitConfig(steps=1500, batch_size=30, learning_rate=0.02, weight_decay=0.0, average=0.99))
    assert model.log_likelihood(patterns).mean() > -4.5  # independent pixels: -6.2
