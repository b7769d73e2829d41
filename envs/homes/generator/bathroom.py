"""What stands in a bathroom."""

import numpy as np

from embodia.envs.homes.generator.furniture_parts import basin, tap
from embodia.envs.homes.generator.furniture_style import (
    CERAMIC,
    STEEL,
    Piece,
    Rng,
    Style,
)
from embodia.envs.homes.generator.mesh_builder import AGAINST_WALL, MeshBuilder
from embodia.envs.homes.generator.texture import Material


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
        basin(b, wide - 0.22, 0.3, 0.76, 0.26, style)
        if style.detail > 0:
            tap(b, 0.08, 0.76)
        b.begin("mirror", room)
        b.box((-wide / 2 + 0.03, 1.05, 0), (wide / 2 - 0.03, 1.85, 0.025), STEEL, without=("back",),
              front=Material("metal", (0.88, 0.93, 0.96), 2.0, glow=0.35), shade=False)  # fmt: skip

    return Piece("sink", wide, 0.48, 1.85, 0.55, build)


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
            tap(b, 0.0, tall)
            b.leave()

    return Piece("bathtub", wide, deep, tall, 0.45, build)
