"""Run planners in scenarios, one at a time or many that step together.

Scenarios of a batch share the arithmetic of a step and nothing else: each gives what it gives alone, and fails on its
own account.
"""

import signal
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import numpy as np

from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.simulation.closed_loop import (
    NONREACTIVE,
    History,
    Planner,
    PlannerError,
    Simulation,
    SimulationConfig,
    advance,
)
from embodia.envs.driving.types import InvalidTrajectory, Scene, Trajectory

TOGETHER = 32  # scenarios of a batch that step together; more take memory and save no time


@dataclass(frozen=True, eq=False)
class Outcome:
    """One scenario of a batch: its history, or one clear error."""

    scenario: Scenario
    history: History | None
    error: str | None = None


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError when the body takes longer; it is interrupted where signals allow (the main thread)."""
    if seconds is None:
        yield
        return
    start = time.perf_counter()
    interruptible = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")

    def interrupt(signum: int, frame: Any) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, interrupt) if interruptible else None
    if interruptible:
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        if interruptible:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
    if time.perf_counter() - start > seconds:
        raise TimeoutError


@dataclass(eq=False)
class Run:
    """A planner on its way through a scenario, until it is done or has failed."""

    simulation: Simulation
    planner: Planner
    carry: dict[str, Any]
    seconds: list[float] = field(default_factory=list)  # of every plan
    plan: Any = None  # what the planner returned last
    error: Exception | None = None


def complaint(planner: Planner, scenario: Scenario, iteration: int, what: str) -> PlannerError:
    """Return the error of a planner, with scenario and iteration."""
    place = f"scenario {scenario.token} ({scenario.log_name}), iteration {iteration}"
    return PlannerError(f"{place}: planner {type(planner).__name__} {what}")


def first_carry(planner: Planner, scenario: Scenario) -> dict[str, Any]:
    """Return a planner's memory at the start of a scenario. Raises PlannerError."""
    if not scenario.route:
        what = "was given no route: the scenario has no roadblock ids; planners need at least one"
        raise complaint(planner, scenario, 0, what)
    try:
        return planner.initial(list(scenario.route), scenario.goal, scenario.map)
    except Exception as error:
        what = f"could not start: {type(error).__name__}: {error}"
        raise complaint(planner, scenario, 0, what) from error


def next_plan(
    planner: Planner, scenario: Scenario, scene: Scene, carry: dict[str, Any], limit: float | None = None
) -> tuple[Trajectory, dict[str, Any]]:
    """Call a planner once, for at most `limit` seconds.

    Raises PlannerError if it raises, takes longer or does not return a trajectory.
    """
    try:
        with time_limit(limit):
            plan, carry = planner.plan(scene, carry)
    except TimeoutError as error:
        raise complaint(planner, scenario, scene.iteration, f"took longer than its {limit} s") from error
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"raised {type(error).__name__}: {error} ({place.filename}:{place.lineno})"
        raise complaint(planner, scenario, scene.iteration, what) from error
    if not isinstance(plan, Trajectory):
        what = f"returned {type(plan).__name__}, not a Trajectory"
        raise complaint(planner, scenario, scene.iteration, what)
    return plan, carry


def begin(scenario: Scenario, planner: Planner, config: SimulationConfig) -> Run:
    run = Run(Simulation(scenario, config), planner, {})
    try:
        run.carry = first_carry(planner, scenario)
    except PlannerError as error:
        run.error = error
    return run


def ask(run: Run) -> None:
    """Call the planner of a run once."""
    simulation, start = run.simulation, time.perf_counter()
    try:
        run.plan, run.carry = next_plan(
            run.planner, simulation.scenario, simulation.scene(), run.carry, simulation.config.time_limit
        )
    except PlannerError as error:
        run.error = error
    run.seconds.append(time.perf_counter() - start)


def ask_together(runs: Sequence[Run]) -> None:
    """Call the planner of every run once; one that plans for many scenes at once (`plans`) is called once for all."""
    groups: dict[int, list[Run]] = {}
    for run in runs:
        alone = run.simulation.config.time_limit is not None or not hasattr(run.planner, "plans")
        groups.setdefault(id(run) if alone else id(run.planner), []).append(run)
    for group in groups.values():
        if len(group) == 1 or not ask_at_once(group):
            for run in group:
                ask(run)


def ask_at_once(group: Sequence[Run]) -> bool:
    """Call the one planner of these runs for all their scenes; False if it failed: each is to be asked alone."""
    start, planner = time.perf_counter(), group[0].planner
    try:
        found = planner.plans([run.simulation.scene() for run in group], [run.carry for run in group])  # type: ignore[attr-defined]
    except Exception:
        return False
    for run, (plan, carry) in zip(group, found):
        run.plan, run.carry = plan, carry
        run.seconds.append((time.perf_counter() - start) / len(group))
    return True


def finish(runs: Sequence[Run]) -> None:
    """Step runs together until each is done or has failed."""
    while going := [run for run in runs if run.error is None and not run.simulation.done]:
        ask_together(going)
        planned = [run for run in going if run.error is None]
        for run, error in zip(planned, advance([r.simulation for r in planned], [r.plan for r in planned])):
            if isinstance(error, InvalidTrajectory):
                run.error = complaint(run.planner, run.simulation.scenario, run.simulation.iteration, str(error))
                run.error.__cause__ = error
            elif error is not None:
                run.error = error  # of the scenario, not of the planner


def simulate(scenario: Scenario, planner: Planner, config: SimulationConfig = NONREACTIVE) -> History:
    """Drive one scenario with a planner. Raises PlannerError naming planner, scenario and iteration."""
    run = begin(scenario, planner, config)
    finish([run])
    if run.error is not None:
        raise run.error
    return run.simulation.history(np.array(run.seconds))


def simulate_batch(
    scenarios: Iterable[Scenario], planner: Planner | Sequence[Planner], config: SimulationConfig = NONREACTIVE
) -> list[Outcome]:
    """Drive many scenarios, stepped together, with one planner or with one each.

    One that fails is reported with its error, the others finish and are kept.
    """
    outcomes: list[Outcome] = []
    planners = cycle([planner]) if not isinstance(planner, Sequence) else planner
    pairs = zip(scenarios, planners, strict=isinstance(planner, Sequence))
    while some := list(islice(pairs, TOGETHER)):
        runs: list[Run | Exception] = []
        for scenario, own in some:
            try:
                runs.append(begin(scenario, own, config))
            except Exception as error:  # a scenario in which no simulation can start
                runs.append(error)
        finish([run for run in runs if isinstance(run, Run)])
        outcomes += [outcome_of(scenario, run) for (scenario, _), run in zip(some, runs)]
    return outcomes


def outcome_of(scenario: Scenario, run: Run | Exception) -> Outcome:
    error = run.error if isinstance(run, Run) else run
    if isinstance(run, Run) and error is None:
        return Outcome(scenario, run.simulation.history(np.array(run.seconds)))
    return Outcome(scenario, None, f"{type(error).__name__}: {error}")
