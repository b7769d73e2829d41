"""Ids of environments on the command line and in `embodia.make`. This module imports nothing heavy."""

import gymnasium as gym

import embodia  # noqa: F401 (registers the ids)
from embodia.scripts.assembly.own import imported
from embodia.scripts.mistake import Mistake, nearest

OURS = ("", "embodia", "envs")
"""Module names before an id's colon that stand for this project; earlier versions wrote `envs`."""


def known_id(name: str) -> str:
    """Return an id as `gymnasium.make` takes it. Raises Mistake, with the closest ids, if it is not registered."""
    module, _, rest = name.rpartition(":")
    if module not in OURS:
        imported(module, f"env.id {name}")
    for each in (rest, f"embodia/{rest}") if module not in OURS else (f"embodia/{rest}", rest):
        if each in gym.registry:
            if each.startswith("embodia/"):
                return f"embodia:{each}"
            return each if module in OURS else name
    ours = [each.removeprefix("embodia/") for each in gym.registry if each.startswith("embodia/")]
    hint = nearest(rest.removeprefix("embodia/"), ours)
    raise Mistake(f"env.id {name} is not registered. {hint} `embodia list envs` lists environments.")
