"""Roads: seconds per simulated and scored scenario by planner, and steps per second of the learner's worlds."""

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from envs.driving.closed_loop import NONREACTIVE, REACTIVE, SimulationConfig, simulate
from envs.driving.learning_env import DrivingVectorEnv
from envs.driving.metrics import score_history
from envs.driving.pool import scenario_pool
from envs.driving.scenario import Scenario
from planners.idm import IdmPlanner
from planners.log_future import LogFuture
from planners.pdm_closed import PdmClosed
from scripts.provenance import hardware
from scripts.stopwatch import middle, rate, remark

SCENARIOS, TOGETHER, WORLDS, AGENTS, STEPS = 4, 32, 256, 20, 60
BARS = {"log_s": 0.5, "idm_reactive_s": 2.0, "pdm_closed_s": 6.0, "env_steps_per_s": 20_000.0}
DRIVERS: dict[str, tuple[Callable[[Scenario], Any], SimulationConfig]] = {
    "log": (lambda scenario: LogFuture(scenario.expert), NONREACTIVE),
    "idm_reactive": (lambda scenario: IdmPlanner(), REACTIVE),
    "pdm_closed": (lambda scenario: PdmClosed(), NONREACTIVE),
}


def measure(repeats: int) -> dict[str, Any]:
    """One 15 s scenario with all scores, by planner; 32 of them together; then N worlds of the learning environment."""
    pool = scenario_pool("test", TOGETHER)
    found: dict[str, Any] = {}
    print(f"one 15 s scenario with all scores, {SCENARIOS} generated ones, {repeats} times, one process")
    for name in DRIVERS:
        drive(name, pool[0])  # compiles
        seconds = [drive(name, pool[i]) for _ in range(repeats) for i in range(SCENARIOS)]
        wall, cpu = (float(np.median(column)) for column in zip(*seconds))
        found |= {f"{name}_s": wall, f"{name}_cpu_s": cpu}
        print(f"  {name:<16} {wall:6.2f} s ({cpu:.2f} CPU s), bar {BARS[f'{name}_s']} s")
    found |= together(found, list(pool))
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        for worlds in (WORLDS,) if device == "cpu" else (WORLDS, 4_096, 16_384):
            found |= learning_steps([pool[i] for i in range(SCENARIOS)], worlds, device, repeats)
    return {**found, "bars": BARS, "scenarios": SCENARIOS, "hardware": hardware()}


def together(alone: dict[str, Any], scenarios: list[Scenario]) -> dict[str, Any]:
    """32 scenarios at once: exactly, over two processes; and the logged drivers on arrays under the learner's rules.

    What a planner and the scores do for a scenario they do for it alone, so processes are all that exact runs share.
    """
    found: dict[str, Any] = {}
    print(f"{len(scenarios)} scenarios together, seconds each; two processes")
    with multiprocessing.get_context("spawn").Pool(2) as workers:
        for name in DRIVERS:
            workers.map(warm, [name] * 4, chunksize=1)
            began = time.perf_counter()
            spent = sum(
                cpu for _, cpu in workers.imap_unordered(drive_seed, [(name, i) for i in range(len(scenarios))])
            )
            wall = (time.perf_counter() - began) / len(scenarios)
            found |= {f"{name}_together_s": wall, f"{name}_together_cpu_s": spent / len(scenarios)}
            shares = alone[f"{name}_s"] / wall, BARS[f"{name}_s"] / wall
            print(f"  {name:<16} {wall:6.3f} s, {shares[0]:.1f} times cheaper than alone, {shares[1]:.1f} than the bar")
    env = DrivingVectorEnv(len(scenarios), scenarios, rules="learning")
    env.reset(options={"scenario": np.arange(len(scenarios))})
    began = time.perf_counter()
    for _ in range(scenarios[0].num_iterations - 2):
        env.step(env.expert_action())
    wall = (time.perf_counter() - began) / len(scenarios)
    print(f"  log on arrays    {wall:6.3f} s with fast scores, {alone['log_s'] / wall:.1f} times cheaper than alone")
    return {**found, "log_on_arrays_s": wall}


def warm(name: str) -> None:
    """Let a worker compile before it is timed."""
    drive(name, scenario_pool("test", 1)[0])


def drive_seed(job: tuple[str, int]) -> tuple[float, float]:
    """Wall and CPU seconds of a test scenario, its reading from the cache left out."""
    name, seed = job
    return drive(name, scenario_pool("test", seed + 1)[seed])


def drive(name: str, scenario: Scenario) -> tuple[float, float]:
    """Wall and CPU seconds of one scenario, simulated and scored."""
    planner, config = DRIVERS[name]
    wall, cpu = time.perf_counter(), time.process_time()
    score_history(simulate(scenario, planner(scenario), config))
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
