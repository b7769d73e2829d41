"""Swing-up of a pendulum and a cart-pole by planning on their true equations, with a new plan at every step."""

import sys
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from embodia.planners import Carry, Planner
from embodia.planners.control.ilqr import ILQR
from embodia.planners.models.analytic_model import AnalyticModel
from embodia.planners.models.cart_pole import CartPole
from embodia.planners.models.pendulum import Pendulum
from embodia.planners.search.cem import CEM
from embodia.planners.search.icem import ICEM
from embodia.planners.search.mppi import MPPI
from embodia.planners.search.objective import Quadratic
from embodia.scripts.assembly.provenance import cpu_minutes
from embodia.scripts.bench.harness.options import SwingUp
from embodia.scripts.bench.harness.results import Row, row

STEPS, STARTS = 80, 50
UPRIGHT = 0.95
"""Cosine of the largest angle that counts as upright: 18 degrees."""


@dataclass(frozen=True)
class Task:
    """Quadratic costs of the distance from upright and of the force.

    The last state of a plan costs the same as the others: with a heavy final cost, a planner with a receding horizon
    can postpone the swing-up at every step. Actions are held for two steps: 10 and 12.5 Hz.
    """

    model: AnalyticModel
    weights: tuple[float, ...]
    """Weight of the squared distance of each feature from upright and at rest."""
    effort: float
    """Weight of the squared force."""
    limit: float
    """Maximum torque [N m] or force [N]."""

    @property
    def space(self) -> spaces.Box:
        return spaces.Box(-self.limit, self.limit, (1,))

    def objective(self) -> Quadratic:
        q = torch.diag(torch.tensor(self.weights, dtype=torch.float64))
        upright = self.model.features(torch.zeros(self.model.state_dim, dtype=torch.float64))
        return Quadratic(q, torch.tensor([[self.effort]], dtype=torch.float64), q, upright)

    def starts(self, count: int, seed: int = 0) -> Tensor:
        """Hanging states (count, S) with a small disturbance."""
        noise = torch.randn(count, self.model.state_dim, generator=torch.Generator().manual_seed(1 + seed))
        x = 0.1 * noise.double()
        x[:, -2] += torch.pi
        return x


TASKS = {
    "pendulum": Task(Pendulum(substeps=2), (1.0, 1.0, 0.1), 1e-3, 2.0),
    "cart-pole": Task(CartPole(substeps=2), (0.2, 0.01, 2.0, 0.2, 0.02), 1e-4, 10.0),
}


def planners(space: spaces.Box) -> dict[str, Planner]:
    sampling = {"CEM": CEM, "iCEM": ICEM, "MPPI": MPPI}
    found = {name: kind(space, horizon=20, samples=256, elites=25, iterations=5) for name, kind in sampling.items()}
    return {**found, "iLQR": ILQR(space, horizon=40, iterations=15)}


def upright(task: Task, planner: Planner, starts: int, steps: int = STEPS, seed: int = 0) -> Tensor:
    """Whether the pole stays upright through the last fifth of the steps (starts,)."""
    state, objective, seen = {"x": task.starts(starts, seed)}, task.objective(), []
    carry: Carry = {}
    for _ in range(steps):
        plan, carry = planner.plan(task.model, state, objective, carry)
        state = task.model.imagine(state, plan[:, 0])
        seen.append(state["x"][:, -2].cos() > UPRIGHT)
    return torch.stack(seen)[-steps // 5 :].all(0)


def measure(options: SwingUp) -> list[Row]:
    """The share of starts that each planner swings up, by task."""
    starts, steps = (2, 1) if options.smoke else (STARTS, STEPS)
    rows = []
    for task_name, task in TASKS.items():
        for name, planner in planners(task.space).items():
            print(f"{task_name}, {name}", file=sys.stderr)
            used, found = cpu_minutes(), []
            for seed in range(options.seeds):
                torch.manual_seed(seed)
                found.append(upright(task, planner, starts, steps, seed).float().tolist())
            spent = round(cpu_minutes() - used, 2)
            rows.append(row(name, found, f"{task_name} swung up", cpu_minutes=spent))
    return rows
