"""Driving planners with learned costs on test scenarios, replayed and reactive, beside their controls and IDM.

Every planner is trained by `embodia train PRESET` on the same recorded drives, which are collected once a seed.
"""

import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embodia.envs.driving.learning.pool import scenario_pool
from embodia.envs.driving.metrics.closed_loop_scores import score_history
from embodia.envs.driving.simulation.closed_loop import NONREACTIVE, REACTIVE, Simulation
from embodia.envs.driving.simulation.planner_runs import simulate_batch
from embodia.planners.driving.constant_velocity import ConstantVelocity
from embodia.planners.driving.idm import IdmPlanner
from embodia.planners.driving.learned.insight import shares
from embodia.planners.driving.learned.joint_planner import JointPlanner, JointPlannerConfig
from embodia.scripts.assembly import build, runs
from embodia.scripts.bench.harness.once import Line, by_seed, minutes, once
from embodia.scripts.bench.harness.options import Costs
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.bench.planning import hidden_weights, marginals
from embodia.scripts.commands.train import main as train

TRAFFIC = {"replayed": NONREACTIVE, "reactive": REACTIVE}
TOGETHER = 20  # scenarios of a finished part, which is not driven again
SLOWEST = 99  # percentile of the time of a plan
SHARES = 6  # most cost terms that are listed
COLLISION = "no_ego_at_fault_collisions"


@dataclass(frozen=True)
class Entry:
    """A planner that is measured."""

    name: str
    preset: str
    flags: tuple[str, ...] = ()
    """Flags of its training."""
    planned_as: JointPlannerConfig | None = None
    """Another search with the same weights, where there is one."""
    of: str | None = None
    """The planner that it is a control of."""


ENTRIES = (
    Entry("neural-motion-planner", "neural-motion-planner"),
    Entry("sadat", "sadat"),
    Entry("dsdnet", "dsdnet"),
    Entry("mp3", "mp3"),
    Entry("L2 regression", "trajectory-regression", of="neural-motion-planner"),
    Entry(
        "without collisions in the margin",
        "neural-motion-planner",
        ("--agent.planner.collision", "0"),
        of="neural-motion-planner",
    ),
    Entry("samples only", "sadat", planned_as=JointPlannerConfig(search="samples"), of="sadat"),
    Entry("gradient only", "sadat", planned_as=JointPlannerConfig(search="gradient", iterations=10), of="sadat"),
    Entry("independent forecasts", "dsdnet", ("--agent.planner.no-joint",), of="dsdnet"),
    Entry("without flow", "mp3", ("--agent.planner.field", "standing"), of="mp3"),
)
BASELINES: dict[str, Callable[[], Any]] = {"IDM": IdmPlanner, "constant velocity": ConstantVelocity}


def measure(options: Costs) -> list[Row]:
    """Train, drive and time; every finished part is a line of `costs.jsonl`."""
    torch.set_num_threads(1)
    out = options.folder()
    scenarios, seeds = (2, 1) if options.smoke else (options.scenarios, options.seeds)
    tiny = ("--agent.drives", "2", "--steps", "4", "--env.options.num-scenarios", "2") if options.smoke else ()
    lines = once(out / "costs.jsonl", jobs(out, scenarios, seeds, tiny))
    found = by_seed(lines)
    rows = [one for entry in ENTRIES if entry.of is None for one in rows_of(entry, found, scenarios, seeds)]
    return [*rows, *hidden_weights.rows(found), *marginals.rows(found)]


def jobs(out: Path, scenarios: int, seeds: int, tiny: Sequence[str]) -> Iterator[tuple[str, Callable[[], Line]]]:
    """Name and function of every part, `PLANNER, TRAFFIC, scenarios A to B, seed S`."""
    parts = [(begin, min(begin + TOGETHER, scenarios)) for begin in range(0, scenarios, TOGETHER)]
    for name, make in BASELINES.items():
        for traffic in TRAFFIC:
            for part in parts:
                yield f"{name}, {traffic}, {label(part)}, seed 0", drives(make, traffic, part)
    for seed in range(seeds):
        for entry in ENTRIES:
            planner = trained(out, entry, seed, tiny)
            for traffic in TRAFFIC:
                for part in parts:
                    yield f"{entry.name}, {traffic}, {label(part)}, seed {seed}", drives(planner, traffic, part)
            if seed == 0:
                yield f"{entry.name}, time, seed 0", timed(planner)
        yield f"hidden weights, seed {seed}", hidden_weights.job(seed, bool(tiny))
        yield f"marginals, seed {seed}", marginals.job(seed, trained(out, ENTRIES[2], seed, tiny), bool(tiny))


def label(part: tuple[int, int]) -> str:
    return f"scenarios {part[0]} to {part[1] - 1}"


# Training ---------------------------------------------------------------------------------------------------------


def trained(out: Path, entry: Entry, seed: int, tiny: Sequence[str]) -> Callable[[], Any]:
    """Return a function that gives the trained planner; it trains it first if no finished run lies in `out`."""

    def make() -> Any:
        # a control that only searches otherwise shares the weights
        flags = "".join(entry.flags).replace("--agent.planner.", "-").replace(".", "-")
        folder = out / f"{entry.preset}{flags}-seed{seed}"
        if not finished(folder):
            train_into(folder, entry, seed, out, tiny)
        agent: Any = build.loaded(runs.config(folder), runs.weights(folder, "last"))
        planner = agent.driving_planner
        if entry.planned_as is not None:
            assert isinstance(planner, JointPlanner)
            other = JointPlanner(entry.planned_as)
            other.load_state_dict(planner.state_dict())
            planner = other.eval()
        return planner

    return functools.cache(make)


def finished(folder: Path) -> bool:
    if not (folder / runs.CONFIG).exists():
        return False
    meta = runs.weights(folder, "last") / "meta.json"
    return bool(json.loads(meta.read_text())["step"] >= runs.config(folder).schedule.steps)


def train_into(folder: Path, entry: Entry, seed: int, out: Path, tiny: Sequence[str]) -> None:
    """Train a planner; the first one of a seed records the drives from which all learn."""
    first = out / f"{ENTRIES[0].preset}-seed{seed}" / "drives"
    print(f"{entry.name}, seed {seed}: training", file=sys.stderr)
    if (folder / runs.CONFIG).exists():
        code = train(["--resume", str(folder), "--no-report"])
    else:
        data = ("--data", str(first)) if first.exists() else ()
        short = ("--evaluation.during", "2", "--no-report", "--out", str(folder))
        code = train([entry.preset, "--seed", str(seed), *entry.flags, *tiny, *data, *short])
    if code:
        raise KeyboardInterrupt


# Driving ----------------------------------------------------------------------------------------------------------


def drives(planner: Callable[[], Any], traffic: str, part: tuple[int, int]) -> Callable[[], Line]:
    """Return a function that drives some test scenarios and gives the scores of each."""

    def drive() -> Line:
        pool = scenario_pool("test", part[1])
        driver = planner()
        outcomes = simulate_batch([pool[i] for i in range(*part)], driver, TRAFFIC[traffic])
        found: list[dict[str, Any]] = []
        for outcome in outcomes:
            if outcome.history is None:
                print(outcome.error, file=sys.stderr)
                found.append({"score": 0.0, COLLISION: 0.0, "type": outcome.scenario.type, "error": outcome.error})
            else:
                found.append({**score_history(outcome.history).metrics, "type": outcome.scenario.type})
        return {"drives": found}

    return drive


def timed(planner: Callable[[], Any], plans: int = 40, batch: int = 16) -> Callable[[], Line]:
    """Return a function that times plans [CPU ms], alone and in batches, on the first scenes of test scenarios.

    It also gives each cost term's mean share of the chosen plans.
    """

    def time_plans() -> Line:
        driver, pool = planner(), scenario_pool("test", batch)
        starts = [pool[i] for i in range(batch)]
        scenes = [Simulation(scenario).scene() for scenario in starts]
        carries = [driver.initial(list(each.route), each.goal, each.map) for each in starts]
        planned = driver.plans(scenes, carries)
        carries = [carry for _, carry in planned]
        alone = [cpu_ms(driver.plan, scenes[k % batch], carries[k % batch]) for k in range(plans)]
        together = [cpu_ms(driver.plans, scenes, carries) / batch for _ in range(plans // 4)]
        parts = [shares(carry["judged"], carry["row"]) for carry in carries]
        return {
            "alone": alone,
            "together": together,
            "shares": {name: statistics.fmean(part[name] for part in parts) for name in parts[0]},
        }

    return time_plans


def cpu_ms(work: Callable[..., Any], *arguments: Any) -> float:
    started = time.process_time()
    work(*arguments)
    return 1e3 * (time.process_time() - started)


# Rows -------------------------------------------------------------------------------------------------------------


def rows_of(entry: Entry, found: dict[str, list[Line]], scenarios: int, seeds: int) -> list[Row]:
    """Score and collisions of a planner in both kinds of traffic, the time of a plan, and the terms' shares."""
    others = [each for each in ENTRIES if each.of == entry.name]
    rows = []
    for traffic in TRAFFIC:
        idm = [score for (score,) in zip(*values(found, "IDM", traffic, scenarios, 1, "score"))]
        own = values(found, entry.name, traffic, scenarios, seeds, "score")
        beside = [score_row(found, each.name, traffic, scenarios, seeds) for each in others]
        beside += [score_row(found, name, traffic, scenarios, 1) for name in BASELINES]
        above = [[a - b for a, b in zip(each, idm)] for each in own]
        beside.append(row("above IDM, paired", above, "score"))
        rows.append(replace(score_row(found, entry.name, traffic, scenarios, seeds), controls=tuple(beside)))
        hit = [collision_row(found, each.name, traffic, scenarios, seeds) for each in others]
        rows.append(replace(collision_row(found, entry.name, traffic, scenarios, seeds), controls=tuple(hit)))
    clock = found[f"{entry.name}, time"][0]
    rows += [
        Row(f"{entry.name} plan alone", *spread(clock["alone"]), 1, unit="CPU ms, median and 99th percentile"),
        Row(f"{entry.name} plan of 16", *spread(clock["together"]), 1, unit="CPU ms, median and 99th percentile"),
    ]
    parts = sorted(clock["shares"].items(), key=lambda each: -each[1])[:SHARES]
    rows += [row(f"{entry.name}, {name}", [[part]], "share of the chosen plan's cost") for name, part in parts]
    return rows


def spread(times: Sequence[float]) -> tuple[float, float, float]:
    middle = statistics.median(times)
    return middle, middle, float(np.percentile(times, SLOWEST))


def values(
    found: dict[str, list[Line]], name: str, traffic: str, scenarios: int, seeds: int, key: str
) -> list[list[float]]:
    """A score of every scenario, for each seed."""
    parts = [f"{name}, {traffic}, {label((b, min(b + TOGETHER, scenarios)))}" for b in range(0, scenarios, TOGETHER)]
    return [[float(each[key]) for part in parts for each in found[part][seed]["drives"]] for seed in range(seeds)]


def score_row(found: dict[str, list[Line]], name: str, traffic: str, scenarios: int, seeds: int) -> Row:
    own = [line for key, lines in found.items() if key.startswith(f"{name}, {traffic}, ") for line in lines]
    scores = values(found, name, traffic, scenarios, seeds, "score")
    return row(f"{name} {traffic}", scores, "score", cpu_minutes=minutes(own))


def collision_row(found: dict[str, list[Line]], name: str, traffic: str, scenarios: int, seeds: int) -> Row:
    """nuPlan gives 1 without a collision at fault, 0.5 for one with a static object, else 0."""
    free = values(found, name, traffic, scenarios, seeds, COLLISION)
    hit = [[float(each < 1) for each in drives] for drives in free]
    return row(f"{name} {traffic}", hit, "share of drives with an at-fault collision")
