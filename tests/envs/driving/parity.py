"""Closed-loop drives beside those of nuPlan's devkit v1.2.2 and tuplan_garage's PDM-Closed, as a table.

    python -m embodia.tests.envs.driving.parity

The logs are generated, in nuPlan's schema: `gen5` is a right turn, `synthj` a lane with a leader whose sweeps jitter by
up to 4 ms (149 iterations), with a red light, a bicycle and a track that flickers. `tests/envs/driving/data` holds them
and what the unmodified devkit answered.
"""

import tarfile
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from embodia.agents.training.evaluate import evaluate
from embodia.envs.driving.metrics.closed_loop_scores import score_history
from embodia.envs.driving.nuplan.logs import ScenarioFilter
from embodia.envs.driving.nuplan.source import LogScenarios
from embodia.envs.driving.simulation.closed_loop import NONREACTIVE, REACTIVE, History
from embodia.envs.driving.simulation.planner_runs import simulate
from embodia.envs.driving.types import StateColumn
from embodia.planners.driving.idm import IdmPlanner
from embodia.planners.driving.log_future import LogFuture
from embodia.planners.driving.pdm_closed import PdmClosed
from embodia.scripts.assembly import build
from embodia.scripts.assembly.roads import Roads
from embodia.scripts.presets.table import preset

DATA = Path(__file__).parent / "data"
JOBS = ("gen5/log_R", "gen5/pdm_NR", "synthj/idm_R", "synthj/log_R", "synthj/pdm_NR")
PRESETS = {"log": "log-future", "pdm": "pdm-closed", "idm": "idm"}
PLANNERS = {"log": lambda s: LogFuture(s.expert), "pdm": lambda s: PdmClosed(), "idm": lambda s: IdmPlanner()}
TRACK_EVERY = 5  # samples between those whose traffic is recorded


@dataclass(frozen=True)
class Row:
    """Largest differences from the devkit over a drive."""

    position: float  # [m] of the rear axle
    heading: float  # [rad]
    speed: float  # [m/s]
    traffic: float  # [m] of box centres
    score: float


def unpack(folder: Path) -> Path:
    """Extract the logs and maps below a folder."""
    with tarfile.open(DATA / "nuplan_logs.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def reference(job: str) -> dict[str, np.ndarray]:
    with np.load(DATA / "nuplan_reference.npz") as arrays:
        return {name.rpartition("/")[2]: arrays[name] for name in arrays.files if name.startswith(f"{job}/")}


def driven(root: Path, job: str) -> History:
    """The job by the closed loop."""
    log, _, how = job.partition("/")
    planner, _, traffic = how.partition("_")
    tokens = (str(reference(job)["token"]),)
    (scenario,) = LogScenarios(root / log, chosen=ScenarioFilter(scenario_tokens=tokens))
    return simulate(scenario, PLANNERS[planner](scenario), REACTIVE if traffic == "R" else NONREACTIVE)


def evaluated(root: Path, job: str) -> tuple[History, dict[str, float]]:
    """The job as `embodia eval PLANNER --logs` drives it: the record of its environment, and its scores."""
    log, _, how = job.partition("/")
    planner, _, traffic = how.partition("_")
    config = preset(PRESETS[planner])
    env = Roads(logs=str(root / log), tokens=(str(reference(job)["token"]),)).into(config.env)
    env = replace(env, options=replace(env.options, reactive=traffic == "R"))
    worlds = build.worlds(env, "test", 1, evaluation=True)
    (episode,) = evaluate(build.agent(config, worlds), worlds, [0])
    return worlds.drives.history(0), episode.metrics


def compared(history: History, scores: dict[str, float], job: str) -> Row:
    """Raises AssertionError where samples, times or tracks are not the devkit's own."""
    theirs = reference(job)
    np.testing.assert_array_equal(history.time_us, theirs["time_us"])
    ego, c = theirs["ego"], StateColumn
    turn = history.ego[:, c.HEADING] - ego[:, 2]
    speed = np.hypot(history.ego[:, c.VX], history.ego[:, c.VY])
    names = [str(name) for name in theirs["track_tokens"]]
    traffic = 0.0
    for k, rows in enumerate(theirs["tracks"]):
        tracks = history.tracks[TRACK_EVERY * k]
        there = {name: row for name, row in zip(names, rows) if np.isfinite(row[0])}
        assert set(tracks.tokens) == set(there), f"{job}, sample {TRACK_EVERY * k}: other objects"
        for token, box in zip(tracks.tokens, tracks.boxes):
            traffic = max(traffic, float(np.hypot(*(box[:2] - there[token][:2]))))
    expected = dict(zip(map(str, theirs["score_names"]), theirs["scores"]))
    return Row(
        float(np.hypot(*(history.ego[:, :2] - ego[:, :2]).T).max()),
        float(np.abs((turn + np.pi) % (2 * np.pi) - np.pi).max()),
        float(np.abs(speed - ego[:, 3]).max()),
        traffic,
        max(abs(scores[name] - value) for name, value in expected.items()),
    )


def table(root: Path) -> str:
    """Markdown: a row per job and path."""
    lines = ["| job | through | position [m] | heading [rad] | speed [m/s] | traffic [m] | scores |"]
    lines.append("|---" * 7 + "|")
    for job in JOBS:
        history = driven(root, job)
        rows = {"closed loop": compared(history, score_history(history).metrics, job)}
        rows["`eval`"] = compared(*evaluated(root, job), job)
        for path, row in rows.items():
            values = (row.position, row.heading, row.speed, row.traffic, row.score)
            lines.append(f"| {job} | {path} | {' | '.join(f'{value:.1e}' for value in values)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        print(table(unpack(Path(name))))
