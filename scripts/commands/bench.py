"""`embodia bench`: measure speed and scores, and write them to a result file that README and docs quote."""

import importlib
import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from embodia.scripts.bench.harness import options as o

<<<<<<< HEAD
BENCHES = (
    o.Train
    | o.Video
    | o.Homes
    | o.Driving
    | o.Planners
    | o.Planning
    | o.SwingUp
    | o.Wall
    | o.Ssl
    | o.HomesProbe
    | o.Discovery
    | o.Chain
    | o.Matrix
    | o.Presets
)


=======
@dataclass(frozen=True)
class Measurement:
    """A table for people, and with --json one JSON object at the end. `MODULES` names where each lives."""

    json: bool = False
    """End with one JSON object."""


@dataclass(frozen=True)
class Repeated(Measurement):
    repeats: int = 5
    """Measurements of each side, in turns."""


@dataclass(frozen=True)
class Seeded(Measurement):
    seeds: int = 3
    """Independent runs; kept as they are done."""
    smoke: bool = False
    """A tiny budget, to see that everything runs."""


class Train(Repeated):
    """Our loop against plain Stable-Baselines3, same PPO."""


class Video(Repeated):
    """Frames encoded per second."""


class Homes(Repeated):
    """Frames drawn and PointNav steps per second."""


class Driving(Repeated):
    """Seconds per scored scenario, and steps per second of the learning environment."""


@dataclass(frozen=True)
class Planners(Repeated):
    """Closed-loop scores of the driving planners on generated test scenarios."""

    scenarios: int = 200
    """Test scenarios, kept in runs/planners.jsonl as they are done."""
    trained: tuple[Path, ...] = ()
    """Run folders of trained agents that drive the same scenarios."""


class Planning(Repeated):
    """What plans and updates of their models cost, and swing-ups on true equations."""


@dataclass(frozen=True)
class Wall(Measurement):
    """DINO-WM plans through a door, beside its controls."""

    repeats: int = 3
    """Seeds, kept in runs/wall as they are done."""


@dataclass(frozen=True)
class Presets(Seeded):
    """What the headline presets reach on levels they never saw, on several seeds; two hours for three of each."""

    only: tuple[str, ...] = ()
    """These presets, by name."""


class Ssl(Seeded):
    """Seven self-supervised methods beside their controls, and how two of them collapse."""


class Generative(Seeded):
    """Score models, diffusion, guidance, steering and consistency models, beside exact values and controls."""


class HomesProbe(Seeded):
    """What encoders know of homes they never saw."""


@dataclass(frozen=True)
class Discovery(Measurement):
    """Objects found without labels, against instance masks; hours if nothing is left out."""

    seeds: int = 3
    """Trainings of each kind; everything is kept in runs/discovery as it is done."""
    only: tuple[str, ...] = ()
    """The parts whose names begin so ("cae-2shapes", "slots", "cuts-homes")."""


class Chain(Seeded):
    """An agent's own video, an encoder and a model learned on it, plans in unseen homes; beside a random encoder."""


@dataclass(frozen=True)
class Matrix(Measurement):
    """Encoder x model x planner x agent in the three worlds."""

    smoke: bool = False
    """A tiny budget, to see that everything runs."""


MEASUREMENTS = (
    Train
    | Video
    | Homes
    | Driving
    | Planners
    | Planning
    | Wall
    | Ssl
    | Generative
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
    Generative: "generative.generative",
    HomesProbe: "self_supervision.homes_probe",
    Discovery: "discovery.discovery",
    Chain: "world_models.chain",
    Matrix: "matrix.matrix",
    Presets: "learning.presets",
}
"""Where each is measured, under `embodia.scripts.bench`."""


>>>>>>> diffusion
def main(arguments: Sequence[str]) -> int:
    asked: Any = tyro.cli(BENCHES | o.Tables, args=list(arguments), prog="embodia bench", description=__doc__)
    from embodia.scripts.bench.harness import results, tables  # after --help, which needs no numpy

    if isinstance(asked, o.Tables):
        tables.rewrite(results.ROOT)
        return 0
    origin = results.provenance(asked.name, shlex.join(["embodia", "bench", *arguments]))
    rows = importlib.import_module(f"embodia.scripts.bench.{asked.module}").measure(asked)
    print(tables.text(rows))
    found = results.result(origin, rows)
    if not asked.smoke:
        print(f"results: {results.write(found, asked.results or results.folder())}", file=sys.stderr)
    if asked.json:
        print(json.dumps(found))
    return 0
