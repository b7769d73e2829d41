"""Tests of CEM, iCEM, MPPI and gradient planning: closed forms, invariances and errors."""

import math

import pytest
import torch
from gymnasium import spaces

from embodia.planners.control.lqr import LQR
from embodia.planners.models.grid_map import GridMap
from embodia.planners.models.imagination import imagine_plan
from embodia.planners.models.linear_system import LinearSystem
from embodia.planners.models.snapshot import SnapshotModel
from embodia.planners.search.cem import CEM
from embodia.planners.search.gradient import GradientPlanner
from embodia.planners.search.icem import ICEM, coloured
from embodia.planners.search.mppi import MPPI
from embodia.planners.search.objective import GoalDistance, Quadratic, Return

BOX = spaces.Box(-1.0, 1.0, (1,))
PLANNERS = {
    "cem": CEM(BOX, horizon=6, iterations=8),
    "icem": ICEM(BOX, horizon=6, samples=128, iterations=8, beta=0.5),
    "mppi": MPPI(BOX, horizon=6, iterations=8),
    "gradient": GradientPlanner(BOX, horizon=6, iterations=200),
}


def double_integrator():
    a = torch.tensor([[1.0, 0.3], [0.0, 1.0]], dtype=torch.float64)
    b = torch.tensor([[0.0], [0.3]], dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)
    return LinearSystem(a, b), Quadratic(eye, 0.1 * eye[:1, :1], 5 * eye, torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("name", PLANNERS)
def test_comes_close_to_the_exact_optimum(name):
    model, objective = double_integrator()
    state = {"x": torch.tensor([[0.4, 0.0], [-0.2, 0.3]], dtype=torch.float64)}
    cost = lambda plan: -objective(imagine_plan(model, state, plan.double()), plan.double())  # noqa: E731
    exact, _ = LQR(horizon=6).plan(model, state, objective, {})
    assert float(exact.abs().max()) < 1.0  # within the limits, so LQR's optimum is the true one
    found, _ = PLANNERS[name].plan(model, state, objective, {})
    assert found.shape == (2, 6, 1)
    assert bool((cost(found) <= 1.05 * cost(exact)).all()), (cost(found), cost(exact))


@pytest.mark.parametrize("name", PLANNERS)
def test_a_world_is_planned_alike_alone_and_in_company(name):
    model, objective = double_integrator()
    x = torch.tensor([[0.4, 0.0], [-0.2, 0.3], [1.0, 1.0]], dtype=torch.float64)
    together, carry = PLANNERS[name].plan(model, {"x": x}, objective, {})
    together, _ = PLANNERS[name].plan(model, {"x": x}, objective, carry)
    for b in range(3):
        alone, carry = PLANNERS[name].plan(model, {"x": x[b : b + 1]}, objective, {})
        alone, _ = PLANNERS[name].plan(model, {"x": x[b : b + 1]}, objective, carry)
        torch.testing.assert_close(alone[0], together[b], atol=1e-5, rtol=1e-4)


def test_categorical_cem_finds_the_shortest_way():
    free = torch.ones(5, 5, dtype=torch.bool)
    free[2, 2] = False
    model = GridMap(free, goal=(2, 4))
    state = model.observe({}, {"cell": [[2, 0]]}, torch.zeros(1), torch.ones(1))
    plan, _ = CEM(spaces.Discrete(4), horizon=8, samples=512, elites=32, iterations=10).plan(model, state, Return(), {})
    futures = imagine_plan(model, state, plan)
    assert float(futures["reward"].sum()) == -6.0
    assert float(futures["cont"][0, -1]) == 0.0


def test_coloured_noise_has_unit_variance_and_the_stated_spectrum():
    white = torch.randn(20_000, 64, 1, generator=torch.Generator().manual_seed(0))
    for beta in (0.0, 1.0, 2.0):
        noise = coloured(white, beta)
        assert float(noise.var()) == pytest.approx(1.0, rel=0.02)
        power = torch.fft.rfft(noise[..., 0]).abs().square().mean(0)
        slope = (power[16].log() - power[2].log()) / (math.log(16) - math.log(2))
        assert float(slope) == pytest.approx(-beta, abs=0.05)


def test_return_stops_at_the_end_and_adds_the_last_value():
    futures = {
        "reward": torch.tensor([[1.0, 2.0, 4.0]]),
        "cont": torch.tensor([[1.0, 0.5, 1.0]]),
        "value": torch.tensor([10.0]),
    }
    # 1 + .9*1*2 + .9*.9*.5*4 + (.9*.9*.5)*.9*10
    assert float(Return(0.9)(futures, torch.zeros(1, 3, 1))) == pytest.approx(1 + 1.8 + 1.62 + 3.645)


def test_goal_distance_serves_each_world_its_own_goal():
    goal = torch.tensor([[0.0], [1.0]])
    futures = {"tokens": torch.tensor([[[5.0], [0.0]], [[5.0], [2.0]], [[5.0], [1.0]], [[5.0], [0.0]]])}  # (B*K, T, D)
    assert GoalDistance(goal)(futures, torch.zeros(4, 2, 1)).tolist() == [0.0, -4.0, 0.0, -1.0]


def test_refusals_name_the_way_out():
    with pytest.raises(TypeError, match="use CEM"):
        MPPI(spaces.Discrete(3))
    with pytest.raises(ValueError, match="unbounded"):
        CEM(spaces.Box(-math.inf, math.inf, (1,))).plan(*double_integrator()[:1], {"x": torch.zeros(1, 2)}, None, {})

    class Still:
        def set_state(self, state): ...
        def get_state(self):
            return 0

        def step(self, action):
            return 0, 1.0, False, False, {}

    model = SnapshotModel(Still())
    with pytest.raises(TypeError, match="no gradient"):
        GradientPlanner(BOX, horizon=2).plan(model, model.from_snapshots([0]), Return(), {})
