"""Images of maps: floor, obstacles, categories, path, goal and body."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embodia.perception.mapping import MapLayout
from embodia.perception.mapping.depth_mapper import OCCUPANCY_CHANNELS, labels, occupied, open_floor

Array = NDArray[Any]

SIDE = 14.0  # [m] of the map that an image shows, around the middle of what is known
PIXELS = 420
UNKNOWN, FLOOR, UNSEEN_FLOOR, PATH, GOAL, BODY = (
    np.array(colour, np.uint8)
    for colour in [(38, 40, 46), (226, 226, 222), (176, 186, 196), (60, 170, 80), (214, 48, 48), (240, 120, 0)]
)
CATEGORIES = np.array(
    [(78, 121, 167), (242, 142, 43), (89, 161, 79), (237, 201, 72), (176, 122, 161), (225, 87, 89), (118, 183, 178)],
    np.uint8,
)


class Drawn(Protocol):
    """The part of a plan that is drawn."""

    path: Array
    goal: Array | None


def draw_map(map: Array, layout: MapLayout, pose: Array, plan: Drawn | None = None) -> Array:
    """Return an image (PIXELS, PIXELS, 3) uint8 of one map (H, W, C), with +z down and +x to the right.

    Unknown cells are dark, obstacles the darker the higher, categories coloured; the path is green, the goal red, and
    the body an orange triangle.
    """
    cells = round(SIDE / layout.cell)
    known = np.argwhere(map[..., 0] + map[..., 1] > 0)
    middle = (known.min(0) + known.max(0)) // 2 if len(known) else np.array(layout.shape) // 2
    low = middle - cells // 2
    picture = np.empty((cells, cells, 3), np.uint8)
    picture[:] = UNKNOWN
    inside = [slice(max(-low[k], 0), min(layout.shape[k] - low[k], cells)) for k in (0, 1)]
    part = map[tuple(slice(low[k] + inside[k].start, low[k] + inside[k].stop) for k in (0, 1))]
    picture[inside[0], inside[1]] = colours(part)
    if plan is not None:
        spot(picture, plan.path - low, 0, PATH)
        if plan.goal is not None:
            spot(picture, plan.goal[None] - low, 3, GOAL)
    arrow(picture, layout, pose, low)
    scale = np.arange(PIXELS) * cells // PIXELS
    return picture[scale][:, scale]


def colours(map: Array) -> Array:
    """Return the colours (..., 3) uint8 of cells (..., C)."""
    found = np.empty((*map.shape[:-1], 3), np.uint8)
    found[:] = UNKNOWN
    floor = open_floor(map)
    found[floor] = np.where(map[floor][:, 2:3] > 0, FLOOR, UNSEEN_FLOOR)
    walls = occupied(map)
    shade = 130 - 70 * np.clip(map[walls][:, 3:4] / 2.0, 0, 1)
    found[walls] = np.broadcast_to(shade, (len(shade), 3)).astype(np.uint8)
    if map.shape[-1] > len(OCCUPANCY_CHANNELS):
        named = labels(map)
        found[named > 0] = CATEGORIES[(named[named > 0] - 1) % len(CATEGORIES)]
    return found


def spot(picture: Array, cells: Array, radius: int, colour: Array) -> None:
    """Draw squares around cells (n, 2)."""
    for dr in range(-radius, radius + 1):
        for dc in range(-radius, radius + 1):
            at = cells + np.array([dr, dc])
            at = at[((at >= 0) & (at < picture.shape[:2])).all(1)]
            picture[at[:, 0], at[:, 1]] = colour


def arrow(picture: Array, layout: MapLayout, pose: Array, low: Array, length: float = 7.0) -> None:
    """Draw a triangle [cells] at a pose."""
    middle = layout.cells_of(pose[:2]) - low
    rows, columns = np.indices(picture.shape[:2])
    down, right = rows - middle[0], columns - middle[1]
    ahead = -np.cos(pose[2]) * down - np.sin(pose[2]) * right
    aside = np.abs(-np.sin(pose[2]) * down + np.cos(pose[2]) * right)
    picture[(ahead > -length / 2) & (aside < (length - ahead) / 3)] = BODY
