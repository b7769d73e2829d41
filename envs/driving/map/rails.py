"""Paths that vehicles follow like rails, and the plane geometry along them, compiled.

What GEOS decides in the devkit (which polygons touch a corridor, how far two footprints are apart) is decided here by
plain segment arithmetic wherever the answer is beyond doubt; the doubtful rest is handed back to GEOS by the caller.
"""

import math

import numpy as np

from embodia.envs.compiled import cached
from embodia.envs.driving.map.segments import chain_distance, closest, in_ring, side
from embodia.envs.driving.types import Floats, Ints

OUTSIDE, INSIDE, DOUBTFUL = 0, 1, 2
SLACK = 0.02  # share of a buffer's radius by which GEOS may simplify it, doubled
STRAIGHT = 1e-9  # [m] of deviation below which a strip is a rectangle
SHORT = 0.011  # radii; GEOS simplifies a line by less than a hundredth of them before it buffers it
OFFSET_SEPARATION = 1e-3  # radii between the offset segments at a bend below which GEOS joins them in one corner
FILLET = math.pi / 32  # [rad] of an arc's pieces, 16 of them a quarter circle
LONGEST_BEND = 36  # corners at most, with the one after it


class RailPath:
    """A polyline that remembers progress from its first node: poses are linear between nodes.

    The last of the given poses is dropped, and so are repeated ones, as the devkit's create_path_from_se2 does.
    """

    def __init__(self, poses: Floats):
        steps = np.diff(poses[:, :2], axis=0)
        lengths = np.hypot(steps[:, 0], steps[:, 1])
        keep = np.flatnonzero(lengths > 1e-8)
        if len(keep) < 2:
            keep = np.array([0, len(poses) - 1])  # too short to lose its end
        self.s = np.concatenate([[0.0], np.cumsum(lengths)])[keep]  # (n,) [m]
        self.nodes = poses[keep].copy()  # (n, 3)
        self.nodes[:, 2] = np.unwrap(self.nodes[:, 2])
        self.start, self.end = float(self.s[0]), float(self.s[-1])  # [m]

    def get_state(self) -> dict[str, Floats]:
        return {"s": self.s, "nodes": self.nodes}

    @classmethod
    def of_state(cls, state: dict[str, Floats]) -> "RailPath":
        """The path that `get_state` described."""
        path = cls.__new__(cls)
        path.s, path.nodes = state["s"], state["nodes"]
        path.start, path.end = float(path.s[0]), float(path.s[-1])
        return path

    def clamp(self, progress: float) -> float:
        return max(self.start, min(progress, self.end))

    def pose_at(self, progress: float) -> Floats:
        """(3,) at a progress within the path; heading not wrapped."""
        return np.asarray(pose_on(self.s, self.nodes, progress))

    def after(self, progress: float) -> Floats:
        """Poses (m, 3) from a progress to the end."""
        return np.asarray(rest_of(self.s, self.nodes, progress))

    def between(self, start: float, end: float) -> Floats:
        """Poses (m, 3) from one progress to another."""
        return np.asarray(stretch_of(self.s, self.nodes, start, end))


@cached
def nodes_until(s: Floats, progress: float, inclusive: bool) -> int:
    """How many entries of an increasing array come before a value, or up to it."""
    low, high = 0, len(s)
    while low < high:
        middle = (low + high) // 2
        if s[middle] < progress or (inclusive and s[middle] == progress):
            low = middle + 1
        else:
            high = middle
    return low


@cached
def pose_on(s: Floats, nodes: Floats, progress: float) -> Floats:
    high = min(max(nodes_until(s, progress, False), 1), len(s) - 1)
    share = (progress - s[high - 1]) / (s[high] - s[high - 1])
    return nodes[high - 1] + share * (nodes[high] - nodes[high - 1])


@cached
def rest_of(s: Floats, nodes: Floats, progress: float) -> Floats:
    first = nodes_until(s, progress, True)
    if first == len(s):
        return nodes[-2:].copy()
    out = np.empty((len(s) - first + 1, 3))
    out[0] = pose_on(s, nodes, progress)
    out[1:] = nodes[first:]
    return out


@cached
def stretch_of(s: Floats, nodes: Floats, start: float, end: float) -> Floats:
    first, last = nodes_until(s, start, True), nodes_until(s, end, False)
    if first == len(s):
        return nodes[-2:].copy()
    if last == 0:
        return nodes[:2].copy()
    inner = max(last - first, 0)
    out = np.empty((inner + 2, 3))
    out[0], out[-1] = pose_on(s, nodes, start), pose_on(s, nodes, end)
    out[1:-1] = nodes[first : first + inner]
    return out


@cached
def well_inside(px: float, py: float, line: Floats, radius: float) -> bool:
    """Whether a point is within `radius` of a line and beside it: nearest neither to its start nor to its end."""
    last = len(line) - 1
    best, beside = radius * radius, False
    for i in range(1, len(line)):
        ax, ay, bx, by = line[i - 1, 0], line[i - 1, 1], line[i, 0], line[i, 1]
        if min(ax, bx) - radius > px or max(ax, bx) + radius < px:
            continue
        if min(ay, by) - radius > py or max(ay, by) + radius < py:
            continue
        distance2, where = closest(px, py, ax, ay, bx, by)
        if distance2 < best:
            best, beside = distance2, not ((i == 1 and where == 0) or (i == last and where == 1))
    return beside


@cached
def reach_along(
    line: Floats, closed: bool, radius: float, x: float, y: float, hx: float, hy: float, farthest: bool
) -> float:
    """Largest (farthest) or smallest extent of a chain's flat-ended buffer along a direction (hx, hy) from (x, y)."""
    best = -np.inf if farthest else np.inf
    for i in range(0 if closed else 1, len(line)):
        ax, ay, bx, by = line[i - 1, 0] - x, line[i - 1, 1] - y, line[i, 0] - x, line[i, 1] - y
        length = np.hypot(bx - ax, by - ay)
        sideways = radius * abs((bx - ax) * hy - (by - ay) * hx) / length if length > 0 else radius
        first, second = ax * hx + ay * hy, bx * hx + by * hy
        if farthest:
            best = max(best, max(first, second) + sideways)
        else:
            best = min(best, min(first, second) - sideways)
    return best


@cached
def beyond_an_end(line: Floats, radius: float, shape: Floats, closed: bool, shape_radius: float) -> bool:
    """Whether the flat end at the line's start or end separates the corridor from the shape."""
    margin = SLACK * shape_radius + 1e-6
    for end in range(2):
        k, inner = (0, 1) if end == 0 else (len(line) - 1, len(line) - 2)
        hx, hy = line[inner, 0] - line[k, 0], line[inner, 1] - line[k, 1]
        length = np.hypot(hx, hy)
        if length == 0:
            continue
        hx, hy = hx / length, hy / length
        if reach_along(shape, closed, shape_radius, line[k, 0], line[k, 1], hx, hy, True) > -margin:
            continue
        if reach_along(line, False, radius, line[k, 0], line[k, 1], hx, hy, False) > -1e-9:
            return True
    return False


@cached
def touches_corridor(line: Floats, radius: float, shape: Floats, closed: bool, shape_radius: float) -> int:
    """Whether a shape touches the flat-ended buffer of a line: OUTSIDE, INSIDE or DOUBTFUL.

    The shape is a polygon (its ring, closed, shape_radius 0) or itself the buffer of an open line.
    """
    limit = (radius + shape_radius) * (1 + SLACK) + 1e-6
    if closed and in_ring(line[0, 0], line[0, 1], shape):
        return INSIDE
    if chain_distance(line, False, shape, closed, limit) > limit:
        return OUTSIDE
    for k in range(len(shape)):
        if well_inside(shape[k, 0], shape[k, 1], line, radius * (1 - SLACK)):
            return INSIDE
    return OUTSIDE if beyond_an_end(line, radius, shape, closed, shape_radius) else DOUBTFUL


@cached
def search_corridor(
    line: Floats, radius: float, corners: Floats, bounds: Floats, strips: Floats, counts: Ints, widths: Floats, own: int
) -> tuple[Ints, Floats]:
    """For each of M items whether it touches the corridor around a line, and a lower bound of its gap to `own` [m].

    corners (M, 4, 2) of the items' boxes, bounds (M, 4) of all they cover; the first n items are vehicles with strips
    (n, L, 2) of `counts` (n,) points ahead of them, `widths` (n,) wide. `own` itself is OUTSIDE.
    """
    answers, gaps = np.zeros(len(corners), np.int64), np.zeros(len(corners))
    low_x, low_y = line[:, 0].min() - radius, line[:, 1].min() - radius
    high_x, high_y = line[:, 0].max() + radius, line[:, 1].max() + radius
    for i in range(len(corners)):
        apart = bounds[i, 0] > high_x or bounds[i, 1] > high_y or bounds[i, 2] < low_x or bounds[i, 3] < low_y
        if i == own or apart or not near_line(line, radius, bounds[i]):
            continue
        answer = touches_corridor(line, radius, corners[i], True, 0.0)
        if answer != INSIDE and i < len(strips) and counts[i] > 0:
            answer = combine(
                answer, touches_corridor(line, radius, strips[i, : counts[i]].copy(), False, widths[i] / 2)
            )
        answers[i], gaps[i] = answer, bounds_gap(bounds[own], bounds[i])
    return answers, gaps


@cached
def bounds_gap(a: Floats, b: Floats) -> float:
    """Distance [m] between two upright rectangles (4,)."""
    x = max(0.0, a[0] - b[2], b[0] - a[2])
    y = max(0.0, a[1] - b[3], b[1] - a[3])
    return np.hypot(x, y)


@cached
def near_line(line: Floats, radius: float, bounds: Floats) -> bool:
    """Whether any segment's own bounds, widened by the radius, meet an item's bounds (4,)."""
    reach = radius * (1 + SLACK) + 1e-6
    for i in range(1, len(line)):
        ax, ay, bx, by = line[i - 1, 0], line[i - 1, 1], line[i, 0], line[i, 1]
        across = min(ax, bx) - reach <= bounds[2] and max(ax, bx) + reach >= bounds[0]
        if across and min(ay, by) - reach <= bounds[3] and max(ay, by) + reach >= bounds[1]:
            return True
    return False


@cached
def combine(a: int, b: int) -> int:
    """Of a union: INSIDE if either part is, OUTSIDE if both are."""
    if a == INSIDE or b == INSIDE:
        return INSIDE
    return DOUBTFUL if a == DOUBTFUL or b == DOUBTFUL else OUTSIDE


@cached
def rectangle_around(strip: Floats, radius: float) -> Floats:
    """Ring (4, 2) of a strip's flat-ended buffer if it is straight, else empty (0, 2)."""
    start, end = strip[0], strip[-1]
    length = np.hypot(end[0] - start[0], end[1] - start[1])
    for k in range(1, len(strip) - 1):
        if abs(side(start[0], start[1], end[0], end[1], strip[k, 0], strip[k, 1])) > STRAIGHT * length:
            return np.empty((0, 2))
    if length == 0:
        return np.empty((0, 2))
    left = np.array([start[1] - end[1], end[0] - start[0]]) * (radius / length)
    ring = np.empty((4, 2))
    ring[0], ring[1], ring[2], ring[3] = start + left, end + left, end - left, start - left
    return ring


@cached
def place_vehicle(pose: Floats, length: float, width: float, strip: Floats, corners: Floats, bounds: Floats) -> None:
    """Write the corners (4, 2) of a box and the bounds (4,) of box and strip ahead."""
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    for k in range(4):
        forward = length / 2 if k in (0, 3) else -length / 2
        left = width / 2 if k < 2 else -width / 2
        corners[k, 0] = pose[0] + forward * cos - left * sin
        corners[k, 1] = pose[1] + forward * sin + left * cos
    for axis in range(2):
        bounds[axis], bounds[axis + 2] = corners[:, axis].min(), corners[:, axis].max()
        if len(strip):
            bounds[axis] = min(bounds[axis], strip[:, axis].min() - width / 2)
            bounds[axis + 2] = max(bounds[axis + 2], strip[:, axis].max() + width / 2)


@cached
def strip_outline(strip: Floats, radius: float, out: Floats) -> int:
    """Write the ring of a strip's flat-ended buffer as GEOS builds it: its number of corners, 0 where GEOS must do it.

    strip (k, 2), out (o, 2). Both sides are offset: at an outer bend an arc of 5.6 degrees a piece, at an inner one
    the point where the offset segments cross. Pieces so short that these do not cross, or that GEOS would simplify, are
    left to it.
    """
    count = 0
    for turned in range(2):
        line = strip if turned == 0 else strip[::-1]
        last = len(line) - 1
        ax, ay = 0.0, 0.0  # normal of the segment before
        for k in range(last):
            dx, dy = line[k + 1, 0] - line[k, 0], line[k + 1, 1] - line[k, 1]
            length = math.hypot(dx, dy)
            if length < SHORT * radius or count > len(out) - LONGEST_BEND:
                return 0
            bx, by = -dy / length * radius, dx / length * radius
            x, y = line[k, 0], line[k, 1]
            if k > 0:
                turn = ax * by - ay * bx
                if turn > 0:  # to the left, the side that is offset: an inner bend
                    # the offset segments meet where both are a radius away, before either ends
                    share = 1.0 + (ax * bx + ay * by) / radius**2
                    cx, cy = (ax + bx) / share, (ay + by) / share
                    back = math.hypot(cx - bx, cy - by)
                    before = math.hypot(x - line[k - 1, 0], y - line[k - 1, 1])
                    if back >= 0.5 * min(length, before):
                        return 0
                    out[count, 0], out[count, 1] = x + cx, y + cy
                    count += 1
                elif turn < 0:
                    count = bend(out, count, x, y, ax, ay, bx, by, radius)
                # straight on: no corner
            else:
                out[count, 0], out[count, 1] = x + bx, y + by
                count += 1
            ax, ay = bx, by
        out[count, 0], out[count, 1] = line[last, 0] + ax, line[last, 1] + ay
        count += 1
    return count


@cached
def bend(out: Floats, count: int, x: float, y: float, ax: float, ay: float, bx: float, by: float, radius: float) -> int:
    """Write the outer bend around (x, y) from one normal to another: how many corners there are then."""
    out[count, 0], out[count, 1] = x + ax, y + ay
    count += 1
    if math.hypot(bx - ax, by - ay) < OFFSET_SEPARATION * radius:
        return count
    start, end = math.atan2(ay, ax), math.atan2(by, bx)
    if start <= end:
        start += 2 * math.pi
    pieces = int((start - end) / FILLET + 0.5)
    for piece in range(1, pieces):
        angle = start - piece * (start - end) / pieces
        out[count, 0], out[count, 1] = x + radius * math.cos(angle), y + radius * math.sin(angle)
        count += 1
    out[count, 0], out[count, 1] = x + bx, y + by
    return count + 1
