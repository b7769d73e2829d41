"""A laser scanner on roads: ranges and object ids of N scenes in one compiled call.

A scanner turns about the vertical axis: every one of its `azimuths` directions has one beam for each elevation. Beams
meet upright boxes, vertical walls and the ground. Each object is tested only against the directions that it spans.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled
from embodia.envs.driving.sensors.solids import GROUND, NOTHING, SOLID
from embodia.envs.driving.types import Floats
from embodia.envs.driving.vehicle.bicycle import PACIFICA

Singles = NDArray[np.float32]
Ids = NDArray[np.int32]
WALL = 5  # columns of a wall: x0, y0, x1, y1, height


@dataclass(frozen=True)
class LaserScanner:
    """Geometry of a scanner.

    Raises:
        ValueError: If a number is not finite or out of range.
    """

    azimuths: int = 360
    """Number of directions, evenly spaced counter-clockwise from straight ahead."""
    elevations: tuple[float, ...] = (0.0,)
    """Elevations of the beams in degrees; negative ones point at the ground. One elevation is a 2-D scanner."""
    max_range: float = 80.0
    """Range in metres beyond which nothing returns."""
    height: float = 1.0
    """Height above the ground in metres."""
    forward: float = PACIFICA.rear_axle_to_center
    """Position in metres ahead of the rear axle."""

    def __post_init__(self) -> None:
        if self.azimuths < 1:
            raise ValueError(f"laser: azimuths is {self.azimuths}; use at least 1")
        if not self.elevations or not all(-90 < each < 90 for each in self.elevations):
            raise ValueError(f"laser: elevations are {self.elevations} degrees; each must be between -90 and 90")
        if not (0 < self.max_range < np.inf and 0 < self.height < np.inf and np.isfinite(self.forward)):
            raise ValueError(
                f"laser: max_range {self.max_range} m and height {self.height} m must be positive, "
                f"forward {self.forward} m finite"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(elevations, azimuths)"""
        return len(self.elevations), self.azimuths

    def mounted(self, poses: Floats) -> Floats:
        """Return the scanner's poses (N, 3) on egos whose rear axles are at poses (N, >= 3)."""
        ahead = self.forward * np.stack([np.cos(poses[:, 2]), np.sin(poses[:, 2])], axis=-1)
        return np.column_stack([poses[:, :2] + ahead, poses[:, 2]])

    def directions(self) -> Floats:
        """Return unit vectors (elevations, azimuths, 3) of the beams in the scanner's frame: x ahead, y left, z up."""
        turn = 2 * np.pi * np.arange(self.azimuths) / self.azimuths
        tilt = np.radians(self.elevations)[:, None]
        flat = [np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn)]
        return np.stack([*flat, np.broadcast_to(np.sin(tilt), self.shape)], axis=-1)


def scan(
    scanner: LaserScanner, poses: Floats, solids: Floats, solid_ids: NDArray[Any], walls: Floats, wall_ids: NDArray[Any]
) -> tuple[Singles, Ids]:
    """Scan N scenes.

    Args:
        scanner: The scanner.
        poses: Its positions and headings (N, 3) [m, rad].
        solids: Upright boxes (N, M, 7), see `solids`.
        solid_ids: Their object ids (N, M); rows with id 0 are padding. A box around the scanner itself is not seen.
        walls: Vertical walls (N, W, 5): x0, y0, x1, y1 [m] and height [m] above the ground.
        wall_ids: Their object ids (N, W); rows with id 0 are padding.

    Returns:
        Ranges (N, elevations, azimuths) float32 [m] along the beams, `max_range` where nothing returns, and the ids of
        the objects hit, int32: GROUND for the ground, NOTHING for no return.

    Raises:
        ValueError: If shapes do not fit, or a pose, solid or wall is not finite.
    """
    count = len(poses)
    shapes = {"poses": (poses, (count, 3)), "solids": (solids, (*solid_ids.shape, SOLID))}
    shapes |= {"walls": (walls, (*wall_ids.shape, WALL))}
    for name, (array, shape) in shapes.items():
        if array.shape != shape or len(array) != count:
            raise ValueError(f"laser: {name} have shape {array.shape}; expected {(count, *shape[1:])}")
        if not np.isfinite(array).all():
            raise ValueError(f"laser: {name} of scene {int(np.argwhere(~np.isfinite(array))[0][0])} are not finite")
    ranges = np.empty((count, *scanner.shape), np.float32)
    ids = np.empty((count, *scanner.shape), np.int32)
    tilt = np.radians(np.array(scanner.elevations))
    _scan(
        np.ascontiguousarray(poses, np.float64), np.ascontiguousarray(solids, np.float64),
        np.ascontiguousarray(solid_ids, np.int32), np.ascontiguousarray(walls, np.float64),
        np.ascontiguousarray(wall_ids, np.int32), np.tan(tilt), 1 / np.cos(tilt), scanner.height, scanner.max_range,
        ranges, ids,
    )  # fmt: skip
    return ranges, ids


def returns(scanner: LaserScanner, ranges: Singles) -> Floats:
    """Return the points (..., elevations, azimuths, 3) [m] of ranges (..., elevations, azimuths).

    They are in the scanner's frame, with the ground at z = -height; NaN where nothing returned.
    """
    points = scanner.directions() * ranges[..., None].astype(np.float64)
    points[ranges >= np.float32(scanner.max_range)] = np.nan
    return points


# Below, distances along a beam are horizontal: `plan` times 1 / cos(elevation) is the range.


@compiled
def _scan(  # type: ignore[no-untyped-def]
    poses, solids, solid_ids, walls, wall_ids, slopes, stretch, height, max_range, ranges, ids
):
    azimuths = ranges.shape[2]
    cosines, sines = np.empty(azimuths), np.empty(azimuths)
    for n in range(len(poses)):
        for k in range(azimuths):
            turn = poses[n, 2] + 2 * np.pi * k / azimuths
            cosines[k], sines[k] = np.cos(turn), np.sin(turn)
        _scan_ground(slopes, stretch, height, max_range, ranges[n], ids[n])
        for m in range(solids.shape[1]):
            if solid_ids[n, m] != NOTHING:
                _scan_box(
                    poses[n], solids[n, m], solid_ids[n, m], cosines, sines, slopes, stretch, height, max_range,
                    ranges[n], ids[n],
                )  # fmt: skip
        for w in range(walls.shape[1]):
            if wall_ids[n, w] != NOTHING:
                _scan_wall(
                    poses[n], walls[n, w], wall_ids[n, w], cosines, sines, slopes, stretch, height, max_range,
                    ranges[n], ids[n],
                )  # fmt: skip


@compiled
def _scan_ground(slopes, stretch, height, max_range, ranges, ids):  # type: ignore[no-untyped-def]
    for e in range(len(slopes)):
        reach = -height / slopes[e] * stretch[e] if slopes[e] < 0 else np.inf
        ranges[e] = min(reach, max_range)
        ids[e] = GROUND if reach < max_range else NOTHING


@compiled
def _span(pose, x, y, radius, azimuths):  # type: ignore[no-untyped-def]
    """First direction and number of directions that a disc may span."""
    away = np.sqrt(x * x + y * y)
    if away <= radius:
        return 0, azimuths
    middle = np.arctan2(y, x) - pose[2]
    half = np.arcsin(radius / away)
    unit = 2 * np.pi / azimuths
    first = int(np.floor((middle - half) / unit))
    last = int(np.ceil((middle + half) / unit))
    return first, min(last - first + 1, azimuths)


@compiled
def _scan_box(  # type: ignore[no-untyped-def]
    pose, solid, name, cosines, sines, slopes, stretch, height, max_range, ranges, ids
):
    x, y = solid[0] - pose[0], solid[1] - pose[1]
    half_length, half_width, bottom, top = 0.5 * solid[3], 0.5 * solid[4], solid[5], solid[6]
    radius = np.sqrt(half_length * half_length + half_width * half_width)
    if np.sqrt(x * x + y * y) - radius > max_range:
        return
    cos, sin = np.cos(solid[2]), np.sin(solid[2])
    start_x, start_y = -(cos * x + sin * y), sin * x - cos * y  # the scanner in the box's frame
    first, count = _span(pose, x, y, radius, len(cosines))
    for step in range(first, first + count):
        k = step % len(cosines)
        along, across = cos * cosines[k] + sin * sines[k], cos * sines[k] - sin * cosines[k]
        enter, leave = _slab(start_x, along, half_length, -np.inf, np.inf)
        enter, leave = _slab(start_y, across, half_width, enter, leave)
        if enter > leave or leave < 0:
            continue
        for e in range(len(slopes)):
            plan = _side_or_lid(enter, leave, slopes[e], height, bottom, top)
            reach = plan * stretch[e]
            if reach < ranges[e, k]:
                ranges[e, k], ids[e, k] = reach, name


@compiled
def _slab(start, direction, half, enter, leave):  # type: ignore[no-untyped-def]
    """Narrow an interval along a ray to the part between two parallel sides."""
    if direction == 0.0:
        return (enter, leave) if abs(start) <= half else (np.inf, -np.inf)
    one, other = (-half - start) / direction, (half - start) / direction
    return max(enter, min(one, other)), min(leave, max(one, other))


@compiled
def _side_or_lid(enter, leave, slope, height, bottom, top):  # type: ignore[no-untyped-def]
    """Horizontal distance at which a beam meets a box above the interval from `enter` to `leave`; inf if it misses."""
    begin = max(enter, 0.0)
    z = height + slope * begin
    if bottom <= z <= top:
        return enter if enter >= 0 else np.inf  # from inside a box, nothing of it is seen
    lid = top if z > top else bottom
    if (z > top) != (slope < 0) or slope == 0.0:
        return np.inf
    plan = (lid - height) / slope
    return plan if plan <= leave else np.inf


@compiled
def _scan_wall(  # type: ignore[no-untyped-def]
    pose, wall, name, cosines, sines, slopes, stretch, height, max_range, ranges, ids
):
    x, y = wall[0] - pose[0], wall[1] - pose[1]
    along_x, along_y = wall[2] - wall[0], wall[3] - wall[1]
    radius = 0.5 * np.sqrt(along_x * along_x + along_y * along_y)
    middle_x, middle_y = x + 0.5 * along_x, y + 0.5 * along_y
    if np.sqrt(middle_x * middle_x + middle_y * middle_y) - radius > max_range:
        return
    first, count = _span(pose, middle_x, middle_y, radius, len(cosines))
    for step in range(first, first + count):
        k = step % len(cosines)
        turned = cosines[k] * along_y - sines[k] * along_x
        if turned == 0.0:  # the beam is parallel to the wall
            continue
        plan = (x * along_y - y * along_x) / turned
        share = (x * sines[k] - y * cosines[k]) / turned
        if plan < 0 or share < 0 or share > 1:
            continue
        for e in range(len(slopes)):
            z = height + slopes[e] * plan
            reach = plan * stretch[e]
            if 0 <= z <= wall[4] and reach < ranges[e, k]:
                ranges[e, k], ids[e, k] = reach, name
