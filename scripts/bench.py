"""`embodia bench`: how fast, always against a peer or a bar in the same run."""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tyro


@dataclass(frozen=True)
class Args:
    """Measure one thing; a table for people, and with --json one JSON object at the end."""

    what: tyro.conf.Positional[
        Literal["train", "video", "homes", "driving", "planners", "ssl", "homes-probe", "matrix"]
    ]
    """train: our loop against plain Stable-Baselines3, same PPO. video: frames encoded per second. homes: frames drawn
    and PointNav steps per second. driving: seconds per scored scenario, and steps of the learning environment.
    planners: closed-loop scores of the driving planners on generated test scenarios. ssl: seven self-supervised
    methods beside their controls, and how two of them collapse. homes-probe: what encoders know of unseen homes.
    matrix: encoder x model x planner x agent in the three worlds."""
    repeats: int = 5
    """Measurements of each side, in turns."""
    scenarios: int = 200
    """Of planners: test scenarios, kept in runs/planners.jsonl as they are done."""
    seeds: int = 3
    """Of ssl and homes-probe."""
    smoke: bool = False
    """Of ssl, homes-probe and matrix: a tiny budget, to see that everything runs."""
    json: bool = False
    """End with one JSON object."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia bench")
    module = importlib.import_module(f"scripts.bench_{args.what.replace('-', '_')}")
    asked: dict[str, dict[str, Any]] = {
        "planners": {"repeats": args.repeats, "scenarios": args.scenarios},
        "ssl": {"seeds": args.seeds, "smoke": args.smoke},
        "homes-probe": {"seeds": args.seeds, "smoke": args.smoke},
        "matrix": {"smoke": args.smoke},
    }
    measured: dict[str, Any] = module.measure(**asked.get(args.what, {"repeats": args.repeats}))
    if args.json:
        print(json.dumps(measured))
    return 0
