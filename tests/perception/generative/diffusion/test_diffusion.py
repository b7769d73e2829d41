"""The diffusion model, guidance, inpainting and steering around its sampler."""

import pytest
import torch
from torch import nn

from embodia.agents.training.fit import FitConfig, fit
from embodia.perception.generative import Denoiser
from embodia.perception.generative.denoisers.conditioning import ClassEmbedding, DictEmbedding, VectorEmbedding
from embodia.perception.generative.denoisers.mlp import MLPDenoiser
from embodia.perception.generative.denoisers.unet import TemporalUNet
from embodia.perception.generative.diffusion.diffusion import Diffusion
from embodia.perception.generative.diffusion.exact import exact_predictor
from embodia.perception.generative.diffusion.guidance import by_gradient, clipped
from embodia.perception.generative.diffusion.inpainting import Inpainting
from embodia.perception.generative.diffusion.noisy_classifier import NoisyClassifier
from embodia.perception.generative.diffusion.samplers import DDIM, DDPM, DPMSolver, State, final, sample_path
from embodia.perception.generative.diffusion.schedule import cosine
from embodia.perception.generative.diffusion.scheduled_sampling import ScheduledSampling
from embodia.perception.generative.diffusion.steering import Steering, SteeringConfig, best_of, steer
from embodia.perception.generative.toy_densities import GaussianMixture, eight_gaussians, overlapping_classes
from embodia.perception.scores.modes import mode_weights, total_variation


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Same:
    """Data for `fit`: the batches of a function."""

    def __init__(self, draw):
        self.draw, self.generator = draw, seeded()

    def batch(self, n):
        return self.draw(n, self.generator)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Shift(Denoiser):
    """Predicts the noise as time times x, plus the class."""

    conditional = True

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x, time, condition=None, drop=None):
        label = torch.zeros(len(x)) if condition is None else condition.float()
        label = label if drop is None else torch.where(drop, 0.0, label)
        return self.weight * (time[:, None] * x + label[:, None])


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_it_learns_a_gaussian(predicts):
    torch.manual_seed(0)
    model = Diffusion(MLPDenoiser((2,), 32, 2), (2,), cosine(50), predicts)
    law = GaussianMixture(torch.tensor([[1.0, -0.5]]), 0.4)
    data = Same(lambda n, g: {"x": law.sample(n, g)})
    fit(model, data, FitConfig(steps=300, batch_size=128, learning_rate=5e-3, average=0.98, warmup=20))
    x = model.sample(1000, generator=seeded(), sampler=DDPM())
    torch.testing.assert_close(x.mean(0), law.means[0], atol=0.1, rtol=0)
    torch.testing.assert_close(x.std(0), torch.tensor([0.4, 0.4]), atol=0.1, rtol=0)


def test_samples_follow_their_generator_and_any_shape_is_sampled():
    torch.manual_seed(0)
    model = Diffusion(TemporalUNet((8, 3), 8, (1, 2)), (8, 3), cosine(20))
    for sampler in (DDPM(), DDIM(10), DPMSolver(10)):
        x = model.sample(2, generator=seeded(), sampler=sampler)
        assert x.shape == (2, 8, 3)
        assert torch.equal(x, model.sample(2, generator=seeded(), sampler=sampler))
    with pytest.raises(ValueError, match="2 samples"):
        model.sample(2, condition=torch.zeros(3, dtype=torch.long))


# Guidance ---------------------------------------------------------------------------------------------------------


def test_classifier_free_guidance_is_its_formula_for_each_sample():
    model, x, label = Diffusion(Shift(), (2,), cosine(20)), torch.randn(3, 2), torch.tensor([1, 2, 3])
    without, given = model.predict(x, 5).eps, model.predict(x, 5, label).eps
    torch.testing.assert_close(model.predictor(label, 3.0)(x, 5).eps, without + 3 * (given - without))
    torch.testing.assert_close(model.predictor(label, 1.0)(x, 5).eps, given)
    torch.testing.assert_close(model.predictor(label, 0.0)(x, 5).eps, without)
    scale = torch.tensor([0.0, 1.0, 4.0])
    torch.testing.assert_close(model.predictor(label, scale)(x, 5).eps, without + scale[:, None] * (given - without))


def test_guidance_without_a_conditional_model_is_refused():
    plain = Diffusion(MLPDenoiser((2,), 8, 1), (2,), cosine(20))
    conditional = Diffusion(MLPDenoiser((2,), 8, 1, ClassEmbedding(2, 8)), (2,), cosine(20), drop=0.0)
    label = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"a guidance scale of 2\.0 needs a conditional model"):
        plain.sample(2, guidance=2.0)
    with pytest.raises(ValueError, match="a guidance scale of 3 needs"):
        conditional.sample(2, guidance=3)
    with pytest.raises(ValueError, match="unconditional model"):
        plain.sample(2, label)
    with pytest.raises(ValueError, match="drop 0"):
        conditional.sample(2, label, guidance=2.0)


def test_an_exact_classifier_makes_the_conditional_law():
    """The score of p(x) plus the gradient of p(y | x_t) is that of p(x | y)."""
    left, right = overlapping_classes()
    schedule = cosine(50)
    both = GaussianMixture(torch.cat([left.means, right.means]), 0.6)

    def log_prob(x, t):
        return both.noised(schedule.alphas[t], schedule.sigmas[t]).joint(x).log_softmax(1)[:, 1]

    guided = by_gradient(exact_predictor(both, schedule), schedule, log_prob)
    wanted, x = exact_predictor(right, schedule), torch.randn(20, 2, generator=seeded())
    for t in (0, 20, 49):
        torch.testing.assert_close(guided(x, t).eps, wanted(x, t).eps, atol=1e-4, rtol=1e-3)
    with pytest.raises(ValueError, match="log_prob gives the shape"):
        by_gradient(wanted, schedule, lambda x, t: x)(x, 3)


def test_a_noisy_classifier_learns_and_can_guide():
    torch.manual_seed(0)
    classes, schedule = overlapping_classes(2.0, 0.3), cosine(20)

    def draw(n, generator):
        label = torch.arange(n) % 2
        x = torch.where(label[:, None] == 1, classes[1].sample(n, generator), classes[0].sample(n, generator))
        return {"x": x, "condition": label}

    classifier = NoisyClassifier(MLPDenoiser((2,), 16, 2, outputs=2), schedule)
    fit(classifier, Same(draw), FitConfig(steps=150, batch_size=128, learning_rate=1e-2, warmup=10))
    batch = draw(200, seeded(1))
    log_prob = classifier.log_prob(batch["condition"])
    assert (log_prob(batch["x"], 0).exp() > 0.5).float().mean() > 0.98
    assert log_prob(batch["x"], 19).exp().mean().item() < log_prob(batch["x"], 0).exp().mean().item()


def test_clipping_keeps_the_sample_made_of_data_and_noise():
    schedule = cosine(20)
    predict = clipped(exact_predictor(eight_gaussians(), schedule), schedule, 0.5)
    x = torch.randn(10, 2, generator=seeded())
    x0, eps = predict(x, 7)
    assert x0.abs().max() <= 0.5
    torch.testing.assert_close(schedule.alphas[7] * x0 + schedule.sigmas[7] * eps, x)


# Inpainting -------------------------------------------------------------------------------------------------------


def test_known_entries_stay_at_every_step():
    torch.manual_seed(0)
    model = Diffusion(TemporalUNet((8, 2), 8, (1, 2)), (8, 2), cosine(20))
    mask = torch.zeros(8, 2, dtype=torch.bool)
    mask[0], mask[-1] = True, True
    values = torch.arange(16.0).view(8, 2).expand(3, 8, 2)
    for state in model.path(3, generator=seeded(), sampler=DDIM(5), known=(mask, values)):
        assert torch.equal(state.x[:, mask], values[:, mask])
        assert not torch.equal(state.x[:, 1], values[:, 1])


def test_known_entries_cost_nothing_and_are_clean_in_training():
    class Seen(Denoiser):
        conditional = False

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, x, time, condition=None, drop=None):
            self.x = x
            return x * self.weight + known * 1e6

    known = torch.zeros(64, 4, dtype=torch.bool)
    known[:, 0] = True
    model, x = Diffusion(Seen(), (4,), cosine(20)), torch.randn(64, 4)
    loss, _ = model.loss({"x": x, "known": known})
    assert torch.equal(model.denoiser.x[:, 0], x[:, 0])
    assert loss.item() == pytest.approx(1, abs=0.3)


def test_noised_inpainting_of_an_untrained_kind_finds_the_other_coordinate():
    """Two modes on a diagonal: the first coordinate tells the second."""
    law, schedule = GaussianMixture(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), 0.1), cosine(100)
    put = Inpainting(torch.tensor([True, False]), torch.tensor([1.0, 0.0]), schedule, seeded())
    noise = torch.randn(200, 2, generator=seeded(1))
    path = sample_path(exact_predictor(law, schedule), schedule, DDPM(), noise, seeded(2), put)
    x = final(path)
    assert torch.equal(x[:, 0], torch.ones(200))
    assert (x[:, 1] > 0.5).float().mean() > 0.9


# Steering ---------------------------------------------------------------------------------------------------------


def first(x):
    """A reward: the first coordinate."""
    return x[:, 0]


def exact_toy(levels=100):
    """(eight Gaussians, a model of them whose network is not asked, the exact predictor)."""
    mixture, schedule = eight_gaussians(), cosine(levels)
    model = Diffusion(MLPDenoiser((2,), 8, 1), (2,), schedule)
    return mixture, model, exact_predictor(mixture, schedule)


def test_steering_samples_the_tilted_law_and_best_of_k_overshoots():
    mixture, model, predict = exact_toy()
    tilted, sampler = mixture.tilted(torch.tensor([2.0, 0.0])), DDIM(50, eta=1.0)
    exact = (tilted.weights @ tilted.means)[0].item()
    x = steer(model, 300, first, SteeringConfig(8, 2.0), sampler, predict=predict, generator=seeded())
    assert x.shape == (300, 2)
    assert x[:, 0].mean().item() == pytest.approx(exact, abs=0.12)
    assert total_variation(mode_weights(x, mixture.means), tilted.weights) < 0.12
    plain = model.sample(3200, predict=predict, sampler=sampler, generator=seeded(1))
    assert best_of(plain, first(plain), 32)[:, 0].mean() > exact + 0.2


@pytest.mark.parametrize("potential", ["difference", "max", "sum"])
def test_every_potential_ends_in_the_same_tilted_law(potential):
    """With one large group of particles; few particles of "max" and "sum" are drawn to the reward too early."""
    mixture, model, predict = exact_toy()
    tilted = mixture.tilted(torch.tensor([0.5, 0.0]))
    steering = Steering(first, SteeringConfig(3000, 0.5, potential, every=10), 100, seeded())
    x = model.sample(3000, predict=predict, sampler=DDIM(30, 1.0), generator=seeded(1), between=steering)
    assert x[:, 0].mean().item() == pytest.approx((tilted.weights @ tilted.means)[0].item(), abs=0.1)
    assert total_variation(mode_weights(x, mixture.means), tilted.weights) < 0.05


def test_one_particle_is_plain_sampling():
    mixture, schedule = eight_gaussians(), cosine(50)
    predict, noise = exact_predictor(mixture, schedule), torch.randn(6, 2, generator=seeded())
    steering = Steering(lambda x: x[:, 0], SteeringConfig(1, 5.0), 50, seeded(1))
    steered = final(sample_path(predict, schedule, DDIM(20, 1.0), noise, seeded(2), steering))
    assert torch.equal(steered, final(sample_path(predict, schedule, DDIM(20, 1.0), noise, seeded(2))))


def test_resampling_moves_a_multistep_solvers_memory_too():
    steering = Steering(lambda x: 1000 * x[:, 0], SteeringConfig(2, 1.0, every=1), 10, seeded())
    x = torch.tensor([[0.0], [1.0], [5.0], [2.0]])
    state = steering(State(x, x, 5, {"x0": 10 * x}))
    assert state.x.flatten().tolist() == [1, 1, 5, 5]
    assert state.carry["x0"].flatten().tolist() == [10, 10, 50, 50]


def test_adaptive_steering_leaves_even_weights_alone():
    steering = Steering(lambda x: x[:, 0], SteeringConfig(4, 1.0, every=1, adaptive=True), 10, seeded())
    x = torch.tensor([[0.0], [0.1], [0.2], [0.3], [0.0], [0.0], [0.0], [20.0]])
    state = steering(State(x, x, 5, {}))
    assert torch.equal(state.x[:4], x[:4])
    assert state.x[4:].flatten().tolist() == [20, 20, 20, 20]


def test_rewards_of_a_wrong_shape_are_refused():
    torch.manual_seed(0)
    model = Diffusion(MLPDenoiser((2,), 8, 1), (2,), cosine(10))
    config = SteeringConfig(2)
    with pytest.raises(ValueError, match=r"the reward of 6 samples has the shape \(6, 2\)"):
        steer(model, 3, lambda x: x, config, DDIM(10, 1.0))
    with pytest.raises(ValueError, match="NaN or infinite at step 5"):
        steer(model, 3, lambda x: x[:, 0] / 0, config, DDIM(10, 1.0))


# Scheduled sampling -----------------------------------------------------------------------------------------------


def test_rolled_in_states_come_from_the_model_and_lead_to_the_true_data():
    law, schedule = GaussianMixture(torch.tensor([[1.0, -0.5]]), 0.4), cosine(50)
    exact = exact_predictor(law, schedule)

    class Oracle(Denoiser):
        conditional = False
        calls = ()

        def forward(self, x, time, condition=None, drop=None):
            level = (time * schedule.steps).round().int() - 1
            self.calls = (*self.calls, torch.is_grad_enabled())
            eps = torch.zeros_like(x)
            for each in level.unique():
                eps[level == each] = exact(x[level == each], int(each)).eps
            return eps

    model = Diffusion(Oracle(), (2,), schedule)
    rolled = ScheduledSampling(model, roll_in=2, stride=3, share=1.0)
    torch.manual_seed(0)
    x0 = law.sample(4000, seeded())
    t = torch.full((4000,), 20)
    x = rolled.rolled_in(x0, t, None)
    noised = law.noised(schedule.alphas[20], schedule.sigmas[20])
    torch.testing.assert_close(x.mean(0), noised.means[0], atol=0.05, rtol=0)
    torch.testing.assert_close(x.std(0), noised.std[0].expand(2), atol=0.05, rtol=0)
    loss, _ = rolled.loss({"x": x0[:200]})
    assert model.denoiser.calls == (False, False, False, False, True)
    assert torch.isfinite(loss)
    assert rolled.kept is model


def test_the_share_of_rolled_in_states_rises():
    rolled = ScheduledSampling(Diffusion(MLPDenoiser((2,), 8, 1), (2,), cosine(10)), share=0.5, steps=4)
    shares = []
    for _ in range(6):
        shares.append(rolled.current_share())
        rolled.after_update()
    assert shares == [0, 0.125, 0.25, 0.375, 0.5, 0.5]
    torch.manual_seed(0)
    plain, _ = rolled.diffusion.loss({"x": torch.ones(8, 2)})
    rolled.share = 0.0
    torch.manual_seed(0)
    assert rolled.loss({"x": torch.ones(8, 2)})[0].isfinite()
    assert plain.isfinite()


def test_a_condition_is_a_tensor_or_a_dict():
    embed = DictEmbedding({"goal": VectorEmbedding(3, 16), "style": ClassEmbedding(2, 16)})
    model = Diffusion(MLPDenoiser((4,), 16, 2, embed), (4,), cosine(10))
    condition = {"goal": torch.randn(5, 3), "style": torch.zeros(5, dtype=torch.long)}
    loss, _ = model.loss({"x": torch.randn(5, 4), "condition": condition})
    assert loss.isfinite()
    assert model.sample(5, condition, seeded(), sampler=DDIM(5), guidance=2.0).shape == (5, 4)
    with pytest.raises(ValueError, match="goal has the shape"):
        model.sample(4, {"goal": torch.randn(5, 3), "style": torch.zeros(4, dtype=torch.long)})
