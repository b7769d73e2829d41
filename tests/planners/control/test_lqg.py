"""Tests of LQG on a car with jerk and steering acceleration as controls: SciPy, separation, a drive in the noise."""

import numpy as np
import pytest
import scipy.linalg
import torch

from embodia.planners.control.lqg import LQG, KalmanFilter
from embodia.planners.models.jerk_bicycle import JerkBicycle
from embodia.planners.models.linear_system import LinearSystem

SPEED = 8.0
SEEN = [0, 1, 2, 3]
"""A receiver sees position, heading and speed; acceleration, steering and its rate are hidden."""
W = torch.diag(torch.tensor([1e-4, 1e-4, 1e-6, 1e-4, 1e-3, 1e-6, 1e-5], dtype=torch.float64))
V = torch.diag(torch.tensor([0.04, 0.04, 1e-4, 0.04], dtype=torch.float64))
Q = torch.diag(torch.tensor([1.0, 1.0, 5.0, 1.0, 0.1, 1.0, 0.1], dtype=torch.float64))
R = torch.diag(torch.tensor([0.1, 1.0], dtype=torch.float64))


@pytest.fixture(scope="module")
def lqg():
    h = torch.eye(7, dtype=torch.float64)[SEEN]
    return LQG(KalmanFilter(JerkBicycle().straight(SPEED), h, W, V), Q, R)


def test_the_filter_solves_the_dual_equation(lqg):
    a, h = lqg.observer.model.a.numpy(), lqg.observer.h.numpy()
    expected = scipy.linalg.solve_discrete_are(a.T, h.T, W.numpy(), V.numpy())
    np.testing.assert_allclose(lqg.observer.predicted.numpy(), expected, rtol=1e-6, atol=1e-10)
    closed = lqg.observer.model.a @ (torch.eye(7) - lqg.observer.gain @ lqg.observer.h)
    assert float(torch.linalg.eigvals(closed).abs().max()) < 1


def run(lqg, x, steps, step, origin=None):
    """Closed loop with noise: costs (steps, B), last states and errors of the last estimates."""
    g = torch.Generator().manual_seed(0)
    origin = torch.zeros(7, dtype=torch.float64) if origin is None else origin
    prediction, costs = torch.zeros_like(x), []
    count = len(x)
    noise = lambda cov: torch.randn(count, len(cov), generator=g).double() * cov.diagonal().sqrt()  # noqa: E731
    for t in range(steps):
        reference = origin + t * 0.1 * SPEED * torch.eye(7, dtype=torch.float64)[0] * bool(origin.any())
        u, after = lqg.act(prediction, (x - reference)[:, SEEN] + noise(V))
        deviation = x - reference
        costs.append((deviation @ Q * deviation).sum(-1) + (u @ R * u).sum(-1))
        x, prediction = step(x, u) + noise(W), after
    return torch.stack(costs), x - reference, after


def test_the_average_cost_is_that_of_the_separation_principle(lqg):
    costs, _, _ = run(lqg, torch.zeros(400, 7, dtype=torch.float64), 500, lqg.observer.model.dynamics)
    assert float(costs[200:].mean()) == pytest.approx(lqg.average_cost(W), rel=0.03)


def test_another_gain_costs_more(lqg):
    others = LQG(lqg.observer, 10 * Q, R), LQG(lqg.observer, Q / 10, R)
    for other in others:
        costs, _, _ = run(other, torch.zeros(400, 7, dtype=torch.float64), 500, lqg.observer.model.dynamics)
        assert float(costs[200:].mean()) > 1.1 * lqg.average_cost(W)


def test_the_true_car_returns_to_its_lane_without_seeing_its_steering(lqg):
    car, straight = JerkBicycle(), torch.tensor([0, 0, 0, SPEED, 0, 0, 0], dtype=torch.float64)
    start = straight + torch.tensor([0, 1.5, 0.1, -1.0, 0, 0, 0], dtype=torch.float64)
    costs, left, _ = run(lqg, start.expand(50, 7), 150, car.dynamics, straight)
    assert float(costs[0].mean()) > 3
    assert float(left[:, 1].square().mean().sqrt()) < 0.4
    assert float((left[:, 3]).square().mean().sqrt()) < 0.4


def test_a_car_keeps_its_acceleration_and_steering_rate():
    x = torch.tensor([0.0, 0, 0, 5, 1, 0, 0.1], dtype=torch.float64)
    after = JerkBicycle(dt=0.1).dynamics(x, torch.tensor([2.0, -0.5], dtype=torch.float64))
    torch.testing.assert_close(after, torch.tensor([0.5, 0, 0, 5.1, 1.2, 0.01, 0.05], dtype=torch.float64))


def test_bad_input_is_named():
    system = LinearSystem(torch.eye(2).double(), torch.eye(2).double())
    h, eye = torch.eye(2).double()[:1], torch.eye(2).double()
    with pytest.raises(ValueError, match="V is not positive definite"):
        KalmanFilter(system, h, eye, torch.zeros(1, 1).double())
    with pytest.raises(ValueError, match=r"V is \(2, 2\), but the system and H need \(1, 1\)"):
        KalmanFilter(system, h, eye, eye)
    with pytest.raises(ValueError, match="every unstable mode"):
        KalmanFilter(LinearSystem(1.1 * eye, eye), h, eye, torch.ones(1, 1).double())
