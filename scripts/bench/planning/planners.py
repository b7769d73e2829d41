"""nuPlan's closed-loop scores of the driving planners on generated test scenarios, in replayed and reactive traffic."""

import itertools
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from embodia.scripts.assembly.roads import Roads, chosen
from embodia.scripts.bench.harness.once import Line, lines_of
from embodia.scripts.bench.harness.options import Planners
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.report.progress import over

PLANNERS: dict[str, Callable[[Scenario], Any]] = {
    "constant velocity": lambda scenario: ConstantVelocity(),
    "IDM": lambda scenario: IdmPlanner(),
    "PDM-Closed": lambda scenario: PdmClosed(),
    "log future": lambda scenario: LogFuture(scenario.expert),
}
TRAFFIC = {"replay": NONREACTIVE, "reactive": REACTIVE}
CONTROLS = ("constant velocity", "log future")
PROGRESS = "ego_progress_along_expert_route"


def measure(options: Planners, workers: int = 2) -> list[Row]:
    """Drive and score. Every drive is a line of `planners.jsonl` as soon as it is done, and is not repeated.

    A planner that fails on a scenario scores 0 there, and its line holds the error. The agents of the run folders
    `options.trained` drive the same scenarios in their own environment under nuPlan's rules. The scenarios are
    generated, or those of nuPlan logs or of a pack.
    """
    out = options.folder() / "planners.jsonl"
    roads = Roads(scenarios=options.pack, logs=options.logs, maps=options.maps, filter=options.filter)
    world = roads.into(EnvConfig("embodia/DrivingTrajectory-v0", RoadOptions())).options
    source = " ".join([options.logs or options.pack or "generated", *(options.filter or ())])
    wanted = 2 if options.smoke else options.scenarios
    seeds = range(min(wanted, len(scenarios_of(world, wanted))))
    lines = [line for line in lines_of(out) if line.get("source", "generated") == source]
    known = {(line["seed"], line["driver"]): line for line in lines}
    drivers = [f"{name}, {traffic}" for traffic in TRAFFIC for name in PLANNERS]
    missing = [(seed, tuple(d for d in drivers if (seed, d) not in known)) for seed in seeds]
    jobs = [(world, *job) for job in missing if job[1]]
    with multiprocessing.get_context("spawn").Pool(workers) as pool, out.open("a") as file:

        def keep(lines: Sequence[Line]) -> None:
            known.update({(line["seed"], line["driver"]): line for line in lines})
            file.writelines(json.dumps({**line, "source": source}) + "\n" for line in lines)
            file.flush()

        for lines in over(pool.imap_unordered(drive_all, jobs), "driving", "scenarios", len(jobs)):
            keep(lines)
        for run, traffic in itertools.product(options.trained, TRAFFIC):
            left = [seed for seed in seeds if (seed, f"{run.name}, {traffic}") not in known]
            keep(drive_trained(run, traffic, left, roads))
    names = [*PLANNERS, *(run.name for run in options.trained)]
    rows = {name: driver_rows(name, known, seeds) for name in names}
    controls = list(zip(*(rows.pop(name) for name in CONTROLS)))
    return [replace(one, controls=beside) for own in rows.values() for one, beside in zip(own, controls)]


def driver_rows(name: str, known: Mapping[tuple[int, str], Line], seeds: range) -> list[Row]:
    """Score and progress of one driver, by traffic."""
    rows = []
    for traffic in TRAFFIC:
        lines = [known[seed, f"{name}, {traffic}"] for seed in seeds]
        minutes = sum(line["cpu_s"] for line in lines) / 60
        if failed := [line["metrics"]["error"] for line in lines if "error" in line["metrics"]]:
            print(f"{name}, {traffic}: failed on {len(failed)} scenarios, such as {failed[0]}", file=sys.stderr)
        for score, key in (("score", "score"), ("progress", PROGRESS)):
            values = [line["metrics"].get(key, 0.0) for line in lines]
            rows.append(row(name, [values], f"{score}, {traffic} traffic", cpu_minutes=minutes))
    return rows


def scenarios_of(options: RoadOptions, count: int) -> Sequence[Scenario]:
    """Return the scenarios of logs or of a pack, or `count` generated ones of the test split."""
    logs = None if options.logs is None else LogScenarios(options.logs, options.maps, chosen(options))
    return scenario_pool("test", count, logs or options.scenarios)


def drive_all(job: tuple[RoadOptions, int, Sequence[str]]) -> list[Line]:
    """Drive one test scenario with each of `drivers`, named `PLANNER, TRAFFIC`."""
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
    """Drive test scenarios with a run's best agent."""
    if not seeds:
        return []
    config = runs.config(run)
    more: dict[str, Any] = {"reactive": traffic == "reactive", "rules": "nuplan", "num_test_scenarios": max(seeds) + 1}
    there = roads.into(replace(config.env, options=replace(config.env.options, **more)))
    agent = build.loaded(replace(config, env=there), runs.weights(run))
    env = build.worlds(there, "test", min(16, len(seeds)), evaluation=True, agent=agent)
    used = time.process_time()
    episodes = evaluate(agent, env, seeds)
    spent = round((time.process_time() - used) / len(seeds), 2)
    driver = f"{run.name}, {traffic}"
    return [{"seed": e.seed, "driver": driver, "metrics": e.metrics, "cpu_s": spent} for e in episodes]


def drive(scenario: Scenario, name: str, traffic: str) -> dict[str, Any]:
    try:
        return dict(score_history(simulate(scenario, PLANNERS[name](scenario), TRAFFIC[traffic])).metrics)
    except Exception as error:  # one planner's failure must not cost the others their scores
        return {"score": 0.0, "error": f"{type(error).__name__}: {error}"}
