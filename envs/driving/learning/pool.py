"""Scenarios to learn on: a pack from disk, or generated ones that are made once and kept in the user's cache."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embodia.envs import SPLIT_SIZE, Split
from embodia.envs.driving.generator.generate import generate_scenario
from embodia.envs.driving.scenarios.pack import load_pack, save_pack
from embodia.envs.driving.scenarios.scenario import Scenario

GENERATOR_VERSION = 3
"""Part of the cache's name; raise it when the generator's scenarios change."""


def cache_folder() -> Path:
    """$EMBODIA_CACHE, else the platform's cache folder of the user."""
    if given := os.environ.get("EMBODIA_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "embodia"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "embodia"


class Pool(Sequence[Scenario]):
    """The first `count` scenarios of a pack, read when first asked for. Raises ValueError where it holds fewer."""

    def __init__(self, pack: Sequence[Scenario], count: int, name: str | Path):
        if len(pack) < count:
            raise ValueError(f"{name} holds {len(pack)} scenarios, {count} are asked for; ask for fewer")
        self.pack, self.size = pack, count
        self.read: dict[int, Scenario] = {}

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        number = range(self.size)[index]
        if number not in self.read:
            self.read[number] = self.pack[number]
        return self.read[number]


class Generated(Sequence[Scenario]):
    """Every scenario that the generator makes of a split, by seed: made when first asked for, and kept as a pack each
    in `cache_folder()` where it can be written. Now and then it says on stderr how many were made."""

    def __init__(self, split: Split):
        self.split, self.made, self.said = split, 0, time.monotonic()
        self.folder = cache_folder() / f"roads-v{GENERATOR_VERSION}-{split}"

    def __len__(self) -> int:
        return SPLIT_SIZE

    def __getitem__(self, seed: Any) -> Any:
        path = self.folder / f"{seed:06d}.pack"
        if path.exists():
            return load_pack(path)[0]
        scenario = generate_scenario(seed, split=self.split)
        self.made += 1
        keep(path, [scenario])
        if time.monotonic() - self.said > 10:
            self.said = time.monotonic()
            print(f"roads: {self.made} {self.split} scenarios made, kept in {self.folder}", file=sys.stderr, flush=True)
        return scenario


def scenario_pool(split: Split, count: int, source: str | Path | None = None) -> Sequence[Scenario]:
    """`count` scenarios of a split: the first ones of the pack `source`, or generated seeds 0..count-1.

    None is read or made before it is asked for. Raises ValueError where a pack holds fewer scenarios.
    """
    return Pool(Generated(split) if source is None else load_pack(source), count, source or "the generator")


def keep(path: Path, scenarios: Sequence[Scenario]) -> None:
    """Write the cache; a read-only home only means that the pool is made again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        save_pack(aside, scenarios)
        aside.replace(path)
    except OSError:
        return
