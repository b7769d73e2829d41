"""EDM and consistency models: closed forms, the boundary condition, and one step that learns."""

from itertools import pairwise

import pytest
import torch

from embodia.agents.training.fit import FitConfig, fit
from embodia.perception.generative.denoisers.mlp import MLPDenoiser
from embodia.perception.generative.diffusion.consistency import Consistency
from embodia.perception.generative.diffusion.edm import EDM, NoiseRange, heun_step, heun_steps

NOISE = NoiseRange(0.02, 5.0, 7.0, 0.5)


def exact(x, sigma):
    """The mean of N(0, 0.5^2) data given x."""
    return x * (0.25 / (0.25 + sigma**2))[:, None]


def test_noise_levels_rise_and_times_span_the_unit_interval():
    levels = NOISE.levels(10)
    assert levels[0].item() == pytest.approx(0.02)
    assert levels[-1].item() == pytest.approx(5)
    assert (levels.diff() > 0).all()
    torch.testing.assert_close(NOISE.time(levels[[0, -1]]), torch.tensor([0.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("steps", [20, 40])
def test_heuns_error_falls_with_the_square_of_the_step(steps):
    def error(steps):
        sigmas = NOISE.levels(steps).tolist()[::-1]
        x = torch.ones(1, 2, dtype=torch.float64)
        for high, low in pairwise(sigmas):
            x = heun_step(exact, x, high, low)
        return (x - ((0.25 + 0.02**2) / (0.25 + 25)) ** 0.5).abs().max().item()

    assert error(steps) / error(2 * steps) == pytest.approx(4, rel=0.25)


def test_a_batch_of_levels_is_stepped_like_each_alone():
    x, high, low = torch.randn(3, 2), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 1.9, 0.1])
    alone = [heun_step(exact, x[i : i + 1], high[i].item(), low[i].item()) for i in range(3)]
    torch.testing.assert_close(heun_steps(exact, x, high, low), torch.cat(alone))


def test_at_the_smallest_noise_the_model_is_the_identity():
    torch.manual_seed(0)
    model, x = Consistency(MLPDenoiser((2,), 16, 2), (2,), NOISE), torch.randn(5, 2)
    torch.testing.assert_close(model.consistent(x, torch.full((5,), 0.02)), x)
    assert not torch.allclose(model.consistent(x, torch.full((5,), 0.5)), x, atol=1e-3)


def test_training_alone_raises_its_levels():
    model = Consistency(MLPDenoiser((2,), 8, 1), (2,), NOISE, levels=18, steps=10)
    assert model.current_levels() == 2
    for _ in range(10):
        model.after_update()
    assert model.current_levels() == 18
    assert Consistency(MLPDenoiser((2,), 8, 1), (2,), NOISE).current_levels() == 18


class Normal:
    def batch(self, n):
        return {"x": 0.5 * torch.randn(n, 2) + torch.tensor([0.5, -0.5])}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_teacher_and_its_one_step_student_learn_a_gaussian():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    settings = FitConfig(steps=250, batch_size=128, learning_rate=5e-3, average=0.98, warmup=20)
    teacher = EDM(MLPDenoiser((2,), 32, 2), (2,), NOISE, log_mean=-0.5)
    fit(teacher, Normal(), settings)
    student = Consistency(MLPDenoiser((2,), 32, 2), (2,), NOISE, 8, teacher, momentum=0.9)
    before = [each.clone() for each in teacher.parameters()]
    fit(student, Normal(), settings)
    assert all(torch.equal(old, new) for old, new in zip(before, teacher.parameters()))
    for x in (teacher.sample(2000, generator=generator), student.sample(2000, generator=generator)):
        torch.testing.assert_close(x.mean(0), torch.tensor([0.5, -0.5]), atol=0.1, rtol=0)
        torch.testing.assert_close(x.std(0), torch.tensor([0.5, 0.5]), atol=0.12, rtol=0)
    two = student.sample(2000, generator=generator, sigmas=(0.5,))
    torch.testing.assert_close(two.std(0), torch.tensor([0.5, 0.5]), atol=0.12, rtol=0)
