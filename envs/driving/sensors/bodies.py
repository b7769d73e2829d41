"""Triangle meshes of the objects on a road, each inside its box.

A body is made of convex parts in unit coordinates: x and y from -0.5 to 0.5 along length and width, z from 0 to 1 of
the height. Faces are counter-clockwise seen from outside.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from embodia.envs.driving.sensors.solids import Category
from embodia.envs.driving.types import Floats

Color = tuple[int, int, int]
PAINTS: tuple[Color, ...] = (
    (176, 36, 40), (38, 74, 142), (228, 228, 224), (40, 42, 46), (150, 154, 158), (52, 104, 84), (196, 140, 44),
    (92, 30, 52), (110, 146, 178), (84, 76, 68),
)  # fmt: skip
"""Colours of cars and clothes; an object's own one follows from its id."""
PAINTED: Color = (-1, -1, -1)
"""Marks parts of a body that have the object's own colour."""
GLASS, RUBBER, SKIN, STEEL, CARGO = (48, 58, 68), (30, 30, 32), (198, 156, 128), (120, 124, 128), (214, 212, 206)
WHITE_LAMP, RED_LAMP, TROUSERS, ORANGE, WHITE = (250, 246, 220), (190, 24, 24), (52, 56, 72), (238, 108, 24), (240,) * 3
BROWN, YELLOW = (132, 106, 82), (236, 188, 40)
TRUCK_LENGTH = 7.0  # [m] vehicles at least as long have a cab and a cargo box

QUADS = ((0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7))
"""Faces of a part whose corners are a lower rectangle, counter-clockwise from above, and an upper one."""


@dataclass(frozen=True)
class Body:
    """Triangles (F, 3, 3) in unit coordinates, and their colours (F, 3), negative where PAINTED."""

    triangles: Floats
    colors: NDArray[np.int64]


Rectangle = tuple[float, float, float, float, float]
"""x from, x to, y from, y to, and z."""


def frustum(lower: Rectangle, upper: Rectangle) -> Floats:
    """Return the triangles (12, 3, 3) between two level rectangles."""
    corners = [(x, y, z) for x0, x1, y0, y1, z in (lower, upper) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    faces = [face for a, b, c, d in QUADS for face in ((a, b, c), (a, c, d))]
    return np.array(corners)[np.array(faces)]


def block(x0: float, x1: float, y0: float, y1: float, z0: float, z1: float) -> Floats:
    """Return the triangles (12, 3, 3) of an upright box."""
    return frustum((x0, x1, y0, y1, z0), (x0, x1, y0, y1, z1))


def _body(*parts: tuple[Color, Floats]) -> Body:
    colors = np.concatenate([np.tile(color, (len(triangles), 1)) for color, triangles in parts])
    return Body(np.concatenate([triangles for _, triangles in parts]), colors)


def _wheels(front: float, rear: float, radius: float) -> list[tuple[Color, Floats]]:
    places = [(x, y) for x in (front, rear) for y in (-0.5, 0.4)]
    return [(RUBBER, block(x - radius, x + radius, y, y + 0.1, 0.0, 0.4)) for x, y in places]


def _car() -> Body:
    hull = frustum((-0.5, 0.5, -0.49, 0.49, 0.17), (-0.49, 0.48, -0.47, 0.47, 0.6))
    cabin = frustum((-0.42, 0.24, -0.45, 0.45, 0.6), (-0.3, 0.08, -0.38, 0.38, 0.96))
    roof = block(-0.29, 0.07, -0.37, 0.37, 0.96, 1.0)
    lamps = [(WHITE_LAMP, block(0.48, 0.5, y, y + 0.14, 0.42, 0.54)) for y in (-0.44, 0.3)]
    lamps += [(RED_LAMP, block(-0.5, -0.485, y, y + 0.14, 0.44, 0.56)) for y in (-0.44, 0.3)]
    return _body((PAINTED, hull), (GLASS, cabin), (PAINTED, roof), *lamps, *_wheels(0.3, -0.3, 0.075))


def _truck() -> Body:
    cab = frustum((0.26, 0.5, -0.48, 0.48, 0.16), (0.28, 0.47, -0.46, 0.46, 0.78))
    screen = block(0.46, 0.495, -0.42, 0.42, 0.45, 0.68)
    cargo = block(-0.5, 0.24, -0.5, 0.5, 0.24, 1.0)
    frame = block(-0.48, 0.28, -0.4, 0.4, 0.12, 0.24)
    lamps = [(RED_LAMP, block(-0.5, -0.485, y, y + 0.1, 0.16, 0.22)) for y in (-0.4, 0.3)]
    return _body((PAINTED, cab), (GLASS, screen), (CARGO, cargo), (STEEL, frame), *lamps, *_wheels(0.36, -0.34, 0.05))


def _pedestrian() -> Body:
    legs = [(TROUSERS, block(-0.18, 0.18, y, y + 0.22, 0.0, 0.48)) for y in (-0.26, 0.04)]
    trunk = frustum((-0.2, 0.2, -0.34, 0.34, 0.46), (-0.24, 0.24, -0.44, 0.44, 0.82))
    arms = [(PAINTED, block(-0.12, 0.12, y, y + 0.12, 0.44, 0.82)) for y in (-0.5, 0.38)]
    head = block(-0.2, 0.2, -0.18, 0.18, 0.85, 1.0)
    return _body(*legs, (PAINTED, trunk), *arms, (SKIN, head))


def _bicycle() -> Body:
    wheels = [(RUBBER, block(x - 0.19, x + 0.19, -0.06, 0.06, 0.0, 0.4)) for x in (0.31, -0.31)]
    frame = block(-0.3, 0.3, -0.04, 0.04, 0.38, 0.5)
    handle = block(0.2, 0.26, -0.5, 0.5, 0.56, 0.62)
    legs = [(TROUSERS, block(-0.12, 0.06, y, y + 0.16, 0.18, 0.56)) for y in (-0.26, 0.1)]
    trunk = frustum((-0.18, 0.02, -0.3, 0.3, 0.54), (-0.06, 0.16, -0.4, 0.4, 0.84))
    head = block(-0.02, 0.13, -0.15, 0.15, 0.86, 1.0)
    return _body(*wheels, (STEEL, frame), (STEEL, handle), *legs, (PAINTED, trunk), (SKIN, head))


def _traffic_cone() -> Body:
    foot = block(-0.5, 0.5, -0.5, 0.5, 0.0, 0.06)
    low = frustum((-0.36, 0.36, -0.36, 0.36, 0.06), (-0.24, 0.24, -0.24, 0.24, 0.45))
    stripe = frustum((-0.24, 0.24, -0.24, 0.24, 0.45), (-0.18, 0.18, -0.18, 0.18, 0.68))
    tip = frustum((-0.18, 0.18, -0.18, 0.18, 0.68), (-0.08, 0.08, -0.08, 0.08, 1.0))
    return _body((ORANGE, foot), (ORANGE, low), (WHITE, stripe), (ORANGE, tip))


def _barrier() -> Body:
    bands = [block(-0.5, 0.5, -0.4, 0.4, z, z + 0.2) for z in (0.4, 0.6, 0.8)]
    feet = [(STEEL, block(x, x + 0.08, -0.5, 0.5, 0.0, 0.4)) for x in (-0.45, 0.37)]
    return _body(*zip((ORANGE, WHITE, ORANGE), bands), *feet)


def _czone_sign() -> Body:
    return _body((STEEL, block(-0.1, 0.1, -0.1, 0.1, 0.0, 0.5)), (YELLOW, block(-0.3, 0.3, -0.5, 0.5, 0.5, 1.0)))


def _generic_object() -> Body:
    return _body((BROWN, block(-0.5, 0.5, -0.5, 0.5, 0.0, 1.0)))


@cache
def body(category: Category, long: bool = False) -> Body:
    """Return the body of a category; `long` vehicles are trucks."""
    makers = {
        Category.VEHICLE: _truck if long else _car,
        Category.PEDESTRIAN: _pedestrian,
        Category.BICYCLE: _bicycle,
        Category.TRAFFIC_CONE: _traffic_cone,
        Category.BARRIER: _barrier,
        Category.CZONE_SIGN: _czone_sign,
        Category.GENERIC_OBJECT: _generic_object,
    }
    return makers[category]()


def paint_of(name: int) -> Color:
    """Return the own colour of the object with an id."""
    return PAINTS[(name * 2654435761 >> 7) % len(PAINTS)]


def placed(solid: Floats, category: Category, name: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return the triangles (F, 3, 3) [m] of an object in the world, and their colours (F, 3)."""
    found = body(category, category == Category.VEHICLE and bool(solid[3] >= TRUCK_LENGTH))
    local = found.triangles * [solid[3], solid[4], solid[6] - solid[5]]
    cos, sin = np.cos(solid[2]), np.sin(solid[2])
    turned = local @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    colors = np.where(found.colors < 0, paint_of(name), found.colors)
    return turned + solid[[0, 1, 5]], colors
