"""nuPlan's scenario types, decided on a recorded drive: for each type, at which instants it applies.

The definitions follow the mining thresholds that nuPlan publishes for its 14 challenge types, and a few more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from embodia.envs.driving.generator.fleet import LONG
from embodia.envs.driving.generator.road_layout import JunctionKind
from embodia.envs.driving.generator.road_network import Turn
from embodia.envs.driving.generator.traffic import Recording
from embodia.envs.driving.map.geometry import bearings, box_separation
from embodia.envs.driving.types import Bools, Floats, Ints

NEAR = 8.0  # [m]
CROWD = 6  # more vehicles than this are a crowd


@dataclass(frozen=True)
class World:
    """A recording as dense arrays over F frames and D drivers."""

    recording: Recording
    present: Bools  # (F, D)
    poses: Floats  # (F, D, 3) rear axle
    boxes: Floats  # (F, D, 5)
    speeds: Floats  # (F, D)
    accelerations: Floats  # (F, D)
    edges: Ints  # (F, D)
    on_edge: Floats  # (F, D) [m] of the front bumper past the start of the edge
    gaps: Floats  # (F, D)
    leads: Ints  # (F, D) driver that is the lead, -1 for none or anything else
    offsets: Floats  # (F, D) [m] left in a lane change


@dataclass(frozen=True)
class Drive:
    """One driver's part of a world, all its frames in one stretch."""

    world: World
    driver: int
    frames: slice

    def of(self, table: NDArray[Any]) -> NDArray[Any]:
        """(f, ...) this driver's column of a table (F, D, ...)."""
        return table[self.frames, self.driver]

    @property
    def speed(self) -> Floats:
        return self.of(self.world.speeds)

    @property
    def acceleration(self) -> Floats:
        return self.of(self.world.accelerations)

    @property
    def yaw_rate(self) -> Floats:
        """(f,) [rad/s]"""
        heading = np.unwrap(self.of(self.world.poses)[:, 2])
        return np.asarray(np.gradient(heading, 0.1)) if len(heading) > 1 else np.zeros(len(heading))

    def lead_value(self, table: Floats) -> Floats:
        """(f,) a table's value (F, D) for the lead; nan without."""
        lead = self.of(self.world.leads)
        rows = np.arange(self.frames.start, self.frames.stop)
        return np.where(lead >= 0, table[rows, np.maximum(lead, 0)], np.nan)

    def lead_length(self) -> Floats:
        lengths = self.world.boxes[..., 3]
        return self.lead_value(lengths)

    def near_vehicles(self, moving: bool) -> Ints:
        """(f,) number of vehicles within 8 m, bumper to bumper."""
        world = self.world
        gap = box_separation(self.of(world.boxes)[:, None], world.boxes[self.frames])
        near = (gap < NEAR) & world.present[self.frames]
        near[:, self.driver] = False
        if moving:
            near &= world.speeds[self.frames] > 1.0
        return np.asarray(near.sum(axis=1))

    def entering(self) -> tuple[Bools, Ints]:
        """(f,) the front bumper is about the start of the next edge, and which edge that is (-1 for none)."""
        edges = self.of(self.world.edges)
        lengths = np.array([edge.baseline.length for edge in self.world.recording.network.map.edges])
        past = self.of(self.world.on_edge) - lengths[edges]
        following = np.full(len(edges), -1)
        for k in range(len(edges) - 2, -1, -1):
            following[k] = edges[k + 1] if edges[k + 1] != edges[k] else following[k + 1]
        return (past > -1.0) & (past < 2.5) & (following >= 0), following


def _entering_turn(drive: Drive, turn: Turn, kind: JunctionKind | None) -> Bools:
    network = drive.world.recording.network
    wanted = np.zeros(len(network.map.edges), bool)
    for movement in network.movements:
        right_kind = kind is None or network.junctions[movement.junction].kind is kind
        wanted[network.map.connector_index[movement.connector_id]] = movement.turn is turn and right_kind
    at_start, following = drive.entering()
    junction = following >= network.map.num_lanes
    return at_start & junction & wanted[following] & (drive.speed > 0.5)


def starting_left_turn(drive: Drive) -> Bools:
    return _entering_turn(drive, Turn.LEFT, None)


def starting_right_turn(drive: Drive) -> Bools:
    return _entering_turn(drive, Turn.RIGHT, None)


def starting_straight_traffic_light_intersection_traversal(drive: Drive) -> Bools:
    return _entering_turn(drive, Turn.STRAIGHT, JunctionKind.SIGNAL)


def stopping_with_lead(drive: Drive) -> Bools:
    lead = drive.of(drive.world.leads) >= 0
    stopping = (drive.acceleration < -0.6) & (drive.speed < 0.3) & (drive.speed > 0.01)
    return stopping & lead & (drive.of(drive.world.gaps) < 6.0)


def high_lateral_acceleration(drive: Drive) -> Bools:
    lateral = np.abs(drive.speed * drive.yaw_rate)
    edges = drive.of(drive.world.edges)
    on_lane = edges < drive.world.recording.network.map.num_lanes
    return (lateral > 1.5) & (lateral < 3.0) & on_lane & (np.abs(drive.of(drive.world.offsets)) < 0.1)


def high_magnitude_speed(drive: Drive) -> Bools:
    return (drive.speed > 9.0) & (np.abs(drive.acceleration) < 0.4)


def medium_magnitude_speed(drive: Drive) -> Bools:
    return (drive.speed > 4.0) & (drive.speed < 9.0) & (np.abs(drive.acceleration) < 0.4)


def low_magnitude_speed(drive: Drive) -> Bools:
    return (drive.speed > 0.3) & (drive.speed < 1.2)


def traversing_pickup_dropoff(drive: Drive) -> Bools:
    areas = drive.world.recording.network.roadside.pickup_areas
    if not areas:
        return np.zeros(len(drive.speed), bool)
    centers = shapely.points(drive.of(drive.world.boxes)[:, :2])
    distance = np.min(shapely.distance(centers[:, None], np.array(areas)[None]), axis=1)
    return (distance < 4.5) & (drive.speed > 1.0)


def _pedestrian_ahead(drive: Drive, reach: float) -> Bools:
    """A walker on a crosswalk within reach of the front bumper."""
    out = np.zeros(len(drive.speed), bool)
    crosswalks = drive.world.recording.network.map.crosswalks
    boxes = drive.of(drive.world.boxes)
    for k, frame in enumerate(drive.world.recording.frames[drive.frames]):
        if not len(frame.walkers):
            continue
        points = frame.walker_boxes[:, :2]
        front = boxes[k, :2] + boxes[k, 3] / 2 * np.array([np.cos(boxes[k, 2]), np.sin(boxes[k, 2])])
        near = np.hypot(*(points - front).T) < reach
        if near.any():
            ahead = bearings(boxes[k, :3], points[near]) < 1.0
            out[k] = bool(np.any(ahead & crosswalks.contains(points[near])))
    return out


def waiting_for_pedestrian_to_cross(drive: Drive) -> Bools:
    slow = drive.speed < 1.5
    return slow & _pedestrian_ahead(drive, NEAR) if slow.any() else slow


def near_pedestrian_on_crosswalk(drive: Drive) -> Bools:
    return _pedestrian_ahead(drive, NEAR)


def behind_long_vehicle(drive: Drive) -> Bools:
    gap = drive.of(drive.world.gaps)
    return (drive.lead_length() > LONG) & (gap > 3.0) & (gap < 10.0)


def stationary_in_traffic(drive: Drive) -> Bools:
    still = drive.speed < 0.1
    return still & (drive.near_vehicles(moving=False) > CROWD) if still.any() else still


def near_multiple_vehicles(drive: Drive) -> Bools:
    quick = drive.speed > 6.0
    return quick & (drive.near_vehicles(moving=True) > CROWD) if quick.any() else quick


def changing_lane(drive: Drive) -> Bools:
    offset = np.abs(drive.of(drive.world.offsets))
    rider = np.abs(np.gradient(offset)) > 1e-3 if len(offset) > 1 else np.zeros(len(offset), bool)
    return (offset > 1.0) & (offset < 2.6) & rider


def following_lane_with_lead(drive: Drive) -> Bools:
    gap = drive.of(drive.world.gaps)
    return (drive.speed > 3.5) & (drive.lead_value(drive.world.speeds) > 3.5) & (gap < 7.5)


VAL14: dict[str, Callable[[Drive], Bools]] = {
    rule.__name__: rule
    for rule in (
        behind_long_vehicle,
        changing_lane,
        following_lane_with_lead,
        high_lateral_acceleration,
        high_magnitude_speed,
        low_magnitude_speed,
        near_multiple_vehicles,
        starting_left_turn,
        starting_right_turn,
        starting_straight_traffic_light_intersection_traversal,
        stationary_in_traffic,
        stopping_with_lead,
        traversing_pickup_dropoff,
        waiting_for_pedestrian_to_cross,
    )
}
"""The 14 types of nuPlan's challenges and of Val14."""

RULES = VAL14 | {rule.__name__: rule for rule in (medium_magnitude_speed, near_pedestrian_on_crosswalk)}
