"""nuPlan's closed-loop scores of the planners on generated test scenarios, traffic replayed and reactive."""

import itertools
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embodia.agents.training.evaluate import evaluate
from embodia.envs.driving.learning.pool import scenario_pool
from embodia.envs.driving.metrics.closed_loop_scores import score_history
from embodia.envs.driving.nuplan.source import LogScenarios
from embodia.envs.driving.options import RoadOptions
from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.simulation.closed_loop import NONREACTIVE, REACTIVE
from embodia.envs.driving.simulation.planner_runs import simulate
from embodia.planners.driving.constant_velocity import ConstantVelocity
from embodia.planners.driving.idm import IdmPlanner
from embodia.planners.driving.log_future import LogFuture
from embodia.planners.driving.pdm_closed import PdmClosed
from embodia.scripts.assembly import build, runs
from embodia.scripts.assembly.environments import EnvConfig
from embodia.scripts.assembly.provenance import hardware
from embodia.scripts.assembly.roads import Roads, chosen
from embodia.scripts.bench.harness.once import lines_of
from embodia.scripts.report.statistics import bootstrap

PLANNERS: dict[str, Callable[[Scenario], Any]] = {
    "constant velocity": lambda scenario: ConstantVelocity(),
    "IDM": lambda scenario: IdmPlanner(),
    "PDM-Closed": lambda scenario: PdmClosed(),
    "log future": lambda scenario: LogFuture(scenario.expert),
}
TRAFFIC = {"replay": NONREACTIVE, "reactive": REACTIVE}
Line = dict[str, Any]


def measure(
    repeats: int,
    scenarios: int = 200,
    logs: str | None = None,
    maps: str | None = None,
    filter: Sequence[str] | None = None,
    pack: str | None = None,
    trained: Sequence[Path] = (),
    out: Path = Path("runs/planners.jsonl"),
    workers: int = 2,
) -> Line:
    """Drive and score; every drive is a line of `out` as soon as it is done, and is not repeated by the next call.

    A planner that fails on a scenario scores 0 there, and its error stands in the line. The agents of `trained` run
    folders drive the same scenarios in their own environment under nuPlan's rules. The scenarios are generated, or
    those of nuPlan logs or a pack.
    """
    roads = Roads(scenarios=pack, logs=logs, maps=maps, filter=None if filter is None else tuple(filter))
    options = roads.into(EnvConfig("embodia/DrivingTrajectory-v0", RoadOptions())).options
    source = " ".join([logs or pack or "generated", *(filter or ())])
    scenarios = min(scenarios, len(scenarios_of(options, scenarios)))
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = [line for line in lines_of(out) if "driver" in line and line.get("source", "generated") == source]
    known = {(line["seed"], line["driver"]): line for line in lines}
    drivers = [f"{name}, {traffic}" for traffic in TRAFFIC for name in PLANNERS]
    missing = [(seed, tuple(d for d in drivers if (seed, d) not in known)) for seed in range(scenarios)]
    jobs = [(options, *job) for job in missing if job[1]]
    with multiprocessing.get_context("spawn").Pool(workers) as pool, out.open("a") as file:
        for done, lines in enumerate(pool.imap_unordered(drive_all, jobs), start=1):
            for line in lines:
                known[line["seed"], line["driver"]] = line
                file.write(json.dumps({**line, "source": source}) + "\n")
            file.flush()
            print(f"{done} of {len(jobs)} scenarios", file=sys.stderr)
        for run, traffic in itertools.product(trained, TRAFFIC):
            drivers.append(driver := f"{run.name}, {traffic}")
            seeds = [seed for seed in range(scenarios) if (seed, driver) not in known]
            for line in drive_trained(run, traffic, seeds, roads):
                known[line["seed"], driver] = line
                file.write(json.dumps({**line, "source": source}) + "\n")
    return table({driver: [known[seed, driver] for seed in range(scenarios)] for driver in drivers})


def scenarios_of(options: RoadOptions, count: int) -> Sequence[Scenario]:
    """Return the scenarios of logs or of a pack, or `count` generated ones of the test split."""
    logs = None if options.logs is None else LogScenarios(options.logs, options.maps, chosen(options))
    return scenario_pool("test", count, logs or options.scenarios)


def drive_all(job: tuple[RoadOptions, int, Sequence[str]]) -> list[Line]:
    """One test scenario under planners and kinds of traffic, each `NAME, TRAFFIC`."""
    options, seed, drivers = job
    scenario = scenarios_of(options, seed + 1)[seed]
    found = []
    for driver in drivers:
        used = time.process_time()
        metrics = drive(scenario, *driver.split(", "))
        spent = round(time.process_time() - used, 2)
        found.append({"seed": seed, "type": scenario.type, "driver": driver, "metrics": metrics, "cpu_s": spent})
    return found


def drive_trained(run: Path, traffic: str, seeds: Sequence[int], roads: Roads) -> list[Line]:
    """A run's best agent on test scenarios."""
    if not seeds:
        return []
    config = runs.config(run)
    more: dict[str, Any] = {"reactive": traffic == "reactive", "rules": "nuplan", "num_test_scenarios": max(seeds) + 1}
    there = roads.into(replace(config.env, options=replace(config.env.options, **more)))
    env = build.worlds(there, "test", min(16, len(seeds)), evaluation=True)
    used = time.process_time()
    episodes = evaluate(build.trained(config, runs.weights(run), env), env, seeds)
    spent = round((time.process_time() - used) / len(seeds), 2)
    driver = f"{run.name}, {traffic}"
    return [{"seed": e.seed, "driver": driver, "metrics": e.metrics, "cpu_s": spent} for e in episodes]


def drive(scenario: Scenario, name: str, traffic: str) -> dict[str, Any]:
    try:
        return dict(score_history(simulate(scenario, PLANNERS[name](scenario), TRAFFIC[traffic])).metrics)
    except Exception as error:  # one planner's failure must not cost the others their scores
        return {"score": 0.0, "error": f"{type(error).__name__}: {error}"}


def table(driven: dict[str, list[Line]]) -> Line:
    """Mean scores with 95 % bootstrap intervals, on the console and as one object."""
    rows = {}
    count = len(next(iter(driven.values())))
    print(f"{'planner, traffic':<30}{'score':>8}  95 % interval   progress  CPU s  failed  ({count} test scenarios)")
    for driver, lines in driven.items():
        found = bootstrap([line["metrics"]["score"] for line in lines])
        failed = sum("error" in line["metrics"] for line in lines)
        progress = float(np.mean([line["metrics"].get("ego_progress_along_expert_route", 0.0) for line in lines]))
        cpu = float(np.mean([line["cpu_s"] for line in lines]))
        rows[driver] = {"score": found.value, "low": found.low, "high": found.high, "progress": progress,
                        "cpu_s": cpu, "failed": failed}  # fmt: skip
        interval = f"[{found.low:.3f}, {found.high:.3f}]"
        print(f"{driver:<30}{found.value:8.3f}  {interval}  {progress:8.3f}  {cpu:5.2f}  {failed:>6}")
    return {"rows": rows, "scenarios": count, "hardware": hardware()}
