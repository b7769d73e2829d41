"""Options of the driving environments."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal


@dataclass(frozen=True)
class RoadOptions:
    """Options of the driving environments."""

    observation: tuple[str, ...] = ("ego", "agents", "lanes", "route")
    """Observation keys: ego, agents, lanes and route are vectors, bev is a raster; rgb, depth, semantic and instance
    are the camera's images, laser and laser_id the laser scanner's readings; futures are labels for forecasts."""
    reactive: bool | None = None
    """Whether traffic reacts to the ego (IDM) or replays the log. None: as the environment's id says."""
    rules: Literal["learning", "nuplan"] | None = None
    """nuplan: nuPlan's closed loop and scores, exactly; learning: faster rules for training. None: nuplan on the test
    split only."""
    expert: Annotated[Any, "DrivingPlanner"] = "log"
    """Expert that `expert_action` asks: the logged driver, or a planner that is made for each scenario."""
    num_scenarios: int = 200
    """Number of generated scenarios to train on. They are made once and kept in the cache folder."""
    num_test_scenarios: int = 200
    """Number of generated scenarios to test on."""
    scenarios: str | None = None
    """Scenario pack to use instead of generated scenarios; all of it is used."""
    test_scenarios: str | None = None
    """Scenario pack of the test split, if it is another one."""
    logs: str | None = None
    """nuPlan logs to use instead of generated scenarios: a .db file, a folder that is searched for them, or a split
    (mini, val) below $NUPLAN_DATA_ROOT."""
    test_logs: str | None = None
    """nuPlan logs of the test split, if they are other ones."""
    maps: str | None = None
    """Folder of nuPlan's maps; by default $NUPLAN_MAPS_ROOT, else a folder maps beside the logs."""
    scenario_types: tuple[str, ...] | None = None
    """Scenario types to use; val14 stands for its 14 types."""
    scenario_tokens: tuple[str, ...] | None = None
    """Scenario tokens to use, or files that list them."""
    log_names: tuple[str, ...] | None = None
    """Names of the logs to use."""
    map_names: tuple[str, ...] | None = None
    """Names of the maps to use, such as us-ma-boston."""
    num_scenarios_per_type: int | None = None
    """Maximum number of scenarios of each type."""
    limit_total_scenarios: int | None = None
    """Maximum number of scenarios."""
    timestamp_threshold_s: float | None = None
    """Minimum time between two scenarios of a type in seconds."""
    remove_invalid_goals: bool | None = None
    """Skip scenarios whose scene has no goal."""
    shuffle_seed: int | None = None
    """Choose scenarios at random, with this seed, instead of evenly."""
    camera_height: int = 96
    """Height of the camera's images in pixels."""
    camera_width: int = 128
    """Width of the camera's images in pixels."""
    camera_hfov: float = 90.0
    """Horizontal field of view of the camera in degrees."""
    laser_azimuths: int = 360
    """Number of directions of the laser scanner."""
    laser_elevations: tuple[float, ...] = (0.0,)
    """Elevations of the laser scanner's beams in degrees; negative ones point at the ground."""
    laser_range: float = 80.0
    """Maximum range of the laser scanner in metres."""
    laser_height: float = 1.0
    """Height of the laser scanner above the ground in metres."""
    laser_edges: bool = False
    """Whether the edge of the drivable area returns laser beams, as a wall would."""
