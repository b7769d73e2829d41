"""What plans cost and what they are worth on true equations, and what their models' learning costs.

Seconds per plan, one world at a time, against samples and horizon, by model and by planner; updates per second of the
learned models; the share of hanging starts from which each planner swings a pendulum and a cart-pole up.
"""

import math
from collections.abc import Callable, Mapping
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
from embodia.scripts.assembly.provenance import hardware
from embodia.scripts.bench.harness.stopwatch import Rate, middle, rate
from embodia.scripts.bench.planning import swing_up, update_rate

SAMPLES, HORIZONS, ITERATIONS = (32, 128, 512), (5, 15, 30), 5
ACTIONS = spaces.Box(-2.0, 2.0, (1,))
PENDULUM = swing_up.TASKS["pendulum"]
SEEN = spaces.Dict({"state": spaces.Box(-8.0, 8.0, (3,))})


def measure(repeats: int) -> dict[str, Any]:
    """Median of `repeats` plans after one that is not counted; weights are as drawn, which does not change the time."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    planned_in = models()
    rows = [row for name, parts in planned_in.items() for row in grid(name, *parts, repeats)]
    rows += compared(repeats)
    learned = {name: model for name, (model, _) in planned_in.items() if isinstance(model, torch.nn.Module)}
    return {
        "rows": rows,
        "growth": growth(rows),
        "updates": update_rate.measure(learned, repeats),
        "swing_up": swing_up.measure(),
        "hardware": hardware(),
    }


def models() -> dict[str, tuple[Any, Any]]:
    """Name -> model, objective."""
    encoder = MLPEncoder(SEEN, 64)
    dino = DINOWM(SEEN, ACTIONS, Patches(SEEN), DINOWMConfig(dim=64, depth=2))
    small = RSSMConfig(deter=128, stoch=8, classes=8, units=96)
    return {
        "pendulum's equations": (PENDULUM.model, PENDULUM.objective()),
        "TD-MPC2": (TDMPC2Model(ACTIONS, encoder).eval(), Return()),
        "RSSM": (RSSM(SEEN, ACTIONS, encoder, small), Return()),
        "DINO-WM, 16 patches": (dino, GoalDistance(torch.zeros(1, 16, 8))),
    }


class Patches(Encoder):
    """Sixteen tokens of 8 numbers, as `bench wall` has them, made of nothing: frozen, and kept before learning."""

    keys = ("state",)
    num_tokens, dim = 16, 8

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return obs["state"][..., :1, None].expand(*obs["state"].shape[:-1], self.num_tokens, self.dim)


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
        timed("pendulum's equations", name, planner, PENDULUM.model, PENDULUM.objective(), repeats, samples, horizon)
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
