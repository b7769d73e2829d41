"""Which furniture stands where: pieces along walls and in the open, with floor left free before them.

A place is taken if the piece overlaps nothing, leaves doors and the fronts of other pieces free, keeps tall things off
windows, and the floor that is left stays in one part, for a walker of 0.2 m radius.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from embodia.envs.drawing.compiled import compiled
from embodia.envs.drawing.scene import Array
from embodia.envs.homes.generator import bathroom, cabinets, kitchen, ornaments, seats, tables
from embodia.envs.homes.generator.floor_plan import FloorPlan, Opening, PlannedRoom
from embodia.envs.homes.generator.furniture_style import CLOTHS, Piece, Rng, Style
from embodia.envs.homes.generator.mesh_builder import MeshBuilder
from embodia.envs.homes.generator.shell import SIDE_YAW, holes, side_frame
from embodia.envs.homes.generator.texture import Material

Rectangle = tuple[float, float, float, float]  # x0, z0, x1, z1 [m]

BACK_GAP = 0.02  # between a piece and its wall [m]
BESIDE = 0.03  # between two pieces [m]
WALKER = 0.24  # the walker's radius and a margin [m]
CELL = 0.08  # of the grid on which the free floor is checked [m]
CURTAIN = 0.33  # a window's neighbourhood that tall pieces keep off [m]


@dataclass
class Layout:
    """One room being furnished."""

    number: int
    room: PlannedRoom
    openings: list[list[Opening]]  # by side
    footprints: list[Rectangle] = field(default_factory=list)
    fronts: list[Rectangle] = field(default_factory=list)
    tall: list[tuple[int, float, float]] = field(default_factory=list)  # side, low, high: wall hidden behind a piece
    placed: list[tuple[Piece, float, float, float]] = field(default_factory=list)  # piece, x, z, yaw

    @classmethod
    def of(cls, plan: FloorPlan, number: int) -> "Layout":
        layout = cls(number, plan.rooms[number], [holes(plan, number, side) for side in range(4)])
        for side, openings in enumerate(layout.openings):
            for opening in openings:
                if opening.bottom == 0:
                    layout.fronts.append(layout._strip(side, opening.low - 0.12, opening.high + 0.12, 0.0, 0.95))
        return layout

    def against_wall(self, rng: Rng, piece: Piece, *, where: str = "any", sides: Sequence[int] = (0, 1, 2, 3)) -> bool:
        """Try places along walls; `where` is "corner", "middle" or "any". Whether one was found."""
        candidates = [(side, along) for side in sides for along in self._candidates(rng, piece, side, where)]
        return any(self.at_wall(piece, *candidates[k]) for k in rng.permutation(len(candidates)))

    def at_wall(self, piece: Piece, side: int, along: float) -> bool:
        """Stand a piece with its back to a wall, its middle at `along`; False where it does not fit."""
        low, high = along - piece.width / 2, along + piece.width / 2
        for opening in self.openings[side]:
            margin = CURTAIN if opening.kind == "window" else 0.1
            if piece.height > opening.bottom - 0.05 and low < opening.high + margin and high > opening.low - margin:
                return False
        body = self._strip(side, low, high, BACK_GAP, BACK_GAP + piece.depth)
        front = self._strip(side, low, high, BACK_GAP + piece.depth, BACK_GAP + piece.depth + piece.front)
        if not self._fits(body, front):
            return False
        x, _, z, yaw = side_frame(self.room, side, along)
        shift = (np.sin(yaw) * BACK_GAP, np.cos(yaw) * BACK_GAP)
        self._take(piece, x + shift[0], z + shift[1], yaw, body, front)
        if piece.height > 1.0:
            self.tall.append((side, low, high))
        return True

    def freestanding(self, piece: Piece, x: float, z: float, quarter: int) -> bool:
        """Stand a piece with the middle of its back at (x, z), turned by quarters of a circle."""
        yaw = quarter * np.pi / 2
        ahead, beside = np.array([np.sin(yaw), np.cos(yaw)]), np.array([np.cos(yaw), -np.sin(yaw)])
        corners = [
            np.array([x, z]) + s * piece.width / 2 * beside + d * ahead for s in (-1, 1) for d in (0.0, piece.depth)
        ]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        body = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        (x0, z0), (x1, z1) = self.room.low, self.room.high
        if low[0] < x0 + 0.05 or low[1] < z0 + 0.05 or high[0] > x1 - 0.05 or high[1] > z1 - 0.05:
            return False
        if not self._fits(body, None):
            return False
        self._take(piece, x, z, yaw, body, None)
        return True

    def _candidates(self, rng: Rng, piece: Piece, side: int, where: str) -> list[float]:
        axis = side // 2
        low = self.room.low[axis] + piece.width / 2 + 0.03
        high = self.room.high[axis] - piece.width / 2 - 0.03
        if low > high:
            return []
        if where == "corner":
            return [low, high]
        if where == "middle":
            return [(low + high) / 2, *rng.uniform(low + 0.25 * (high - low), high - 0.25 * (high - low), 3)]
        return [low, high, *rng.uniform(low, high, 5)]

    def _strip(self, side: int, low: float, high: float, near: float, far: float) -> Rectangle:
        """The part of the floor along a wall from `low` to `high`, between two distances from it."""
        (x0, z0), (x1, z1) = self.room.low, self.room.high
        return [
            (low, z0 + near, high, z0 + far),
            (low, z1 - far, high, z1 - near),
            (x0 + near, low, x0 + far, high),
            (x1 - far, low, x1 - near, high),
        ][side]

    def _fits(self, body: Rectangle, front: Rectangle | None) -> bool:
        if any(_overlap(body, other, BESIDE) for other in self.footprints):
            return False
        if any(_overlap(body, other, 0.0) for other in self.fronts):
            return False
        if front is not None:
            (x0, z0), (x1, z1) = self.room.low, self.room.high
            if front[0] < x0 - 0.01 or front[1] < z0 - 0.01 or front[2] > x1 + 0.01 or front[3] > z1 + 0.01:
                return False
            if any(_overlap(front, other, 0.0) for other in self.footprints):
                return False
        return self._stays_connected(body)

    def _stays_connected(self, body: Rectangle) -> bool:
        boxes = np.array([*self.footprints, body])
        bounds = np.array([*self.room.low, *self.room.high])
        return bool(_one_part(boxes, bounds, self._doorsteps()))

    def _doorsteps(self) -> Array:
        """(D, 2): a point before each doorway."""
        points = []
        for side, openings in enumerate(self.openings):
            for opening in openings:
                if opening.bottom == 0:
                    x, _, z, yaw = side_frame(self.room, side, (opening.low + opening.high) / 2)
                    points.append((x + 0.4 * np.sin(yaw), z + 0.4 * np.cos(yaw)))
        return np.array(points)

    def _take(self, piece: Piece, x: float, z: float, yaw: float, body: Rectangle, front: Rectangle | None) -> None:
        self.footprints.append(body)
        if front is not None and piece.front > 0:
            self.fronts.append(front)
        self.placed.append((piece, x, z, yaw))


def _overlap(a: Rectangle, b: Rectangle, gap: float) -> bool:
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap


@compiled
def _one_part(boxes, bounds, doorsteps):  # type: ignore[no-untyped-def]
    """Whether the floor a walker's middle can reach is in one part that holds all doorsteps, but for small pockets."""
    columns, rows = int((bounds[2] - bounds[0]) / CELL), int((bounds[3] - bounds[1]) / CELL)
    free = np.zeros((columns, rows), np.bool_)
    count = 0
    for i in range(columns):
        x = bounds[0] + (i + 0.5) * CELL
        for j in range(rows):
            z = bounds[1] + (j + 0.5) * CELL
            clear = min(min(x - bounds[0], bounds[2] - x), min(z - bounds[1], bounds[3] - z)) > WALKER
            for b in range(len(boxes)):
                dx = max(max(boxes[b, 0] - x, x - boxes[b, 2]), 0.0)
                dz = max(max(boxes[b, 1] - z, z - boxes[b, 3]), 0.0)
                clear &= dx * dx + dz * dz > WALKER * WALKER
            free[i, j] = clear
            count += clear
    if count == 0:
        return False
    stack = np.empty((columns * rows, 2), np.int32)
    first_i = int((doorsteps[0, 0] - bounds[0]) / CELL)
    first_j = int((doorsteps[0, 1] - bounds[1]) / CELL)
    if not free[first_i, first_j]:
        return False
    stack[0, 0], stack[0, 1], waiting, reached = first_i, first_j, 1, 0
    seen = np.zeros_like(free)
    seen[first_i, first_j] = True
    while waiting > 0:
        waiting -= 1
        i, j = stack[waiting, 0], stack[waiting, 1]
        reached += 1
        for di, dj in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            a, b = i + di, j + dj
            if 0 <= a < columns and 0 <= b < rows and free[a, b] and not seen[a, b]:
                seen[a, b] = True
                stack[waiting, 0], stack[waiting, 1] = a, b
                waiting += 1
    for d in range(len(doorsteps)):
        if not seen[int((doorsteps[d, 0] - bounds[0]) / CELL), int((doorsteps[d, 1] - bounds[1]) / CELL)]:
            return False
    return count - reached <= 6


def furnish(rng: Rng, plan: FloorPlan, style: Style) -> list[Layout]:
    """Furnish every room of a plan."""
    layouts = []
    for number, room in enumerate(plan.rooms):
        layout = Layout.of(plan, number)
        FURNISHERS[room.kind](rng, layout, style)
        layouts.append(layout)
    return layouts


def _bedroom(rng: Rng, layout: Layout, style: Style) -> None:
    double = layout.room.area > 9.5 and rng.random() < 0.75
    bed = seats.bed(rng, style, double)
    if not (layout.against_wall(rng, bed, where="middle" if double else "corner") or layout.against_wall(rng, bed)):
        layout.against_wall(rng, seats.bed(rng, style, False))
    if layout.placed:
        _bedside(rng, layout, style)
    layout.against_wall(rng, cabinets.wardrobe(rng, style), where="corner")
    if layout.room.area > 10 and rng.random() < 0.45:
        layout.against_wall(rng, tables.desk(rng, style))
    if rng.random() < 0.5:
        layout.against_wall(rng, cabinets.drawers(rng, style, 0.9, 0.8, 0.45, "chest_of_drawers"))
    if rng.random() < 0.35 and style.detail > 0:
        layout.against_wall(rng, ornaments.plant(rng, style), where="corner")
    if layout.room.area > 12 and rng.random() < 0.4:
        layout.against_wall(rng, seats.armchair(rng, style))


def _bedside(rng: Rng, layout: Layout, style: Style) -> None:
    """Small tables at the bed's head, level with its back."""
    bed, x, z, yaw = layout.placed[0]
    side = int(np.argmin([abs(np.angle(np.exp(1j * (yaw - turn)))) for turn in SIDE_YAW]))
    along = x if side < 2 else z
    axis = side // 2
    table = cabinets.drawers(rng, style, 0.42, 0.5, 0.38, "nightstand")
    for sign in (-1, 1):
        place = along + sign * (bed.width / 2 + 0.05 + table.width / 2)
        if layout.room.low[axis] + 0.22 < place < layout.room.high[axis] - 0.22:
            layout.at_wall(table, side, place)


def _living_room(rng: Rng, layout: Layout, style: Style) -> None:
    _seating(rng, layout, style)
    chairs = 2 if style.detail == 0 else 6 if layout.room.area > 28 else 4
    for _ in range(12):
        x, z = rng.uniform(layout.room.low, layout.room.high)
        if layout.freestanding(_dining_group(rng, style, chairs), float(x), float(z), int(rng.integers(4))):
            break
        chairs = max(2, chairs - 1)
    for _ in range(min(2, style.detail + 1)):
        layout.against_wall(rng, ornaments.plant(rng, style), where="corner")
    layout.against_wall(rng, cabinets.bookcase(rng, style))
    if style.detail == 0:
        return
    if rng.random() < 0.6:
        layout.against_wall(rng, cabinets.drawers(rng, style, 1.2, 0.85, 0.45, "chest_of_drawers"))
    if rng.random() < 0.7:
        layout.against_wall(rng, ornaments.floor_lamp(rng, style), where="corner")
    if rng.random() < 0.4:
        layout.against_wall(rng, cabinets.bookcase(rng, style))


def _seating(rng: Rng, layout: Layout, style: Style) -> None:
    """A television, a sofa that faces it, a low table between them."""
    length = float(rng.choice([1.6, 1.9, 2.2]))
    sofa = seats.sofa(rng, style, length)
    screen = cabinets.television(rng, style)
    for side in rng.permutation(4):
        axis, other = int(side) // 2, 1 - int(side) // 2
        if layout.room.size[axis] < length + 0.3:
            continue
        if not layout.against_wall(rng, screen, where="middle", sides=(int(side),)):
            continue
        _, x, z, yaw = layout.placed[-1]
        along = x if axis == 0 else z
        across = layout.room.size[other]
        ahead = np.array([np.sin(yaw), np.cos(yaw)])
        spot = np.array([x, z])
        done = across < 4.3 and layout.at_wall(sofa, int(side) ^ 1, along)
        reach = across - 0.92 if done else float(rng.uniform(2.6, 3.1))
        if not done:
            back = spot + ahead * (reach + 0.92)
            quarter = (round(yaw / (np.pi / 2)) + 2) % 4
            done = layout.freestanding(sofa, float(back[0]), float(back[1]), quarter)
        if done:
            _low_table(rng, layout, style, spot + ahead * (reach - 0.45), yaw)
            _beside_sofa(rng, layout, style, spot + ahead * (reach - 0.3), ahead, length)
            return
        break
    layout.against_wall(rng, sofa)


def _low_table(rng: Rng, layout: Layout, style: Style, front: Array, yaw: float) -> None:
    """A coffee table whose far edge is at `front`, towards the television."""
    low = tables.table(rng, style, 1.0, 0.55, 0.42)
    piece = tables.round_table(rng, style, 0.38) if rng.random() < 0.4 else low
    back = front - np.array([np.sin(yaw), np.cos(yaw)]) * piece.depth
    layout.freestanding(piece, float(back[0]), float(back[1]), round(yaw / (np.pi / 2)) % 4)


def _beside_sofa(rng: Rng, layout: Layout, style: Style, at: Array, ahead: Array, length: float) -> None:
    """An armchair at the end of the low table, looking at it."""
    beside = np.array([ahead[1], -ahead[0]])
    chair = seats.armchair(rng, style)
    for sign in rng.permutation([-1, 1]):
        look = -sign * beside
        back = at - ahead * 0.9 + sign * beside * (length / 2 + 1.0)
        quarter = round(float(np.arctan2(look[0], look[1])) / (np.pi / 2)) % 4
        if rng.random() < 0.8 and layout.freestanding(chair, float(back[0]), float(back[1]), quarter):
            return


def _dining_group(rng: Rng, style: Style, chairs: int) -> Piece:
    """A table with its chairs pushed half under it, as one piece."""
    wide = 0.85 if chairs == 2 else 1.3 if chairs <= 4 else 1.7
    top = tables.table(rng, style, wide, 0.85, 0.75)
    seat = seats.chair(rng, style)
    rows = (chairs + 1) // 2
    jitter = rng.uniform(-0.12, 0.12, (chairs, 2))

    def build(b: MeshBuilder, room: int) -> None:
        b.place_within(0, 0, 0.38, 0)
        top.build(b, room)
        b.leave()
        for k in range(chairs):
            x = (k // 2 + 0.5) / rows * wide - wide / 2
            z, turn = (0.04, 0.0) if k % 2 == 0 else (1.57, np.pi)
            b.place_within(x, 0, z + 0.25 * jitter[k, 0] * np.cos(turn), turn + jitter[k, 1])
            seat.build(b, room)
            b.leave()

    return Piece("table", max(wide, rows * 0.6) + 0.1, 1.61, 0.95, 0.0, build)


def _kitchen(rng: Rng, layout: Layout, style: Style) -> None:
    sides = [int(side) for side in rng.permutation(4)]
    sides.sort(key=lambda side: any(opening.bottom == 0 for opening in layout.openings[side]))
    done = False
    for length in (3.6, 3.0, 2.4, 1.8):
        for units in (True, False):
            for side in sides:
                if not done and layout.room.size[side // 2] > length + 0.05:
                    counter = kitchen.kitchen_counter(rng, style, length, units)
                    done = layout.against_wall(rng, counter, where="corner", sides=(side,))
    layout.against_wall(rng, kitchen.refrigerator(rng, style), where="corner") or layout.against_wall(
        rng, kitchen.refrigerator(rng, style)
    )
    if layout.room.area > 8.5 and style.detail > 0:
        for _ in range(8):
            x, z = rng.uniform(layout.room.low, layout.room.high)
            if layout.freestanding(_dining_group(rng, style, 2), float(x), float(z), int(rng.integers(4))):
                break
    if rng.random() < 0.5:
        layout.against_wall(rng, ornaments.plant(rng, style), where="corner")


def _bathroom(rng: Rng, layout: Layout, style: Style) -> None:
    if layout.room.area > 5.0:
        layout.against_wall(rng, bathroom.bathtub(rng, style), where="corner")
    layout.against_wall(rng, bathroom.toilet(rng, style))
    layout.against_wall(rng, bathroom.washstand(rng, style))
    if rng.random() < 0.4:
        layout.against_wall(rng, cabinets.drawers(rng, style, 0.45, 0.8, 0.35, "cabinet"), where="corner")


def _study(rng: Rng, layout: Layout, style: Style) -> None:
    layout.against_wall(rng, tables.desk(rng, style))
    for _ in range(2):
        layout.against_wall(rng, cabinets.bookcase(rng, style))
    if rng.random() < 0.6:
        layout.against_wall(rng, seats.armchair(rng, style))
    layout.against_wall(rng, ornaments.plant(rng, style), where="corner")


def _corridor(rng: Rng, layout: Layout, style: Style) -> None:
    if rng.random() < 0.7:
        layout.against_wall(rng, seats.bench(rng, style))


FURNISHERS = {
    "bedroom": _bedroom,
    "living room": _living_room,
    "kitchen": _kitchen,
    "bathroom": _bathroom,
    "study": _study,
    "corridor": _corridor,
}


def build_furniture(b: MeshBuilder, rng: Rng, layouts: list[Layout], style: Style) -> None:
    """Add all placed furniture, and the things on the walls."""
    for layout in layouts:
        for piece, x, z, yaw in layout.placed:
            b.place(x, 0.0, z, yaw)
            piece.build(b, layout.number)
        _curtains(b, rng, layout, style)
        _pictures(b, rng, layout, style)
        _rug(b, rng, layout)


def _curtains(b: MeshBuilder, rng: Rng, layout: Layout, style: Style) -> None:
    if layout.room.kind not in ("bedroom", "living room", "study") or style.detail == 0 or rng.random() < 0.3:
        return
    cloth = Material("curtain", CLOTHS[rng.integers(len(CLOTHS))], 0.0)
    for side, openings in enumerate(layout.openings):
        for window in (opening for opening in openings if opening.kind == "window"):
            b.begin("curtain", layout.number)
            b.place(*side_frame(layout.room, side, (window.low + window.high) / 2))
            half, top = (window.high - window.low) / 2, window.top + 0.12
            for x0, x1 in ((-half - 0.28, -half + 0.06), (half - 0.06, half + 0.28)):
                b.box((x0, window.bottom - 0.12, 0.06), (x1, top, 0.1), cloth, without=(), shade=False)
            rod = Material("metal", (0.5, 0.48, 0.45))
            b.box((-half - 0.32, top, 0.06), (half + 0.32, top + 0.025, 0.085), rod, without=(), shade=False)


def _pictures(b: MeshBuilder, rng: Rng, layout: Layout, style: Style) -> None:
    """Framed pictures where a wall is free at eye level."""
    chance = {"bathroom": 0.0, "kitchen": 0.3}.get(layout.room.kind, 0.65) if style.detail > 0 else 0.0
    for side, openings in enumerate(layout.openings):
        wide = float(rng.uniform(0.45, 0.95))
        axis = side // 2
        low, high = layout.room.low[axis] + wide, layout.room.high[axis] - wide
        if low > high or rng.random() > chance:
            continue
        taken = [(o.low - 0.35, o.high + 0.35) for o in openings]
        taken += [(start - 0.1, end + 0.1) for k, start, end in layout.tall if k == side]
        for along in rng.uniform(low, high, 6):
            if all(along + wide / 2 < start or along - wide / 2 > end for start, end in taken):
                b.begin("picture", layout.number)
                b.place(*side_frame(layout.room, side, float(along)))
                tall = wide * float(rng.uniform(0.7, 1.1))
                art = Material("landscape" if rng.random() < 0.5 else "abstract", scale=0.0)
                frame = Material("plain", (0.2, 0.18, 0.16))
                b.box((-wide / 2, 1.55 - tall / 2, 0), (wide / 2, 1.55 + tall / 2, 0.03), frame, without=("back",),
                      front=art, shade=False)  # fmt: skip
                break


def _rug(b: MeshBuilder, rng: Rng, layout: Layout) -> None:
    """A rug before the sofa or beside the bed; a mat before the bath."""
    anchors = [(p, x, z, yaw) for p, x, z, yaw in layout.placed if p.category in ("sofa", "bed", "bathtub")]
    if not anchors or rng.random() < 0.25:
        return
    piece, x, z, yaw = anchors[0]
    wide, deep = {"sofa": (2.2, 1.6), "bed": (piece.width + 1.0, 1.5), "bathtub": (0.9, 0.6)}[piece.category]
    ahead = {"sofa": piece.depth + 0.65, "bed": piece.depth - 0.3, "bathtub": piece.depth + 0.4}[piece.category]
    middle = np.array([x + np.sin(yaw) * ahead, z + np.cos(yaw) * ahead])
    half = np.array([wide, deep] if abs(np.cos(yaw)) > 0.5 else [deep, wide]) / 2
    low = np.maximum(middle - half, np.array(layout.room.low) + 0.1)
    high = np.minimum(middle + half, np.array(layout.room.high) - 0.1)
    if (high - low > 0.4).all():
        tint = CLOTHS[rng.integers(len(CLOTHS))]
        b.begin("rug", layout.number)
        b.place(0, 0.012, 0, 0)
        b.quad(np.array([[low[0], 0, high[1]], [high[0], 0, high[1]], [high[0], 0, low[1]], [low[0], 0, low[1]]]),
               Material("rug" if piece.category != "bathtub" else "carpet", tint, 0.0))  # fmt: skip
