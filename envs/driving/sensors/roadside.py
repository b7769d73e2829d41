"""What stands still along a drive: ground, buildings and the edges of the drivable area."""

from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

from embodia.envs.drawing.scene import Scene
from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.sensors.buildings import buildings
from embodia.envs.driving.sensors.ground import Ground
from embodia.envs.driving.sensors.road_scene import static_scene
from embodia.envs.driving.sensors.solids import EDGE, FIRST_BUILDING
from embodia.envs.driving.types import Floats

EDGE_HEIGHT = 10.0  # [m]
EDGE_REACH = 110.0  # [m] around the drive
TOLERANCE = 0.05  # [m] by which edges are simplified, and gaps between areas closed


class Roadside:
    """The static surroundings of one scenario, in its own frame: the origin is the first rear axle, axes as the map's.

    Each part is made when it is first used.
    """

    def __init__(self, scenario: Scenario):
        self.map, self.name = scenario.map, scenario.token
        self.way = scenario.ego[scenario.iterations, :2]
        self.origin: Floats = self.way[0].copy()

    @cached_property
    def solids(self) -> Floats:
        """Buildings (B, 7)."""
        found = buildings(self.map, self.way)
        found[:, :2] -= self.origin
        return found

    @property
    def solid_ids(self) -> NDArray[np.int64]:
        return FIRST_BUILDING + np.arange(len(self.solids))

    @cached_property
    def edges(self) -> Floats:
        """Edges of the drivable area near the drive as walls (W, 5) for the laser scanner."""
        near = shapely.LineString(self.way).buffer(EDGE_REACH)
        layers = (self.map.drivable_area, self.map.lane_layer, self.map.connector_layer)
        parts = [layer.polygons[index] for layer in layers for index in layer.intersecting(near)]
        area = shapely.union_all([shapely.buffer(part, TOLERANCE) for part in parts])
        lines = shapely.get_parts(shapely.intersection(shapely.boundary(shapely.simplify(area, TOLERANCE)), near))
        points = [shapely.get_coordinates(line) - self.origin for line in lines]
        walls = [np.column_stack([each[:-1], each[1:], np.full(len(each) - 1, EDGE_HEIGHT)]) for each in points]
        return np.concatenate([np.zeros((0, 5)), *walls])

    @property
    def edge_ids(self) -> NDArray[np.int64]:
        return np.full(len(self.edges), EDGE)

    @cached_property
    def ground(self) -> Ground:
        return Ground(self.map, self.way)

    @cached_property
    def scene(self) -> Scene:
        """Ground and buildings as the rasterizer draws them."""
        return static_scene(self.ground, self.solids, self.origin, self.name)
