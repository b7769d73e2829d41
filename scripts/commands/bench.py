"""`embodia bench`: run benchmarks, each with a reference or baseline measured in the same run."""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro


@dataclass(frozen=True)
class Measurement:
    """A benchmark that prints a table. `MODULES` maps each to its module."""

    json: bool = False
    """Print the results as one JSON object at the end."""


@dataclass(frozen=True)
class Repeated(Measurement):
    repeats: int = 5
    """Number of repetitions; the things compared take turns."""


@dataclass(frozen=True)
class Seeded(Measurement):
    seeds: int = 3
    """Number of random seeds. Each result is saved when it is finished."""
    smoke: bool = False
    """Use a tiny budget, to check that everything runs."""


class Train(Repeated):
    """Speed of the training loop relative to plain Stable-Baselines3, for the same PPO."""


class Video(Repeated):
    """Video frames encoded per second."""


class Homes(Repeated):
    """Rendered frames and PointNav steps per second."""


class Driving(Repeated):
    """Seconds per simulated and scored scenario, and steps per second of the learning environment."""


@dataclass(frozen=True)
class Planners(Repeated):
    """Closed-loop scores of the driving planners on generated test scenarios."""

    scenarios: int = 200
    """Number of test scenarios. Each result is saved in runs/planners.jsonl when it is finished."""
    logs: str | None = None
    """nuPlan logs to use instead of generated scenarios: a .db file, a folder, or a split below $NUPLAN_DATA_ROOT."""
    maps: str | None = None
    """Folder of nuPlan's maps; by default $NUPLAN_MAPS_ROOT, else a folder maps beside the logs."""
    filter: tuple[str, ...] | None = None
    """Scenario types to use; val14 stands for its 14 types."""
    pack: str | None = None
    """Scenario pack to use instead of generated scenarios."""
    trained: tuple[Path, ...] = ()
    """Run folders of trained agents to evaluate on the same scenarios."""


class Planning(Repeated):
    """Time per plan and per model update, and swing-ups planned on the true equations."""


@dataclass(frozen=True)
class Wall(Measurement):
    """DINO-WM on the Wall environment (planning through a door), beside its baselines."""

    repeats: int = 3
    """Number of random seeds. Each result is saved in runs/wall when it is finished."""


@dataclass(frozen=True)
class Presets(Seeded):
    """Scores of the main presets on held-out levels, on several seeds; three seeds take about two hours."""

    only: tuple[str, ...] = ()
    """Names of the presets to run; by default all of them."""


class Ssl(Seeded):
    """Seven self-supervised methods beside their baselines, and the collapse of two of them."""


class HomesProbe(Seeded):
    """Probes of encoders' features in unseen homes."""


@dataclass(frozen=True)
class Discovery(Measurement):
    """Unsupervised object discovery, scored against instance masks; the full benchmark takes hours."""

    seeds: int = 3
    """Number of random seeds. Each result is saved in runs/discovery when it is finished."""
    only: tuple[str, ...] = ()
    """Run only the parts whose names start with one of these ("cae-2shapes", "slots", "cuts-homes")."""


class Chain(Seeded):
    """Encoder and world model trained on an agent's own video, planning in unseen homes; beside a random encoder."""


@dataclass(frozen=True)
class Matrix(Measurement):
    """Combinations of encoder, model, planner and agent in homes, on roads and on grids."""

    smoke: bool = False
    """Use a tiny budget, to check that everything runs."""


MEASUREMENTS = (
    Train
    | Video
    | Homes
    | Driving
    | Planners
    | Planning
    | Wall
    | Ssl
    | HomesProbe
    | Discovery
    | Chain
    | Matrix
    | Presets
)


MODULES: dict[type, str] = {
    Train: "speed.train",
    Video: "speed.video",
    Homes: "speed.homes",
    Driving: "speed.driving",
    Planners: "planning.planners",
    Planning: "planning.planning",
    Wall: "world_models.wall",
    Ssl: "self_supervision.ssl",
    HomesProbe: "self_supervision.homes_probe",
    Discovery: "discovery.discovery",
    Chain: "world_models.chain",
    Matrix: "matrix.matrix",
    Presets: "learning.presets",
}
"""Module of each benchmark, relative to `embodia.scripts.bench`."""


def main(arguments: Sequence[str]) -> int:
    args: Any = tyro.cli(MEASUREMENTS, args=list(arguments), prog="embodia bench", description=__doc__)
    options = {option: value for option, value in vars(args).items() if option != "json"}
    measured: dict[str, Any] = importlib.import_module(f"embodia.scripts.bench.{MODULES[type(args)]}").measure(
        **options
    )
    if args.json:
        print(json.dumps(measured))
    return 0
