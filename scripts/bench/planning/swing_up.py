"""A pendulum and a cart-pole swung up on their true equations: what each planner alone can do, plan after plan."""

from dataclasses import dataclass
from typing import Any

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
from embodia.scripts.report.statistics import wilson

STEPS, STARTS = 80, 50
UPRIGHT = 0.95
"""The cosine of an angle that counts as upright: 18 degrees."""


@dataclass(frozen=True)
class Task:
    """Quadratic costs of distance from upright and of force.

    A heavy final cost makes a receding horizon procrastinate: upright at its end is as good now as a step later, for
    ever. So the last state costs what every other does. Actions are held for two steps: 10 and 12.5 Hz.
    """

    model: AnalyticModel
    weights: tuple[float, ...]
    """Of the squared distance of each feature from upright and at rest."""
    effort: float
    limit: float
    """Greatest torque [N m] or force [N]."""

    @property
    def space(self) -> spaces.Box:
        return spaces.Box(-self.limit, self.limit, (1,))

    def objective(self) -> Quadratic:
        q = torch.diag(torch.tensor(self.weights, dtype=torch.float64))
        upright = self.model.features(torch.zeros(self.model.state_dim, dtype=torch.float64))
        return Quadratic(q, torch.tensor([[self.effort]], dtype=torch.float64), q, upright)

    def starts(self, count: int) -> Tensor:
        """(count, S) hanging, a little disturbed."""
        noise = torch.randn(count, self.model.state_dim, generator=torch.Generator().manual_seed(1))
        x = 0.1 * noise.double()
        x[:, -2] += torch.pi
        return x


TASKS = {
    "pendulum": Task(Pendulum(substeps=2), (1.0, 1.0, 0.1), 1e-3, 2.0),
    "cart-pole": Task(CartPole(substeps=2), (0.2, 0.01, 2.0, 0.2, 0.02), 1e-4, 10.0),
}


def planners(space: spaces.Box) -> dict[str, Planner]:
    sampling = {"cem": CEM, "icem": ICEM, "mppi": MPPI}
    found = {name: kind(space, horizon=20, samples=256, elites=25, iterations=5) for name, kind in sampling.items()}
    return {**found, "ilqr": ILQR(space, horizon=40, iterations=15)}


def upright(task: Task, planner: Planner, starts: int = STARTS, steps: int = STEPS) -> Tensor:
    """(starts,) whether the pole stays upright through the last fifth of the time; a new plan every step."""
    state, objective, seen = {"x": task.starts(starts)}, task.objective(), []
    carry: Carry = {}
    for _ in range(steps):
        plan, carry = planner.plan(task.model, state, objective, carry)
        state = task.model.imagine(state, plan[:, 0])
        seen.append(state["x"][:, -2].cos() > UPRIGHT)
    return torch.stack(seen)[-steps // 5 :].all(0)


def measure(starts: int = STARTS, steps: int = STEPS) -> list[dict[str, Any]]:
    """The share of starts swung up, by task and planner, with Wilson's interval."""
    print(f"swing-up from {starts} hanging starts, upright through the last fifth of {steps} steps")
    rows = []
    for task_name, task in TASKS.items():
        for name, planner in planners(task.space).items():
            torch.manual_seed(0)
            found = upright(task, planner, starts, steps)
            value = wilson(int(found.sum()), starts)
            print(f"  {task_name:<10} {name:<5} {value.value:.2f} [{value.low:.2f}, {value.high:.2f}]", flush=True)
            rows.append(
                {"task": task_name, "planner": name, "success": value.value, "low": value.low, "high": value.high}
            )
    return rows
