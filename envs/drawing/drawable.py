"""Layout of a scene for the rasterizer: triangles in the hierarchy's order, texel pyramids, packed light."""

import weakref
from typing import NamedTuple

import numpy as np

from embodia.envs.drawing.bvh import build_bvh
from embodia.envs.drawing.draw_kernels import (
    CORNERS,
    DENSITY,
    DOUBLE_SIDED,
    HEIGHT,
    LABEL_COLUMNS,
    LEVELS,
    LIGHT_U,
    NORMAL,
    PLANE,
    SEMANTIC,
    SURFACE_COLUMNS,
    TEXELS,
    WIDTH,
    U,
)
from embodia.envs.drawing.scene import Array, Scene

MAX_LEVELS = 12  # maximum level of a texel pyramid; textures are at most 4096 texels wide


class Drawable(NamedTuple):
    """The kernels' input for one scene."""

    boxes: Array  # (M, 6) float32, bounds of the hierarchy's nodes
    children: Array  # (M, 2) int32, as in `bvh.build_bvh`
    surface: Array  # (F, SURFACE_COLUMNS) float32
    label: Array  # (F, LABEL_COLUMNS) int32
    texels: Array  # (*,) uint32 0xBBGGRR, concatenated pyramids of power-of-two textures
    light: Array  # (h + 1, w + 1) uint64, three 16-bit lanes of 8 bits


_laid_out: dict[int, Drawable] = {}


def drawable(scene: Scene) -> Drawable:
    """Return the layout of `scene`, computed at the first call and cached for as long as the scene exists."""
    found = _laid_out.get(id(scene))
    if found is None:
        found = _laid_out[id(scene)] = _lay_out(scene)
        weakref.finalize(scene, _laid_out.pop, id(scene), None)
    return found


def forget(scene: Scene) -> None:
    """Remove the cached layout of a scene."""
    _laid_out.pop(id(scene), None)


def _lay_out(scene: Scene) -> Drawable:
    """Compute the layout. Triangles without area cover no pixel and are dropped."""
    corners = scene.triangles.astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1)
    kept = np.flatnonzero(length > 1e-10)
    if len(kept) == 0:  # nothing to draw: keep one degenerate triangle
        kept, length = np.zeros(1, np.int64), np.ones(len(length))
    boxes, children, order = build_bvh(scene.triangles[kept])
    kept = kept[order]
    texels, pyramids = _shared_pyramids(scene.textures)
    corners, normal = corners[kept], normal[kept] / length[kept, None]
    label = np.zeros((len(kept), LABEL_COLUMNS), np.int32)
    label[:, TEXELS : LEVELS + 1] = pyramids[scene.texture[kept]]
    label[:, SEMANTIC], label[:, DOUBLE_SIDED] = scene.semantic_id[kept], scene.double_sided[kept]

    surface = np.zeros((len(kept), SURFACE_COLUMNS))
    surface[:, CORNERS:NORMAL] = corners.reshape(-1, 9)
    surface[:, NORMAL:PLANE] = normal
    surface[:, PLANE] = (normal * corners[:, 0]).sum(axis=1)
    size = label[:, WIDTH : HEIGHT + 1].astype(np.float64)
    texel = scene.uv[kept] * [1.0, -1.0] * size[:, None]
    texel -= np.floor(texel.min(axis=1, keepdims=True) / size[:, None] - 1e-3) * size[:, None]  # keep it positive
    surface[:, U:LIGHT_U] = _affine(corners, normal, texel)
    surface[:, LIGHT_U:DENSITY] = _affine(corners, normal, scene.light_uv[kept] - 0.5)
    gradients = surface[:, U:LIGHT_U].reshape(-1, 2, 4)[..., :3]
    surface[:, DENSITY] = np.linalg.norm(gradients, axis=2).max(axis=1)
    return Drawable(boxes, children, surface.astype(np.float32), label, texels, _packed_light(scene.light))


def _affine(corners: Array, normal: Array, value: Array) -> Array:
    """Return (F, 8): gradient and offset of each of two attributes (F, 3, 2) given at the corners (F, 3, 3)."""
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = (np.cross(edge1, edge2) * normal).sum(axis=1)[:, None]
    dual1, dual2 = np.cross(edge2, normal) / area, np.cross(normal, edge1) / area
    out = np.zeros((len(corners), 8))
    for k in range(2):
        rise1, rise2 = value[:, 1, k] - value[:, 0, k], value[:, 2, k] - value[:, 0, k]
        gradient = rise1[:, None] * dual1 + rise2[:, None] * dual2
        out[:, 4 * k : 4 * k + 3] = gradient
        out[:, 4 * k + 3] = value[:, 0, k] - (gradient * corners[:, 0]).sum(axis=1)
    return out


_known_pyramids: dict[int, tuple[tuple[Array, ...], tuple[Array, Array]]] = {}
MOST_KNOWN = 16  # maximum number of cached texture tuples


def _shared_pyramids(textures: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return the pyramids of a tuple of textures, computed once for all scenes that share this tuple."""
    known = _known_pyramids.get(id(textures))
    if known is None:
        known = (textures, _texel_pyramids(textures))
        _known_pyramids[id(textures)] = known
        if len(_known_pyramids) > MOST_KNOWN:
            _known_pyramids.pop(next(iter(_known_pyramids)))
    return known[1]


def _texel_pyramids(textures: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return all pyramids in one array, and (T, 4) int32: offset, width, height, highest level of each texture."""
    rows: list[tuple[int, ...]] = []
    parts: list[Array] = [np.zeros(1, np.uint32)]  # texel 0 is black, for pixels without a surface
    offset = 1
    for image in textures:
        level = _power_of_two(image)
        height, width = level.shape[:2]
        levels = min(int(min(width, height)).bit_length() - 1, MAX_LEVELS)
        rows.append((offset, width, height, levels))
        for _ in range(levels + 1):
            rgb = np.floor(level + 0.5).astype(np.uint32)
            parts.append((rgb[..., 0] | rgb[..., 1] << 8 | rgb[..., 2] << 16).ravel())
            offset += parts[-1].size
            if min(level.shape[:2]) > 1:
                level = (level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2]) / 4
    return np.concatenate(parts), np.array(rows, np.int32)


def _power_of_two(image: Array) -> Array:
    """Return `image` as float32, resampled bilinearly if a side is not a power of two."""
    sides = [min(1 << int(np.ceil(np.log2(side) - 0.25)), 1 << MAX_LEVELS) for side in image.shape[:2]]
    level = image.astype(np.float32)
    for axis, side in enumerate(sides):
        old = level.shape[axis]
        if side != old:
            place = ((np.arange(side) + 0.5) * old / side - 0.5).clip(0, old - 1)
            low = np.floor(place).astype(int)
            high = np.minimum(low + 1, old - 1)
            share = (place - low).reshape([-1 if k == axis else 1 for k in range(3)]).astype(np.float32)
            level = np.take(level, low, axis) * (1 - share) + np.take(level, high, axis) * share
    return level


def _packed_light(light: Array) -> Array:
    """Pack light into 16-bit lanes, so that one multiplication blends three channels; repeat last row and column."""
    wide = np.pad(light, ((0, 1), (0, 1), (0, 0)), mode="edge").astype(np.uint64)
    return wide[..., 0] | wide[..., 1] << np.uint64(16) | wide[..., 2] << np.uint64(32)
