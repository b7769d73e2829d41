"""The kernels of the rasteriser: visit, cull, clip, scan, shade. See `rasterizer`."""

from typing import NamedTuple

import numpy as np

from envs.homes.compiled import compiled
from envs.homes.drawable import (
    DENSITY,
    DOUBLE_SIDED,
    HEIGHT,
    LEVELS,
    LIGHT_U,
    LIGHT_V,
    NORMAL,
    PLANE,
    SEMANTIC,
    TEXELS,
    WIDTH,
    U,
    V,
)
from envs.homes.scene import LIGHT_ONE, Array

TILE = 8  # pixels along the side of a tile of the hierarchical z-buffer
STACK = 128  # nodes waiting; the hierarchy is at most 48 deep


class Scratch(NamedTuple):
    """One thread's working memory."""

    inverse: Array  # (H, W) float32, 1 / depth of the nearest surface so far
    winner: Array  # (H, W) int32, its triangle, -1 = none
    left: Array  # (H,) int64, first column of the polygon in each row
    right: Array  # (H,) int64, one past its last
    farthest: Array  # (tile rows, tile columns) float32, smallest `inverse` in each tile
    stale: Array  # (tile rows, tile columns) bool, drawn over since `farthest` was taken
    row_texel: Array  # (W,) int32
    row_light: Array  # (W,) int32
    row_blend: Array  # (W,) int32, 16 bits of fraction each in columns and rows

    @classmethod
    def of(cls, height: int, width: int) -> "Scratch":
        tiles = (-(-height // TILE), -(-width // TILE))
        return cls(
            np.zeros((height, width), np.float32),
            np.zeros((height, width), np.int32),
            np.zeros(height, np.int64),
            np.zeros(height, np.int64),
            np.zeros(tiles, np.float32),
            np.zeros(tiles, np.bool_),
            np.zeros(width, np.int32),
            np.zeros(width, np.int32),
            np.zeros(width, np.int32),
        )


@compiled
def draw(scene, cameras, poses, focal, near, far, scratch, rgb, depth, semantic):  # type: ignore[no-untyped-def]
    """Draw `poses[cameras]` of one scene into the images of those cameras; images of size 0 are left out."""
    for k in cameras:
        scratch.inverse[:] = 1.0 / far
        scratch.winner[:] = -1
        scratch.farthest[:] = 1.0 / far
        scratch.stale[:] = False
        _visit(scene, poses[k], focal, near, scratch)
        if depth.shape[1] > 0:
            _write_depth(scratch, depth[k])
        if semantic.shape[1] > 0:
            _write_semantic(scene, scratch, semantic[k])
        if rgb.shape[1] > 0:
            _shade(scene, poses[k], focal, scratch, rgb[k])


@compiled
def _visit(scene, pose, focal, near, scratch):  # type: ignore[no-untyped-def]
    """Walk the hierarchy front to back and draw the leaves that can be seen."""
    height, width = scratch.inverse.shape
    stack = np.empty(STACK, np.int32)
    corners = np.empty((4, 3))
    polygon = np.empty((5, 2))
    stack[0], waiting = 0, 1
    while waiting > 0:
        waiting -= 1
        node = stack[waiting]
        if _hidden(scene.boxes[node], pose, focal, near, scratch):
            continue
        first, second = scene.children[node, 0], scene.children[node, 1]
        if first < 0:
            for triangle in range(second, second - first):
                _draw_triangle(scene, triangle, pose, focal, near, scratch, corners, polygon)
            continue
        if _distance(scene.boxes[first], pose) > _distance(scene.boxes[second], pose):
            first, second = second, first
        stack[waiting], stack[waiting + 1] = second, first  # the nearer is drawn first
        waiting += 2


@compiled
def _distance(box, pose):  # type: ignore[no-untyped-def]
    """Squared distance from the camera to the box."""
    total = 0.0
    for axis in range(3):
        outside = max(box[axis] - pose[axis, 3], pose[axis, 3] - box[axis + 3], 0.0)
        total += outside * outside
    return total


@compiled
def _hidden(box, pose, focal, near, scratch):  # type: ignore[no-untyped-def]
    """Whether a box lies outside the view or behind what is drawn; conservative."""
    height, width = scratch.inverse.shape
    middle_x, middle_y, middle_z = 0.0, 0.0, 0.0
    reach_x, reach_y, reach_z = 0.0, 0.0, 0.0
    for axis in range(3):
        middle = 0.5 * (box[axis] + box[axis + 3]) - pose[axis, 3]
        reach = 0.5 * (box[axis + 3] - box[axis])
        middle_x += pose[axis, 0] * middle
        middle_y += pose[axis, 1] * middle
        middle_z -= pose[axis, 2] * middle
        reach_x += abs(pose[axis, 0]) * reach
        reach_y += abs(pose[axis, 1]) * reach
        reach_z += abs(pose[axis, 2]) * reach
    far_z, near_z = middle_z + reach_z, middle_z - reach_z
    if far_z < near:
        return True
    slope_x, slope_y = 0.5 * width / focal, 0.5 * height / focal
    if abs(middle_x) - reach_x > slope_x * far_z or abs(middle_y) - reach_y > slope_y * far_z:
        return True
    if near_z <= near:
        return False
    low_x, high_x = middle_x - reach_x, middle_x + reach_x
    low_y, high_y = middle_y - reach_y, middle_y + reach_y
    left = 0.5 * width + focal * low_x / (near_z if low_x < 0 else far_z)
    right = 0.5 * width + focal * high_x / (near_z if high_x > 0 else far_z)
    top = 0.5 * height - focal * high_y / (near_z if high_y > 0 else far_z)
    bottom = 0.5 * height - focal * low_y / (near_z if low_y < 0 else far_z)
    if left >= width or right <= 0 or top >= height or bottom <= 0:
        return True
    first_column, last_column = int(max(left, 0.0)) // TILE, int(min(right, width - 1.0)) // TILE
    first_row, last_row = int(max(top, 0.0)) // TILE, int(min(bottom, height - 1.0)) // TILE
    nearest = 1.0 / near_z
    for row in range(first_row, last_row + 1):
        for column in range(first_column, last_column + 1):
            if scratch.stale[row, column]:
                _refresh(scratch, row, column)
            if scratch.farthest[row, column] < nearest:
                return False
    return True


@compiled
def _refresh(scratch, row, column):  # type: ignore[no-untyped-def]
    """Take the farthest depth of a tile anew."""
    height, width = scratch.inverse.shape
    lowest = np.float32(np.inf)
    for y in range(row * TILE, min(height, (row + 1) * TILE)):
        for x in range(column * TILE, min(width, (column + 1) * TILE)):
            lowest = min(lowest, scratch.inverse[y, x])
    scratch.farthest[row, column] = lowest
    scratch.stale[row, column] = False


@compiled
def _draw_triangle(scene, triangle, pose, focal, near, scratch, corners, polygon):  # type: ignore[no-untyped-def]
    """Cull, clip at the near plane, project, scan."""
    surface = scene.surface[triangle]
    camera_x, camera_y, camera_z = pose[0, 3], pose[1, 3], pose[2, 3]
    normal_x, normal_y, normal_z = surface[NORMAL], surface[NORMAL + 1], surface[NORMAL + 2]
    above = normal_x * camera_x + normal_y * camera_y + normal_z * camera_z - surface[PLANE]
    turned = above < 0
    if above == 0 or (turned and scene.label[triangle, DOUBLE_SIDED] == 0):
        return
    height, width = scratch.inverse.shape
    slope_x, slope_y = 0.5 * width / focal, 0.5 * height / focal
    outside, clipped = 31, False
    for k in range(3):
        x, y, z = surface[3 * k] - camera_x, surface[3 * k + 1] - camera_y, surface[3 * k + 2] - camera_z
        right = pose[0, 0] * x + pose[1, 0] * y + pose[2, 0] * z
        up = pose[0, 1] * x + pose[1, 1] * y + pose[2, 1] * z
        ahead = -(pose[0, 2] * x + pose[1, 2] * y + pose[2, 2] * z)
        corners[k, 0], corners[k, 1], corners[k, 2] = right, up, ahead
        outside &= (
            (right > slope_x * ahead)
            | (right < -slope_x * ahead) << 1
            | (up > slope_y * ahead) << 2
            | (up < -slope_y * ahead) << 3
            | (ahead < near) << 4
        )
        clipped |= ahead < near
    if outside != 0:
        return
    count = 0
    for k in range(3):
        a, b = corners[k], corners[(k + 1) % 3]
        if a[2] >= near:
            _project(a[0], a[1], a[2], focal, width, height, polygon[count])
            count += 1
        if clipped and (a[2] >= near) != (b[2] >= near):
            inner, outer = (a, b) if a[2] >= near else (b, a)  # from within: the same point for both neighbours
            share = (near - inner[2]) / (outer[2] - inner[2])
            x, y = inner[0] + share * (outer[0] - inner[0]), inner[1] + share * (outer[1] - inner[1])
            _project(x, y, near, focal, width, height, polygon[count])
            count += 1
    # 1 / depth at column c, row r of the plane through the triangle: constant + across c + down r.
    across = -(normal_x * pose[0, 0] + normal_y * pose[1, 0] + normal_z * pose[2, 0]) / (focal * above)
    down = (normal_x * pose[0, 1] + normal_y * pose[1, 1] + normal_z * pose[2, 1]) / (focal * above)
    constant = (normal_x * pose[0, 2] + normal_y * pose[1, 2] + normal_z * pose[2, 2]) / above
    constant -= 0.5 * (width - 1) * across + 0.5 * (height - 1) * down
    _scan(triangle, polygon, count, turned, constant, across, down, scratch)


@compiled
def _project(x, y, z, focal, width, height, point):  # type: ignore[no-untyped-def]
    point[0] = 0.5 * width + focal * x / z
    point[1] = 0.5 * height - focal * y / z


@compiled
def _scan(triangle, polygon, count, turned, constant, across, down, scratch):  # type: ignore[no-untyped-def]
    """Write a convex polygon, counter-clockwise with y up unless `turned`, where it is the nearest so far."""
    height, width = scratch.inverse.shape
    left, right, inverse, winner = scratch.left, scratch.right, scratch.inverse, scratch.winner
    top, bottom = height, 0
    for k in range(count):
        a, b = polygon[k], polygon[k + 1 if k + 1 < count else 0]
        falling = a[1] < b[1]
        upper, lower = (a, b) if falling else (b, a)
        first = int(np.ceil(max(upper[1] - 0.5, 0.0)))
        last = int(np.ceil(min(lower[1] - 0.5, float(height))))
        if first >= last:
            continue
        top, bottom = min(top, first), max(bottom, last)
        slope = (lower[0] - upper[0]) / (lower[1] - upper[1])
        side = left if falling != turned else right
        for row in range(first, last):
            column = upper[0] + (row + 0.5 - upper[1]) * slope - 0.5
            side[row] = int(np.ceil(min(max(column, 0.0), float(width))))
    step = np.float32(across)
    for row in range(top, bottom):
        first, last = left[row], right[row]
        if first >= last:
            continue
        start = np.float32(constant + down * row + across * first)
        line, owner = inverse[row, first:last], winner[row, first:last]
        for i in range(last - first):
            value = start + step * np.float32(i)
            nearer = value > line[i]
            line[i] = value if nearer else line[i]
            owner[i] = triangle if nearer else owner[i]
        for column in range(first // TILE, (last - 1) // TILE + 1):
            scratch.stale[row // TILE, column] = True


@compiled
def _write_depth(scratch, depth):  # type: ignore[no-untyped-def]
    height, width = scratch.inverse.shape
    for y in range(height):
        for x in range(width):
            depth[y, x, 0] = np.float32(1.0) / scratch.inverse[y, x] if scratch.winner[y, x] >= 0 else np.float32(0.0)


@compiled
def _write_semantic(scene, scratch, semantic):  # type: ignore[no-untyped-def]
    height, width = scratch.inverse.shape
    for y in range(height):
        for x in range(width):
            triangle = scratch.winner[y, x]
            semantic[y, x, 0] = scene.label[triangle, SEMANTIC] if triangle >= 0 else 0


@compiled
def _shade(scene, pose, focal, scratch, rgb):  # type: ignore[no-untyped-def]
    """Texture times light, once per pixel: runs of one triangle find their texels, then a row is blended."""
    height, width = scratch.inverse.shape
    for y in range(height):
        x = 0
        while x < width:
            triangle = scratch.winner[y, x]
            end = x + 1
            while end < width and scratch.winner[y, end] == triangle:
                end += 1
            if triangle < 0:
                scratch.row_texel[x:end] = -1
            else:
                _locate(scene, triangle, pose, focal, scratch, y, x, end)
            x = end
        _blend_row(scene, scratch, rgb[y])


@compiled
def _along_ray(surface, first, pose, ray_x, ray_y):  # type: ignore[no-untyped-def]
    """Rate of an attribute per metre of depth along the ray (ray_x, ray_y, -1) of the camera."""
    total = 0.0
    for axis in range(3):
        total += surface[first + axis] * (pose[axis, 0] * ray_x + pose[axis, 1] * ray_y - pose[axis, 2])
    return np.float32(total)


@compiled
def _at_camera(surface, first, pose):  # type: ignore[no-untyped-def]
    """The attribute's affine function at the camera's place."""
    total = float(surface[first + 3])
    for axis in range(3):
        total += surface[first + axis] * pose[axis, 3]
    return np.float32(total)


@compiled
def _across(surface, first, pose, focal):  # type: ignore[no-untyped-def]
    """Change of the rate from one column to the next."""
    total = 0.0
    for axis in range(3):
        total += surface[first + axis] * pose[axis, 0]
    return np.float32(total / focal)


@compiled
def _locate(scene, triangle, pose, focal, scratch, y, begin, end):  # type: ignore[no-untyped-def]
    """Texel, light texel and blend weights of the pixels begin..end of row y, all on one triangle."""
    height, width = scratch.inverse.shape
    surface, label = scene.surface[triangle], scene.label[triangle]
    ray_x, ray_y = (begin + 0.5 - 0.5 * width) / focal, -(y + 0.5 - 0.5 * height) / focal
    u0, v0 = _at_camera(surface, U, pose), _at_camera(surface, V, pose)
    s0, t0 = _at_camera(surface, LIGHT_U, pose), _at_camera(surface, LIGHT_V, pose)
    u1, v1 = _along_ray(surface, U, pose, ray_x, ray_y), _along_ray(surface, V, pose, ray_x, ray_y)
    s1, t1 = _along_ray(surface, LIGHT_U, pose, ray_x, ray_y), _along_ray(surface, LIGHT_V, pose, ray_x, ray_y)
    u2, v2 = _across(surface, U, pose, focal), _across(surface, V, pose, focal)
    s2, t2 = _across(surface, LIGHT_U, pose, focal), _across(surface, LIGHT_V, pose, focal)
    above = float(-surface[PLANE])
    for axis in range(3):
        above += surface[NORMAL + axis] * pose[axis, 3]
    # Texels a pixel spans, squared: (density depth / focal)^2, lengthened by the slant depth / above.
    spread = np.float32((surface[DENSITY] / focal) ** 2 / max(abs(above), 1e-3))
    offset, texture_width, texture_height, levels = label[TEXELS], label[WIDTH], label[HEIGHT], label[LEVELS]
    area = texture_width * texture_height
    light_height, light_width = scene.light.shape
    last_s, last_t = np.float32((light_width - 2) * 256), np.float32((light_height - 2) * 256)
    inverse = scratch.inverse[y, begin:end]
    texel, light, blend = scratch.row_texel[begin:end], scratch.row_light[begin:end], scratch.row_blend[begin:end]
    zero, scale = np.float32(0), np.float32(256)
    for i in range(end - begin):
        z = np.float32(1.0) / inverse[i]
        zi = z * np.float32(i)
        u, v = np.int32(u0 + u1 * z + u2 * zi), np.int32(v0 + v1 * z + v2 * zi)
        bits = np.float32(spread * z * z * z).view(np.int32)
        level = min(max((bits - (127 << 23)) >> 24, 0), levels)
        u, v = (u & (texture_width - 1)) >> level, (v & (texture_height - 1)) >> level
        start = (4 * area - 4 * (area >> (2 * level))) // 3
        texel[i] = offset + start + v * (texture_width >> level) + u
        s = np.int32(min(max((s0 + s1 * z + s2 * zi) * scale, zero), last_s))
        t = np.int32(min(max((t0 + t1 * z + t2 * zi) * scale, zero), last_t))
        light[i] = (t >> 8) * light_width + (s >> 8)
        blend[i] = (s & 255) | (t & 255) << 8


@compiled
def _blend_row(scene, scratch, line):  # type: ignore[no-untyped-def]
    """Four light texels blended in lanes of 16 bits, times the texel."""
    lights, light_width = scene.light.ravel(), scene.light.shape[1]
    lanes = np.uint64(0x00FF00FF00FF)
    eight, lane, full = np.uint64(8), np.uint64(0xFFFF), np.uint64(256)
    texels = scene.texels
    for x in range(line.shape[0]):
        place = scratch.row_texel[x]
        if place < 0:
            line[x, 0], line[x, 1], line[x, 2] = 0, 0, 0
            continue
        first = scratch.row_light[x]
        s, t = np.uint64(scratch.row_blend[x] & 255), np.uint64(scratch.row_blend[x] >> 8)
        upper = (lights[first] * (full - s) + lights[first + 1] * s) >> eight & lanes
        lower = (lights[first + light_width] * (full - s) + lights[first + light_width + 1] * s) >> eight & lanes
        light = upper * (full - t) + lower * t
        texel = texels[place]
        red = (np.uint64(texel & np.uint32(255)) * (light & lane)) // np.uint64(256 * LIGHT_ONE)
        green = (np.uint64(texel >> np.uint32(8) & np.uint32(255)) * (light >> np.uint64(16) & lane)) // np.uint64(
            256 * LIGHT_ONE
        )
        blue = (np.uint64(texel >> np.uint32(16) & np.uint32(255)) * (light >> np.uint64(32) & lane)) // np.uint64(
            256 * LIGHT_ONE
        )
        most = np.uint64(255)
        line[x, 0], line[x, 1], line[x, 2] = min(red, most), min(green, most), min(blue, most)
