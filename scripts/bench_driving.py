"""Roads: seconds per simulated and scored scenario by planner, and steps per second of the learner's worlds."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from envs.driving.closed_loop import NONREACTIVE, REACTIVE, SimulationConfig, simulate
from envs.driving.generate import generate_scenario
from envs.driving.learning_env import DrivingVectorEnv
from envs.driving.metrics import score_history
from envs.driving.scenario import Scenario
from planners.idm import IdmPlanner
from planners.log_future import LogFuture
from planners.pdm_closed import PdmClosed
from scripts.provenance import hardware
from scripts.stopwatch import middle, rate, remark

SCENARIOS, WORLDS, AGENTS, STEPS = 4, 256, 20, 60
BARS = {"log_s": 0.5, "idm_reactive_s": 2.0, "pdm_closed_s": 6.0, "env_steps_per_s": 20_000.0}


def measure(repeats: int) -> dict[str, Any]:
    """One 15 s scenario with all scores, by planner; then N worlds of the learning environment."""
    scenarios = [generate_scenario(seed, split="test") for seed in range(SCENARIOS)]
    drivers: dict[str, tuple[Callable[[Scenario], Any], SimulationConfig]] = {
        "log_s": (lambda scenario: LogFuture(scenario.expert), NONREACTIVE),
        "idm_reactive_s": (lambda scenario: IdmPlanner(), REACTIVE),
        "pdm_closed_s": (lambda scenario: PdmClosed(), NONREACTIVE),
    }
    found: dict[str, Any] = {}
    print(f"one 15 s scenario with all scores, {SCENARIOS} generated ones, {repeats} times, one process")
    for name, (planner, config) in drivers.items():
        drive(planner(scenarios[0]), scenarios[0], config)  # compiles
        seconds = [drive(planner(each), each, config) for _ in range(repeats) for each in scenarios]
        wall, cpu = (float(np.median(column)) for column in zip(*seconds))
        found |= {name: wall, name.removesuffix("_s") + "_cpu_s": cpu}
        print(f"  {name:<16} {wall:6.2f} s ({cpu:.2f} CPU s), bar {BARS[name]} s")
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        for worlds in (WORLDS,) if device == "cpu" else (WORLDS, 4_096, 16_384):
            found |= learning_steps(scenarios, worlds, device, repeats)
    return {**found, "bars": BARS, "scenarios": SCENARIOS, "hardware": hardware()}


def drive(planner: Any, scenario: Scenario, config: SimulationConfig) -> tuple[float, float]:
    """Wall and CPU seconds of one scenario, simulated and scored."""
    wall, cpu = time.perf_counter(), time.process_time()
    score_history(simulate(scenario, planner, config))
    return time.perf_counter() - wall, time.process_time() - cpu


def learning_steps(scenarios: list[Scenario], worlds: int, device: str, repeats: int) -> dict[str, Any]:
    """Scenario-steps per second, vector observations included."""
    env = DrivingVectorEnv(worlds, scenarios, max_agents=AGENTS, device=device)
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
