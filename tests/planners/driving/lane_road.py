"""A straight road for planners: a lane, a connector with a light, a lane on, and the same again beside it."""

import numpy as np
import shapely
from shapely.geometry import LineString

from embodia.envs.driving.map.road_map import Lane, Map, Polyline, Roadblock
from embodia.envs.driving.types import EgoState, Scene, Tracks
from embodia.envs.driving.vehicle.bicycle import PACIFICA

LIMIT = 10.0


def lane(id_, points, block, connects=None, stop=()):
    line = LineString(points)
    left, right = (Polyline(shapely.get_coordinates(line.offset_curve(d))) for d in (1.75, -1.75))
    extra = {"is_connector": True, "from_lane": connects[0], "to_lane": connects[1]} if connects else {}
    ring = line.buffer(1.75, cap_style="flat")
    return Lane(id_, ring, Polyline(points), left, right, block, LIMIT, stop_polygon_ids=stop, **extra)


def straight(x0, x1, y=0.0):
    return [(x, y) for x in np.arange(x0, x1 + 0.5, 1.0)]


def lane_road():
    """A lane of 100 m, a connector of 20 m with a light, a lane of 180 m; a second lane beside the first two."""
    lanes = [lane("1", straight(0, 100), "10"), lane("2", straight(120, 300), "11")]
    lanes += [lane("5", straight(0, 100, 3.5), "10"), lane("6", straight(120, 300, 3.5), "11")]
    connectors = [lane("3", straight(100, 120), "12", ("1", "2"), ("9",))]
    connectors += [lane("4", straight(100, 120, 3.5), "12", ("5", "6"))]

    def block(id_, x0, x1, **kwargs):
        return Roadblock(id_, shapely.box(x0, -1.75, x1, 5.25), **kwargs)

    joint = block("12", 100, 120, is_connector=True, from_block="10", to_block="11")
    return Map("road", lanes, connectors, [block("10", 0, 100), block("11", 120, 300)], [joint])


ROUTE = ["10", "12", "11"]


def scene(x, v, tracks=None, lights=None, y=0.0):
    """The ego's box centre at (x, y)."""
    ego = EgoState(0, x - PACIFICA.rear_axle_to_center, y, 0.0, vx=v)
    tracks = Tracks.empty() if tracks is None else tracks
    return Scene(0, 0, (ego,) * 22, (tracks,) * 22, lights or {})


def one(x, v=0.0, y=0.0, kind=0):
    box = np.array([[x, y, 0.0, 4.0, 2.0]])
    return Tracks(("a",), np.array([kind], np.int8), box, np.array([[v, 0.0]]))
