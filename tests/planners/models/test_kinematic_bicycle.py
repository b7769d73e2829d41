"""Tests of the bicycle model: nuPlan's step, lane coordinates, and planners that keep a lane."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.envs.driving.types import STATE_SIZE, StateColumn
from embodia.envs.driving.vehicle.bicycle import bicycle_step
from embodia.planners.control.ilqr import ILQR
from embodia.planners.models.kinematic_bicycle import KinematicBicycle
from embodia.planners.search.cem import CEM
from embodia.planners.search.objective import Quadratic

COLUMNS = [StateColumn[name] for name in ("X", "Y", "HEADING", "VX", "AX", "STEERING")]
COMMANDS = spaces.Box(np.float32([-4.0, -0.5]), np.float32([3.0, 0.5]))


def bend(radius=40.0):
    """20 m straight on, then a quarter turn to the left."""
    angle = torch.linspace(0, math.pi / 2, 40, dtype=torch.float64)
    arc = torch.stack([20 + radius * angle.sin(), radius * (1 - angle.cos())], -1)
    return torch.cat([torch.tensor([[0.0, 0.0]], dtype=torch.float64), arc])


def test_steps_as_the_simulator_does():
    rng = np.random.default_rng(0)
    states = np.zeros((50, STATE_SIZE))
    x = rng.normal(size=(50, 6)) * [5, 5, 0.5, 3, 1, 0.2]
    states[:, COLUMNS] = x
    u = rng.normal(size=(50, 2))
    theirs = bicycle_step(states, u[:, 0], u[:, 1], 0.1)[:, COLUMNS]
    ours = KinematicBicycle().dynamics(torch.tensor(x), torch.tensor(u)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_lane_coordinates_on_an_arc():
    """2 m outside of a left bend of radius 40, driving along it."""
    angle = torch.tensor([0.3, 0.7, 1.1], dtype=torch.float64)
    place = torch.stack([20 + 42 * angle.sin(), 40 - 42 * angle.cos()], -1)
    offset, error = KinematicBicycle(bend()).to_lane(place, angle)
    torch.testing.assert_close(offset, torch.full_like(offset, -2.0), atol=0.02, rtol=0)
    torch.testing.assert_close(error, torch.zeros_like(error), atol=0.03, rtol=0)


def test_gradients_are_finite_differences():
    model = KinematicBicycle(bend())
    x = torch.tensor([12.0, 1.0, 0.1, 8.0, 0.5, 0.05], dtype=torch.float64)
    u = torch.tensor([0.3, 0.1], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x, u: model.features(model.dynamics(x, u)), (x.requires_grad_(), u.requires_grad_())
    )


@pytest.mark.parametrize("kind", ["ilqr", "cem"])
def test_a_planner_keeps_the_lane_through_a_bend(kind):
    """Starting 1.5 m beside the lane: within 0.5 m of the centre line after 4 s, at about 8 m/s."""
    model = KinematicBicycle(bend(), dt=0.2)
    weights = torch.tensor([1.0, 4.0, 0.5, 0.02, 0.1], dtype=torch.float64).diag()
    effort = torch.tensor([0.02, 0.2], dtype=torch.float64).diag()
    objective = Quadratic(weights, effort, weights, torch.tensor([0.0, 0.0, 8.0, 0.0, 0.0], dtype=torch.float64))
    options = {"ilqr": {"iterations": 6}, "cem": {"samples": 128, "elites": 16, "iterations": 4}}[kind]
    planner = {"ilqr": ILQR, "cem": CEM}[kind](COMMANDS, horizon=12, **options)
    state = {"x": torch.tensor([[0.0, 1.5, 0.0, 7.0, 0.0, 0.0]], dtype=torch.float64)}
    carry, offsets = {}, []
    for _ in range(40):
        plan, carry = planner.plan(model, state, objective, carry)
        state = model.imagine(state, plan[:, 0])
        offsets.append(float(model.features(state["x"])[0, 0]))
    assert max(abs(offset) for offset in offsets[20:]) < 0.5
    assert float(state["x"][0, 3]) == pytest.approx(8.0, abs=0.7)
