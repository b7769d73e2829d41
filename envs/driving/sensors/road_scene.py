"""Scenes that the rasterizer draws: the ground with its buildings, and the objects that move.

The world frame is z up, with its origin at the scenario's first rear axle (as `ScenarioArrays`); semantic ids are the
object ids of `solids`.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.scene import LIGHT_ONE, Array, Scene
from embodia.envs.driving.sensors.bodies import block, paint_of, placed
from embodia.envs.driving.sensors.buildings import STOREY
from embodia.envs.driving.sensors.ground import TERRAIN, Ground
from embodia.envs.driving.sensors.solids import FIRST_BUILDING, GROUND, Category
from embodia.envs.driving.types import Floats

SUN = np.array([0.42, -0.3, 0.86]) / np.linalg.norm([0.42, -0.3, 0.86])  # direction towards it
AMBIENT, DIRECT = 0.62, 0.42
HORIZON = 1500.0  # [m] half side of the terrain
WIDE = 256  # texels in a row of the light map
ROOF = (132, 126, 120)
BRICK, BAY = ((186, 172, 150), (164, 110, 88), (196, 192, 186), (150, 152, 140)), 2.6  # walls; [m] between windows
PLAIN, FACADE = 0, 1  # indices of textures


@cache
def facade() -> NDArray[np.uint8]:
    """Return one window in a white wall (32, 32, 3), to be tinted by the light."""
    image = np.full((32, 32, 3), 255, np.uint8)
    image[8:24, 9:24] = (92, 106, 122)
    image[8:24, 16] = image[15, 9:24] = (214, 214, 214)
    image[24:26, 8:25] = 188
    return image


WHITE = np.full((1, 1, 3), 255, np.uint8)
PLAIN_TEXTURES = (WHITE,)


def static_scene(ground: Ground, buildings: Floats, origin: Floats, name: str) -> Scene:
    """Return the ground and the buildings (B, 7), given in the frame whose origin (2,) is in map coordinates."""
    triangles, colors, uvs, names, textures = [], [], [], [], []
    images: list[Array] = [WHITE, facade()]
    for corners, image in ground.tiles():
        flat = np.column_stack([corners - origin, np.zeros(4)])
        triangles.append(flat[[[0, 1, 2], [0, 2, 3]]])
        uvs.append(np.array([[0, 1], [0, 0], [1, 0], [1, 1]], float)[[[0, 1, 2], [0, 2, 3]]])
        colors.append(np.tile((255, 255, 255) if image is not None else TERRAIN, (2, 1)))
        textures.append(np.full(2, PLAIN if image is None else len(images)))
        names.append(np.full(2, GROUND))
        if image is not None:
            images.append(image)
    low, high = (f([t[..., :2].reshape(-1, 2) for t in triangles], axis=(0, 1)) for f in (np.min, np.max))
    for x0, x1, y0, y1 in _around(low, high):
        flat = np.array([[x0, y1, 0], [x0, y0, 0], [x1, y0, 0], [x1, y1, 0]])
        triangles.append(flat[[[0, 1, 2], [0, 2, 3]]])
        uvs.append(np.zeros((2, 3, 2)))
        colors.append(np.tile(TERRAIN, (2, 1)))
        textures.append(np.full(2, PLAIN))
        names.append(np.full(2, GROUND))
    for k, solid in enumerate(buildings):
        shape, paint, uv, texture = _building(solid, k)
        triangles.append(shape)
        colors.append(_shaded(shape, paint))
        uvs.append(uv)
        textures.append(texture)
        names.append(np.full(len(shape), FIRST_BUILDING + k))
    return _scene(
        name, np.concatenate(triangles), np.concatenate(colors), np.concatenate(names), np.concatenate(textures),
        np.concatenate(uvs), tuple(images),
    )  # fmt: skip


def moving_scene(solids: Floats, categories: Sequence[int], names: Sequence[int]) -> Scene | None:
    """Return the objects with these solids (M, 7), categories and object ids; None if there are none."""
    if not len(solids):
        return None
    bodies = [placed(solid, Category(kind), int(name)) for solid, kind, name in zip(solids, categories, names)]
    triangles = np.concatenate([shape for shape, _ in bodies])
    colors = _shaded(triangles, np.concatenate([paint for _, paint in bodies]))
    ids = np.repeat(names, [len(shape) for shape, _ in bodies])
    count = len(triangles)
    return _scene(
        "traffic", triangles, colors, ids, np.zeros(count, int), np.zeros((count, 3, 2)), PLAIN_TEXTURES
    )  # fmt: skip


def _around(low: Floats, high: Floats) -> list[tuple[float, float, float, float]]:
    """Four rectangles of terrain (x0, x1, y0, y1) from the image's bounds to the horizon."""
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    west, east, south, north = x0 - HORIZON, x1 + HORIZON, y0 - HORIZON, y1 + HORIZON
    return [(west, east, y1, north), (west, east, south, y0), (west, x0, y0, y1), (x1, east, y0, y1)]


def _building(solid: Floats, k: int) -> tuple[Floats, Array, Floats, Array]:
    """Triangles, colours, uv and textures of a building; windows repeat every bay and storey."""
    x, y, heading, length, width, bottom, top = solid
    local = block(-length / 2, length / 2, -width / 2, width / 2, bottom, top)
    cos, sin = np.cos(heading), np.sin(heading)
    turned = local @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + [x, y, 0]
    walls = np.arange(len(local)) >= 4  # the first four triangles are floor and roof
    bays = np.maximum(np.round(np.array([length, width]) / BAY), 1)
    along = local[..., :2] / [length, width] + 0.5
    side = np.abs(np.ptp(local[..., 0], axis=1)) < 1e-9  # walls across the building's length
    across = np.where(side[:, None], along[..., 1] * bays[1], along[..., 0] * bays[0])
    uv = np.stack([across, (local[..., 2] - bottom) / STOREY], axis=-1) * walls[:, None, None]
    tint = BRICK[paint_of(k)[0] % len(BRICK)]
    paint = np.where(walls[:, None], tint, ROOF)
    return turned, paint, uv, np.where(walls, FACADE, PLAIN)


def _shaded(triangles: Floats, colors: Array) -> Array:
    """Colours (F, 3) in the light of the sun."""
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return colors * (AMBIENT + DIRECT * np.maximum(normal @ SUN, 0.0))[:, None]


def _scene(
    name: str, triangles: Floats, colors: Array, ids: Array, texture: Array, uv: Floats, textures: tuple[Array, ...]
) -> Scene:
    """Triangles (F, 3, 3) whose light map holds one texel of colour (F, 3) for each."""
    count = len(triangles)
    light = np.zeros((count // WIDE + 2, WIDE, 3), np.uint8)
    place = np.arange(count)
    light[place // WIDE, place % WIDE] = np.clip(np.round(colors * (LIGHT_ONE / 255)), 0, 255)
    texel = np.stack([place % WIDE + 0.5, place // WIDE + 0.5], axis=-1)
    return Scene(
        scene_id=name,
        vertices=triangles.reshape(-1, 3).astype(np.float32),
        faces=np.arange(3 * count, dtype=np.int32).reshape(-1, 3),
        semantic_id=ids.astype(np.int32),
        texture=texture.astype(np.int32),
        uv=uv.astype(np.float32),
        textures=textures,
        light=light,
        light_uv=np.repeat(texel[:, None], 3, axis=1).astype(np.float32),
        double_sided=np.zeros(count, bool),
    )
