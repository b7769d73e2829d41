"""Plants and lamps."""

import numpy as np

from embodia.envs.drawing.scene import Array
from embodia.envs.homes.generator.furniture_style import (
    DARK,
    EARTH,
    LEAVES,
    POTS,
    Piece,
    Rng,
    Style,
)
from embodia.envs.homes.generator.mesh_builder import MeshBuilder
from embodia.envs.homes.generator.texture import Material


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
