"""Neural energies: their gradients, chains and buffer, classes, and what is refused."""

import math

import pytest
import torch
from torch import nn

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.generative import NonFinite
from embodia.perception.generative.energies.image_models import ImageRBM, image_energy
from embodia.perception.generative.energies.networks import energy_network
from embodia.perception.generative.energies.neural_energy import NeuralEnergy


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Quadratic(nn.Module):
    """Log densities of unit Gaussians at learned means, (B, K)."""

    def __init__(self, means):
        super().__init__()
        self.means = nn.Parameter(torch.as_tensor(means))

    def forward(self, x):
        return -0.5 * (x[:, None] - self.means).square().sum(2)


def two_classes(**options):
    return NeuralEnergy(Quadratic([[-3.0, 0.0], [3.0, 0.0]]), (2,), 2, (-6.0, 6.0), 0.2, replay=100, **options)


def test_the_energy_of_x_sums_over_its_classes():
    model, x = two_classes(), torch.randn(5, 2, generator=seeded())
    both = torch.stack([model.energy(x, torch.full((5,), label)) for label in (0, 1)])
    torch.testing.assert_close(model.energy(x), -(-both).logsumexp(0))
    torch.testing.assert_close(model.logits(x).softmax(1), (-both).softmax(0).T)


def test_chains_sample_the_density_of_the_energy_and_of_a_class():
    model = two_classes(sampling_steps=100)
    x = model.sample(2000, generator=seeded())
    assert (x[:, 0] > 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    label = torch.arange(2000) % 2
    x = model.sample(2000, label, seeded())
    assert x[label == 1, 0].mean().item() == pytest.approx(3, abs=0.1)
    assert x[label == 0].std(0).tolist() == pytest.approx([1.03, 1.03], abs=0.06)  # ULA's bias: 1 / (1 - 0.05)
    assert len(list(model.chain(3, steps=7))) == 7


def test_the_loss_is_the_energy_gap_with_the_penalty_and_the_cross_entropy(monkeypatch):
    model = two_classes(penalty=0.5, classify=2.0)
    x, label = torch.randn(100, 2, generator=seeded()), torch.arange(100) % 2
    chains = torch.randn(100, 2, generator=seeded(1)), torch.arange(100) % 2
    monkeypatch.setattr(model, "negatives", lambda n: chains)
    found, numbers = model.loss({"x": x, "condition": label})
    true, false = model.energy(x, label), model.energy(*chains)
    cross_entropy = (true - model.energy(x)).mean()
    penalty = 0.5 * (true.square() + false.square()).mean()
    torch.testing.assert_close(found, true.mean() - false.mean() + penalty + 2 * cross_entropy)
    assert numbers["accuracy"] == (model.logits(x).argmax(1) == label).float().mean()
    assert numbers["energy_gap"].item() == pytest.approx((false.mean() - true.mean()).item(), abs=1e-5)


def test_the_buffer_moves_in_training_only_and_starts_anew_now_and_then():
    torch.manual_seed(0)
    model = two_classes(restart=0.0)
    before = model.replay.clone()
    batch = {"x": torch.zeros(10, 2), "condition": torch.arange(10) % 2}
    model.eval().loss(batch)
    assert torch.equal(model.replay, before)
    model.train().loss(batch)
    changed = (model.replay != before).any(1)
    assert 5 <= changed.sum() <= 10
    assert model.replay.abs().max() <= 6
    assert {"replay", "replay_labels"} <= set(model.state_dict())


def test_training_resumes_exactly(tmp_path):
    def trained(folder, steps, resume=False):
        torch.manual_seed(0)
        model = NeuralEnergy(energy_network((2,), 1, "mlp", 8, 2), (2,), replay=20, steps=3)
        data = RandomBatches(lambda rng, n: {"x": torch.from_numpy(rng.standard_normal((n, 2))).float()})
        config = FitConfig(steps=steps, batch_size=8, average=0.9, warmup=2, schedule="constant", device="cpu")
        fit(model, data, config, folder, resume=resume)
        return model.state_dict()

    whole = trained(tmp_path / "whole", 8)
    trained(tmp_path / "part", 4)
    again = trained(tmp_path / "part", 8, resume=True)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.slow
def test_an_energy_learns_the_mean_and_spread_of_a_gaussian():
    torch.manual_seed(0)
    model = NeuralEnergy(energy_network((1,), 1, "mlp", 32, 2), (1,), 0, (-4.0, 4.0), 0.05, 20, penalty=0.001)
    data = RandomBatches(lambda rng, n: {"x": torch.from_numpy(1 + 0.5 * rng.standard_normal((n, 1))).float()})
    fit(model, data, FitConfig(steps=400, batch_size=128, learning_rate=3e-3, weight_decay=0.0, average=0.98))
    grid = torch.linspace(-4, 4, 400)[:, None]
    with torch.no_grad():
        p = (-model.energy(grid)).softmax(0)
    mean = (p * grid[:, 0]).sum()
    assert mean.item() == pytest.approx(1, abs=0.15)
    assert ((p * (grid[:, 0] - mean).square()).sum().sqrt()).item() == pytest.approx(0.5, abs=0.15)


# Pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        lambda: ImageRBM((1, 4, 4), 6, sampling_steps=5, persistent=4),
        lambda: ImageRBM((3, 4, 4), 6, "gaussian", sampling_steps=5, persistent=0),
        lambda: image_energy((3, 8, 8), 0, "conv", 4, 2, steps=2, replay=10, sampling_steps=5),
        lambda: image_energy((3, 8, 8), 3, "mlp", 8, 1, True, steps=2, replay=10, sampling_steps=5),
    ],
    ids=["rbm", "gaussian rbm", "conv energy", "class energy"],
)
def test_models_of_pictures_keep_the_promise(made):
    torch.manual_seed(0)
    model = made()
    condition = torch.tensor([0, 2]) if getattr(model, "classes", 0) else None
    batch = {"x": 2 * torch.rand(2, *model.event) - 1}
    loss, numbers = model.loss(batch if condition is None else {**batch, "condition": condition})
    assert loss.ndim == 0
    assert all(value.ndim == 0 for value in numbers.values())
    loss.backward()
    assert any(each.grad.abs().sum() > 0 for each in model.parameters())
    assert model.energy(batch["x"]).shape == (2,)
    x = model.sample(2, condition, seeded())
    assert x.shape == (2, *model.event)
    assert torch.equal(x, model.sample(2, condition, seeded()))
    assert len(list(model.chain(2, condition, seeded(), 3))) == 3


def test_a_spectral_network_has_slopes_of_at_most_one():
    torch.manual_seed(0)
    body = energy_network((3,), 1, "mlp", 16, 2, spectral=True)
    for _ in range(50):
        body(torch.zeros(1, 3))
    x = torch.randn(200, 3, generator=seeded()).requires_grad_()
    (slope,) = torch.autograd.grad(body.eval()(x).sum(), x)
    assert slope.norm(dim=1).max() < 1.1**2  # the slope of SiLU is at most 1.1


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: two_classes(steps=0), "steps and replay be positive"),
        (lambda: NeuralEnergy(nn.Linear(2, 1), (2,), step_size=0.0), "step size is 0.0"),
        (lambda: NeuralEnergy(nn.Linear(2, 1), (2,), bounds=(1.0, -1.0)), "the bounds must rise"),
        (lambda: NeuralEnergy(nn.Linear(2, 3), (2,)).energy(torch.zeros(4, 2)), r"gave the shape \(4, 3\); \(4, 1\)"),
        (lambda: NeuralEnergy(nn.Linear(2, 1), (2,)).sample(2, torch.zeros(2).long()), "takes no condition"),
        (lambda: two_classes().loss({"x": torch.zeros(2, 2)}), "this energy has classes; give the labels"),
        (lambda: two_classes().sample(3, torch.tensor([0, 1])), "there are 3 samples"),
        (lambda: two_classes().sample(2, torch.tensor([0, 2])), "labels reach 2; the model knows classes 0 to 1"),
        (lambda: energy_network((3, 4, 4), network="conv", depth=3), "3 convolutions do not fit"),
    ],
)
def test_bad_input_is_one_message(made, said):
    with pytest.raises(ValueError, match=said):
        made()


def test_energies_that_are_not_finite_stop_with_the_step():
    model = two_classes()
    model.network.means.data.fill_(math.nan)
    with pytest.raises(NonFinite, match="at step 20;"):
        model.loss({"x": torch.zeros(4, 2), "condition": torch.zeros(4).long()})
    with pytest.raises(NonFinite, match="at step 1;"):
        model.sample(4)
