"""Scenarios for training and evaluation, read on demand: generated ones, a pack, or nuPlan logs."""

import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from embodia.envs import SPLIT_SIZE, Split
from embodia.envs.cache import cache_folder
from embodia.envs.driving.generator.generate import generate_scenario
from embodia.envs.driving.scenarios.pack import load_pack, save_pack
from embodia.envs.driving.scenarios.scenario import Scenario

GENERATOR_VERSION = 3
"""Part of the cache's name; raise it when the generator's scenarios change."""
KEPT = 64
"""Number of scenarios that stay in memory (at least one per world); the least recently used are dropped and read again.
A generated scenario takes about 13 MB, nearly all of it for its map; scenarios of nuPlan logs share their maps."""
Value = TypeVar("Value")


class Recent(Generic[Value]):
    """A cache of at most `size` values that drops the least recently used."""

    def __init__(self, size: int):
        self.size = size
        self.values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        if key in self.values:
            self.values.move_to_end(key)
            return self.values[key]
        self.values[key] = value = make()
        if len(self.values) > self.size:
            self.values.popitem(last=False)
        return value


class Pool(Sequence[Scenario]):
    """The first `count` scenarios of a source, read on demand; the `kept` most recently used stay in memory."""

    def __init__(self, source: Sequence[Scenario], count: int, kept: int = KEPT):
        self.source, self.size = source, count
        self.recent: Recent[Scenario] = Recent(kept)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        number = range(self.size)[index]
        return self.recent.get(number, lambda: self.source[number])


class Generated(Sequence[Scenario]):
    """All generated scenarios of a split, by seed. Each is generated on demand and stored in `cache_folder()`, if that
    can be written. The number of new ones is reported on stderr."""

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


def scenario_pool(
    split: Split, count: int, source: str | Path | Sequence[Scenario] | None = None, kept: int = KEPT
) -> Sequence[Scenario]:
    """Return all scenarios of a source (path of a pack, or a sequence), or the generated seeds 0..count-1 of a split.

    Scenarios are read or generated on demand. Raises FileNotFoundError or PackError for a pack that cannot be read.
    """
    if source is None:
        return Pool(Generated(split), count, kept)
    scenarios = load_pack(source) if isinstance(source, str | Path) else source
    return Pool(scenarios, len(scenarios), kept)


def keep(path: Path, scenarios: Sequence[Scenario]) -> None:
    """Write scenarios to the cache. If it cannot be written, they are generated again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        save_pack(aside, scenarios)
        aside.replace(path)
    except OSError:
        return
