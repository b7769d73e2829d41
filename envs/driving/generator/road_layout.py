"""Where roads and junctions lie: a small town plan by seed, before lanes are added.

A plan is a grid of junctions, bent and turned, with roads between them and long roads that leave at its rim. Everything
is drawn from one generator, so a seed fixes the plan.
"""

import math
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from embodia.envs.driving.generator.road_curves import bend, joint, unit
from embodia.envs.driving.types import Floats

LANE_WIDTH = 3.6  # [m]
MPH = 0.44704  # [m/s]
REFERENCE_STEP = 1.0  # [m] between points of a road's reference line
CROSSWALK_DEPTH = 3.5  # [m] along the road
CROSSWALK_GAP = 1.5  # [m] from the stop line to the crosswalk
JOIN_LENGTH = 16.0  # [m] half of what a lane needs to end or to open
ROUNDABOUT_RADIUS = 19.0  # [m] of the ring lane's middle
ROUNDABOUT_SETBACK = 37.0  # [m] from the centre to the ends of the roads


class JunctionKind(Enum):
    SIGNAL = "signal"
    STOP = "stop"  # all-way stop
    YIELD = "yield"  # the second road gives way to the first
    ROUNDABOUT = "roundabout"
    JOIN = "join"  # two roads in line: lanes may end or open


@dataclass
class Profile:
    """Cross-section of a road: lanes each way, other values in metres."""

    forward: int
    backward: int
    speed_limit: float  # [m/s]
    median: float = 0.0
    shoulder: float = 0.0
    parking: tuple[bool, bool] = (False, False)  # right, left of the reference line

    @property
    def half_width(self) -> float:
        """[m] from the reference line to the farther kerb."""
        return max(self.forward, self.backward) * LANE_WIDTH + self.median / 2 + self.shoulder


@dataclass
class Arm:
    """One road's end at a junction: `heading` points away from the junction."""

    road: int
    at_start: bool  # the road's reference line starts here
    heading: float
    line: int  # which of the junction's two streets it belongs to
    setback: float = 0.0  # [m] from the junction's centre to the road's end


@dataclass
class JunctionPlan:
    kind: JunctionKind
    center: Floats
    tangents: tuple[float, float]  # headings of its two streets
    arms: list[Arm] = field(default_factory=list)
    crosswalks: bool = False


@dataclass
class RoadPlan:
    profile: Profile
    reference: Floats = field(default_factory=lambda: np.zeros((0, 2)))  # (n, 2) from its start to its end
    crosswalk_at: float | None = None  # [0, 1] a crosswalk in mid-road


@dataclass
class Layout:
    roads: list[RoadPlan]
    junctions: list[JunctionPlan]
    pickup: float = 0.3


@dataclass(frozen=True)
class Style:
    """Properties of a town that suit a scenario type."""

    size: tuple[int, int] = (2, 1)  # junctions along, across
    spacing: tuple[float, float] = (125.0, 175.0)  # [m]
    rim: tuple[float, float] = (170.0, 240.0)  # [m] length of the roads that leave
    kinds: tuple[JunctionKind, ...] = (JunctionKind.SIGNAL,)
    lanes: tuple[int, ...] = (1, 2, 3)
    limits_mph: tuple[int, ...] = (25, 25, 30, 30, 35)
    winding: float = 0.2  # [rad] how much streets bend between junctions
    rim_curvature: float = 1 / 150  # [1/m]
    drop_arm: float = 0.3  # chance of a T junction
    lane_change_join: float = 0.3  # chance that a rim road gains or loses a lane
    parking: float = 0.4
    pickup: float = 0.3  # share of the kerbside parking that is a pickup area
    crosswalks: float = 0.8
    mid_crosswalk: float = 0.3
    wide_shoulder: float = 0.4  # chance that cyclists have room beside the lanes


def plan(style: Style, rng: np.random.Generator) -> Layout:
    """A town by style and generator."""
    junctions, streets = _grid(style, rng)
    layout = Layout([], junctions, style.pickup)
    _roads_between(layout, style, streets, rng)
    _roads_at_the_rim(layout, style, streets, rng)
    _set_back(layout)
    _draw_between(layout)
    _draw_rim(layout, style, rng)
    return layout


def _grid(style: Style, rng: np.random.Generator) -> tuple[list[JunctionPlan], dict[tuple[int, int], Profile]]:
    """Junctions in row-major order, and each street's profile by (line, row or column)."""
    along, across = style.size
    turn = rng.uniform(-math.pi, math.pi)
    gaps = [np.concatenate([[0.0], np.cumsum(rng.uniform(*style.spacing, n))]) for n in (along, across)]
    shoulder = 2.0 if rng.random() < style.wide_shoulder else 0.6
    names = [(0, j) for j in range(across)] + [(1, i) for i in range(along)]
    streets = {name: _street(style, shoulder, rng) for name in names}
    junctions = []
    for j in range(across):
        for i in range(along):
            kind = style.kinds[rng.integers(len(style.kinds))]
            spot = np.array([gaps[0][i], gaps[1][j]]) + rng.uniform(-10, 10, 2)
            center = 300.0 + spot @ np.array([unit(turn), unit(turn + math.pi / 2)])
            lean = rng.uniform(-style.winding, style.winding)
            skew = rng.uniform(-0.12, 0.12)
            plan = JunctionPlan(kind, center, (turn + lean, turn + math.pi / 2 + lean + skew))
            plan.crosswalks = kind is not JunctionKind.ROUNDABOUT and rng.random() < style.crosswalks
            junctions.append(plan)
            if kind is JunctionKind.ROUNDABOUT:
                for street in (streets[0, j], streets[1, i]):
                    street.forward = street.backward = 1
                    street.speed_limit = min(street.speed_limit, 30 * MPH)
    return junctions, streets


def _street(style: Style, shoulder: float, rng: np.random.Generator) -> Profile:
    lanes = int(rng.choice(style.lanes))
    backward = lanes if rng.random() < 0.7 else max(1, lanes - 1)
    parking = tuple(bool(p) for p in rng.random(2) < style.parking)
    return Profile(
        forward=lanes,
        backward=backward,
        speed_limit=float(rng.choice(style.limits_mph)) * MPH,
        median=float(rng.choice([0.0, 0.0, 1.2, 2.5])) if lanes > 1 else 0.0,
        shoulder=shoulder,
        parking=(parking[0], parking[1]),
    )


def _roads_between(
    layout: Layout, style: Style, streets: dict[tuple[int, int], Profile], rng: np.random.Generator
) -> None:
    along, across = style.size
    for j in range(across):
        for i in range(along):
            here = j * along + i
            if i + 1 < along:
                _connect(layout, here, here + 1, 0, streets[0, j], style, rng)
            if j + 1 < across:
                _connect(layout, here, here + along, 1, streets[1, i], style, rng)


def _connect(
    layout: Layout, a: int, b: int, line: int, profile: Profile, style: Style, rng: np.random.Generator
) -> None:
    road = len(layout.roads)
    layout.roads.append(RoadPlan(profile, crosswalk_at=0.5 if rng.random() < style.mid_crosswalk else None))
    layout.junctions[a].arms.append(Arm(road, True, layout.junctions[a].tangents[line], line))
    layout.junctions[b].arms.append(Arm(road, False, layout.junctions[b].tangents[line] + math.pi, line))


def _roads_at_the_rim(
    layout: Layout, style: Style, streets: dict[tuple[int, int], Profile], rng: np.random.Generator
) -> None:
    along, across = style.size
    for j in range(across):
        for i in range(along):
            junction = layout.junctions[j * along + i]
            sides = [(0, False, i == along - 1), (0, True, i == 0), (1, False, j == across - 1), (1, True, j == 0)]
            leaving = [(line, behind) for line, behind, at_rim in sides if at_rim]
            if len(junction.arms) + len(leaving) == 4 and leaving[-1][0] == 1 and rng.random() < style.drop_arm:
                leaving.pop()  # a T junction
            for line, behind in leaving:
                road = len(layout.roads)
                layout.roads.append(RoadPlan(streets[line, j if line == 0 else i]))
                heading = junction.tangents[line] + (math.pi if behind else 0.0)
                junction.arms.append(Arm(road, not behind, heading, line))


def _set_back(layout: Layout) -> None:
    """How far from each junction's centre its roads end, so that kerbs round off and crosswalks fit."""
    for junction in layout.junctions:
        for arm in junction.arms:
            if junction.kind is JunctionKind.ROUNDABOUT:
                arm.setback = ROUNDABOUT_SETBACK
                continue
            corners = [_corner(layout, arm, other) for other in junction.arms if other is not arm]
            room = CROSSWALK_GAP + CROSSWALK_DEPTH + 0.5 if junction.crosswalks else 1.0
            arm.setback = max([8.0, *corners]) + room


def _corner(layout: Layout, arm: Arm, other: Arm) -> float:
    """Distance [m] along an arm to where the kerb starts to round off into another arm."""
    angle = abs(math.remainder(other.heading - arm.heading, math.tau))
    if angle > 2.6:
        return 0.0
    half, half_other = layout.roads[arm.road].profile.half_width, layout.roads[other.road].profile.half_width
    return (half_other + half * math.cos(angle)) / math.sin(angle) + 6.5 / math.tan(angle / 2)


def _draw_between(layout: Layout) -> None:
    ends: dict[int, dict[bool, Floats]] = {}
    for junction in layout.junctions:
        for arm in junction.arms:
            point = junction.center + arm.setback * unit(arm.heading)
            heading = arm.heading if arm.at_start else arm.heading + math.pi
            ends.setdefault(arm.road, {})[arm.at_start] = np.append(point, heading)
    for road, poses in ends.items():
        if len(poses) == 2:
            layout.roads[road].reference = joint(poses[True], poses[False], REFERENCE_STEP)


def _draw_rim(layout: Layout, style: Style, rng: np.random.Generator) -> None:
    """Roads that leave the town; on some of them a lane ends or opens half-way."""
    for junction in list(layout.junctions):
        for arm in list(junction.arms):
            if len(layout.roads[arm.road].reference):
                continue
            start = np.append(junction.center + arm.setback * unit(arm.heading), arm.heading)
            knots = rng.uniform(-style.rim_curvature, style.rim_curvature, 4)
            knots[0] = 0.0
            points = bend(start, rng.uniform(*style.rim), knots, REFERENCE_STEP)
            reshape = rng.random() < style.lane_change_join
            if reshape and layout.roads[arm.road].profile.half_width > 2 * LANE_WIDTH:
                _split(layout, arm, points, rng)
            else:
                layout.roads[arm.road].reference = points if arm.at_start else points[::-1]


def _split(layout: Layout, arm: Arm, points: Floats, rng: np.random.Generator) -> None:
    """Cut a rim road in two, the outer part with other lane counts, and join the parts."""
    inner, middle = layout.roads[arm.road], len(points) // 2
    reach = int(JOIN_LENGTH / REFERENCE_STEP)
    profile = inner.profile
    outer = Profile(**{**vars(profile), "forward": _one_off(profile.forward, rng)})
    outer.backward = _one_off(profile.backward, rng) if outer.forward == profile.forward else profile.backward
    first, second = points[: middle - reach + 1], points[middle + reach :]
    heading = math.atan2(*(points[middle + 1] - points[middle - 1])[::-1])
    join = JunctionPlan(JunctionKind.JOIN, points[middle], (heading, heading))
    road = len(layout.roads)
    inner.reference = first if arm.at_start else first[::-1]
    layout.roads.append(RoadPlan(outer, second if arm.at_start else second[::-1]))
    join.arms = [
        Arm(arm.road, not arm.at_start, heading + math.pi, 0, JOIN_LENGTH),
        Arm(road, arm.at_start, heading, 0, JOIN_LENGTH),
    ]
    layout.junctions.append(join)


def _one_off(lanes: int, rng: np.random.Generator) -> int:
    return lanes - 1 if lanes >= 2 and rng.random() < 0.7 else lanes + 1
