"""`embodia list`: presets, environments (with and without an expert), agents, encoders, methods of pretraining."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import gymnasium as gym
import tyro

import embodia  # noqa: F401 (registers the ids)
from embodia.envs.grid.expert import NO_EXPERT
from embodia.scripts.assembly.config import AgentConfig
from embodia.scripts.assembly.image_encoders import IMAGE
from embodia.scripts.assembly.self_supervision import METHODS
from embodia.scripts.presets.table import PRESETS


@dataclass(frozen=True)
class Args:
    """Name what can be chosen."""

    what: tyro.conf.Positional[Literal["all", "presets", "envs", "agents", "encoders", "methods"]] = "all"
    """Which of them."""
    match: str = ""
    """Only names that contain this."""
    json: bool = False
    """End with one JSON object."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia list")
    kinds = tuple(LISTS) if args.what == "all" else (args.what,)
    found: dict[str, dict[str, str]] = {}
    for kind in kinds:
        names = {name: says for name, says in LISTS[kind]().items() if args.match.lower() in name.lower()}
        found[kind] = names
        width = max(map(len, names), default=0)
        print(f"{kind} ({len(names)})")
        print("\n".join(f"  {name:<{width}}  {says}".rstrip() for name, says in names.items()) + "\n")
    if args.json:
        print(json.dumps(found))
    return 0


def presets() -> dict[str, str]:
    return {each.name: f"{each.says} ({each.config.env.id})" for each in PRESETS}


def environments() -> dict[str, str]:
    return {name: expert_of(gym.spec(name)) for name in gym.registry if name.startswith("embodia/")}


def expert_of(spec: Any) -> str:
    """Whether the environment can be asked for an expert's action."""
    reason = NO_EXPERT.get(spec.kwargs.get("task"))
    return f"no expert: {reason}" if reason else "expert"


def agents() -> dict[str, str]:
    kinds = {kind.__name__.removesuffix("Config").lower(): summary(kind) for kind in get_args(AgentConfig)}
    return {**kinds, "random": "Actions drawn from the action space.", "expert": "The environment's own expert."}


def encoders() -> dict[str, str]:
    return {name: summary(kind) for name, kind in IMAGE.items()}


def methods() -> dict[str, str]:
    return {name: summary(type(settings)) for name, settings in METHODS.items()}


def summary(kind: Any) -> str:
    """The first sentence of a docstring."""
    return str(kind.__doc__).split("\n\n")[0].replace("\n", " ").strip()


LISTS = {"presets": presets, "envs": environments, "agents": agents, "encoders": encoders, "methods": methods}
