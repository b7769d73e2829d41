"""nuPlan logs as a sequence of scenarios, which are read on demand."""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from embodia.envs.driving.nuplan.files import NuPlanDataError
from embodia.envs.driving.nuplan.logs import (
    MINED_TYPES,
    NuPlanLog,
    ScenarioFilter,
    ScenarioTag,
    find_scenarios,
    log_files,
)
from embodia.envs.driving.nuplan.maps import INDEX_FILE, load_map
from embodia.envs.driving.scenarios.scenario import Scenario


class LogScenarios(Sequence[Scenario]):
    """Scenarios of nuPlan logs that pass a filter. Scenarios without a route are skipped with a warning.

    Args:
        logs: a `.db` file, a folder that is searched for them, or a split below `$NUPLAN_DATA_ROOT`.
        maps: folder of the map index; by default `$NUPLAN_MAPS_ROOT`, else a folder `maps` beside the logs.
        chosen: the filter.

    Raises FileNotFoundError if there is no log, NuPlanDataError if no scenario passes.
    """

    def __init__(self, logs: str | Path, maps: str | Path | None = None, chosen: ScenarioFilter | None = None):
        chosen = chosen or ScenarioFilter()
        files = log_files(logs)
        tags = found(tuple((path, path.stat().st_mtime_ns) for path in files), chosen)
        check_types(tags, chosen, logs)
        self.tags = [tag for tag in tags if tag.has_route]
        if missing := [tag for tag in tags if not tag.has_route]:
            warn_of_no_route(missing)
        if not self.tags:
            raise NuPlanDataError(f"{logs}: no scenario in {len(files)} logs passes the filter{types_there(files)}")
        self.maps = maps or maps_beside(Path(logs).expanduser())

    def __len__(self) -> int:
        return len(self.tags)

    def __getitem__(self, index: Any) -> Any:
        """Read one scenario. Raises NuPlanDataError naming log and token."""
        tag = self.tags[range(len(self))[index]]
        road_map = load_map(tag.map_name, self.maps)
        log = NuPlanLog(tag.log)
        try:
            scenario = log.scenario(tag, road_map)
        finally:
            log.close()
        if all(road_map.block(block) is None for block in scenario.route):
            route = " ".join(scenario.route[:5])
            raise NuPlanDataError(
                f"{tag.log}: scenario {tag.token}: table scene: none of the route's roadblocks ({route} ...) is on map "
                f"{road_map.name}"
            )
        return scenario


@lru_cache(maxsize=8)
def found(files: tuple[tuple[Path, int], ...], chosen: ScenarioFilter) -> list[ScenarioTag]:
    """Return the tags of files (path, time of last change), cached: a command needs them several times."""
    return find_scenarios([path for path, _ in files], chosen)


def check_types(tags: Iterable[ScenarioTag], chosen: ScenarioFilter, logs: str | Path) -> None:
    """Raises NuPlanDataError for a type that is neither nuPlan's nor in the logs."""
    there = {tag.type for tag in tags}
    for name in chosen.types() or ():
        if name not in MINED_TYPES and name not in there:
            raise NuPlanDataError(f"{logs}: scenario type {name} is neither one of nuPlan's 73 nor in these logs")


def types_there(files: Sequence[Path]) -> str:
    """The most frequent types of logs, for a message."""
    counts = Counter(tag.type for tag in find_scenarios(files))
    listed = ", ".join(f"{name} ({count})" for name, count in counts.most_common(8))
    return f"; the most frequent types there: {listed}" if listed else "; they contain no tagged scenario"


def warn_of_no_route(tags: Sequence[ScenarioTag]) -> None:
    first = ", ".join(f"{tag.token} of {tag.log.name}" for tag in tags[:3])
    more = f" and {len(tags) - 3} more" if len(tags) > 3 else ""
    warnings.warn(
        f"skipped {len(tags)} scenarios without a route (table scene, column roadblock_ids is empty): {first}{more}",
        stacklevel=3,
    )


def maps_beside(logs: Path) -> Path | None:
    """A folder `maps` with a map index, in the folder of logs or in one of the four above it."""
    above = [logs, *logs.absolute().parents[:4]]
    return next((folder / "maps" for folder in above if (folder / "maps" / INDEX_FILE).is_file()), None)
