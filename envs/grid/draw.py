"""Images of a grid, made of minigrid's own tiles."""

from functools import lru_cache

import numpy as np
from minigrid.core.constants import OBJECT_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from embodia.envs.grid.symbolic import HIGHEST_CODE, SymbolicViews, Symbols

Picture = NDArray[np.uint8]
TILE_KINDS = (*(code + 1 for code in HIGHEST_CODE), 2, 5)
BAND = 12
"""Width of the gap between the two images of `beside`, half of it at the edges [pixels]."""

TILE = 32  # tile size of the agent's view, and maximum tile size of the map, in `beside` [pixels]
MAP_HEIGHT = 400  # maximum height of the map in `beside` [pixels]
CAPTION = 26  # height of a line of text [pixels]
BACKGROUND = 24


@lru_cache(maxsize=4096)
def _tile(key: int, size: int) -> Picture:
    kind, colour, state, lit, agent = (int(number) for number in np.unravel_index(key, TILE_KINDS))
    return tile(kind, colour, state, lit, agent, size)


def tile(kind: int, colour: int, state: int, lit: int, agent: int, size: int) -> Picture:
    """Return the tile (size, size, 3) of a cell: type, colour, state, lit, and 1 + direction of its agent, or 0."""
    thing = WorldObj.decode(kind, colour, state)
    picture = Grid.render_tile(thing, agent - 1 if agent else None, bool(lit), size)
    return np.asarray(picture).astype(np.uint8)  # minigrid averages subpixels and truncates


def _mosaic(codes: Symbols, lit: NDArray[np.bool_], size: int, agent: tuple[int, int], direction: int) -> Picture:
    """Return an image (H size, W size, 3) of codes (H, W, 3), with the agent at (row, column)."""
    height, width, _ = codes.shape
    agents = np.zeros((height, width), np.intp)
    agents[agent] = direction + 1
    keys = np.ravel_multi_index((*np.moveaxis(codes, -1, 0), lit, agents), TILE_KINDS)
    kinds, places = np.unique(keys, return_inverse=True)
    tiles = np.stack([_tile(key, size) for key in kinds.tolist()])
    mosaic = tiles[places.reshape(height, width)]  # (H, W, size, size, 3)
    return mosaic.swapaxes(1, 2).reshape(height * size, width * size, 3)


def egocentric(views: SymbolicViews, size: int) -> Picture:
    """Return an image (V size, V size, 3) of the agent's view, the agent at the bottom facing up; unseen cells dark."""
    codes, seen = views.egocentric_codes()
    span = len(codes)
    hidden = codes * seen[:, :, None]
    return _mosaic(hidden, seen, size, (span - 1, span // 2), 3)


def full(views: SymbolicViews, size: int) -> Picture:
    """Return an image (H size, W size, 3) of the whole grid, with the cells that the agent sees lit."""
    x, y = views.world.agent_pos
    return _mosaic(views.codes(), views.seen(), size, (y, x), views.world.agent_dir)


def symbols(codes: Symbols, size: int) -> Picture:
    """Return an image (H size, W size, 3) of any codes (H, W, 3), including imagined ones.

    Codes without an agent are drawn as an agent's view.
    """
    codes = np.minimum(codes, HIGHEST_CODE).astype(np.uint8)
    agents = np.argwhere(codes[..., 0] == OBJECT_TO_IDX["agent"])
    height, width, _ = codes.shape
    row, column = agents[0].tolist() if len(agents) else (height - 1, width // 2)
    direction = int(codes[row, column, 2]) if len(agents) else 3
    return _mosaic(codes, codes[..., 0] != OBJECT_TO_IDX["unseen"], size, (row, column), direction)


def beside(views: SymbolicViews) -> Picture:
    """Return an image of the agent's view next to the whole map, with labels and the mission; both sides are even."""
    own = egocentric(views, TILE)
    whole = full(views, min(max(MAP_HEIGHT // views.world.height, 8), TILE))
    height, left = max(len(own), len(whole)), own.shape[1] + BAND
    width = left + whole.shape[1] + BAND
    even = (height + 2 * CAPTION + height % 2, width + width % 2)
    frame = np.full((*even, 3), BACKGROUND, np.uint8)
    _paste(frame, _caption("agent's view", left), 0, 0)
    _paste(frame, _caption("map", width - left), 0, left)
    _paste(frame, own, CAPTION + (height - len(own)) // 2, BAND // 2)
    _paste(frame, whole, CAPTION + (height - len(whole)) // 2, left + BAND // 2)
    _paste(frame, _caption(views.world.mission, width), CAPTION + height, 0)
    return frame


def _paste(frame: Picture, picture: Picture, top: int, left: int) -> None:
    frame[top : top + picture.shape[0], left : left + picture.shape[1]] = picture


@lru_cache(maxsize=256)
def _caption(text: str, width: int) -> Picture:
    """Return one line of text (CAPTION, width, 3), in a smaller font if it would not fit."""
    image = Image.new("RGB", (width, CAPTION), (BACKGROUND,) * 3)
    pen = ImageDraw.Draw(image)
    size = next((size for size in (15, 13, 11, 9) if pen.textlength(text, _font(size)) < width - BAND), 7)
    pen.text((BAND // 2, CAPTION // 2), text, fill=(225, 225, 225), font=_font(size), anchor="lm")
    return np.asarray(image)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # type: ignore[return-value]
