"""Pictures of a grid, from minigrid's own tiles."""

from functools import lru_cache

import numpy as np
from minigrid.core.constants import OBJECT_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from envs.grid.symbolic import SymbolicViews, Symbols

Picture = NDArray[np.uint8]
AGENT = OBJECT_TO_IDX["agent"]
BAND = 12
"""Width of the band around and between the two pictures of `beside` [pixel]."""

MAP_HEIGHT = 384  # [pixel]
CAPTION = 26  # height of a line of text [pixel]
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
    """The agent's view beside the whole map, equally high and labelled, the mission below; both sides even."""
    tile = max(MAP_HEIGHT // views.world.height, 8)
    height = tile * views.world.height
    whole = full(views, tile)
    own = _resized(egocentric(views, height // views.margin + 1), height)
    band = np.full((height, BAND, 3), BACKGROUND, np.uint8)
    pictures = np.concatenate([band, own, band, whole, band], axis=1)
    width = pictures.shape[1]
    header = np.concatenate(
        [_caption("agent's view", BAND + own.shape[1]), _caption("map", width - BAND - own.shape[1])], 1
    )
    picture = np.concatenate([header, pictures, _caption(views.world.mission, width)])
    return picture[: len(picture) // 2 * 2, : width // 2 * 2]


@lru_cache(maxsize=256)
def _caption(text: str, width: int) -> Picture:
    """(CAPTION, width, 3) one line of text, smaller where it would not fit."""
    image = Image.new("RGB", (width, CAPTION), (BACKGROUND,) * 3)
    pen = ImageDraw.Draw(image)
    size = next((size for size in (15, 13, 11, 9) if pen.textlength(text, _font(size)) < width - 2 * BAND), 7)
    pen.text((BAND, CAPTION // 2), text, fill=(225, 225, 225), font=_font(size), anchor="lm")
    return np.asarray(image)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # type: ignore[return-value]


def _resized(picture: Picture, height: int) -> Picture:
    """Scaled to a height, keeping proportions; untouched, and so crisp, where it already fits."""
    if len(picture) == height:
        return picture
    width = round(picture.shape[1] * height / len(picture))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))
