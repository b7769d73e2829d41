"""What stands in a kitchen."""

import numpy as np

from embodia.envs.homes.generator.furniture_parts import basin, tap
from embodia.envs.homes.generator.furniture_style import (
    DARK,
    STEEL,
    WHITE,
    Piece,
    Rng,
    Style,
)
from embodia.envs.homes.generator.mesh_builder import AGAINST_WALL, MeshBuilder
from embodia.envs.homes.generator.texture import Material


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
        basin(b, unit - 0.08, 0.4, 0.9, 0.34, style)
        if style.detail > 0:
            tap(b, 0.06, 0.9)
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
