"""Parts that several pieces share."""

import numpy as np

from embodia.envs.homes.generator.furniture_style import (
    POTS,
    STEEL,
    Rng,
    Style,
)
from embodia.envs.homes.generator.mesh_builder import MeshBuilder
from embodia.envs.homes.generator.texture import Material


def legs(b: MeshBuilder, wide: float, deep: float, height: float, thick: float, wood: Material, detail: int) -> None:
    """Four legs, or two side panels where little detail is wanted; z from 0 to `deep`."""
    if detail == 0:
        for x in (-wide / 2, wide / 2 - thick):
            b.box((x, 0, 0.04), (x + thick, height, deep - 0.04), wood, without=("bottom", "top"), shade=False)
        return
    for x in (-wide / 2 + 0.02, wide / 2 - thick - 0.02):
        for z in (0.02, deep - thick - 0.02):
            b.box((x, 0, z), (x + thick, height, z + thick), wood, without=("bottom", "top"), shade=False)


def vase(b: MeshBuilder, rng: Rng, x: float, y: float, z: float, style: Style) -> None:
    glaze = Material("plain", POTS[rng.integers(len(POTS))])
    b.prism((x, z), y, y + 0.12, 0.05, 8, glaze, top_radius=0.07, cap=False)
    b.prism((x, z), y + 0.12, y + 0.2, 0.07, 8, glaze, top_radius=0.04)


def lamp(b: MeshBuilder, room: int, x: float, y: float, z: float, style: Style) -> None:
    b.begin("lamp", room)
    sides = (4, 6, 10)[style.detail]
    if style.detail > 1:
        b.prism((x, z), y, y + 0.02, 0.06, sides, STEEL)
    b.prism((x, z), y, y + 0.22, 0.012, 3, STEEL, cap=False)
    shade = Material("fabric", (1.0, 0.93, 0.8), 0.5, glow=0.9)
    b.prism((x, z), y + 0.2, y + 0.4, 0.12, sides, shade, top_radius=0.08)
    b.disc((x, z), y + 0.205, 0.12, sides, shade, downward=True)


def basin(b: MeshBuilder, wide: float, deep: float, y: float, z: float, style: Style) -> None:
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


def tap(b: MeshBuilder, z: float, y: float, x: float = 0.0) -> None:
    b.box((x - 0.015, y, z), (x + 0.015, y + 0.2, z + 0.03), STEEL, shade=False)
    b.box((x - 0.012, y + 0.17, z + 0.03), (x + 0.012, y + 0.2, z + 0.16), STEEL, without=("back",), shade=False)
