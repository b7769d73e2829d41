"""Beds, chairs, sofas, benches."""

import numpy as np

from embodia.envs.homes.generator.furniture_parts import legs
from embodia.envs.homes.generator.furniture_style import (
    CLOTHS,
    DARK,
    STEEL,
    Piece,
    Rng,
    Style,
)
from embodia.envs.homes.generator.mesh_builder import AGAINST_WALL, MeshBuilder
from embodia.envs.homes.generator.texture import Material, tinted


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


def bench(rng: Rng, style: Style) -> Piece:
    """A shoe bench for the corridor."""
    wide = float(rng.uniform(0.6, 0.9))

    def build(b: MeshBuilder, room: int) -> None:
        b.begin("cabinet", room)
        b.box((-wide / 2, 0.05, 0), (wide / 2, 0.75, 0.24), style.wood, without=("back",),
              front=Material("drawers", style.wood.tint, 0.0))  # fmt: skip

    return Piece("cabinet", wide, 0.24, 0.75, 0.6, build)
