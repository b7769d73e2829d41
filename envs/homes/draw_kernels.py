"""The kernels of the rasteriser: visit, cull, clip, scan, shade. See `rasterizer`."""

from typing import NamedTuple

import numpy as np

from envs.homes.compiled import compiled
from envs.homes.drawable import (
    DENSITY,
    DOUBLE_SIDED,
    HEIGHT,
    LEVELS,
    NORMAL,
    PLANE,
    SEMANTIC,
    TEXELS,
    WIDTH,
    U,
)
from envs.homes.scene import LIGHT_ONE, Array

TILE = 8  # pixels along the side of a tile of the hierarchical z-buffer
LANES = 16  # pixels worked on at a time in shading; what is written past a run's end, the next run writes over
RAYS = 256  # triangles whose coefficients are remembered while a camera is shaded
STACK = 128  # nodes waiting; the hierarchy is at most 48 deep


class Scratch(NamedTuple):
    """One thread's working memory."""

    inverse: Array  # (H, W) float32, 1 / depth of the nearest surface so far
    winner: Array  # (H, W) int32, its triangle, -1 = none
    left: Array  # (H,) int64, first column of the polygon in each row
    right: Array  # (H,) int64, one past its last
    farthest: Array  # (tile rows, tile columns) float32, smallest `inverse` in each tile
    stale: Array  # (tile rows, tile columns) bool, drawn over since `farthest` was taken
    known: Array  # (RAYS,) int32, the triangle each row of `rays` is of
    rays: Array  # (RAYS, 17) float32, how attributes run over the image, see `_ray_coefficients`
    row_depth: Array  # (W + LANES,) float32
    row_texel: Array  # (W + LANES,) int32
    row_light: Array  # (W + LANES,) int32
    row_blend: Array  # (W + LANES,) int32, 8 bits of fraction each across and down

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
            np.zeros(RAYS, np.int32),
            np.zeros((RAYS, 17), np.float32),
            np.ones(width + LANES, np.float32),
            np.zeros(width + LANES, np.int32),
            np.zeros(width + LANES, np.int32),
            np.zeros(width + LANES, np.int32),
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
    light_height, light_width = scene.light.shape
    scratch.known[:] = -1
    for y in range(height):
        for x in range(width):
            scratch.row_depth[x] = np.float32(1.0) / scratch.inverse[y, x]
        x = 0
        while x < width:
            triangle = scratch.winner[y, x]
            end = x + 1
            while end < width and scratch.winner[y, end] == triangle:
                end += 1
            if triangle < 0:
                scratch.row_texel[x:end], scratch.row_light[x:end], scratch.row_blend[x:end] = 0, 0, 0
            else:
                slot = triangle & (RAYS - 1)
                if scratch.known[slot] != triangle:
                    scratch.known[slot] = triangle
                    _ray_coefficients(scene.surface[triangle], pose, focal, height, width, scratch.rays[slot])
                _locate(scratch, scratch.rays[slot], scene.label[triangle], light_height, light_width, y, x, end)
            x = end
        _blend_row(scene.texels, scene.light, scratch, rgb[y])


@compiled
def _ray_coefficients(surface, pose, focal, height, width, out):  # type: ignore[no-untyped-def]
    """How a triangle's four attributes run over the image: at column c, row r and depth z each is

    out[k] + z (out[k + 1] + out[k + 2] c + out[k + 3] r), k = 0, 4, 8, 12. out[16] z^3 is the square of the texels
    that a pixel spans: (density z / focal)^2, lengthened by the slant z / (the camera's distance from the plane).
    """
    above = -float(surface[PLANE])
    for axis in range(3):
        above += surface[NORMAL + axis] * pose[axis, 3]
    for k in range(0, 16, 4):
        first = U + k
        start, right, up, back = float(surface[first + 3]), 0.0, 0.0, 0.0
        for axis in range(3):
            slope = float(surface[first + axis])
            start += slope * pose[axis, 3]
            right += slope * pose[axis, 0]
            up += slope * pose[axis, 1]
            back += slope * pose[axis, 2]
        right, up = right / focal, up / focal
        out[k] = start
        out[k + 1] = 0.5 * (height - 1) * up - 0.5 * (width - 1) * right - back
        out[k + 2] = right
        out[k + 3] = -up
    out[16] = (surface[DENSITY] / focal) ** 2 / max(abs(above), 1e-3)


@compiled
def _locate(scratch, rays, label, light_height, light_width, y, begin, end):  # type: ignore[no-untyped-def]
    """Texel, light texel and blend weights of the pixels begin..end of row y, all on one triangle.

    Written to be vectorised: 32 bits wide, no index that could count from an array's end, no partial block.
    """
    depths, texel, light, blend = scratch.row_depth, scratch.row_texel, scratch.row_light, scratch.row_blend
    row, column = np.float32(y), np.float32(begin)
    u0, u1, u2 = rays[0], rays[1] + rays[3] * row + rays[2] * column, rays[2]
    v0, v1, v2 = rays[4], rays[5] + rays[7] * row + rays[6] * column, rays[6]
    s0, s1, s2 = rays[8], rays[9] + rays[11] * row + rays[10] * column, rays[10]
    t0, t1, t2 = rays[12], rays[13] + rays[15] * row + rays[14] * column, rays[14]
    spread, offset, levels = rays[16], label[TEXELS], label[LEVELS]
    wide, last_u, last_v = np.uint32(label[WIDTH]), np.uint32(label[WIDTH] - 1), np.uint32(label[HEIGHT] - 1)
    area = np.uint32(4 * label[WIDTH] * label[HEIGHT])
    starts = np.uint32(area // 3)  # its upper 2 l bits are where level l starts: 1/4 + 1/16 + ... of 4/3 of the area
    light_width = np.int32(light_width)
    last_s, last_t = np.float32(light_width - 2), np.float32(light_height - 2)
    zero, least, exponent, unit = np.float32(0), np.int32(0), np.int32(24), np.float32(256)
    bits = np.uint32(31)  # says that no shift reaches the word's width
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
def _blend_row(texels, light, scratch, line):  # type: ignore[no-untyped-def]
    """Four light texels blended in lanes of 16 bits, times the texel.

    256 a + (b - a) s, taken over whole words, is the blend in every lane: no lane of the sum leaves 0..65280.
    """
    lights, below = light.ravel(), np.uint64(light.shape[1])
    lanes, lane, most = np.uint64(0x00FF00FF00FF), np.uint64(0xFFFF), np.uint64(255)
    one, eight, sixteen, scale = np.uint64(1), np.uint64(8), np.uint64(16), np.uint64(256 * LIGHT_ONE)
    for x in range(line.shape[0]):
        texel, first = np.uint64(texels[np.uint64(scratch.row_texel[x])]), np.uint64(scratch.row_light[x])
        share = np.uint64(scratch.row_blend[x])
        across, down = share & most, share >> eight
        upper, lower = lights[first], lights[first + below]
        upper = ((upper << eight) + (lights[first + one] - upper) * across) >> eight & lanes
        lower = ((lower << eight) + (lights[first + below + one] - lower) * across) >> eight & lanes
        factor = (upper << eight) + (lower - upper) * down
        line[x, 0] = min((texel & most) * (factor & lane) // scale, most)
        line[x, 1] = min((texel >> eight & most) * (factor >> sixteen & lane) // scale, most)
        line[x, 2] = min((texel >> sixteen & most) * (factor >> np.uint64(32) & lane) // scale, most)
