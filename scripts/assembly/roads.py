"""Flags that choose the scenarios of roads, for every command that drives."""

from dataclasses import dataclass, replace

from embodia.envs.driving.learning.pool import scenario_pool
from embodia.envs.driving.nuplan.logs import ScenarioFilter
from embodia.envs.driving.nuplan.source import LogScenarios
from embodia.envs.driving.options import RoadOptions
from embodia.scripts.assembly.environments import EnvConfig
from embodia.scripts.mistake import Mistake

FIELDS = {
    "filter": "scenario_types",
    "tokens": "scenario_tokens",
    "per_type": "num_scenarios_per_type",
    "limit": "limit_total_scenarios",
    "apart": "timestamp_threshold_s",
    "valid_goals": "remove_invalid_goals",
}
"""Options of roads by flag, where the two differ; the options have nuPlan's own names."""


@dataclass(frozen=True)
class Roads:
    """Options of roads. Options that are not given are those of the run or the task."""

    scenarios: str | None = None
    """Scenario pack to use instead of generated scenarios."""
    test_scenarios: str | None = None
    """Scenario pack of the test split, if it is another one."""
    logs: str | None = None
    """nuPlan logs to use instead of generated scenarios: a .db file, a folder that is searched for them, or a split
    (mini, val) below $NUPLAN_DATA_ROOT."""
    test_logs: str | None = None
    """nuPlan logs of the test split, if they are other ones."""
    maps: str | None = None
    """Folder of nuPlan's maps; by default $NUPLAN_MAPS_ROOT, else a folder maps beside the logs."""
    filter: tuple[str, ...] | None = None
    """Scenario types to use; val14 stands for its 14 types."""
    tokens: tuple[str, ...] | None = None
    """Scenario tokens to use, or files that list them."""
    log_names: tuple[str, ...] | None = None
    """Names of the logs to use."""
    map_names: tuple[str, ...] | None = None
    """Names of the maps to use, such as us-ma-boston."""
    per_type: int | None = None
    """Maximum number of scenarios of each type."""
    limit: int | None = None
    """Maximum number of scenarios."""
    apart: float | None = None
    """Minimum time between two scenarios of a type in seconds."""
    valid_goals: bool | None = None
    """Skip scenarios whose scene has no goal."""
    shuffle_seed: int | None = None
    """Choose scenarios at random, with this seed, instead of evenly."""

    def into(self, env: EnvConfig) -> EnvConfig:
        """Return the environment with these options. Raises Mistake for another world, or filters without logs."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        if not given:
            return env
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        if not isinstance(env.options, RoadOptions):
            raise Mistake(f"{flags}: only for roads, and {env.id} is not a road; omit it")
        options = replace(env.options, **{FIELDS.get(name, name): value for name, value in given.items()})
        if options.logs is not None and options.scenarios is not None:
            raise Mistake(f"{flags}: give either --logs or --scenarios")
        if options.logs is None and not set(given) <= {"scenarios", "test_scenarios"}:
            raise Mistake(f"{flags}: they choose among nuPlan's logs; add --logs PATH")
        return replace(env, options=options)


def number_of_scenarios(env: EnvConfig) -> int | None:
    """Number of scenarios in the pack or logs of an environment; None for generated ones and elsewhere.

    Raises OSError, PackError or NuPlanDataError if they cannot be read.
    """
    options = env.options
    if not isinstance(options, RoadOptions):
        return None
    if (pack := options.test_scenarios or options.scenarios) is not None:
        return len(scenario_pool("test", 0, pack))
    logs = options.test_logs or options.logs
    return None if logs is None else len(LogScenarios(logs, options.maps, chosen(options)))


def chosen(options: RoadOptions) -> ScenarioFilter:
    """The filter of nuPlan's scenarios that the options describe."""
    values = {name: getattr(options, name) for name in ScenarioFilter.__dataclass_fields__}
    return ScenarioFilter(**{name: value for name, value in values.items() if value is not None})
