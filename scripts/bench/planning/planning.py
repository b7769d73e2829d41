"""CPU time per plan by number of samples, horizon, model and planner, and updates per second of the learned models."""

import math
import sys
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from embodia.perception import Encoder
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.planners.control.ilqr import ILQR
from embodia.planners.models.dino_wm import DINOWM, DINOWMConfig
from embodia.planners.models.rssm import RSSM, RSSMConfig
from embodia.planners.models.td_mpc2 import TDMPC2Model
from embodia.planners.search.cem import CEM
from embodia.planners.search.gradient import GradientPlanner
from embodia.planners.search.icem import ICEM
from embodia.planners.search.mppi import MPPI
from embodia.planners.search.objective import GoalDistance, Return
from embodia.scripts.bench.harness.options import Planning
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.harness.stopwatch import rate, timing
from embodia.scripts.bench.planning import swing_up, update_rate

SAMPLES, HORIZONS, ITERATIONS = (32, 128, 512), (5, 15, 30), 5
EQUATIONS = "pendulum's equations"
ACTIONS = spaces.Box(-2.0, 2.0, (1,))
PENDULUM = swing_up.TASKS["pendulum"]
SEEN = spaces.Dict({"state": spaces.Box(-8.0, 8.0, (3,))})


def measure(options: Planning) -> list[Row]:
    """Time plans and updates. The weights are untrained, which does not change the time."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    planned_in = models()
    rows = [row for name, parts in planned_in.items() for row in grid(name, *parts, options.seeds)]
    learned = {name: model for name, (model, _) in planned_in.items() if isinstance(model, torch.nn.Module)}
    rows += update_rate.measure(learned, 1 if options.smoke else update_rate.UPDATES, options.seeds)
    return rows + compared(options.seeds)


def models() -> dict[str, tuple[Any, Any]]:
    """Name -> model and objective."""
    encoder = MLPEncoder(SEEN, 64)
    dino = DINOWM(SEEN, ACTIONS, Patches(SEEN), DINOWMConfig(dim=64, depth=2))
    small = RSSMConfig(deter=128, stoch=8, classes=8, units=96)
    return {
        EQUATIONS: (PENDULUM.model, PENDULUM.objective()),
        "TD-MPC2": (TDMPC2Model(ACTIONS, encoder).eval(), Return()),
        "RSSM": (RSSM(SEEN, ACTIONS, encoder, small), Return()),
        "DINO-WM, 16 patches": (dino, GoalDistance(torch.zeros(1, 16, 8))),
    }


class Patches(Encoder):
    """Sixteen tokens of 8 numbers, as in `bench wall`. They cost no time, as a frozen encoder's tokens are stored."""

    keys = ("state",)
    num_tokens, dim = 16, 8

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return obs["state"][..., :1, None].expand(*obs["state"].shape[:-1], self.num_tokens, self.dim)


def grid(name: str, model: Any, objective: Any, repetitions: int) -> list[Row]:
    """CEM with each number of samples at the middle horizon, and each horizon with the middle number of samples."""
    print(f"{name}, CEM of {ITERATIONS} iterations", file=sys.stderr)
    found: dict[tuple[int, int], Row] = {}
    for samples, horizon in [(n, HORIZONS[1]) for n in SAMPLES] + [(SAMPLES[1], horizon) for horizon in HORIZONS]:
        if (samples, horizon) not in found:
            planner = CEM(ACTIONS, horizon, samples, samples // 8, ITERATIONS)
            unit = f"CPU ms, {samples} samples, {horizon} steps"
            found[samples, horizon] = timing(name, times(planner, model, objective, repetitions), unit)
    return [*found.values(), *growth(name, {cell: row.value for cell, row in found.items()})]


def compared(repetitions: int) -> list[Row]:
    """All planners on the pendulum's equations at one horizon."""
    horizon, samples = HORIZONS[2], SAMPLES[1]
    planners = {
        "CEM": CEM(ACTIONS, horizon, samples, samples // 8, ITERATIONS),
        "iCEM": ICEM(ACTIONS, horizon, samples, samples // 8, ITERATIONS),
        "MPPI": MPPI(ACTIONS, horizon, samples, samples // 8, ITERATIONS),
        "gradient": GradientPlanner(ACTIONS, horizon, iterations=20),
        "iLQR": ILQR(ACTIONS, horizon, iterations=5),
    }
    unit = f"CPU ms, {samples} samples, {horizon} steps"
    return [
        timing(f"{EQUATIONS}: {name}", times(planner, PENDULUM.model, PENDULUM.objective(), repetitions), unit)
        for name, planner in planners.items()
    ]


@torch.no_grad()
def times(planner: Any, model: Any, objective: Any, repetitions: int) -> list[float]:
    """CPU time of single plans [ms], after one that is not counted."""
    state = model.initial(1)
    _, carry = planner.plan(model, state, objective, {})

    def work() -> int:
        planner.plan(model, state, objective, carry)
        return 1

    return [1e3 / rate(work).cpu for _ in range(repetitions)]


def growth(name: str, time: Mapping[tuple[int, int], float]) -> list[Row]:
    """Exponents b of time ~ n^b, between the smallest and largest number of samples, and between those of steps."""
    ends = {
        "samples": (SAMPLES, (SAMPLES[0], HORIZONS[1]), (SAMPLES[-1], HORIZONS[1])),
        "steps": (HORIZONS, (SAMPLES[1], HORIZONS[0]), (SAMPLES[1], HORIZONS[-1])),
    }
    found = []
    for what, (sizes, low, high) in ends.items():
        exponent = math.log(time[high] / time[low]) / math.log(sizes[-1] / sizes[0])
        found.append(timing(name, [exponent], f"exponent of {what}"))
    return found
