"""A road network: a map, and the further data that traffic needs."""

from dataclasses import dataclass, field
from enum import Enum

from shapely.geometry import Polygon

from embodia.envs.driving.generator.road_layout import JunctionPlan
from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.types import Floats


class Turn(Enum):
    STRAIGHT = "straight"
    LEFT = "left"
    RIGHT = "right"
    CIRCLE = "circle"  # on along a roundabout's ring


@dataclass(frozen=True)
class Carriageway:
    """One direction of a road."""

    block_id: str
    lane_ids: tuple[str, ...]  # leftmost first
    baselines: tuple[Floats, ...]
    road: int
    speed_limit: float


@dataclass(frozen=True)
class Movement:
    """A connector with its place in a junction. `rank` 0 has the right of way over 1, and so on."""

    connector_id: str
    junction: int
    turn: Turn
    line: int  # the street it comes from
    rank: int


@dataclass(frozen=True)
class Crossing:
    """A crosswalk to walk on, from kerb to kerb."""

    id: str
    start: Floats
    end: Floats
    junction: int | None
    line: int  # the street it crosses


@dataclass
class Roadside:
    """Objects beside the lanes."""

    parking: list[Floats] = field(default_factory=list)  # poses (3,) of parking spots
    pickup_areas: list[Polygon] = field(default_factory=list)
    sidewalks: list[Floats] = field(default_factory=list)  # (n, 2) lines to walk on
    shoulders: dict[str, float] = field(default_factory=dict)  # [m] by id of the rightmost lane


@dataclass
class RoadNetwork:
    map: Map
    junctions: list[JunctionPlan]
    movements: list[Movement]
    crossings: list[Crossing]
    roadside: Roadside
