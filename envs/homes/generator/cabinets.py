"""Wardrobes, chests of drawers, bookcases, television sets on their cabinets."""

import numpy as np

from embodia.envs.homes.generator.furniture_parts import lamp, vase
from embodia.envs.homes.generator.furniture_style import (
    DARK,
    Piece,
    Rng,
    Style,
)
from embodia.envs.homes.generator.mesh_builder import AGAINST_WALL, MeshBuilder
from embodia.envs.homes.generator.texture import Material


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
            lamp(b, room, 0.25 * wide if wide > 0.6 else 0.0, tall, deep / 2, style)
        if style.detail > 1 and wide > 0.6:
            b.begin("decoration", room)
            vase(b, rng, -0.25 * wide, tall, deep / 2, style)

    return Piece(category, wide, deep, tall + (0.42 if style.detail else 0), 0.4, build)


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
