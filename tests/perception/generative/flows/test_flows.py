"""Flow matching, the normalizing flow and the adversarial network."""

import pytest
import torch

from embodia.agents.training.fit import FitConfig, fit
from embodia.perception.generative.denoisers.conditioning import ClassEmbedding
from embodia.perception.generative.denoisers.mlp import MLPDenoiser
from embodia.perception.generative.flows.flow_matching import FlowMatching, image_flow
from embodia.perception.generative.flows.gan import GAN
from embodia.perception.generative.flows.real_nvp import RealNVP

MEAN = torch.tensor([1.0, -0.5])


class Normal:
    """Two classes: N(MEAN, 0.4^2) and its mirror image."""

    def batch(self, n):
        label = torch.arange(n) % 2
        return {"x": 0.4 * torch.randn(n, 2) + MEAN * (1 - 2 * label[:, None]), "condition": label}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_flow_matching_learns_each_class():
    torch.manual_seed(0)
    model = FlowMatching(MLPDenoiser((2,), 32, 2, ClassEmbedding(2, 32)), (2,))
    fit(model, Normal(), FitConfig(steps=300, batch_size=128, learning_rate=5e-3, average=0.98))
    for label, sign in ((0, 1), (1, -1)):
        x = model.sample(1000, torch.full((1000,), label), seeded())
        torch.testing.assert_close(x.mean(0), sign * MEAN, atol=0.1, rtol=0)
        torch.testing.assert_close(x.std(0), torch.tensor([0.4, 0.4]), atol=0.1, rtol=0)


def test_straight_paths_are_followed_exactly_in_one_step():
    """Of one data point the velocity is (x - x0) / t, and one midpoint step leads there."""

    class Exact(FlowMatching):
        def velocity(self, x, t, condition):
            return (x - 3.0) / t

    model = Exact(MLPDenoiser((2,), 8, 1), (2,))
    torch.testing.assert_close(model.sample(4, generator=seeded(), steps=1), torch.full((4, 2), 3.0))


def test_pictures_have_a_flow():
    torch.manual_seed(0)
    model = image_flow((1, 4, 4), 3, "mlp", 8, 1)
    assert model.sample(2, torch.tensor([0, 2]), seeded(), steps=2).shape == (2, 1, 4, 4)


@pytest.fixture
def flow():
    torch.manual_seed(0)
    model = RealNVP((3,), 4, (16,))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_the_density_is_that_of_the_change_of_variables(flow):
    x = torch.randn(3, generator=seeded())

    def forward(x):
        z = x[None]
        for coupling in flow.couplings:
            z, _ = coupling(z)
        return z[0]

    jacobian = torch.autograd.functional.jacobian(forward, x)
    prior = torch.distributions.Normal(0, 1).log_prob(forward(x)).sum()
    torch.testing.assert_close(
        flow.log_prob(x[None])[0], prior + torch.linalg.slogdet(jacobian)[1], atol=1e-4, rtol=1e-4
    )


def test_sampling_inverts_the_density(flow):
    x, z = flow.sample(10, generator=seeded()), torch.randn(10, 3, generator=seeded())
    for coupling in flow.couplings:
        x, _ = coupling(x)
    torch.testing.assert_close(x, z, atol=1e-4, rtol=1e-4)


def test_the_normalizing_flow_learns_a_likelihood():
    torch.manual_seed(0)
    model = RealNVP((2,), 4, (32,))
    fit(model, Normal(), FitConfig(steps=300, batch_size=128, learning_rate=5e-3))
    x = Normal().batch(2000)["x"]
    normal = torch.distributions.Normal(0, 1)
    each = [normal.log_prob((x - sign * MEAN) / 0.4).sum(1) - 2 * torch.log(torch.tensor(0.4)) for sign in (1, -1)]
    truth = torch.logsumexp(torch.stack(each), 0) - torch.log(torch.tensor(2.0))
    assert (model.log_prob(x).mean() - truth.mean()).abs().item() < 0.15
    with pytest.raises(ValueError, match="two numbers or more"):
        RealNVP((1,))
    with pytest.raises(ValueError, match="no condition"):
        model.sample(2, torch.zeros(2))


def test_the_adversaries_meet_at_the_data():
    torch.manual_seed(0)
    model = GAN((2,), 4, 32, learning_rate=2e-3)

    class OneClass(Normal):
        def batch(self, n):
            return {"x": 0.4 * torch.randn(n, 2) + MEAN}

    before = model.sample(1000, generator=seeded()).mean(0)
    fit(model, OneClass(), FitConfig(steps=300, batch_size=128, average=0.98))
    x = model.sample(1000, generator=seeded())
    assert (before - MEAN).norm() > 0.8
    torch.testing.assert_close(x.mean(0), MEAN, atol=0.25, rtol=0)
    assert (x.std(0) > 0.15).all()
    assert model.kept is model.generator
