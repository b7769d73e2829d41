"""Roads: seconds per simulated and scored scenario by planner, and steps per second of the learner's worlds."""

import multiprocessing
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
from embodia.scripts.assembly.provenance import hardware
from embodia.scripts.bench.harness.stopwatch import middle, rate, remark

TOGETHER, WORLDS, AGENTS, STEPS = 32, 256, 20, 60
PROCESSES = 2
BARS = {"log_s": 0.5, "idm_reactive_s": 2.0, "pdm_closed_s": 6.0, "env_steps_per_s": 20_000.0}
CHEAPER_TOGETHER = 4.0
"""Against the bar of one scenario. Against one alone as it is now, two processes give two: what sharing arithmetic over
scenarios would save, compiled code has already taken from one alone."""
DRIVERS: dict[str, tuple[Callable[[Sequence[Scenario]], Any], SimulationConfig]] = {
    "log": (lambda scenarios: [LogFuture(scenario.expert) for scenario in scenarios], NONREACTIVE),
    "idm_reactive": (lambda scenarios: IdmPlanner(), REACTIVE),
    "pdm_closed": (lambda scenarios: PdmClosed(), NONREACTIVE),
}


def measure(repeats: int) -> dict[str, Any]:
    """32 scenarios of 15 s with all scores, by planner: one after another, and together; then N learning worlds."""
    found: dict[str, Any] = {}
    print(f"{TOGETHER} generated scenarios of 15 s with all scores, {repeats} times, seconds each")
    print(f"alone: one after another in one process; together: stepped at once in each of {PROCESSES}")
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        workers = [stack.enter_context(ProcessPoolExecutor(1, spawn)) for _ in range(PROCESSES)]
        for name in DRIVERS:
            for _ in range(2):  # compiles here, and there
                drive(name, fresh_scenarios([0]))
                together(name, workers, seeds=range(2 * PROCESSES))
            runs = [(alone(name), together(name, workers)) for _ in range(repeats)]
            for kind, times in zip(("", "_together"), zip(*runs)):
                wall, cpu = (float(np.median(column)) for column in zip(*times))
                found |= {f"{name}{kind}_s": wall, f"{name}{kind}_cpu_s": cpu}
            found |= say(name, found)
    env_scenarios = fresh_scenarios(range(4))
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        for worlds in (WORLDS,) if device == "cpu" else (WORLDS, 4_096, 16_384):
            found |= learning_steps(env_scenarios, worlds, device, repeats)
    bars = {**BARS, **{f"{name}_together_s": BARS[f"{name}_s"] / CHEAPER_TOGETHER for name in DRIVERS}}
    return {**found, "bars": bars, "scenarios": TOGETHER, "processes": PROCESSES, "hardware": hardware()}


def say(name: str, found: dict[str, Any]) -> dict[str, float]:
    """How much cheaper a scenario is in company than alone; by CPU seconds what sharing arithmetic alone gives."""
    wall, cpu = (found[f"{name}_{unit}"] / found[f"{name}_together_{unit}"] for unit in ("s", "cpu_s"))
    print(
        f"  {name:<13} alone {found[f'{name}_s']:.3f} s ({found[f'{name}_cpu_s']:.3f} CPU), bar {BARS[f'{name}_s']} s; "
        f"together {found[f'{name}_together_s']:.3f} s ({found[f'{name}_together_cpu_s']:.3f} CPU s): "
        f"{wall:.1f} times cheaper, {BARS[f'{name}_s'] / found[f'{name}_together_s']:.0f} times than the bar"
    )
    return {f"{name}_times_cheaper_together": wall, f"{name}_times_less_cpu_together": cpu}


def alone(name: str) -> tuple[float, float]:
    """Wall and CPU seconds of a scenario, the mean of 32 that are driven and scored one after another."""
    times = [drive(name, fresh_scenarios([seed])) for seed in range(TOGETHER)]
    wall, cpu = (float(np.mean(column)) for column in zip(*times))
    return wall, cpu


def together(name: str, workers: list[Any], seeds: range = range(TOGETHER)) -> tuple[float, float]:
    """The same of the same scenarios, each process driving its share of them together; reading them is left out."""
    for k, worker in enumerate(workers):
        worker.submit(take, seeds[k::PROCESSES]).result()
    began = time.perf_counter()
    spent = sum(each.result() for each in [worker.submit(drive_share, name) for worker in workers])
    return (time.perf_counter() - began) / len(seeds), spent / len(seeds)


def fresh_scenarios(seeds: Iterable[int]) -> list[Scenario]:
    """Fresh ones: what a scenario has kept to be faster the next time is not theirs."""
    pool = scenario_pool("test", TOGETHER)
    return [pool[seed] for seed in seeds]


SHARE: list[Scenario] = []
"""Of a worker: the scenarios that it drives next."""


def take(seeds: range) -> None:
    SHARE[:] = fresh_scenarios(seeds)


def drive_share(name: str) -> float:
    """CPU seconds of a worker's share."""
    return drive(name, SHARE)[1]


def drive(name: str, scenarios: list[Scenario]) -> tuple[float, float]:
    """Wall and CPU seconds of scenarios simulated and scored together."""
    planners, config = DRIVERS[name]
    wall, cpu = time.perf_counter(), time.process_time()
    outcomes = simulate_batch(scenarios, planners(scenarios), config)
    if failed := [outcome.error for outcome in outcomes if outcome.error]:
        raise RuntimeError(f"{name}: {failed[0]}")
    score_histories([outcome.history for outcome in outcomes if outcome.history])
    return time.perf_counter() - wall, time.process_time() - cpu


def learning_steps(scenarios: list[Scenario], worlds: int, device: str, repeats: int) -> dict[str, Any]:
    """Scenario-steps per second, vector observations included."""
    env = DrivingVectorEnv(worlds, scenarios, max_agents=AGENTS, device=device, rules="learning")
    env.reset(seed=0)
    action = np.zeros((worlds, 2), np.float32)

    def steps() -> int:
        for _ in range(STEPS):
            env.step(action)
        return STEPS * worlds

    steps()
    found = middle([rate(steps) for _ in range(repeats)])
    name = "env_steps_per_s" if device == "cpu" else f"env_steps_per_s_{device}_{worlds}"
    print(f"learning environment, {worlds} worlds, {AGENTS} agents each, {device}, {torch.get_num_threads()} threads")
    print(f"  {found.wall:,.0f} scenario-steps/s ({found.cpu:,.0f} per CPU second), bar {BARS['env_steps_per_s']:,.0f}")
    return {name: found.wall, name.replace("_per_s", "_per_cpu_s"): found.cpu, **remark(found)}
