"""Scenarios to learn on: a pack from disk, or generated ones that are made once and kept in the user's cache."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from envs import Split
from envs.driving.generate import generate_scenario
from envs.driving.pack import load_pack, save_pack
from envs.driving.scenario import Scenario

GENERATOR_VERSION = 2
"""Part of the cached file's name; raise it when the generator's scenarios change."""


def cache_folder() -> Path:
    """$EMBODIA_CACHE, else the platform's cache folder of the user."""
    if given := os.environ.get("EMBODIA_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "embodia"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "embodia"


def scenario_pool(
    split: Split, count: int, source: str | Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Sequence[Scenario]:
    """`count` scenarios of a split: the first ones of the pack `source`, or generated seeds 0..count-1.

    Generated pools are kept as one pack in `cache_folder()` where it can be written; the file is written aside and
    renamed. `progress(done, count)` is called while generating. Raises ValueError where a pack holds fewer scenarios.
    """
    if source is not None:
        return first(load_pack(source), count, Path(source))
    path = cache_folder() / f"roads-v{GENERATOR_VERSION}-{split}-{count}.pack"
    if path.exists():
        return first(load_pack(path), count, path)
    scenarios = []
    for seed in range(count):
        scenarios.append(generate_scenario(seed, split=split))
        if progress:
            progress(seed + 1, count)
    keep(path, scenarios)
    return scenarios


def first(scenarios: Sequence[Scenario], count: int, path: Path) -> Sequence[Scenario]:
    if len(scenarios) < count:
        raise ValueError(f"{path} holds {len(scenarios)} scenarios, {count} are asked for; ask for fewer")
    return [scenarios[i] for i in range(count)]


def keep(path: Path, scenarios: Sequence[Scenario]) -> None:
    """Write the cache; a read-only home only means that the pool is made again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        save_pack(aside, scenarios)
        aside.replace(path)
    except OSError:
        return
