"""nuPlan's closed-loop scores of the planners on generated test scenarios, traffic replayed and reactive."""

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from envs.driving.closed_loop import NONREACTIVE, REACTIVE, simulate
from envs.driving.generate import generate_scenario
from envs.driving.metrics import score_history
from envs.driving.scenario import Scenario
from planners.constant_velocity import ConstantVelocity
from planners.idm import IdmPlanner
from planners.log_future import LogFuture
from planners.pdm_closed import PdmClosed
from scripts.provenance import hardware
from scripts.statistics import bootstrap

PLANNERS: dict[str, Callable[[Scenario], Any]] = {
    "constant velocity": lambda scenario: ConstantVelocity(),
    "IDM": lambda scenario: IdmPlanner(),
    "PDM-Closed": lambda scenario: PdmClosed(),
    "log future": lambda scenario: LogFuture(scenario.expert),
}
TRAFFIC = {"replay": NONREACTIVE, "reactive": REACTIVE}
Line = dict[str, Any]


def measure(repeats: int, scenarios: int = 200, out: Path = Path("runs/planners.jsonl"), workers: int = 2) -> Line:
    """Drive and score; every scenario is a line of `out` as soon as it is done, and is not driven twice.

    A planner that fails on a scenario scores 0 there, and its error stands in the line.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    known = {line["seed"]: line for line in lines_of(out)}
    missing = [seed for seed in range(scenarios) if seed not in known]
    with multiprocessing.get_context("spawn").Pool(workers) as pool, out.open("a") as file:
        for done, line in enumerate(pool.imap_unordered(drive_all, missing), start=1):
            known[line["seed"]] = line
            file.write(json.dumps(line) + "\n")
            file.flush()
            print(f"{done} of {len(missing)} scenarios", file=sys.stderr)
    return table([known[seed] for seed in range(scenarios)])


def lines_of(path: Path) -> Iterator[Line]:
    """What earlier runs left; a line cut short by a kill is driven again."""
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            yield json.loads(text)
        except json.JSONDecodeError:
            continue


def drive_all(seed: int) -> Line:
    """One test scenario under every planner and kind of traffic."""
    scenario = generate_scenario(seed, split="test")
    scored = {f"{name}, {traffic}": drive(scenario, name, traffic) for traffic in TRAFFIC for name in PLANNERS}
    return {"seed": seed, "type": scenario.type, "metrics": scored}


def drive(scenario: Scenario, name: str, traffic: str) -> dict[str, Any]:
    try:
        return dict(score_history(simulate(scenario, PLANNERS[name](scenario), TRAFFIC[traffic])).metrics)
    except Exception as error:  # one planner's failure must not cost the others their scores
        return {"score": 0.0, "error": f"{type(error).__name__}: {error}"}


def table(lines: list[Line]) -> Line:
    """Mean scores with 95 % bootstrap intervals, on the console and as one object."""
    rows = {}
    print(f"{'planner, traffic':<30}{'score':>8}  95 % interval   failed  ({len(lines)} test scenarios)")
    for key in lines[0]["metrics"]:
        scores = [line["metrics"][key]["score"] for line in lines]
        failed = sum("error" in line["metrics"][key] for line in lines)
        found = bootstrap(scores)
        rows[key] = {"score": found.value, "low": found.low, "high": found.high, "failed": failed}
        print(f"{key:<30}{found.value:8.3f}  [{found.low:.3f}, {found.high:.3f}]  {failed:>6}")
    return {"rows": rows, "scenarios": len(lines), "hardware": hardware()}
