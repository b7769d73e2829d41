"""The rooms themselves: floors, walls with their thickness, ceilings, doors and windows of a floor plan."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from embodia.envs.drawing.scene import Array
from embodia.envs.homes.generator.floor_plan import OUTER, WALL, FloorPlan, Opening, PlannedRoom
from embodia.envs.homes.generator.lighting import Lights
from embodia.envs.homes.generator.mesh_builder import MeshBuilder
from embodia.envs.homes.generator.texture import Material, tinted

SIDE_YAW = (0.0, np.pi, np.pi / 2, -np.pi / 2)
"""How a thing is turned that stands with its back to the wall at low z, high z, low x, high x."""

TRIM = Material("plain", (0.97, 0.97, 0.95))
CEILING = Material("plaster", (1.0, 1.0, 0.995), 2.0)
WALL_TINTS = [(0.97, 0.95, 0.91), (0.93, 0.94, 0.95), (0.88, 0.91, 0.86), (0.96, 0.9, 0.84), (0.84, 0.89, 0.93),
              (0.95, 0.93, 0.84), (0.9, 0.86, 0.88), (0.98, 0.98, 0.97), (0.78, 0.84, 0.83),
              (0.93, 0.84, 0.78)]  # fmt: skip
FLOOR_TINTS = [(0.82, 0.62, 0.42), (0.65, 0.46, 0.31), (0.9, 0.76, 0.57), (0.5, 0.36, 0.26), (0.78, 0.7, 0.62)]
CARPETS = [(0.72, 0.68, 0.62), (0.6, 0.64, 0.68), (0.66, 0.58, 0.52), (0.56, 0.6, 0.55)]
TILES = [(0.95, 0.94, 0.91), (0.75, 0.76, 0.77), (0.86, 0.79, 0.7), (0.6, 0.64, 0.67)]


@dataclass(frozen=True)
class Finish:
    """What the surfaces of the rooms are made of, and the light of the day."""

    walls: tuple[Material, ...]
    floors: tuple[Material, ...]
    door: Material
    view: Material
    sky: tuple[float, float, float]
    lamp: tuple[float, float, float]
    sun: Array  # (3,) direction to the sun; its colour below
    sunlight: tuple[float, float, float]


def draw_finish(rng: np.random.Generator, plan: FloorPlan) -> Finish:
    wood = Material(
        str(rng.choice(["planks", "planks", "herringbone"])), FLOOR_TINTS[rng.integers(len(FLOOR_TINTS))], 1.6
    )
    common = WALL_TINTS[rng.integers(len(WALL_TINTS))]
    walls, floors = [], []
    for room in plan.rooms:
        tint = WALL_TINTS[rng.integers(len(WALL_TINTS))] if rng.random() < 0.5 else common
        wall, floor = Material("plaster", tint, 2.0), wood
        if room.kind == "bathroom":
            wall = Material("subway", TILES[0] if rng.random() < 0.6 else tint, 0.8)
            floor = Material("tiles", TILES[rng.integers(len(TILES))], 1.2)
        elif room.kind == "kitchen":
            floor = Material("tiles", TILES[rng.integers(len(TILES))], 1.6) if rng.random() < 0.6 else wood
        elif room.kind == "bedroom":
            floor = Material("carpet", CARPETS[rng.integers(len(CARPETS))], 1.5) if rng.random() < 0.4 else wood
            if rng.random() < 0.35:
                wall = Material(str(rng.choice(["stripes", "damask"])), tint, 1.2)
        walls.append(wall)
        floors.append(floor)
    day = rng.random()
    if day < 0.75:
        view, sky, strength = (1.0, 1.0, 1.0), (0.85, 0.93, 1.0), 1.0
    elif day < 0.9:
        view, sky, strength = (1.0, 0.86, 0.72), (0.9, 0.72, 0.55), 0.75
    else:
        view, sky, strength = (0.3, 0.36, 0.52), (0.12, 0.16, 0.26), 0.0
    turn, lift = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 0.85)
    sun = np.array([np.cos(lift) * np.cos(turn), np.sin(lift), np.cos(lift) * np.sin(turn)])
    return Finish(
        tuple(walls), tuple(floors),
        door=Material("door", ((0.97, 0.97, 0.95), (0.75, 0.55, 0.38), (0.9, 0.88, 0.84))[rng.integers(3)], 0.0),
        view=Material("view", view, 0.0, glow=1.1),
        sky=sky, lamp=(1.0, 0.86, 0.66) if rng.random() < 0.7 else (1.0, 0.95, 0.88),
        sun=sun, sunlight=(1.1 * strength, 1.0 * strength, 0.8 * strength),
    )  # fmt: skip


def build_shell(b: MeshBuilder, plan: FloorPlan, finish: Finish, detail: int) -> None:
    """Add the rooms, their doors and windows to `b`."""
    for number, room in enumerate(plan.rooms):
        _floor_and_ceiling(b, number, room, plan.height, finish)
        b.begin("wall", number, shell=True)
        for side in range(4):
            _wall(b, room, side, holes(plan, number, side), plan.height, finish.walls[number])
        if detail > 0:
            b.begin("baseboard", number)
            for side in range(4):
                _skirting(b, room, side, holes(plan, number, side))
        b.begin("lamp", number)
        _ceiling_lamp(b, room, plan.height, detail)
    for opening in plan.openings:
        if opening.kind == "window":
            _window(b, opening, finish, detail)
        else:
            _doorway(b, plan, opening, finish, detail)


def holes(plan: FloorPlan, number: int, side: int) -> list[Opening]:
    """The openings in one wall (low z, high z, low x, high x) of a room, in order along it."""
    axis, high = side // 2, side % 2 == 1
    found = []
    for opening in plan.openings:
        if opening.axis == axis and number in opening.rooms:
            outward = opening.outward if opening.rooms[0] == number else -opening.outward
            if (outward > 0) == high:
                found.append(opening)
    return sorted(found, key=lambda opening: opening.low)


def side_frame(room: PlannedRoom, side: int, along: float) -> tuple[float, float, float, float]:
    """Place (x, y, z, yaw) of a frame at the foot of a wall, at `along` on the wall's own axis, z into the room."""
    if side < 2:
        return along, 0.0, room.low[1] if side == 0 else room.high[1], SIDE_YAW[side]
    return room.low[0] if side == 2 else room.high[0], 0.0, along, SIDE_YAW[side]


def side_sign(side: int) -> float:
    """Sign of the wall's own axis along the frame's x."""
    return 1.0 if side in (0, 3) else -1.0


def _floor_and_ceiling(b: MeshBuilder, number: int, room: PlannedRoom, height: float, finish: Finish) -> None:
    (x0, z0), (x1, z1) = room.low, room.high
    b.place(0, 0, 0, 0)
    b.begin("floor", number, shell=True)
    floor = np.array([[x0, 0, z1], [x1, 0, z1], [x1, 0, z0], [x0, 0, z0]])
    if number % 2 and finish.floors[number].texture in ("planks", "tiles"):  # boards run the other way
        floor = floor[[1, 2, 3, 0]]
    b.quad(floor, finish.floors[number])
    b.begin("ceiling", number, shell=True)
    b.quad(np.array([[x0, height, z0], [x1, height, z0], [x1, height, z1], [x0, height, z1]]), CEILING)


def _wall(b: MeshBuilder, room: PlannedRoom, side: int, openings: list[Opening], height: float, wall: Material) -> None:
    """Cut a wall in rectangles around its openings."""
    axis = side // 2
    low, high = room.low[axis], room.high[axis]
    b.place(*side_frame(room, side, 0.0))
    sign = side_sign(side)

    def rectangle(start: float, end: float, bottom: float, top: float) -> None:
        left, right = sorted((sign * start, sign * end))
        corners = np.array([[left, bottom, 0], [right, bottom, 0], [right, top, 0], [left, top, 0]])
        b.quad(corners, wall, origin=(left, bottom))

    start = low
    for opening in openings:
        rectangle(start, opening.low, 0.0, height)
        if opening.bottom > 0:
            rectangle(opening.low, opening.high, 0.0, opening.bottom)
        rectangle(opening.low, opening.high, opening.top, height)
        start = opening.high
    rectangle(start, high, 0.0, height)


def _skirting(b: MeshBuilder, room: PlannedRoom, side: int, openings: list[Opening]) -> None:
    axis = side // 2
    b.place(*side_frame(room, side, 0.0))
    ends = [room.low[axis]]
    for opening in openings:
        if opening.bottom == 0:
            ends += [opening.low - 0.07, opening.high + 0.07]
    ends.append(room.high[axis])
    for start, end in zip(ends[::2], ends[1::2]):
        if end - start > 0.02:
            left, right = sorted((side_sign(side) * start, side_sign(side) * end))
            b.box((left, 0, 0), (right, 0.08, 0.012), TRIM, without=("bottom", "back", "left", "right"), shade=False)


def _ceiling_lamp(b: MeshBuilder, room: PlannedRoom, height: float, detail: int) -> None:
    """A shade under the ceiling; two in a long room."""
    for x, z in lamp_places(room):
        b.place(x, 0, z, 0)
        glass = Material("plain", (1.0, 0.97, 0.9), glow=1.15)
        if detail == 0:
            b.box((-0.16, height - 0.08, -0.16), (0.16, height, 0.16), glass, without=("top",), shade=False)
            continue
        sides = 6 if detail == 1 else 12
        b.prism((0, 0), height - 0.09, height, 0.17, sides, glass, top_radius=0.2, cap=False)
        b.disc((0, 0), height - 0.09, 0.17, sides, glass, downward=True)


def lamp_places(room: PlannedRoom) -> list[tuple[float, float]]:
    """(x, z) of the ceiling lamps."""
    middle = ((room.low[0] + room.high[0]) / 2, (room.low[1] + room.high[1]) / 2)
    long = int(room.size[1] > room.size[0])
    if max(room.size) < 1.6 * min(room.size) or max(room.size) < 4:
        return [middle]
    count = 2 if max(room.size) < 8 else 3
    places = room.low[long] + max(room.size) * (np.arange(count) + 0.5) / count
    return [(middle[0], float(p)) if long else (float(p), middle[1]) for p in places]


def _across(opening: Opening) -> tuple[float, float]:
    """Where the wall's two faces lie: that of rooms[0], and the other room's or the outer one."""
    thick = OUTER if opening.rooms[1] < 0 else WALL
    near = opening.at - opening.outward * WALL / 2
    return near, near + opening.outward * thick


def _facing(b: MeshBuilder, corners: Array, direction: Array, material: Material) -> None:
    """Add a quad, turned round where it does not face `direction`."""
    normal = np.cross(corners[1] - corners[0], corners[3] - corners[0])
    b.quad(corners if normal @ direction > 0 else corners[[1, 0, 3, 2]], material)


def _reveals(b: MeshBuilder, opening: Opening, material: Material, floor: Material) -> None:
    """The four sides of a hole through the wall."""
    near, far = _across(opening)
    low, high, bottom, top = opening.low, opening.high, opening.bottom, opening.top

    def point(along: float, y: float, across: float) -> tuple[float, float, float]:
        return (along, y, across) if opening.axis == 0 else (across, y, along)

    for along, inward in ((low, 1.0), (high, -1.0)):
        corners = [
            point(along, bottom, near),
            point(along, bottom, far),
            point(along, top, far),
            point(along, top, near),
        ]
        _facing(b, np.array(corners), np.array(point(inward, 0.0, 0.0)), material)
    for y, up, surface in ((top, -1.0, material), (bottom, 1.0, floor)):
        corners = [point(low, y, near), point(high, y, near), point(high, y, far), point(low, y, far)]
        _facing(b, np.array(corners), np.array([0.0, up, 0.0]), surface)


def _frame_of(plan_room: int, opening: Opening) -> tuple[float, float, float, float]:
    """Frame at the foot of the opening's middle on one room's face of the wall, z into that room."""
    near, far = _across(opening)
    first = plan_room == opening.rooms[0]
    across, out = (near, opening.outward) if first else (far, -opening.outward)
    middle = (opening.low + opening.high) / 2
    side = 2 * opening.axis + (1 if out > 0 else 0)
    return (middle, 0.0, across, SIDE_YAW[side]) if opening.axis == 0 else (across, 0.0, middle, SIDE_YAW[side])


def _doorway(b: MeshBuilder, plan: FloorPlan, opening: Opening, finish: Finish, detail: int) -> None:
    room = opening.rooms[0]
    b.place(0, 0, 0, 0)
    b.begin("door frame", room, shell=True)
    _reveals(b, opening, TRIM, tinted(finish.floors[room], tuple(0.9 * c for c in finish.floors[room].tint)))
    half, top = (opening.high - opening.low) / 2, opening.top
    if detail > 0:
        for side in opening.rooms if opening.rooms[1] >= 0 else (room,):
            b.begin("door frame", side)
            b.place(*_frame_of(side, opening))
            for x0, x1 in ((-half - 0.07, -half), (half, half + 0.07)):
                b.box((x0, 0, 0), (x1, top, 0.016), TRIM, without=("bottom", "back", "top"), shade=False)
            across = (-half - 0.07, top, 0.0), (half + 0.07, top + 0.07, 0.016)
            b.box(*across, TRIM, without=("back", "left", "right"), shade=False)
    if opening.kind == "entrance":
        b.begin("door", room)
        b.place(*_frame_of(room, opening))
        leaf = tinted(finish.door, (0.5, 0.36, 0.27))
        b.quad(np.array([[-half, 0, -0.1], [half, 0, -0.1], [half, top, -0.1], [-half, top, -0.1]]), leaf)
        if detail > 0:
            b.box((half - 0.14, 1.0, -0.1), (half - 0.1, 1.03, -0.04), Material("metal", (0.8, 0.75, 0.6)), shade=False)
    elif opening.kind == "door" and detail > 0:
        hinge = leaf_side(plan, opening)
        if hinge:
            b.begin("door", room)
            b.place(*_frame_of(room, opening))
            low, high = sorted((hinge * (half + 0.03), hinge * (half + 0.07)))
            b.place_within((low + high) / 2, 0, 0.02, -np.pi / 2)
            b.box((0.0, 0.01, -0.02), (2 * half - 0.03, top - 0.02, 0.02), finish.door, without=("bottom",))
            b.leave()


def leaf_side(plan: FloorPlan, opening: Opening) -> int:
    """On which side of its doorway, in the frame of its room, an open door leaf stands: by a near corner, or 0."""
    room = plan.rooms[opening.rooms[0]]
    sign = 1 if _frame_of(opening.rooms[0], opening)[3] in (SIDE_YAW[0], SIDE_YAW[3]) else -1
    if 0.11 < opening.low - room.low[opening.axis] < 0.4:
        return -sign
    if 0.11 < room.high[opening.axis] - opening.high < 0.4:
        return sign
    return 0


def _window(b: MeshBuilder, opening: Opening, finish: Finish, detail: int) -> None:
    room = opening.rooms[0]
    b.place(0, 0, 0, 0)
    b.begin("window", room)
    _reveals(b, opening, TRIM, TRIM)
    b.place(*_frame_of(room, opening))
    half, deep = (opening.high - opening.low) / 2, -(OUTER - 0.03)
    y0, y1 = opening.bottom, opening.top
    b.quad(np.array([[-half, y0, deep], [half, y0, deep], [half, y1, deep], [-half, y1, deep]]), finish.view)
    for x0, x1, low, high in _bars(half, y0, y1, detail):
        ends = ("top", "bottom") if high - low > x1 - x0 else ("left", "right")
        b.box((x0, low, deep), (x1, high, deep + 0.05), TRIM, without=("back", *ends), shade=False)
    if detail > 0:
        b.box((-half - 0.05, y0 - 0.03, 0), (half + 0.05, y0, 0.05), TRIM, without=("back",), shade=False)


def _bars(half: float, y0: float, y1: float, detail: int) -> Iterator[tuple[float, float, float, float]]:
    """The window's frame: its middle bar, and with full detail its rim and a cross bar."""
    if half > 0.4 and detail > 0:
        yield -0.025, 0.025, y0, y1
    if detail > 1:
        yield -half, -half + 0.05, y0, y1
        yield half - 0.05, half, y0, y1
        yield -half + 0.05, half - 0.05, y0, y0 + 0.05
        yield -half + 0.05, half - 0.05, y1 - 0.05, y1
        if y1 - y0 > 0.9:
            yield -half + 0.05, half - 0.05, y0 + 0.7 * (y1 - y0), y0 + 0.7 * (y1 - y0) + 0.03


def home_lights(plan: FloorPlan, finish: Finish) -> Lights:
    """Ceiling lamps, windows and sun of a home, for baking."""
    points: list[Array] = []
    normals: list[Array] = []
    colours, rooms, ambient, boxes, windows = [], [], [], [], []
    for number, room in enumerate(plan.rooms):
        glass = 0.0
        for opening in plan.openings:
            if opening.kind == "window" and opening.rooms[0] == number:
                wide, tall = opening.high - opening.low, opening.top - opening.bottom
                glass += wide * tall
                inward = np.array([-opening.outward * opening.axis, 0.0, -opening.outward * (1 - opening.axis)])
                near = _across(opening)[0]
                for share in (0.25, 0.75):
                    along, y = opening.low + share * wide, opening.bottom + 0.5 * tall
                    points.append(np.array([along, y, near] if opening.axis == 0 else [near, y, along]))
                    normals.append(inward)
                    colours.append(0.75 * wide * tall / 2 * np.array(finish.sky))
                    rooms.append(number)
                windows.append((number, opening.axis, near, opening.low, opening.high, opening.bottom, opening.top))
        lamps = lamp_places(room)
        for x, z in lamps:
            points.append(np.array([x, plan.height - 0.3, z]))
            normals.append(np.zeros(3))
            colours.append((0.16 * room.area / len(lamps) + 0.5) * np.array(finish.lamp))
            rooms.append(number)
        daylight = min(1.0, 3.0 * glass / room.area)
        ambient.append(0.2 * np.array(finish.lamp) + 0.22 * daylight * np.array(finish.sky) + 0.06)
        boxes.append((room.low[0], 0.0, room.low[1], room.high[0], plan.height, room.high[1]))
    return Lights(
        np.array(points), np.array(normals), np.array(colours), np.array(rooms), np.array(ambient), np.array(boxes),
        np.array(windows, float).reshape(-1, 7), finish.sun, np.array(finish.sunlight),
    )  # fmt: skip
