"""At-fault collisions and time to collision of a driven history, on arrays of all samples and tracks at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import shapely

from embodia.envs.driving.map.geometry import box_corners, box_polygons, boxes_intersect
from embodia.envs.driving.types import STATIC_TYPES, Bools, Floats, Ints, TrackedObjectType, Tracks

STOPPED_SPEED = 0.05  # [m/s] at or below which ego or track count as stopped in a collision
TTC_STOPPED_SPEED = 0.005  # [m/s] at or below which the ego has no time to collision
AHEAD, BEHIND = np.deg2rad(30), np.deg2rad(150)
TTC_STEP, TTC_HORIZON, TTC_BOUND = 0.1, 3.0, 0.95  # [s]
ALLOWED = {"vrus": 0, "vehicles": 0, "objects": 1}  # at-fault collisions that leave some score
GROUPS = {
    "vrus": (TrackedObjectType.PEDESTRIAN, TrackedObjectType.BICYCLE),
    "vehicles": (TrackedObjectType.VEHICLE,),
    "objects": STATIC_TYPES,
}


class CollisionType(IntEnum):
    STOPPED_EGO = 0
    STOPPED_TRACK = 1
    ACTIVE_FRONT = 2
    ACTIVE_REAR = 3
    ACTIVE_LATERAL = 4


@dataclass(frozen=True)
class TrackTable:
    """Tracks of all samples in one table of P rows; the samples of several drives follow one another."""

    sample: Ints  # (P,)
    track: Ints  # (P,) numbers of distinct track tokens
    types: Ints  # (P,)
    boxes: Floats  # (P, 5)
    speed: Floats  # (P,) [m/s], zero for static types
    tokens: list[str]  # of the track numbers

    @classmethod
    def of(cls, drives: Sequence[Sequence[Tracks]]) -> "TrackTable":
        """Of the frames of several drives, one after another: a token names another track in each of them."""
        tokens: list[str] = []
        columns: list[Ints] = []
        frames = [frame for drive in drives for frame in drive]
        for drive in drives:
            numbers: dict[str, int] = {}
            known: dict[tuple[str, ...], Ints] = {}
            for frame in drive:
                if frame.tokens not in known:
                    for token in frame.tokens:
                        numbers.setdefault(token, len(tokens) + len(numbers))
                    known[frame.tokens] = np.array([numbers[token] for token in frame.tokens], np.int64)
                columns.append(known[frame.tokens])
            tokens += numbers
        types = np.concatenate([f.types for f in frames]).astype(np.int64)
        velocities = np.concatenate([f.velocities for f in frames])
        speed = np.where(np.isin(types, STATIC_TYPES), 0.0, np.hypot(velocities[:, 0], velocities[:, 1]))
        sample = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
        boxes = np.concatenate([f.boxes for f in frames])
        return cls(sample, np.concatenate(columns), types, boxes, speed, tokens)


@dataclass(frozen=True)
class Collisions:
    """First contacts of the ego with C tracks."""

    sample: Ints  # (C,)
    track: Ints  # (C,)
    types: Ints  # (C,) TrackedObjectType
    kind: Ints  # (C,) CollisionType
    at_fault: Bools  # (C,)
    delta_v: Floats  # (C,) [m/s] loss of ego speed, equal masses

    def of_samples(self, samples: slice) -> "Collisions":
        """Those of a stretch of samples, which then begin at 0."""
        mine = (self.sample >= samples.start) & (self.sample < samples.stop)
        rest = (each[mine] for each in (self.track, self.types, self.kind, self.at_fault, self.delta_v))
        return Collisions(self.sample[mine] - samples.start, *rest)

    def score(self) -> float:
        """Product over groups of max(0, 1 - n / (allowed + 1))."""
        score = 1.0
        for group, types in GROUPS.items():
            count = int(np.sum(self.at_fault & np.isin(self.types, types)))
            score *= max(0.0, 1 - count / (ALLOWED[group] + 1))
        return score


def relative_angles(poses: Floats, points: Floats) -> Floats:
    """Unsigned angles (P,) between the headings of poses (P, 3) and the directions to points (P, 2).

    The arc cosine of a dot product that rounds beyond 1 is NaN, and a NaN is neither ahead nor behind: so it is in
    the devkit, and so it is here, with the same arithmetic where it matters.
    """
    offset = points - poses[:, :2]
    facing = np.stack([np.cos(poses[:, 2]), np.sin(poses[:, 2])], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        dot = np.sum(facing * offset / np.hypot(offset[:, 0], offset[:, 1])[:, None], axis=1)
        for row in np.flatnonzero(np.abs(dot) > 1 - 1e-12):
            dot[row] = np.dot(facing[row], offset[row] / np.linalg.norm(offset[row]))
        return np.arccos(dot)


def overlaps(a: Floats, b: Floats) -> Bools:
    """Whether boxes a and b (P, 5) intersect, boxes far apart are skipped first."""
    reach = (np.hypot(a[:, 3], a[:, 4]) + np.hypot(b[:, 3], b[:, 4])) / 2
    hit = np.hypot(a[:, 0] - b[:, 0], a[:, 1] - b[:, 1]) < reach
    hit[hit] = boxes_intersect(a[hit], b[hit])
    return hit


def find_collisions(
    rear_axles: Floats, ego_boxes: Floats, ego_speed: Floats, in_lanes: Bools, table: TrackTable
) -> Collisions:
    """First contact with every track, and whether it is the ego's fault.

    rear_axles (K, 3), ego_boxes (K, 5), ego_speed (K,), in_lanes (K,): all corners in one lane or connected lanes.
    """
    hits = np.flatnonzero(overlaps(ego_boxes[table.sample], table.boxes))
    _, first = np.unique(table.track[hits], return_index=True)  # samples are in order, so the first is the earliest
    rows = np.sort(hits[first])
    sample, boxes, speed = table.sample[rows], table.boxes[rows], table.speed[rows]
    kind = classify(rear_axles[sample], ego_boxes[sample], ego_speed[sample], boxes, speed)
    at_fault = np.isin(kind, (CollisionType.STOPPED_TRACK, CollisionType.ACTIVE_FRONT))
    at_fault |= (kind == CollisionType.ACTIVE_LATERAL) & ~in_lanes[sample]
    v, turn = ego_speed[sample], rear_axles[sample, 2] - boxes[:, 2]
    delta_v = 0.5 * np.sqrt(np.maximum(v**2 + speed**2 - 2 * v * speed * np.cos(turn), 0.0))
    return Collisions(sample, table.track[rows], table.types[rows], kind, at_fault, delta_v)


def classify(rear_axles: Floats, ego_boxes: Floats, ego_speed: Floats, boxes: Floats, speed: Floats) -> Ints:
    """CollisionType (C,) at first contact."""
    kind = np.full(len(boxes), CollisionType.ACTIVE_LATERAL, np.int64)
    corners = box_corners(ego_boxes)
    bumpers = shapely.linestrings(corners[:, [0, 3]]) if len(boxes) else np.zeros(0, object)
    kind[shapely.intersects(bumpers, box_polygons(boxes))] = CollisionType.ACTIVE_FRONT
    kind[relative_angles(rear_axles, boxes[:, :2]) > BEHIND] = CollisionType.ACTIVE_REAR
    kind[speed <= STOPPED_SPEED] = CollisionType.STOPPED_TRACK
    kind[ego_speed <= STOPPED_SPEED] = CollisionType.STOPPED_EGO
    return kind


def time_to_collision(
    rear_axles: Floats,
    ego_boxes: Floats,
    ego_speed: Floats,
    in_lanes: Bools,
    in_intersection: Bools,
    table: TrackTable,
    collisions: Collisions,
) -> Floats:
    """(K,) [s] until boxes moved on at constant speed along their headings meet, inf if not within 3 s.

    in_intersection (K,): of the rear axle. Zero at an at-fault collision.
    """
    ttc = np.full(len(ego_boxes), np.inf)
    rows = relevant_rows(rear_axles, ego_speed, ~in_lanes | in_intersection, table, collisions)
    sample = table.sample[rows]
    ego, other = ego_boxes[sample], table.boxes[rows]
    ego_step, other_step = steps(ego, ego_speed[sample]), steps(other, table.speed[rows])
    reach = TTC_HORIZON / TTC_STEP
    meet = np.flatnonzero(overlaps(swept(ego, ego_step, reach), swept(other, other_step, reach)))
    for step, after in enumerate(np.arange(TTC_STEP, TTC_HORIZON, TTC_STEP), start=1):
        hit = overlaps(
            moved(ego[meet], step * ego_step[meet]),
            moved(other[meet], step * other_step[meet]),
        )
        np.minimum.at(ttc, sample[meet[hit]], after)
        meet = meet[~np.isfinite(ttc[sample[meet]])]
    ttc[collisions.sample[collisions.at_fault]] = 0.0
    return ttc


def relevant_rows(
    rear_axles: Floats, ego_speed: Floats, watch_sides: Bools, table: TrackTable, collisions: Collisions
) -> Ints:
    """Rows of tracks ahead; where sides are watched (K,) also those not behind; collided tracks are skipped."""
    collided_at = np.full(len(table.tokens), np.iinfo(np.int64).max)
    collided_at[collisions.track] = collisions.sample
    angle = relative_angles(rear_axles[table.sample], table.boxes[:, :2])
    ahead = angle < AHEAD
    # "not behind" includes the NaN of a dot product that rounds beyond 1
    beside = watch_sides[table.sample] & ~(angle > BEHIND)
    moving = ego_speed[table.sample] > TTC_STOPPED_SPEED
    return np.flatnonzero((ahead | beside) & moving & (table.sample < collided_at[table.track]))


def steps(boxes: Floats, speed: Floats) -> Floats:
    """Displacements (P, 2) [m] per TTC step."""
    travel = speed * TTC_STEP
    return np.stack([travel * np.cos(boxes[:, 2]), travel * np.sin(boxes[:, 2])], axis=1)


def moved(boxes: Floats, by: Floats) -> Floats:
    boxes = boxes.copy()
    boxes[:, :2] += by
    return boxes


def swept(boxes: Floats, step: Floats, num_steps: float) -> Floats:
    """Boxes stretched over `num_steps` steps of movement along their headings."""
    boxes = moved(boxes, num_steps / 2 * step)
    boxes[:, 3] += np.hypot(step[:, 0], step[:, 1]) * num_steps
    return boxes
