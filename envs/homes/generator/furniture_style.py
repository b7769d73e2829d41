"""Parametric furniture: the pieces, and the style that the pieces of one home share.

The functions of `seats`, `tables`, `cabinets`, `bathroom`, `kitchen` and `ornaments` draw sizes and return a `Piece`
that can be placed and built. It stands in its own frame with its back along z = 0 (to the wall), its front to +z and
its middle at x = 0. Sizes are those of common furniture, in metres. `detail` 0 is a few boxes, 1 what one would notice,
2 everything.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from embodia.envs.homes.generator.mesh_builder import MeshBuilder
from embodia.envs.homes.generator.texture import Material

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
