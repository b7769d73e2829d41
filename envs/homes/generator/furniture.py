"""Parametric furniture: each function draws sizes and returns a `Piece` that can be placed and built.

A piece stands in its own frame with its back along z = 0 (to the wall), its front to +z and its middle at x = 0.
Sizes are those of common furniture, in metres. `detail` 0 is a few boxes, 1 what one would notice, 2 everything.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from embodia.envs.drawing.scene import Array
from embodia.envs.homes.generator.mesh_builder import AGAINST_WALL, MeshBuilder
from embodia.envs.homes.generator.texture import Material, tinted

Rng = np.random.Generator

WHITE = Material("plain", (0.98, 0.98, 0.97))
CERAMIC = Material("plain", (1.0, 1.0, 1.0))
STEEL = Material("metal", (0.78, 0.79, 0.81))
DARK = Material("plain", (0.16, 0.16, 0.17))
EARTH = Material("carpet", (0.33, 0.25, 0.19))

WOODS = [
    (0.86, 0.66, 0.45),
    (0.7, 0.48, 0.31),
    (0.5, 0.33, 0.22),
    (0.93, 0.8, 0.62),
    (0.95, 0.94, 0.92),
    (0.36, 0.25, 0.19),
]
CLOTHS = [(0.45, 0.52, 0.6), (0.62, 0.6, 0.57), (0.33, 0.42, 0.4), (0.7, 0.45, 0.35), (0.78, 0.7, 0.6),
          (0.3, 0.34, 0.45), (0.56, 0.33, 0.35), (0.5, 0.56, 0.45), (0.84, 0.8, 0.74)]  # fmt: skip
LEAVES = [(0.3, 0.5, 0.25), (0.25, 0.42, 0.24), (0.42, 0.56, 0.27)]
POTS = [(0.85, 0.83, 0.8), (0.72, 0.42, 0.3), (0.3, 0.32, 0.35), (0.6, 0.62, 0.55)]


@dataclass(frozen=True)
class Style:
    """What a home's furniture has in common."""

    wood: Material
    second_wood: Material
    cloth: Material
    accent: Material
    counter: Material
    cupboard: Material
    detail: int


def draw_style(rng: Rng, detail: int) -> Style:
    wood = Material("wood", WOODS[rng.integers(len(WOODS))], 0.8)
    fronts = [(0.96, 0.96, 0.95), (0.6, 0.66, 0.64), (0.4, 0.47, 0.55), (0.85, 0.83, 0.78), wood.tint]
    return Style(
        wood=wood,
        second_wood=Material("wood", WOODS[rng.integers(len(WOODS))], 0.8),
        cloth=Material("fabric", CLOTHS[rng.integers(len(CLOTHS))], 0.5),
        accent=Material("fabric", CLOTHS[rng.integers(len(CLOTHS))], 0.5),
        counter=Material("marble", ((0.98, 0.97, 0.95), (0.5, 0.5, 0.52), (0.3, 0.3, 0.31))[rng.integers(3)], 1.0),
        cupboard=Material("cupboard", fronts[rng.integers(len(fronts))], 0.0),
        detail=detail,
    )


@dataclass(frozen=True)
class Piece:
    """Something to stand in a room."""

    category: str
    width: float  # along the wall [m]
    depth: float  # from the wall [m]
    height: float  # [m]
    front: float  # floor to be left free before it [m]
    build: Callable[[MeshBuilder, int], None]  # (builder, room); begins its own objects


def bed(rng: Rng, style: Style, double: bool) -> Piece:
    width = float(rng.choice([1.4, 1.6, 1.8]) if double else rng.choice([0.9, 1.0]))
    depth, head = 2.08, float(rng.uniform(0.85, 1.15))
    sheet = tinted(style.cloth, CLOTHS[rng.integers(len(CLOTHS))])
    cover = float(rng.uniform(0.55, 0.68)) * depth

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("bed", room)
        half = width / 2
        b.box((-half, 0.0, 0.0), (half, head, 0.06), style.wood, without=AGAINST_WALL)
        b.box((-half + 0.02, 0.08, 0.06), (half - 0.02, 0.3, depth - 0.04), style.wood, without=("back",))
        b.box((-half + 0.04, 0.3, 0.06), (half - 0.04, 0.48, depth - 0.06), tinted(style.cloth, (0.95, 0.94, 0.92)))
        b.box((-half + 0.015, 0.26, depth - cover), (half - 0.015, 0.52, depth - 0.02), sheet)
        if style.detail > 0:
            for x in (-0.25 * width, 0.25 * width) if double else (0.0,):
                b.box((x - 0.3, 0.48, 0.1), (x + 0.3, 0.6, 0.5), tinted(style.cloth, (1.0, 0.99, 0.97)), shade=False)
        if style.detail > 1:
            b.box(
                (-half + 0.01, 0.515, depth - cover),
                (half - 0.01, 0.545, depth - cover + 0.3),
                style.accent,
                shade=False,
            )
            for x in (-half + 0.05, half - 0.05):
                b.box((x - 0.03, 0.0, depth - 0.12), (x + 0.03, 0.08, depth - 0.06), style.wood, shade=False)
            if double:
                b.box((-0.22, 0.56, 0.34), (0.22, 0.7, 0.52), style.accent, shade=False)

    return Piece("bed", width, depth, head, 0.5, build)


def legs(b: MeshBuilder, wide: float, deep: float, height: float, thick: float, wood: Material, detail: int) -> None:
    """Four legs, or two side panels where little detail is wanted; z from 0 to `deep`."""
    if detail == 0:
        for x in (-wide / 2, wide / 2 - thick):
            b.box((x, 0, 0.04), (x + thick, height, deep - 0.04), wood, without=("bottom", "top"), shade=False)
        return
    for x in (-wide / 2 + 0.02, wide / 2 - thick - 0.02):
        for z in (0.02, deep - thick - 0.02):
            b.box((x, 0, z), (x + thick, height, z + thick), wood, without=("bottom", "top"), shade=False)


def chair(rng: Rng, style: Style) -> Piece:
    """A dining chair."""
    width, depth, seat, back = 0.45, 0.5, 0.45, float(rng.uniform(0.82, 0.98))
    padded = rng.random() < 0.5

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("chair", room)
        legs(b, width, depth, seat - 0.04, 0.035, style.wood, style.detail)
        b.box((-width / 2, seat - 0.04, 0), (width / 2, seat, depth), style.wood, without=())
        if padded and style.detail > 0:
            b.box(
                (-width / 2 + 0.03, seat, 0.05),
                (width / 2 - 0.03, seat + 0.04, depth - 0.02),
                style.accent,
                shade=False,
            )
        if style.detail < 2:
            b.box((-width / 2, seat, 0), (width / 2, back, 0.035), style.accent if padded else style.wood, shade=False)
            return
        for x in (-width / 2, width / 2 - 0.035):
            b.box((x, seat, 0), (x + 0.035, back, 0.035), style.wood, shade=False)
        for low, high in ((0.0, 0.1), (0.16, 0.26), (0.32, 0.42)):
            top = min(seat + 0.1 + high, back)
            b.box((-width / 2 + 0.035, seat + 0.1 + low, 0.005), (width / 2 - 0.035, top, 0.03), style.wood,
                  without=("left", "right"), shade=False)  # fmt: skip

    return Piece("chair", width, depth, back, 0.3, build)


def office_chair(rng: Rng, style: Style) -> Piece:
    def build(b: MeshBuilder, room: int) -> None:
        b.begin("chair", room)
        sides = (4, 6, 10)[style.detail]
        b.prism((0, 0.28), 0.06, 0.42, 0.03, sides, STEEL, cap=False)
        for k in range(2 if style.detail == 0 else 5):
            b.place_within(0, 0, 0.28, 2 * np.pi * k / (2 if style.detail == 0 else 5))
            b.box((-0.02, 0.02, 0), (0.02, 0.07, 0.28), DARK, shade=False)
            b.leave()
        b.box((-0.25, 0.42, 0.05), (0.25, 0.5, 0.53), style.accent, without=())
        b.box((-0.22, 0.58, 0.02), (0.22, 1.05, 0.08), style.accent, without=())
        b.box((-0.03, 0.45, 0.0), (0.03, 0.7, 0.03), DARK, shade=False)
        if style.detail > 0:
            for x in (-0.28, 0.24):
                b.box((x, 0.64, 0.1), (x + 0.04, 0.68, 0.4), DARK, without=(), shade=False)

    return Piece("chair", 0.56, 0.56, 1.05, 0.2, build)


def armchair(rng: Rng, style: Style) -> Piece:
    width, depth = float(rng.uniform(0.75, 0.9)), 0.85
    cloth = style.accent

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("chair", room)
        _upholstery(b, width, depth, 1, cloth, style)

    return Piece("chair", width, depth, 0.82, 0.4, build)


def sofa(rng: Rng, style: Style, length: float) -> Piece:
    seats = 2 if length < 1.8 else 3

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("sofa", room)
        _upholstery(b, length, 0.92, seats, style.cloth, style)
        if style.detail > 0:
            for x in (-length / 2 + 0.38, length / 2 - 0.38):
                b.box((x - 0.2, 0.46, 0.22), (x + 0.2, 0.8, 0.36), style.accent, shade=False)

    return Piece("sofa", length, 0.92, 0.82, 0.4, build)


def _upholstery(b: MeshBuilder, width: float, depth: float, seats: int, cloth: Material, style: Style) -> None:
    """Base, back, arms and seat cushions."""
    half, arm = width / 2, 0.17
    b.box((-half + 0.01, 0.06, 0.02), (half - 0.01, 0.28, depth - 0.02), cloth, without=())
    b.box((-half + arm, 0.05, 0.0), (half - arm, 0.82, 0.22), cloth)
    for x in (-half, half - arm):
        b.box((x, 0.05, 0.0), (x + arm, 0.62, depth), cloth, without=())
    if style.detail == 0:
        b.box((-half + arm, 0.28, 0.2), (half - arm, 0.45, depth - 0.02), cloth)
        return
    wide = (width - 2 * arm) / seats
    for k in range(seats):
        x = -half + arm + k * wide
        b.box((x + 0.008, 0.28, 0.2), (x + wide - 0.008, 0.45, depth + 0.01), cloth)
        if style.detail > 1:
            b.box((x + 0.012, 0.45, 0.18), (x + wide - 0.012, 0.8, 0.33), cloth, shade=False)
    if style.detail > 1:
        for x in (-half + 0.04, half - 0.1):
            for z in (0.04, depth - 0.1):
                b.box((x, 0.0, z), (x + 0.06, 0.06, z + 0.06), style.wood, without=("bottom", "top"), shade=False)


def table(rng: Rng, style: Style, width: float, depth: float, height: float) -> Piece:
    def build(b: MeshBuilder, room: int) -> None:
        b.begin("table", room)
        legs(b, width, depth, height - 0.04, 0.06, style.wood, style.detail)
        b.box((-width / 2, height - 0.04, 0), (width / 2, height, depth), style.wood, without=())
        if style.detail > 1 and height > 0.5:
            b.box((-width / 2 + 0.05, height - 0.12, 0.05), (width / 2 - 0.05, height - 0.04, depth - 0.05), style.wood,
                  without=("top", "bottom"), shade=False)  # fmt: skip
            _vase(b, rng, 0.0, height, depth / 2, style)

    return Piece("table", width, depth, height, 0.0, build)


def _vase(b: MeshBuilder, rng: Rng, x: float, y: float, z: float, style: Style) -> None:
    glaze = Material("plain", POTS[rng.integers(len(POTS))])
    b.prism((x, z), y, y + 0.12, 0.05, 8, glaze, top_radius=0.07, cap=False)
    b.prism((x, z), y + 0.12, y + 0.2, 0.07, 8, glaze, top_radius=0.04)


def round_table(rng: Rng, style: Style, radius: float) -> Piece:
    """A coffee table with one foot."""
    sides = (6, 10, 20)[style.detail]

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("table", room)
        b.prism((0, radius), 0.0, 0.03, 0.6 * radius, sides, style.wood)
        b.prism((0, radius), 0.03, 0.4, 0.05, max(4, sides // 2), style.wood, cap=False)
        b.prism((0, radius), 0.4, 0.44, radius, sides, style.wood)
        b.occluder((-0.7 * radius, 0.4, 0.3 * radius), (0.7 * radius, 0.44, 1.7 * radius))

    return Piece("table", 2 * radius, 2 * radius, 0.44, 0.0, build)


def television(rng: Rng, style: Style) -> Piece:
    """A set on its bench."""
    wide, screen = float(rng.uniform(1.3, 1.8)), float(rng.uniform(0.95, 1.25))

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("cabinet", room)
        front = Material("drawers" if rng.random() < 0.5 else "cupboard", style.wood.tint, 0.0)
        b.box((-wide / 2, 0.06, 0.0), (wide / 2, 0.48, 0.42), style.wood, without=AGAINST_WALL, front=front)
        b.begin("tv_monitor", room)
        tall = 0.58 * screen
        b.box(
            (-screen / 2, 0.55, 0.12),
            (screen / 2, 0.55 + tall, 0.17),
            DARK,
            without=(),
            front=Material("screen", scale=0),
        )
        b.box((-0.14, 0.48, 0.1), (0.14, 0.56, 0.2), DARK, shade=False)

    return Piece("tv_monitor", wide, 0.42, 1.3, 0.6, build)


def desk(rng: Rng, style: Style) -> Piece:
    """A desk with a monitor, and its chair before it."""
    wide = float(rng.uniform(1.1, 1.5))
    seat = office_chair(rng, style)

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("table", room)
        legs(b, wide, 0.65, 0.7, 0.05, style.second_wood, style.detail)
        b.box((-wide / 2, 0.7, 0), (wide / 2, 0.74, 0.65), style.second_wood, without=())
        b.begin("tv_monitor", room)
        b.box((-0.29, 0.84, 0.14), (0.29, 1.2, 0.18), DARK, without=(), front=Material("screen", scale=0))
        b.box((-0.08, 0.74, 0.1), (0.08, 0.86, 0.2), DARK, shade=False)
        if style.detail > 0:
            b.begin("keyboard", room)
            b.box((-0.22, 0.74, 0.38), (0.22, 0.76, 0.52), DARK, shade=False)
        b.place_within(0.0, 0.0, 1.05, np.pi + rng.uniform(-0.4, 0.4))
        seat.build(b, room)
        b.leave()

    return Piece("tv_monitor", wide, 1.1, 1.2, 0.3, build)


def plant(rng: Rng, style: Style) -> Piece:
    """A pot with a fan of leaves."""
    height, radius = float(rng.uniform(0.8, 1.5)), float(rng.uniform(0.13, 0.19))
    pot = Material("plain", POTS[rng.integers(len(POTS))])
    green = Material("leaf", LEAVES[rng.integers(len(LEAVES))], 0.0)
    spread = float(rng.uniform(0.26, 0.36))
    count = (7, 14, 34)[style.detail]

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("plant", room)
        sides = (5, 8, 14)[style.detail]
        middle = 0.36
        b.prism((0, middle), 0.0, 0.3, radius, sides, pot, top_radius=1.25 * radius, cap=False)
        b.disc((0, middle), 0.27, 1.2 * radius, sides, EARTH)
        b.occluder((-radius, 0, middle - radius), (radius, 0.3, middle + radius))
        if style.detail > 0:
            b.prism((0, middle), 0.3, 0.6 * height, 0.02, 4, Material("wood", (0.45, 0.36, 0.25)), cap=False)
        for k in range(count):
            b.quad(_leaf(rng, k / count, height, spread) + np.array([0, 0, middle]), green, double_sided=True)

    return Piece("plant", 0.72, 0.72, height, 0.2, build)


def _leaf(rng: Rng, share: float, height: float, spread: float) -> Array:
    """A rhombus that leans outward, lower ones more; corners (4, 3), all within `spread` of the stem."""
    turn = 2.4 * np.pi * share * 7 + rng.uniform(-0.3, 0.3)
    start = 0.28 + 0.45 * share * (height - 0.3)
    lift = (0.3 + 0.7 * share**1.5) * (height - start)
    reach = spread * (1.0 - 0.65 * share**2)
    out, side = np.array([np.sin(turn), 0, np.cos(turn)]), np.array([np.cos(turn), 0, -np.sin(turn)])
    base, tip = np.array([0, start, 0]), out * reach + [0, start + lift, 0]
    middle = base + 0.55 * (tip - base)
    wide = min(0.07, 0.2 * float(np.linalg.norm(tip - base)))
    return np.stack([base, middle + wide * side, tip, middle - wide * side])


def toilet(rng: Rng, style: Style) -> Piece:
    sides = (5, 8, 16)[style.detail]

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("toilet", room)
        b.box((-0.19, 0.36, 0.0), (0.19, 0.8, 0.18), CERAMIC, without=("back",))
        b.prism((0, 0.38), 0.0, 0.36, 0.12, sides, CERAMIC, top_radius=0.18, cap=False, stretch=1.25)
        b.prism((0, 0.4), 0.36, 0.41, 0.19, sides, CERAMIC, stretch=1.3)
        if style.detail > 0:
            b.box((-0.11, 0.0, 0.02), (0.11, 0.36, 0.3), CERAMIC, without=("bottom", "back", "top"))
        b.occluder((-0.17, 0.0, 0.2), (0.17, 0.4, 0.62))
        if style.detail > 0:
            b.box((-0.2, 0.8, 0.0), (0.2, 0.83, 0.2), CERAMIC, without=("back",), shade=False)
            b.box((-0.03, 0.83, 0.07), (0.03, 0.845, 0.13), STEEL, shade=False)

    return Piece("toilet", 0.5, 0.66, 0.83, 0.5, build)


def washstand(rng: Rng, style: Style) -> Piece:
    """A basin on a cabinet, under a mirror."""
    wide = float(rng.uniform(0.6, 0.95))

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("cabinet", room)
        b.box((-wide / 2, 0.1, 0), (wide / 2, 0.72, 0.46), style.second_wood, without=AGAINST_WALL,
              front=style.cupboard)  # fmt: skip
        b.begin("sink", room)
        b.box((-wide / 2 - 0.01, 0.72, 0), (wide / 2 + 0.01, 0.76, 0.48), CERAMIC, without=("back",))
        _basin(b, wide - 0.22, 0.3, 0.76, 0.26, style)
        if style.detail > 0:
            _tap(b, 0.08, 0.76)
        b.begin("mirror", room)
        b.box((-wide / 2 + 0.03, 1.05, 0), (wide / 2 - 0.03, 1.85, 0.025), STEEL, without=("back",),
              front=Material("metal", (0.88, 0.93, 0.96), 2.0, glow=0.35), shade=False)  # fmt: skip

    return Piece("sink", wide, 0.48, 1.85, 0.55, build)


def _basin(b: MeshBuilder, wide: float, deep: float, y: float, z: float, style: Style) -> None:
    """A raised rim with a hollow, standing on a top at height y."""
    rim, bowl = Material("plain", (1.0, 1.0, 1.0)), Material("plain", (0.9, 0.92, 0.93))
    x0, x1, z0, z1 = -wide / 2, wide / 2, z - deep / 2, z + deep / 2
    if style.detail == 0:
        b.box((x0, y, z0), (x1, y + 0.07, z1), rim, shade=False)
        return
    b.box((x0, y, z0), (x1, y + 0.08, z0 + 0.03), rim, shade=False)
    b.box((x0, y, z1 - 0.03), (x1, y + 0.08, z1), rim, shade=False)
    b.box((x0, y, z0 + 0.03), (x0 + 0.03, y + 0.08, z1 - 0.03), rim, without=("bottom", "front", "back"), shade=False)
    b.box((x1 - 0.03, y, z0 + 0.03), (x1, y + 0.08, z1 - 0.03), rim, without=("bottom", "front", "back"), shade=False)
    b.quad(np.array([[x0, y + 0.01, z1], [x1, y + 0.01, z1], [x1, y + 0.01, z0], [x0, y + 0.01, z0]]), bowl)


def _tap(b: MeshBuilder, z: float, y: float, x: float = 0.0) -> None:
    b.box((x - 0.015, y, z), (x + 0.015, y + 0.2, z + 0.03), STEEL, shade=False)
    b.box((x - 0.012, y + 0.17, z + 0.03), (x + 0.012, y + 0.2, z + 0.16), STEEL, without=("back",), shade=False)


def bathtub(rng: Rng, style: Style) -> Piece:
    wide, deep, tall = float(rng.choice([1.5, 1.6, 1.7])), 0.75, 0.56

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("bathtub", room)
        x, rim, floor = wide / 2, 0.07, 0.14
        b.box((-x, 0, 0), (x, tall, deep), CERAMIC, without=("bottom", "back", "top"), shade=False)
        b.occluder((-x + rim, 0, rim), (x - rim, floor, deep - rim))
        inner = [(-x + rim, rim), (x - rim, rim), (x - rim, deep - rim), (-x + rim, deep - rim)]
        outer = [(-x, 0.0), (x, 0.0), (x, deep), (-x, deep)]
        foot = [
            (-x + 3 * rim, 2 * rim),
            (x - 3 * rim, 2 * rim),
            (x - 3 * rim, deep - 2 * rim),
            (-x + 3 * rim, deep - 2 * rim),
        ]

        def at(points: list[tuple[float, float]], k: int, y: float) -> tuple[float, float, float]:
            return (points[k % 4][0], y, points[k % 4][1])

        for k in range(4):
            rim_part = [at(outer, k, tall), at(outer, k + 1, tall), at(inner, k + 1, tall), at(inner, k, tall)]
            b.quad(np.array(rim_part)[[1, 0, 3, 2]], CERAMIC)
            side = [at(foot, k, floor), at(foot, k + 1, floor), at(inner, k + 1, tall), at(inner, k, tall)]
            b.quad(np.array(side), CERAMIC)
        b.quad(np.array([at(foot, 3, floor), at(foot, 2, floor), at(foot, 1, floor), at(foot, 0, floor)]), CERAMIC)
        if style.detail > 0:
            b.place_within(-x + 0.05, 0, deep / 2, np.pi / 2)
            _tap(b, 0.0, tall)
            b.leave()

    return Piece("bathtub", wide, deep, tall, 0.45, build)


def wardrobe(rng: Rng, style: Style) -> Piece:
    wide, tall = float(rng.choice([1.0, 1.2, 1.6, 2.0])), float(rng.uniform(1.9, 2.15))
    doors = max(1, round(wide / 0.8))

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("cabinet", room)
        front = Material("cupboard", style.wood.tint, 0.0)
        if style.detail == 0:
            b.box((-wide / 2, 0, 0), (wide / 2, tall, 0.6), style.wood, without=AGAINST_WALL, front=front)
            return
        b.box((-wide / 2, 0, 0), (wide / 2, tall, 0.58), style.wood, without=(*AGAINST_WALL, "front"))
        for k in range(doors):
            x = -wide / 2 + k * wide / doors
            b.box(
                (x, 0.07, 0.58), (x + wide / doors, tall, 0.6), style.wood, without=("back",), front=front, shade=False
            )
        b.box((-wide / 2, 0, 0.5), (wide / 2, 0.07, 0.56), style.wood, without=("bottom", "back", "top"), shade=False)
        if style.detail > 1:
            b.box(
                (-wide / 2 - 0.02, tall, 0),
                (wide / 2 + 0.02, tall + 0.04, 0.63),
                style.wood,
                without=("back",),
                shade=False,
            )

    return Piece("cabinet", wide, 0.63, tall + 0.05, 0.6, build)


def drawers(rng: Rng, style: Style, wide: float, tall: float, deep: float, category: str) -> Piece:
    """A chest of drawers or a bedside table, with something on it."""

    def build(b: MeshBuilder, room: int) -> None:
        b.begin(category, room)
        front = Material("drawers", style.wood.tint, 0.0)
        b.box((-wide / 2, 0.04, 0), (wide / 2, tall, deep), style.wood, without=("back",), front=front)
        if style.detail > 0:
            _lamp(b, room, 0.25 * wide if wide > 0.6 else 0.0, tall, deep / 2, style)
        if style.detail > 1 and wide > 0.6:
            b.begin("decoration", room)
            _vase(b, rng, -0.25 * wide, tall, deep / 2, style)

    return Piece(category, wide, deep, tall + (0.42 if style.detail else 0), 0.4, build)


def _lamp(b: MeshBuilder, room: int, x: float, y: float, z: float, style: Style) -> None:
    b.begin("lamp", room)
    sides = (4, 6, 10)[style.detail]
    if style.detail > 1:
        b.prism((x, z), y, y + 0.02, 0.06, sides, STEEL)
    b.prism((x, z), y, y + 0.22, 0.012, 3, STEEL, cap=False)
    shade = Material("fabric", (1.0, 0.93, 0.8), 0.5, glow=0.9)
    b.prism((x, z), y + 0.2, y + 0.4, 0.12, sides, shade, top_radius=0.08)
    b.disc((x, z), y + 0.205, 0.12, sides, shade, downward=True)


def floor_lamp(rng: Rng, style: Style) -> Piece:
    def build(b: MeshBuilder, room: int) -> None:
        b.begin("lamp", room)
        sides = (4, 6, 10)[style.detail]
        b.prism((0, 0.2), 0.0, 0.03, 0.15, sides, DARK)
        b.prism((0, 0.2), 0.03, 1.4, 0.014, 3, DARK, cap=False)
        shade = Material("fabric", (1.0, 0.94, 0.82), 0.5, glow=0.95)
        b.prism((0, 0.2), 1.35, 1.65, 0.2, sides, shade, top_radius=0.13)
        b.disc((0, 0.2), 1.355, 0.2, sides, shade, downward=True)

    return Piece("lamp", 0.4, 0.4, 1.65, 0.0, build)


def bookcase(rng: Rng, style: Style) -> Piece:
    wide, tall, deep = float(rng.choice([0.8, 1.0, 1.2])), float(rng.uniform(1.6, 2.05)), 0.32
    shelves = int(rng.integers(4, 6))
    shift = rng.uniform(0, 1, shelves)

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("shelving", room)
        rise = (tall - 0.1) / shelves
        if style.detail == 0:
            b.box((-wide / 2, 0, 0), (wide / 2, tall, deep), style.second_wood, without=(*AGAINST_WALL, "front"))
        else:
            for x in (-wide / 2, wide / 2 - 0.025):
                b.box((x, 0, 0), (x + 0.025, tall, deep), style.second_wood, without=AGAINST_WALL)
            for k in range(shelves + 1):
                y = 0.06 + k * rise
                b.box((-wide / 2 + 0.025, y, 0), (wide / 2 - 0.025, y + 0.025, deep - 0.01), style.second_wood,
                      without=("left", "right", "back"), shade=False)  # fmt: skip
        x, z = wide / 2 - (0.025 if style.detail else 0), deep if style.detail == 0 else deep - 0.07
        for k in range(shelves):
            y = 0.06 + k * rise + (0.025 if style.detail else 0)
            top = y + rise - (0.025 if style.detail else 0)
            books = Material("books", (0.9, 0.88, 0.86), rise)
            b.quad(
                np.array([[-x, y, z], [x, y, z], [x, top, z], [-x, top, z]]), books, origin=(float(shift[k]) * 3, 0.0)
            )
        if style.detail == 0:
            b.quad(np.array([[-x, 0, z], [x, 0, z], [x, 0.06, z], [-x, 0.06, z]]), style.second_wood)
            b.quad(
                np.array([[-x, tall - 0.04, z], [x, tall - 0.04, z], [x, tall, z], [-x, tall, z]]), style.second_wood
            )

    return Piece("shelving", wide, deep, tall, 0.5, build)


def kitchen_counter(rng: Rng, style: Style, length: float, wall_units: bool) -> Piece:
    """Cupboards with a worktop along a wall: a sink, a hob over an oven, and units above."""
    units = max(3, round(length / 0.6))
    unit = length / units
    sink_at, hob_at = (0, units - 2) if rng.random() < 0.5 else (units - 1, 1)

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("counter", room)
        x0 = -length / 2
        plinth = 0.1 if style.detail else 0.0
        if style.detail:
            b.box((x0, 0, 0), (x0 + length, plinth, 0.54), DARK, without=(*AGAINST_WALL, "top"), shade=False)
        b.box((x0, plinth, 0), (x0 + length, 0.86, 0.6), WHITE, without=(*AGAINST_WALL, "front", "top"))
        if style.detail == 0:
            _front(b, x0, x0 + length, plinth, 0.86, 0.6, style.cupboard)
        else:
            for k in range(units):
                drawer = Material("drawers", style.cupboard.tint, 0.0)
                front = Material("oven", scale=0.0) if k == hob_at else drawer if k % 3 == 1 else style.cupboard
                _front(b, x0 + k * unit, x0 + (k + 1) * unit, plinth, 0.86, 0.6, front)
        b.box((x0, 0.86, 0), (x0 + length, 0.9, 0.63), style.counter, without=("back",), shade=False)
        _hob(b, room, x0 + (hob_at + 0.5) * unit, unit, style)
        b.begin("sink", room)
        b.place_within(x0 + (sink_at + 0.5) * unit, 0, 0, 0)
        _basin(b, unit - 0.08, 0.4, 0.9, 0.34, style)
        if style.detail > 0:
            _tap(b, 0.06, 0.9)
        b.leave()
        if wall_units:
            b.begin("cabinet", room)
            b.box((x0, 1.45, 0), (x0 + length, 2.1, 0.35), WHITE, without=("back", "front"))
            for k in range(units if style.detail else 1):
                step = unit if style.detail else length
                _front(b, x0 + k * step, x0 + (k + 1) * step, 1.45, 2.1, 0.35, style.cupboard)

    return Piece("counter", length, 0.63, 2.1 if wall_units else 1.1, 0.85, build)


def _front(b: MeshBuilder, x0: float, x1: float, y0: float, y1: float, z: float, front: Material) -> None:
    b.quad(np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]]), front)


def _hob(b: MeshBuilder, room: int, x: float, unit: float, style: Style) -> None:
    b.begin("stove", room)
    b.box((x - unit / 2 + 0.02, 0.9, 0.06), (x + unit / 2 - 0.02, 0.91, 0.57), DARK,
          top=Material("hob", scale=0.0), shade=False)  # fmt: skip


def refrigerator(rng: Rng, style: Style) -> Piece:
    tall = float(rng.uniform(1.7, 1.95))
    colour = STEEL if rng.random() < 0.6 else WHITE

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("refrigerator", room)
        if style.detail == 0:
            b.box((-0.31, 0, 0), (0.31, tall, 0.66), colour, without=AGAINST_WALL)
            return
        b.box((-0.31, 0, 0), (0.31, tall, 0.6), colour, without=AGAINST_WALL)
        for low, high in ((0.03, 0.62), (0.635, tall - 0.01)):
            b.box((-0.305, low, 0.6), (0.305, high, 0.66), colour, without=("back",), shade=False)
            start, end = (high - 0.35, high - 0.08) if low < 0.1 else (low + 0.08, low + 0.4)
            b.box((0.24, start, 0.66), (0.265, end, 0.69), DARK, without=("back",), shade=False)

    return Piece("refrigerator", 0.62, 0.66, tall, 0.7, build)


def bench(rng: Rng, style: Style) -> Piece:
    """A shoe bench for the corridor."""
    wide = float(rng.uniform(0.6, 0.9))

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("cabinet", room)
        b.box((-wide / 2, 0.05, 0), (wide / 2, 0.75, 0.24), style.wood, without=("back",),
              front=Material("drawers", style.wood.tint, 0.0))  # fmt: skip

    return Piece("cabinet", wide, 0.24, 0.75, 0.6, build)
