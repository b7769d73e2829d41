"""Roads: seconds per simulated and scored scenario, and steps per second of the learning environment."""

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from embodia.envs.driving.learning.pool import scenario_pool
from embodia.envs.driving.learning.vector_env import DrivingVectorEnv
from embodia.envs.driving.metrics.closed_loop_scores import score_histories
from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.simulation.closed_loop import NONREACTIVE, REACTIVE, SimulationConfig
from embodia.envs.driving.simulation.planner_runs import simulate_batch
from embodia.planners.driving.idm import IdmPlanner
from embodia.planners.driving.log_future import LogFuture
from embodia.planners.driving.pdm_closed import PdmClosed
from embodia.scripts.bench.harness.options import Driving
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.harness.stopwatch import rate, timing, timings

TOGETHER, WORLDS, AGENTS, STEPS = 32, 256, 20, 60
PROCESSES = 2
DRIVERS: dict[str, tuple[Callable[[Sequence[Scenario]], Any], SimulationConfig]] = {
    "the logged drivers": (lambda scenarios: [LogFuture(scenario.expert) for scenario in scenarios], NONREACTIVE),
    "IDM, reactive traffic": (lambda scenarios: IdmPlanner(), REACTIVE),
    "PDM-Closed": (lambda scenarios: PdmClosed(), NONREACTIVE),
}


def measure(options: Driving) -> list[Row]:
    """15 s scenarios with all scores, by planner: one after another, and together; then the learning environment."""
    count, steps = (2 * PROCESSES, 2) if options.smoke else (TOGETHER, STEPS)
    rows: list[Row] = []
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        workers = [stack.enter_context(ProcessPoolExecutor(1, spawn)) for _ in range(PROCESSES)]
        for name in DRIVERS:
            print(name, file=sys.stderr)
            for _ in range(2):  # not counted: kernels compile here and in the workers
                drive(name, fresh_scenarios([0]))
                together(name, workers, range(2 * PROCESSES))
            pairs = [(alone(name, range(count)), together(name, workers, range(count))) for _ in range(options.seeds)]
            rows += scenario_rows(name, *zip(*pairs))
    scenarios = fresh_scenarios(range(4))
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        for worlds in (WORLDS,) if device == "cpu" else (WORLDS, 4_096, 16_384):
            rows += learning_steps(scenarios, worlds, device, steps, options.seeds)
    return rows


def scenario_rows(
    name: str, single: Sequence[tuple[float, float]], batched: Sequence[tuple[float, float]]
) -> list[Row]:
    """Rows of wall and CPU seconds per scenario, one at a time and together, and how many times cheaper that is."""
    together = f"together, {PROCESSES} processes"
    return [
        timing(name, [a[0] / b[0] for a, b in zip(single, batched)], "times faster together"),
        timing(name, [a[0] for a in single], "s, one at a time"),
        timing(name, [a[1] for a in single], "CPU s, one at a time"),
        timing(name, [b[0] for b in batched], f"s, {together}"),
        timing(name, [b[1] for b in batched], f"CPU s, {together}"),
    ]


def alone(name: str, seeds: range) -> tuple[float, float]:
    """Wall and CPU seconds per scenario, the mean of scenarios that are driven and scored one after another."""
    times = [drive(name, fresh_scenarios([seed])) for seed in seeds]
    wall, cpu = (float(np.mean(column)) for column in zip(*times))
    return wall, cpu


def together(name: str, workers: list[Any], seeds: range) -> tuple[float, float]:
    """The same if each process drives its share of the scenarios in one batch. Loading them is not counted."""
    for k, worker in enumerate(workers):
        worker.submit(take, seeds[k::PROCESSES]).result()
    began = time.perf_counter()
    spent = sum(each.result() for each in [worker.submit(drive_share, name) for worker in workers])
    return (time.perf_counter() - began) / len(seeds), spent / len(seeds)


def fresh_scenarios(seeds: Iterable[int]) -> list[Scenario]:
    """New scenario objects, without what a used scenario has cached."""
    pool = scenario_pool("test", TOGETHER)
    return [pool[seed] for seed in seeds]


SHARE: list[Scenario] = []
"""In a worker: the scenarios that it drives next."""


def take(seeds: range) -> None:
    SHARE[:] = fresh_scenarios(seeds)


def drive_share(name: str) -> float:
    """Drive a worker's share; returns CPU seconds."""
    return drive(name, SHARE)[1]


def drive(name: str, scenarios: list[Scenario]) -> tuple[float, float]:
    """Simulate and score scenarios in one batch; returns wall and CPU seconds."""
    planners, config = DRIVERS[name]
    wall, cpu = time.perf_counter(), time.process_time()
    outcomes = simulate_batch(scenarios, planners(scenarios), config)
    if failed := [outcome.error for outcome in outcomes if outcome.error]:
        raise RuntimeError(f"{name}: {failed[0]}")
    score_histories([outcome.history for outcome in outcomes if outcome.history])
    return time.perf_counter() - wall, time.process_time() - cpu


def learning_steps(scenarios: list[Scenario], worlds: int, device: str, count: int, repetitions: int) -> list[Row]:
    """Scenario-steps per second of the learning environment, vector observations included."""
    env = DrivingVectorEnv(worlds, scenarios, max_agents=AGENTS, device=device, rules="learning")
    env.reset(seed=0)
    action = np.zeros((worlds, 2), np.float32)

    def steps() -> int:
        for _ in range(count):
            env.step(action)
        return count * worlds

    steps()
    name = f"learning environment, {worlds} scenarios of {AGENTS} agents, {device}"
    print(name, file=sys.stderr)
    return timings(name, [rate(steps) for _ in range(repetitions)], "steps")
