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

    what: tyro.conf.Positional[Literal["train", "video"]]
    """train: our loop against plain Stable-Baselines3, same PPO. video: frames encoded per second."""
    repeats: int = 5
    """Measurements of each side, in turns."""
    json: bool = False
    """End with one JSON object."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia bench")
    measured: dict[str, Any] = importlib.import_module(f"scripts.bench_{args.what}").measure(args.repeats)
    if args.json:
        print(json.dumps(measured))
    return 0
