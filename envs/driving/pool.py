"""Scenarios to learn on: a pack from disk, or generated ones that are made once and kept in the user's cache."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envs import Split
from envs.driving.generate import generate_scenario
from envs.driving.pack import load_pack, save_pack
from envs.driving.scenario import Scenario

GENERATOR_VERSION = 3
"""Part of the cache's name; raise it when the generator's scenarios change."""
SHARD = 20
"""Scenarios in a pack of the cache."""


def cache_folder() -> Path:
    """$EMBODIA_CACHE, else the platform's cache folder of the user."""
    if given := os.environ.get("EMBODIA_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "embodia"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "embodia"


class Pool(Sequence[Scenario]):
    """The first `count` scenarios out of packs of `size` each, read when first asked for."""

    def __init__(self, packs: Sequence[Sequence[Scenario]], size: int, count: int):
        self.packs, self.size, self.count = packs, size, count
        self.read: dict[int, Scenario] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        number = range(self.count)[index]
        if number not in self.read:
            self.read[number] = self.packs[number // self.size][number % self.size]
        return self.read[number]


def scenario_pool(split: Split, count: int, source: str | Path | None = None) -> Sequence[Scenario]:
    """`count` scenarios of a split: the first ones of the pack `source`, or generated seeds 0..count-1.

    Generated scenarios are kept in packs of SHARD in `cache_folder()` where it can be written, each written aside and
    renamed; a larger pool adds to a smaller one. Generation says on stderr how far it is. Raises ValueError where a
    pack holds fewer scenarios.
    """
    if source is not None:
        pack = load_pack(source)
        if len(pack) < count:
            raise ValueError(f"{source} holds {len(pack)} scenarios, {count} are asked for; ask for fewer")
        return Pool([pack], count, count)
    folder = cache_folder() / f"roads-v{GENERATOR_VERSION}-{split}"
    packs: list[Sequence[Scenario]] = []
    for begin in range(0, count, SHARD):
        seeds = range(begin, min(begin + SHARD, count))
        packs.append(shard(folder / f"{begin:05d}.pack", split, seeds, count))
    return Pool(packs, SHARD, count)


def shard(path: Path, split: Split, seeds: range, count: int) -> Sequence[Scenario]:
    """The scenarios of these seeds, from a pack that holds them or more, else generated and kept there."""
    pack: Sequence[Scenario] = load_pack(path) if path.exists() else []
    if len(pack) >= len(seeds):
        return pack
    scenarios = list(pack)
    for seed in seeds[len(pack) :]:
        scenarios.append(generate_scenario(seed, split=split))
    print(f"roads: generated {seeds[-1] + 1} of {count} {split} scenarios", file=sys.stderr, flush=True)
    keep(path, scenarios)
    return scenarios


def keep(path: Path, scenarios: Sequence[Scenario]) -> None:
    """Write the cache; a read-only home only means that the pool is made again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        save_pack(aside, scenarios)
        aside.replace(path)
    except OSError:
        return
