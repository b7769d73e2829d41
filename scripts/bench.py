"""`embodia bench`: how fast, always against a peer or a bar in the same run."""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro


@dataclass(frozen=True)
class Args:
    """Measure one thing; a table for people, and with --json one JSON object at the end."""

    what: tyro.conf.Positional[Literal["train", "video", "homes", "driving", "planners"]]
    """train: our loop against plain Stable-Baselines3, same PPO. video: frames encoded per second. homes: frames drawn
    and PointNav steps per second. driving: seconds per scored scenario, and steps of the learning environment.
    planners: closed-loop scores of the driving planners on generated test scenarios."""
    repeats: int = 5
    """Measurements of each side, in turns."""
    scenarios: int = 200
    """Of planners: test scenarios, kept in runs/planners.jsonl as they are done."""
    trained: tuple[Path, ...] = ()
    """Of planners: run folders of trained agents that drive the same scenarios."""
    json: bool = False
    """End with one JSON object."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia bench")
    module = importlib.import_module(f"scripts.bench_{args.what}")
    more = {"scenarios": args.scenarios, "trained": args.trained} if args.what == "planners" else {}
    measured: dict[str, Any] = module.measure(args.repeats, **more)
    if args.json:
        print(json.dumps(measured))
    return 0
