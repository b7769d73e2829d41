"""Kernels of the rasterizer: traverse, cull, clip, scan, shade. See `rasterizer`."""

from typing import NamedTuple

import numpy as np

from embodia.envs.compiled import compiled
from embodia.envs.drawing.scene import LIGHT_ONE, Array

# `drawable` builds the kernels' input. The columns are named here, because compiled kernels stay cached until this
# file changes.
# Columns of Drawable.surface. An attribute is affine over a triangle's plane: a(p) = gradient . p + offset.
CORNERS, NORMAL, PLANE, U, V, LIGHT_U, LIGHT_V, DENSITY, SURFACE_COLUMNS = 0, 9, 12, 13, 17, 21, 25, 29, 30
# Columns of Drawable.label.
TEXELS, WIDTH, HEIGHT, LEVELS, SEMANTIC, DOUBLE_SIDED, LABEL_COLUMNS = 0, 1, 2, 3, 4, 5, 6

TILE = 8  # side of a tile of the hierarchical z-buffer [pixels]
LANES = 16  # pixels processed at a time, so that no loop has a remainder
RAYS = 256  # triangles whose coefficients are cached while a camera is shaded
STACK = 128  # maximum number of waiting nodes; the hierarchy is at most 48 deep


class Scratch(NamedTuple):
    """Working memory of one thread."""

    size: tuple[int, int]  # H, W; rows below are padded to whole blocks of LANES
    inverse: Array  # (H, W + padding) float32, 1 / depth of the nearest surface so far
    winner: Array  # (H, W + padding) int32, the triangle of that surface, -1 = none
    left: Array  # (H,) int64, first column of the polygon in each row
    right: Array  # (H,) int64, one past its last
    farthest: Array  # (tile rows, tile columns) float32, smallest `inverse` in each tile
    stale: Array  # (tile rows, tile columns) bool, changed since `farthest` was computed
    known: Array  # (RAYS,) int32, the triangle of each row of `rays`
    rays: Array  # (RAYS, 17) float32, attributes as functions of the pixel, see `_ray_coefficients`
    row_depth: Array  # (W + LANES,) float32
    row_texel: Array  # (W + LANES,) int32
    row_light: Array  # (W + LANES,) int32
    row_blend: Array  # (W + LANES,) int32, 8 bits of fraction each across and down

    @classmethod
    def of(cls, height: int, width: int) -> "Scratch":
        tiles = (-(-height // TILE), -(-width // TILE))
        padded = -(-width // LANES) * LANES
        return cls(
            (height, width),
            np.zeros((height, padded), np.float32),
            np.zeros((height, padded), np.int32),
            np.zeros(height, np.int64),
            np.zeros(height, np.int64),
            np.zeros(tiles, np.float32),
            np.zeros(tiles, np.bool_),
            np.zeros(RAYS, np.int32),
            np.zeros((RAYS, 17), np.float32),
            np.ones(width + LANES, np.float32),
            np.zeros(width + LANES, np.int32),
            np.zeros(width + LANES, np.int32),
            np.zeros(width + LANES, np.int32),
        )


# The kernels below take arrays and indices, never rows or tuples of arrays: taking an array from a tuple or slicing it
# changes a reference count, which costs more than many of these functions.


@compiled
def draw(scene, cameras, poses, focal, near, far, scratch, rgb, depth, semantic):  # type: ignore[no-untyped-def]
    """Draw `poses[cameras]` of one scene into the images of those cameras; images of size 0 are skipped."""
    size, inverse, winner, farthest, stale = (
        scratch.size, scratch.inverse, scratch.winner, scratch.farthest, scratch.stale,
    )  # fmt: skip
    for k in cameras:
        pose = poses[k]
        inverse[:] = 1.0 / far
        winner[:] = -1
        farthest[:] = 1.0 / far
        stale[:] = False
        _visit(
            scene.boxes, scene.children, scene.surface, scene.label, pose, focal, near, size, inverse, winner, farthest,
            stale, scratch.left, scratch.right,
        )  # fmt: skip
        if depth.shape[1] > 0:
            _write_depth(inverse, winner, depth[k])
        if semantic.shape[1] > 0:
            _write_semantic(scene.label, winner, semantic[k])
        if rgb.shape[1] > 0:
            _shade(
                scene.surface, scene.label, scene.texels, scene.light, pose, focal, size, inverse, winner,
                scratch.known, scratch.rays, scratch.row_depth, scratch.row_texel, scratch.row_light, scratch.row_blend,
                rgb[k],
            )  # fmt: skip


@compiled
def _visit(  # type: ignore[no-untyped-def]
    boxes, children, surface, label, pose, focal, near, size, inverse, winner, farthest, stale, left, right
):
    """Traverse the hierarchy front to back and draw the visible leaves."""
    stack = np.empty(STACK, np.int32)
    corners = np.empty((4, 3))
    polygon = np.empty((5, 2))
    stack[0], waiting = 0, 1
    while waiting > 0:
        waiting -= 1
        node = stack[waiting]
        if _hidden(boxes, node, pose, focal, near, size, inverse, farthest, stale):
            continue
        first, second = children[node, 0], children[node, 1]
        if first < 0:
            for triangle in range(second, second - first):
                count, turned, constant, across, down = _project_triangle(
                    surface, label, triangle, pose, focal, near, size, corners, polygon
                )
                if count > 0:
                    _scan(
                        triangle, polygon, count, turned, constant, across, down, size, inverse, winner, stale, left,
                        right,
                    )  # fmt: skip
            continue
        if _distance(boxes, first, pose) > _distance(boxes, second, pose):
            first, second = second, first
        stack[waiting], stack[waiting + 1] = second, first  # the nearer is drawn first
        waiting += 2


@compiled
def _distance(boxes, node, pose):  # type: ignore[no-untyped-def]
    """Squared distance from the camera to the box."""
    total = 0.0
    for axis in range(3):
        outside = max(boxes[node, axis] - pose[axis, 3], pose[axis, 3] - boxes[node, axis + 3], 0.0)
        total += outside * outside
    return total


@compiled
def _hidden(boxes, node, pose, focal, near, size, inverse, farthest, stale):  # type: ignore[no-untyped-def]
    """Whether a box is outside the view or behind what is drawn; conservative."""
    height, width = size
    middle_x, middle_y, middle_z = 0.0, 0.0, 0.0
    reach_x, reach_y, reach_z = 0.0, 0.0, 0.0
    for axis in range(3):
        middle = 0.5 * (boxes[node, axis] + boxes[node, axis + 3]) - pose[axis, 3]
        reach = 0.5 * (boxes[node, axis + 3] - boxes[node, axis])
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
            if stale[row, column]:
                farthest[row, column] = _lowest(inverse, size, row, column)
                stale[row, column] = False
            if farthest[row, column] < nearest:
                return False
    return True


@compiled
def _lowest(inverse, size, row, column):  # type: ignore[no-untyped-def]
    """The smallest inverse depth in a tile."""
    lowest = np.float32(np.inf)
    for y in range(row * TILE, min(size[0], (row + 1) * TILE)):
        for x in range(column * TILE, min(size[1], (column + 1) * TILE)):
            lowest = min(lowest, inverse[y, x])
    return lowest


@compiled
def _project_triangle(  # type: ignore[no-untyped-def]
    surface, label, triangle, pose, focal, near, size, corners, polygon
):
    """Cull, clip at the near plane, and project into `polygon`.

    Returns the number of corners (0: nothing to draw), whether the back is visible, and the coefficients of 1 / depth
    of its plane at column c and row r: constant + across c + down r.
    """
    height, width = size
    camera_x, camera_y, camera_z = pose[0, 3], pose[1, 3], pose[2, 3]
    normal_x, normal_y, normal_z = (
        surface[triangle, NORMAL],
        surface[triangle, NORMAL + 1],
        surface[triangle, NORMAL + 2],
    )
    above = normal_x * camera_x + normal_y * camera_y + normal_z * camera_z - surface[triangle, PLANE]
    turned = above < 0
    if above == 0 or (turned and label[triangle, DOUBLE_SIDED] == 0):
        return 0, turned, 0.0, 0.0, 0.0
    slope_x, slope_y = 0.5 * width / focal, 0.5 * height / focal
    outside, clipped = 31, False
    for k in range(3):
        x = surface[triangle, 3 * k] - camera_x
        y = surface[triangle, 3 * k + 1] - camera_y
        z = surface[triangle, 3 * k + 2] - camera_z
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
        return 0, turned, 0.0, 0.0, 0.0
    count = 0
    for k in range(3):
        other = k + 1 if k < 2 else 0
        a_inside, b_inside = corners[k, 2] >= near, corners[other, 2] >= near
        if a_inside:
            polygon[count, 0] = 0.5 * width + focal * corners[k, 0] / corners[k, 2]
            polygon[count, 1] = 0.5 * height - focal * corners[k, 1] / corners[k, 2]
            count += 1
        if clipped and a_inside != b_inside:
            inner, outer = (
                (k, other) if a_inside else (other, k)
            )  # interpolate from the inside, so that both neighbours get the same point
            share = (near - corners[inner, 2]) / (corners[outer, 2] - corners[inner, 2])
            x = corners[inner, 0] + share * (corners[outer, 0] - corners[inner, 0])
            y = corners[inner, 1] + share * (corners[outer, 1] - corners[inner, 1])
            polygon[count, 0], polygon[count, 1] = 0.5 * width + focal * x / near, 0.5 * height - focal * y / near
            count += 1
    across = -(normal_x * pose[0, 0] + normal_y * pose[1, 0] + normal_z * pose[2, 0]) / (focal * above)
    down = (normal_x * pose[0, 1] + normal_y * pose[1, 1] + normal_z * pose[2, 1]) / (focal * above)
    constant = (normal_x * pose[0, 2] + normal_y * pose[1, 2] + normal_z * pose[2, 2]) / above
    constant -= 0.5 * (width - 1) * across + 0.5 * (height - 1) * down
    return count, turned, constant, across, down


@compiled
def _scan(  # type: ignore[no-untyped-def]
    triangle, polygon, count, turned, constant, across, down, size, inverse, winner, stale, left, right
):
    """Draw a convex polygon (counter-clockwise with y up unless `turned`) where it is the nearest so far."""
    height, width = size
    top, bottom = height, 0
    for k in range(count):
        other = k + 1 if k + 1 < count else 0
        falling = polygon[k, 1] < polygon[other, 1]
        upper, lower = (k, other) if falling else (other, k)
        x, y = polygon[upper, 0], polygon[upper, 1]
        first = int(np.ceil(max(y - 0.5, 0.0)))
        last = int(np.ceil(min(polygon[lower, 1] - 0.5, float(height))))
        if first >= last:
            continue
        top, bottom = min(top, first), max(bottom, last)
        slope = (polygon[lower, 0] - x) / (polygon[lower, 1] - y)
        side = left if falling != turned else right
        begin = x + (0.5 - y) * slope - 0.5
        for row in range(first, last):
            column = min(max(begin + row * slope, 0.0), float(width))
            side[np.uint64(row)] = np.int64(np.ceil(column))
    step, zero, number = np.float32(across), np.float32(0), np.int32(triangle)
    band_left, band_right = width, 0
    for row in range(top, bottom):
        line = np.uint64(row)
        first, last = left[line], right[line]
        if first < last:
            band_left, band_right = min(band_left, first), max(band_right, last)
            start, length = np.float32(constant + down * row + across * first), np.float32(last - first)
            for block in range(first & -LANES, last, LANES):
                for lane in range(LANES):
                    i = np.uint64(block + lane)
                    place = np.float32(np.int32(block - first + lane))
                    value = start + step * place
                    nearer = (value > inverse[line, i]) & (place >= zero) & (place < length)
                    inverse[line, i] = value if nearer else inverse[line, i]
                    winner[line, i] = number if nearer else winner[line, i]
        if (row & (TILE - 1) == TILE - 1 or row == bottom - 1) and band_left < band_right:
            for column in range(band_left // TILE, (band_right - 1) // TILE + 1):
                stale[row // TILE, column] = True
            band_left, band_right = width, 0


@compiled
def _write_depth(inverse, winner, depth):  # type: ignore[no-untyped-def]
    for y in range(depth.shape[0]):
        for x in range(depth.shape[1]):
            depth[y, x, 0] = np.float32(1.0) / inverse[y, x] if winner[y, x] >= 0 else np.float32(0.0)


@compiled
def _write_semantic(label, winner, semantic):  # type: ignore[no-untyped-def]
    for y in range(semantic.shape[0]):
        for x in range(semantic.shape[1]):
            triangle = winner[y, x]
            semantic[y, x, 0] = label[triangle, SEMANTIC] if triangle >= 0 else 0


@compiled
def _shade(  # type: ignore[no-untyped-def]
    surface, label, texels, light, pose, focal, size, inverse, winner, known, rays, row_depth, row_texel, row_light,
    row_blend, rgb,
):  # fmt: skip
    """Multiply texture and light, once per pixel: runs of one triangle locate their texels, then a row is blended."""
    height, width = size
    light_height, light_width = light.shape
    lights = light.ravel()
    known[:] = -1
    for y in range(height):
        for x in range(width):
            row_depth[x] = np.float32(1.0) / inverse[y, x]
        x = 0
        while x < width:
            triangle = winner[y, x]
            end = x + 1
            while end < width and winner[y, end] == triangle:
                end += 1
            if triangle < 0:
                for i in range(x, end):
                    row_texel[i], row_light[i], row_blend[i] = 0, 0, 0
            else:
                slot = triangle & (RAYS - 1)
                if known[slot] != triangle:
                    known[slot] = triangle
                    _ray_coefficients(surface, triangle, pose, focal, height, width, rays, slot)
                _locate(
                    label, triangle, rays, slot, light_height, light_width, y, x, end, row_depth, row_texel, row_light,
                    row_blend,
                )  # fmt: skip
            x = end
        _blend_row(texels, lights, light_width, row_texel, row_light, row_blend, rgb, y)


@compiled
def _ray_coefficients(surface, triangle, pose, focal, height, width, out, slot):  # type: ignore[no-untyped-def]
    """Compute a triangle's four attributes as functions of the pixel: at column c, row r and depth z each is

    out[k] + z (out[k + 1] + out[k + 2] c + out[k + 3] r), k = 0, 4, 8, 12. out[16] z^3 is the squared number of texels
    per pixel: (density z / focal)^2, stretched by the slant z / (distance of the camera from the plane).
    """
    above = -float(surface[triangle, PLANE])
    for axis in range(3):
        above += surface[triangle, NORMAL + axis] * pose[axis, 3]
    for k in range(0, 16, 4):
        first = U + k
        start, right, up, back = float(surface[triangle, first + 3]), 0.0, 0.0, 0.0
        for axis in range(3):
            slope = float(surface[triangle, first + axis])
            start += slope * pose[axis, 3]
            right += slope * pose[axis, 0]
            up += slope * pose[axis, 1]
            back += slope * pose[axis, 2]
        right, up = right / focal, up / focal
        out[slot, k] = start
        out[slot, k + 1] = 0.5 * (height - 1) * up - 0.5 * (width - 1) * right - back
        out[slot, k + 2] = right
        out[slot, k + 3] = -up
    out[slot, 16] = (surface[triangle, DENSITY] / focal) ** 2 / max(abs(above), 1e-3)


@compiled
def _locate(  # type: ignore[no-untyped-def]
    label, triangle, rays, slot, light_height, light_width, y, begin, end, depths, texel, light, blend
):
    """Compute texel, light texel and blend weights of pixels begin..end of row y, all on one triangle.

    It is written to be vectorised: 32-bit values, no index relative to an array's end, no partial block. Values beyond
    the end of the run are overwritten by the next run.
    """
    row, column = np.float32(y), np.float32(begin)
    u0, u2, u1 = rays[slot, 0], rays[slot, 2], rays[slot, 1] + rays[slot, 3] * row + rays[slot, 2] * column
    v0, v2, v1 = rays[slot, 4], rays[slot, 6], rays[slot, 5] + rays[slot, 7] * row + rays[slot, 6] * column
    s0, s2, s1 = rays[slot, 8], rays[slot, 10], rays[slot, 9] + rays[slot, 11] * row + rays[slot, 10] * column
    t0, t2, t1 = rays[slot, 12], rays[slot, 14], rays[slot, 13] + rays[slot, 15] * row + rays[slot, 14] * column
    spread, offset, levels = rays[slot, 16], label[triangle, TEXELS], label[triangle, LEVELS]
    texture_width, texture_height = label[triangle, WIDTH], label[triangle, HEIGHT]
    wide, last_u, last_v = np.uint32(texture_width), np.uint32(texture_width - 1), np.uint32(texture_height - 1)
    area = np.uint32(4 * texture_width * texture_height)
    starts = np.uint32(area // 3)  # its upper 2 l bits are the start of level l: 1/4 + 1/16 + ... of 4/3 of the area
    light_width = np.int32(light_width)
    last_s, last_t = np.float32(light_width - 2), np.float32(light_height - 2)
    zero, least, exponent, unit = np.float32(0), np.int32(0), np.int32(24), np.float32(256)
    bits = np.uint32(31)  # tells the compiler that shifts stay below the word's width
    for block in range(begin, end, LANES):
        for lane in range(LANES):
            i = np.uint64(block + lane)
            z = depths[i]
            zi = z * np.float32(np.int32(block - begin + lane))
            power = np.int32(np.float32(spread * z * z * z).view(np.int32) - np.int32(127 << 23))
            level = np.uint32(min(max(np.int32(power >> exponent), least), levels)) & bits
            u = np.uint32(np.uint32(np.int32(u0 + u1 * z + u2 * zi)) & last_u)
            v = np.uint32(np.uint32(np.int32(v0 + v1 * z + v2 * zi)) & last_v)
            unit_area = np.uint32(area >> np.uint32(np.uint32(level + level) & bits))
            start = np.uint32(starts & ~np.uint32(unit_area - np.uint32(1)))
            line = np.uint32(np.uint32(v >> level) * np.uint32(wide >> level))
            texel[i] = offset + np.int32(start + line + np.uint32(u >> level))
            s = min(max(s0 + s1 * z + s2 * zi, zero), last_s)
            t = min(max(t0 + t1 * z + t2 * zi, zero), last_t)
            light_column, light_row = np.int32(s), np.int32(t)
            light[i] = np.int32(light_row * light_width) + light_column
            across = np.int32((s - np.float32(light_column)) * unit)
            down = np.int32((t - np.float32(light_row)) * unit)
            blend[i] = across | np.int32(down << np.int32(8))


@compiled
def _blend_row(texels, lights, light_width, row_texel, row_light, row_blend, rgb, y):  # type: ignore[no-untyped-def]
    """Blend four light texels in 16-bit lanes and multiply by the texel.

    256 a + (b - a) s, computed on whole words, is the blend in every lane, since each lane stays within 0..65280.
    """
    below = np.uint64(light_width)
    lanes, lane, most = np.uint64(0x00FF00FF00FF), np.uint64(0xFFFF), np.uint64(255)
    one, eight, sixteen, scale = np.uint64(1), np.uint64(8), np.uint64(16), np.uint64(256 * LIGHT_ONE)
    for x in range(rgb.shape[1]):
        texel, first, share = (
            np.uint64(texels[np.uint64(row_texel[x])]),
            np.uint64(row_light[x]),
            np.uint64(row_blend[x]),
        )
        across, down = share & most, share >> eight
        upper, lower = lights[first], lights[first + below]
        upper = ((upper << eight) + (lights[first + one] - upper) * across) >> eight & lanes
        lower = ((lower << eight) + (lights[first + below + one] - lower) * across) >> eight & lanes
        factor = (upper << eight) + (lower - upper) * down
        rgb[y, x, 0] = min((texel & most) * (factor & lane) // scale, most)
        rgb[y, x, 1] = min((texel >> eight & most) * (factor >> sixteen & lane) // scale, most)
        rgb[y, x, 2] = min((texel >> sixteen & most) * (factor >> np.uint64(32) & lane) // scale, most)
