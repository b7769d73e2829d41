"""Floor plans of generated homes: rectangular rooms along a corridor, with doors and windows in their walls.

A plan is laid out lengthwise and then mirrored and turned at random. Rooms fill their row exactly; each has a door to
the corridor, the living room at the corridor's end is wider than the rows and opens to it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from embodia.envs.drawing.scene import Array

WALL = 0.12  # thickness of inner walls [m]
OUTER = 0.25  # thickness of outer walls [m]
DOOR_HEIGHT = 2.05  # [m]

RoomKind = Literal["living room", "kitchen", "bathroom", "bedroom", "corridor", "study"]
OpeningKind = Literal["door", "passage", "window", "entrance"]

WIDTHS: dict[str, tuple[float, float]] = {  # least and most, between the middles of the walls [m]
    "kitchen": (2.5, 4.2),
    "bathroom": (1.9, 2.9),
    "bedroom": (2.9, 4.8),
    "study": (2.4, 3.6),
    "living room": (3.9, 5.0),
}


@dataclass(frozen=True)
class Opening:
    """A hole in a wall that runs along `axis` (0 = x, 1 = z) at coordinate `at` of the other axis."""

    kind: OpeningKind
    rooms: tuple[int, int]  # the second is -1 for a door or window to the outside
    axis: int
    at: float  # middle of the wall [m]
    low: float  # where it begins and ends along the wall [m]
    high: float
    bottom: float  # above the floor [m]
    top: float
    outward: int  # sign of the direction, across the wall, that leads out of rooms[0]


@dataclass(frozen=True)
class PlannedRoom:
    """A room's kind and its inner rectangle."""

    kind: RoomKind
    low: tuple[float, float]  # (x, z) [m]
    high: tuple[float, float]

    @property
    def size(self) -> tuple[float, float]:
        return self.high[0] - self.low[0], self.high[1] - self.low[1]

    @property
    def area(self) -> float:
        return self.size[0] * self.size[1]


@dataclass(frozen=True)
class FloorPlan:
    """One storey."""

    rooms: tuple[PlannedRoom, ...]
    openings: tuple[Opening, ...]
    height: float  # of the rooms [m]


@dataclass(frozen=True)
class _Cell:
    """A room between the middles of its walls, before turning: x lengthwise, z across."""

    kind: RoomKind
    x0: float
    z0: float
    x1: float
    z1: float


def draw_floor_plan(rng: np.random.Generator, bedrooms: int) -> FloorPlan:
    """A home with `bedrooms` (1 to 4) bedrooms, a living room, a kitchen, a bathroom or two, and a corridor."""
    one_sided = bedrooms == 1 and rng.random() < 0.5
    rows, length = _rows(rng, bedrooms, one_sided)
    cells = _cells(rng, rows, length, one_sided)
    openings = _doors(rng, cells) + _windows(rng, cells)
    return _turned(rng, cells, openings, height=float(np.round(rng.uniform(2.45, 2.8), 2)))


def _rows(rng: np.random.Generator, bedrooms: int, one_sided: bool) -> tuple[list[list[RoomKind]], float]:
    """The kinds of rooms in each row, lengthwise, and a length that both rows can fill."""
    kinds: list[RoomKind] = ["bathroom"]
    kinds += ["bedroom"] * bedrooms
    if bedrooms >= 3:
        kinds.append("bathroom")
    if bedrooms >= 2 and rng.random() < 0.4:
        kinds.append("study")
    while True:
        order = [kinds[k] for k in rng.permutation(len(kinds))]
        cut = len(order) if one_sided else int(rng.integers(1, len(order) + 1))
        rows: list[list[RoomKind]] = [["kitchen", *order[:cut]], order[cut:]]  # the kitchen lies beside the living room
        if one_sided:
            rows = rows[:1]
        least = max(sum(WIDTHS[kind][0] for kind in row) for row in rows)
        most = min(sum(WIDTHS[kind][1] for kind in row) for row in rows)
        if least <= most:
            return rows, float(rng.uniform(least, least + 0.8 * (most - least)))


def _cells(rng: np.random.Generator, rows: list[list[RoomKind]], length: float, one_sided: bool) -> list[_Cell]:
    """Living room first, then the corridor, then the rows; x runs from the living room along the corridor."""
    corridor = rng.uniform(1.25, 1.6)
    depths = [rng.uniform(2.9, 4.3) for _ in rows]
    living = rng.uniform(*WIDTHS["living room"]) if not one_sided else rng.uniform(4.2, 5.2)
    z1 = depths[0]
    z2 = z1 + corridor
    end = z2 if one_sided else z2 + depths[1]
    cells = [_Cell("living room", 0, 0, living, end), _Cell("corridor", living, z1, living + length, z2)]
    for row, (z_low, z_high) in zip(rows, [(0.0, z1), (z2, end)]):
        x = living
        for kind, width in zip(row, _widths(rng, row, length)):
            cells.append(_Cell(kind, x, z_low, x + width, z_high))
            x += width
    return cells


def _widths(rng: np.random.Generator, row: list[RoomKind], length: float) -> Array:
    """Widths within WIDTHS that add up to `length`."""
    least = np.array([WIDTHS[kind][0] for kind in row])
    spare = np.array([WIDTHS[kind][1] for kind in row]) - least
    share = spare * rng.uniform(0.4, 1.0, len(row))
    for _ in range(20):  # scale, and give what does not fit to the others
        share = np.minimum(share * (length - least.sum()) / max(share.sum(), 1e-9), spare)
    width = least + share
    width[-1] += length - width.sum()
    return width


def _doors(rng: np.random.Generator, cells: list[_Cell]) -> list[Opening]:
    living, corridor = cells[0], cells[1]
    half = WALL / 2
    middle, width = (corridor.z0 + corridor.z1) / 2, float(rng.uniform(0.9, corridor.z1 - corridor.z0 - WALL - 0.1))
    openings = [
        Opening("passage", (0, 1), 1, living.x1, middle - width / 2, middle + width / 2, 0.0, DOOR_HEIGHT, 1),
        Opening("entrance", (1, -1), 1, corridor.x1, middle - 0.45, middle + 0.45, 0.0, DOOR_HEIGHT, 1),
    ]
    for number, cell in enumerate(cells[2:], start=2):
        width = float(rng.choice([0.8, 0.85, 0.9]))
        room = cell.x1 - cell.x0 - WALL - width
        offset = float(rng.uniform(0.12, 0.3)) if rng.random() < 0.75 else room / 2
        low = cell.x0 + half + (offset if rng.random() < 0.5 else room - offset)
        at, outward = (corridor.z0, 1) if cell.z0 < corridor.z0 else (corridor.z1, -1)
        openings.append(Opening("door", (number, 1), 0, at, low, low + width, 0.0, DOOR_HEIGHT, outward))
        if cell.kind == "kitchen" and rng.random() < 0.6:  # open to the living room
            wide = float(rng.uniform(1.0, 1.6))
            start = rng.uniform(cell.z0 + half + 0.75, cell.z1 - half - wide - 0.15)
            openings.append(Opening("passage", (0, number), 1, living.x1, start, start + wide, 0.0, DOOR_HEIGHT, 1))
    return openings


def _windows(rng: np.random.Generator, cells: list[_Cell]) -> list[Opening]:
    """Windows in outer walls: one or two a room, small and high in bathrooms."""
    x_end, z_end = max(cell.x1 for cell in cells), max(cell.z1 for cell in cells)
    openings = []
    for number, cell in enumerate(cells):
        if cell.kind == "corridor":
            continue
        walls = [
            (0, 0.0, -1, cell.x0, cell.x1, cell.z0 == 0),
            (0, z_end, 1, cell.x0, cell.x1, abs(cell.z1 - z_end) < 1e-9),
            (1, 0.0, -1, cell.z0, cell.z1, cell.x0 == 0),
            (1, x_end, 1, cell.z0, cell.z1, abs(cell.x1 - x_end) < 1e-9),
        ]
        outer = [wall for wall in walls if wall[5]]
        wanted = 2 if cell.kind == "living room" else 1
        for k in rng.permutation(len(outer))[:wanted]:
            axis, at, outward, low, high, _ = outer[k]
            openings += _windows_in_wall(rng, cell.kind, number, axis, at, outward, low, high)
    return openings


def _windows_in_wall(
    rng: np.random.Generator, kind: RoomKind, number: int, axis: int, at: float, outward: int, low: float, high: float
) -> list[Opening]:
    length = high - low - 2 * WALL
    if kind == "bathroom":
        width, bottom, top = min(0.7, length / 2), 1.3, 2.0
    else:
        width = float(rng.uniform(1.0, 1.7))
        bottom, top = float(rng.choice([0.8, 0.9, 1.0])), 2.1
        if kind == "kitchen":
            bottom = 1.1
    count = 2 if length > 2 * width + 2.2 else 1
    if length < width + 0.6:
        return []
    place = low + WALL + length * (np.arange(count) + 0.5) / count + rng.uniform(-0.2, 0.2)
    return [
        Opening("window", (number, -1), axis, at, float(p - width / 2), float(p + width / 2), bottom, top, outward)
        for p in place
    ]


def _turned(rng: np.random.Generator, cells: list[_Cell], openings: list[Opening], height: float) -> FloorPlan:
    """Mirror and turn the lengthwise plan, and take the walls off the rooms."""
    mirror = rng.random(2) < 0.5
    swap = rng.random() < 0.5
    end = np.array([max(cell.x1 for cell in cells), max(cell.z1 for cell in cells)])

    def interval(low: float, high: float, axis: int) -> tuple[float, float]:
        return (float(end[axis] - high), float(end[axis] - low)) if mirror[axis] else (float(low), float(high))

    rooms = []
    for cell in cells:
        x, z = interval(cell.x0, cell.x1, 0), interval(cell.z0, cell.z1, 1)
        x, z = (z, x) if swap else (x, z)
        half = WALL / 2
        rooms.append(PlannedRoom(cell.kind, (x[0] + half, z[0] + half), (x[1] - half, z[1] - half)))
    turned = []
    for o in openings:
        low, high = interval(o.low, o.high, o.axis)
        at = interval(o.at, o.at, 1 - o.axis)[0]
        outward = -o.outward if mirror[1 - o.axis] else o.outward
        axis = 1 - o.axis if swap else o.axis
        turned.append(Opening(o.kind, o.rooms, axis, at, low, high, o.bottom, o.top, outward))
    return FloorPlan(tuple(rooms), tuple(turned), height)
