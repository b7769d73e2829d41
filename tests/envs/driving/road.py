"""The synthetic road of the golden metric scenarios: two lanes along +x, a connector, two lanes on, one oncoming."""

import numpy as np
import shapely

from embodia.envs.driving.map.road_map import Lane, Map, PolygonLayer, Polyline, Roadblock
from embodia.envs.driving.scenarios.scenario import HISTORY_FRAMES, LightLog, Scenario, TrackLog
from embodia.envs.driving.types import STATE_SIZE, StateColumn, TrackedObjectType, Tracks

WIDTH = 3.5  # [m]
LIMIT, FAST_LIMIT = 11.176, 15.0  # [m/s]
STEP_US = 100_000


def straight(id_, x0, x1, y, block, limit=None, **kwargs):
    """A lane or connector along x from x0 to x1 (backwards if x1 < x0) with centre line y."""
    half = WIDTH / 2 if x1 > x0 else -WIDTH / 2
    xs = np.linspace(x0, x1, int(abs(x1 - x0)) + 1)

    def line(offset):
        return Polyline(np.column_stack([xs, np.full_like(xs, y + offset)]))

    polygon = shapely.box(min(x0, x1), y - WIDTH / 2, max(x0, x1), y + WIDTH / 2)
    return Lane(id_, polygon, line(0.0), line(half), line(-half), block, limit, **kwargs)


def synthetic_road():
    lanes = [
        straight("1", 0, 120, 1.75, "10", LIMIT, index=0),
        straight("2", 0, 120, -1.75, "10", LIMIT, index=1),
        straight("3", 140, 400, 1.75, "11", FAST_LIMIT, index=0),
        straight("4", 140, 400, -1.75, "11", FAST_LIMIT, index=1),
        straight("5", 400, 140, 5.25, "12", LIMIT, index=0),
    ]
    connectors = [
        straight("6", 120, 140, 1.75, "13", is_connector=True, from_lane="1", to_lane="3"),
        straight("7", 120, 140, -1.75, "13", is_connector=True, from_lane="2", to_lane="4"),
    ]
    road = shapely.box(0, -3.5, 400, 3.5)
    oncoming = shapely.box(140, 3.5, 400, 7)
    return Map(
        "synthetic",
        lanes=lanes,
        connectors=connectors,
        roadblocks=[
            Roadblock("10", shapely.box(0, -3.5, 120, 3.5)),
            Roadblock("11", shapely.box(140, -3.5, 400, 3.5)),
            Roadblock("12", oncoming),
        ],
        roadblock_connectors=[Roadblock("13", shapely.box(120, -3.5, 140, 3.5), True, "10", "11")],
        road_segments=PolygonLayer(["20", "21"], [road, oncoming]),
    )


def ego_history(x, y=-1.75, speed=10.0, heading=0.0, num=41, acceleration=0.0):
    """(num, 11) ego states in straight, uniformly accelerated motion from a rear axle at (x, y)."""
    t = np.arange(num) * 0.1
    states = np.zeros((num, STATE_SIZE))
    travelled = speed * t + acceleration * t**2 / 2
    states[:, StateColumn.X] = x + travelled * np.cos(heading)
    states[:, StateColumn.Y] = y + travelled * np.sin(heading)
    states[:, StateColumn.HEADING] = heading
    states[:, StateColumn.VX] = speed + acceleration * t
    states[:, StateColumn.AX] = acceleration
    return states


def car(token, x, y=-1.75, heading=0.0, velocity=(0.0, 0.0), size=(4.8, 2.0), kind=TrackedObjectType.VEHICLE):
    return Tracks((token,), np.array([kind], np.int8), np.array([[x, y, heading, *size]]), np.array([velocity]))


def join(*tracks):
    return Tracks(
        tuple(t for track in tracks for t in track.tokens),
        np.concatenate([t.types for t in tracks]),
        np.concatenate([t.boxes for t in tracks]),
        np.concatenate([t.velocities for t in tracks]),
    )


def scenario_on(road_map, expert, frames=None, lights=None, route=("10", "13", "11"), token="a" * 16, history=True):
    """A scenario from expert states (N, 11) with N frames of tracks; its history repeats the first frame."""
    num = len(expert)
    pad = HISTORY_FRAMES if history else 0
    frames = [Tracks.empty()] * num if frames is None else frames
    lights = [{}] * num if lights is None else lights
    past = np.repeat(expert[:1], pad, axis=0)
    velocity = expert[0, StateColumn.VX]
    past[:, StateColumn.X] -= velocity * 0.1 * np.arange(pad, 0, -1) * np.cos(expert[0, 2])
    past[:, StateColumn.Y] -= velocity * 0.1 * np.arange(pad, 0, -1) * np.sin(expert[0, 2])
    return Scenario(
        token=token,
        log_name="synthetic-log",
        type="following_lane_with_lead",
        map=road_map,
        time_us=1_000_000_000 + STEP_US * np.arange(num + pad),
        ego=np.concatenate([past, expert]),
        start=pad,
        num_iterations=num,
        tracks=TrackLog.from_frames([frames[0]] * pad + list(frames)),
        lights=LightLog.from_frames([lights[0]] * pad + list(lights)),
        route=route,
        goal=(380.0, -1.75, 0.0),
    )
