"""Tables and desks."""

import numpy as np

from embodia.envs.homes.generator.furniture_parts import legs, vase
from embodia.envs.homes.generator.furniture_style import (
    DARK,
    Piece,
    Rng,
    Style,
)
from embodia.envs.homes.generator.mesh_builder import MeshBuilder
from embodia.envs.homes.generator.seats import office_chair
from embodia.envs.homes.generator.texture import Material


def table(rng: Rng, style: Style, width: float, depth: float, height: float) -> Piece:
    def build(b: MeshBuilder, room: int) -> None:
        b.begin("table", room)
        legs(b, width, depth, height - 0.04, 0.06, style.wood, style.detail)
        b.box((-width / 2, height - 0.04, 0), (width / 2, height, depth), style.wood, without=())
        if style.detail > 1 and height > 0.5:
            b.box((-width / 2 + 0.05, height - 0.12, 0.05), (width / 2 - 0.05, height - 0.04, depth - 0.05), style.wood,
                  without=("top", "bottom"), shade=False)  # fmt: skip
            vase(b, rng, 0.0, height, depth / 2, style)

    return Piece("table", width, depth, height, 0.0, build)


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
