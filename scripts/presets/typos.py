"""Unknown names in a command line, found before the command imports torch: a typo is answered at once.

The commands themselves check everything again; a test keeps the lists of names equal to the tables'.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from embodia.scripts.mistake import Mistake, nearest

PRESETS = (
    *("ppo-empty", "fast-ppo-empty", "fast-ppo-doorkey", "a2c-empty", "dqn-empty", "bc-doorkey"),
    *("dagger-doorkey", "bc-fourrooms", "dagger-fourrooms", "dagger-fourrooms-view", "dagger-fourrooms-memory"),
    *("dagger-pointnav", "blind-pointnav", "ppo-pointnav", "frontier", "modular-pointnav", "modular-objectnav"),
    *("bc-objectnav", "constant-velocity", "log-future", "idm", "pdm-closed", "bc-driving", "dagger-driving"),
    *("ppo-driving", "neural-motion-planner", "trajectory-regression", "sadat", "dsdnet", "mp3"),
    *("dreamer-empty", "dreamer-pendulum", "td-mpc2-pendulum", "mpc-pendulum", "mpc-rssm-pendulum"),
    *("mpc-rssm-empty", "mpc-simulator-empty", "max-ent-lava", "max-margin-fourrooms", "max-margin-pointnav"),
    *("gail-race-track", "vin-fourrooms", "vin-pointnav"),
)
UNTRAINED = ("random", "sb3-file", "wander", "expert", "frontier", "modular-pointnav", "modular-objectnav")
"""Agents that need no training."""
PLAYS = ("eval", "record", "collect", "imagine")
"""Commands whose first argument is a run, a preset or an agent."""


def check(command: str, arguments: Sequence[str]) -> None:
    """Raise Mistake for an unknown preset, run or environment that the command would not accept."""
    first = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if command == "train" and first is not None:
        check_preset(first)
    if command in PLAYS and first is not None and "--runs" not in arguments and not first.endswith(".zip"):
        check_policy(first)
    for flag, value in pairwise(arguments):
        if flag in ("--env", "--env.id") and value not in PRESETS and not value.startswith("-"):
            check_environment(value)


def check_preset(name: str) -> None:
    if name not in PRESETS:
        raise Mistake(f"unknown preset {name}. {nearest(name, PRESETS)} `embodia list presets` lists them.")


def check_policy(name: str) -> None:
    runs = Path("runs")
    if name.startswith("hf://"):
        return
    is_run = any((folder / "config.json").is_file() for folder in (Path(name), runs / name))
    if is_run or ":" in name or name in (*PRESETS, *UNTRAINED):
        return
    known = [path.parent.name for path in sorted(runs.glob("*/config.json"))]
    hint = nearest(name, [*known, *PRESETS, *UNTRAINED])
    raise Mistake(f"{name} is not a run: no config.json in {name} or {runs / name}. {hint} Train one first.")


def check_environment(name: str) -> None:
    from embodia.scripts.assembly.env_ids import OURS, known_id

    if name.rpartition(":")[0] in OURS:  # other modules are imported by the command
        known_id(name)
