"""Pictures of a grid, from minigrid's own tiles."""

from functools import lru_cache

import numpy as np
from minigrid.core.constants import OBJECT_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj
from numpy.typing import NDArray
from PIL import Image

from envs.grid.symbolic import SymbolicViews, Symbols

Picture = NDArray[np.uint8]
AGENT = OBJECT_TO_IDX["agent"]
BAND = 12
"""Width of the band around and between the two pictures of `beside` [pixel]."""

MAP_HEIGHT = 384  # [pixel]
BACKGROUND = 24


@lru_cache(maxsize=4096)
def _tile(kind: int, colour: int, state: int, direction: int | None, lit: bool, size: int) -> Picture:
    thing = WorldObj.decode(kind, colour, state)
    return Grid.render_tile(thing, agent_dir=direction, highlight=lit, tile_size=size)


def _mosaic(codes: Symbols, lit: NDArray[np.bool_], size: int, agent: tuple[int, int], direction: int) -> Picture:
    """(H size, W size, 3) tiles of (H, W, 3) codes, with the agent at (row, column)."""
    height, width, _ = codes.shape
    picture = np.empty((height, size, width, size, 3), np.uint8)
    for row, (cells, lights) in enumerate(zip(codes.tolist(), lit.tolist())):
        for column, (cell, light) in enumerate(zip(cells, lights)):
            facing = direction if (row, column) == agent else None
            picture[row, :, column] = _tile(*cell, facing, light, size)
    return picture.reshape(height * size, width * size, 3)


def egocentric(views: SymbolicViews, size: int) -> Picture:
    """(V size, V size, 3) what the agent sees, itself at the bottom looking up; unseen cells dark."""
    codes, seen = views.egocentric_codes()
    span = len(codes)
    hidden = codes * seen[:, :, None]
    return _mosaic(hidden, seen, size, (span - 1, span // 2), 3)


def full(views: SymbolicViews, size: int) -> Picture:
    """(H size, W size, 3) the whole grid, with what the agent sees lit up."""
    x, y = views.world.agent_pos
    return _mosaic(views.codes(), views.seen(), size, (y, x), views.world.agent_dir)


def beside(views: SymbolicViews) -> Picture:
    """The agent's view beside the whole map, equally high, both sides even."""
    height = max(MAP_HEIGHT // views.world.height, 8) * views.world.height
    height += height % 2
    whole = _resized(full(views, max(height // views.world.height, 8)), height)
    own = _resized(egocentric(views, height // views.margin + 1), height)
    band = np.full((height, BAND, 3), BACKGROUND, np.uint8)
    picture = np.concatenate([band, own, band, whole, band], axis=1)
    edge = np.full((BAND, picture.shape[1], 3), BACKGROUND, np.uint8)
    picture = np.concatenate([edge, picture, edge])
    return picture[:, : picture.shape[1] // 2 * 2]


def _resized(picture: Picture, height: int) -> Picture:
    """Scaled to a height, keeping proportions; untouched, and so crisp, where it already fits."""
    if len(picture) == height:
        return picture
    width = round(picture.shape[1] * height / len(picture))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))
