"""Seconds per plan, one world at a time: how they grow with samples and horizon, by model and by planner."""

import math
from collections.abc import Callable
from typing import Any

import torch
from gymnasium import spaces

from perception.mlp import MLPEncoder
from planners.cem import CEM
from planners.dino_wm import DINOWM, DINOWMConfig
from planners.gradient import GradientPlanner
from planners.icem import ICEM
from planners.ilqr import ILQR
from planners.mppi import MPPI
from planners.objective import GoalDistance, Quadratic, Return
from planners.pendulum import Pendulum
from planners.rssm import RSSM, RSSMConfig
from planners.td_mpc2 import TDMPC2Model
from scripts.provenance import hardware
from scripts.stopwatch import Rate, middle, rate

SAMPLES, HORIZONS, ITERATIONS = (32, 128, 512), (5, 15, 30), 5
ACTIONS = spaces.Box(-2.0, 2.0, (1,))
SEEN = spaces.Dict({"state": spaces.Box(-8.0, 8.0, (3,))})


def measure(repeats: int) -> dict[str, Any]:
    """Median of `repeats` plans after one that is not counted; weights are as drawn, which does not change the time."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [row for name, parts in models().items() for row in grid(name, *parts, repeats)]
    rows += compared(repeats)
    return {"rows": rows, "growth": growth(rows), "hardware": hardware("cpu")}


def models() -> dict[str, tuple[Any, Any]]:
    """Name -> model, objective."""
    encoder = MLPEncoder(SEEN, 64)
    dino = DINOWM(SEEN, ACTIONS, Patches(), DINOWMConfig(dim=64, depth=2))
    small = RSSMConfig(deter=128, stoch=8, classes=8, units=96)
    return {
        "pendulum's equations": (Pendulum(), swing_up()),
        "TD-MPC2": (TDMPC2Model(ACTIONS, encoder).eval(), Return()),
        "RSSM": (RSSM(SEEN, ACTIONS, encoder, small), Return()),
        "DINO-WM, 16 patches": (dino, GoalDistance(torch.zeros(1, 16, 8))),
    }


class Patches(torch.nn.Module):
    """Sixteen tokens of 8 numbers, as `bench wall` has them; planning never encodes."""

    num_tokens, dim = 16, 8


def swing_up() -> Quadratic:
    q = torch.diag(torch.tensor([1.0, 1.0, 0.1], dtype=torch.float64))
    return Quadratic(q, 0.001 * q[:1, :1], q, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))


def grid(name: str, model: Any, objective: Any, repeats: int) -> list[dict[str, Any]]:
    """CEM with every number of samples at the middle horizon, and every horizon at the middle number."""
    print(f"{name}, CEM of {ITERATIONS} iterations")
    cells = [(samples, HORIZONS[1]) for samples in SAMPLES] + [(SAMPLES[1], horizon) for horizon in HORIZONS]
    rows = []
    for samples, horizon in dict.fromkeys(cells):
        planner = CEM(ACTIONS, horizon, samples, samples // 8, ITERATIONS)
        rows.append(timed(name, "cem", planner, model, objective, repeats, samples, horizon))
    return rows


def compared(repeats: int) -> list[dict[str, Any]]:
    """All planners on the pendulum's equations at one horizon."""
    print("pendulum's equations, all planners")
    horizon, samples = HORIZONS[2], SAMPLES[1]
    planners = {
        "cem": CEM(ACTIONS, horizon, samples, samples // 8, ITERATIONS),
        "icem": ICEM(ACTIONS, horizon, samples, samples // 8, ITERATIONS),
        "mppi": MPPI(ACTIONS, horizon, samples, samples // 8, ITERATIONS),
        "gradient": GradientPlanner(ACTIONS, horizon, iterations=20),
        "ilqr": ILQR(ACTIONS, horizon, iterations=5),
    }
    return [
        timed("pendulum's equations", name, planner, Pendulum(), swing_up(), repeats, samples, horizon)
        for name, planner in planners.items()
    ]


def timed(
    model_name: str,
    planner_name: str,
    planner: Any,
    model: Any,
    objective: Any,
    repeats: int,
    samples: int,
    horizon: int,
) -> dict[str, Any]:
    """One row, and its line on the console."""
    state = model.initial(1)
    _, carry = planned(planner, model, state, objective, {})
    found = middle([rate(once(planner, model, state, objective, carry)) for _ in range(max(1, repeats))])
    print(f"  {planner_name:<9} {samples:>5} samples, horizon {horizon:>2}: {1e3 / found.cpu:8.1f} ms CPU, "
          f"{1e3 / found.wall:8.1f} ms wall")  # fmt: skip
    row = {"model": model_name, "planner": planner_name, "samples": samples, "horizon": horizon}
    return {**row, **seconds(found)}


def once(planner: Any, model: Any, state: Any, objective: Any, carry: Any) -> Callable[[], int]:
    def work() -> int:
        planned(planner, model, state, objective, carry)
        return 1

    return work


@torch.no_grad()
def planned(planner: Any, model: Any, state: Any, objective: Any, carry: Any) -> Any:
    return planner.plan(model, state, objective, carry)


def seconds(found: Rate) -> dict[str, float]:
    return {"cpu_seconds": 1 / found.cpu, "wall_seconds": 1 / found.wall}


def growth(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Exponents b of time ~ n^b between the least and the greatest number of samples, and of steps."""
    found = []
    for name in dict.fromkeys(row["model"] for row in rows):
        time = {(r["samples"], r["horizon"]): r["cpu_seconds"]
                for r in rows if r["model"] == name and r["planner"] == "cem"}  # fmt: skip
        exponent = {}
        for what, ends in (
            ("samples", [(SAMPLES[0], HORIZONS[1]), (SAMPLES[-1], HORIZONS[1])]),
            ("horizon", [(SAMPLES[1], HORIZONS[0]), (SAMPLES[1], HORIZONS[-1])]),
        ):
            size = SAMPLES if what == "samples" else HORIZONS
            exponent[what] = math.log(time[ends[1]] / time[ends[0]]) / math.log(size[-1] / size[0])
        print(f"{name}: time grows as samples^{exponent['samples']:.2f} and horizon^{exponent['horizon']:.2f}")
        found.append({"model": name, **exponent})
    return found
