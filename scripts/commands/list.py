"""`embodia list`: list presets, environments (with and without an expert), and the methods of every kind."""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any, Literal

import gymnasium as gym
import tyro

import embodia  # noqa: F401 (registers the ids)
from embodia.envs.grid.expert import NO_EXPERT
from embodia.scripts.assembly.kinds import (
    AGENT,
    DETECTOR,
    DRIVER,
    ENCODER,
    GENERATIVE,
    LEARNER,
    MODEL,
    OBJECTIVE,
    PLANNER,
    SEGMENTER,
    Kind,
)
from embodia.scripts.assembly.options import Method, config_of, plain, summary
from embodia.scripts.mistake import Mistake, nearest
from embodia.scripts.presets.table import PRESETS

Methods = Literal[
    "agents",
    "encoders",
    "learners",
    "generative",
    "detectors",
    "segmenters",
    "models",
    "planners",
    "objectives",
    "drivers",
]
What = Literal["all", "presets", "envs"] | Methods


@dataclass(frozen=True)
class Args:
    """List presets, environments and methods."""

    what: tyro.conf.Positional[What] = "all"
    """What to list."""
    search: Annotated[str, tyro.conf.arg(aliases=("--match",))] = ""
    """Only list what has this text in its name or description."""
    json: bool = False
    """Print the lists as one JSON object at the end."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia list")
    kinds = tuple(LISTS) if args.what == "all" else (args.what,)
    found: dict[str, dict[str, str]] = {}
    for kind in kinds:
        names = {name: says for name, says in LISTS[kind]().items() if args.search.lower() in f"{name} {says}".lower()}
        found[kind] = names
        if args.search and not names and args.what == "all":
            continue
        width = max(map(len, names), default=0)
        print(f"{kind} ({len(names)})")
        print("\n".join(f"  {name:<{width}}  {says}".rstrip() for name, says in names.items()) + "\n")
    if args.search and not any(found.values()):
        known = [name for kind in kinds for name in LISTS[kind]()]
        raise Mistake(f"nothing has {args.search!r} in its name or description. {nearest(args.search, known)}".strip())
    if args.json:
        print(json.dumps(found))
    return 0


def presets() -> dict[str, str]:
    return {each.name: f"{each.says} ({each.config.env.id})" for each in PRESETS}


def environments() -> dict[str, str]:
    return {name: expert_of(gym.spec(name)) for name in gym.registry if name.startswith("embodia/")}


def expert_of(spec: Any) -> str:
    """State whether the environment has an expert."""
    reason = NO_EXPERT.get(spec.kwargs.get("task"))
    return f"no expert: {reason}" if reason else "expert"


def methods(kind: Kind) -> dict[str, str]:
    """Describe each method, with its number of flags."""
    modules = Counter(plain(method).__module__ for method in kind.table.values())
    return {
        name: f"{says(method, modules[plain(method).__module__] == 1)} [{flags(kind.options(method))}]"
        for name, method in kind.table.items()
    }


def says(method: Method, alone: bool) -> str:
    """The first sentence of the method's module, or its own if the module holds several methods."""
    if alone:
        return str(sys.modules[plain(method).__module__].__doc__).splitlines()[0]
    return re.split(r"(?<=\.)\s(?=[A-Z])", summary(config_of(method) or method))[0]


def flags(options: Any) -> str:
    count = len(fields(options))
    return f"{count} flag{'' if count == 1 else 's'}" if count else "no flags"


LISTS: dict[str, Callable[[], dict[str, str]]] = {
    "presets": presets,
    "envs": environments,
    "agents": partial(methods, AGENT),
    "encoders": partial(methods, ENCODER),
    "models": partial(methods, MODEL),
    "planners": partial(methods, PLANNER),
    "objectives": partial(methods, OBJECTIVE),
    "drivers": partial(methods, DRIVER),
    "learners": partial(methods, LEARNER),
    "generative": partial(methods, GENERATIVE),
    "detectors": partial(methods, DETECTOR),
    "segmenters": partial(methods, SEGMENTER),
}
