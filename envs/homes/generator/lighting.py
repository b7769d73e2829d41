"""Light baked into a map: lamps with soft shadows, sky through the windows, and darkening where surfaces meet.

A simple model: each texel gets direct light from its room's lamps and windows (a few points on each, shadowed by the
room's boxes), an ambient term scaled by how much of its surroundings is open, and no second bounce but a constant one.
Values are in display space, where texture times light is the picture.
"""

from typing import NamedTuple

import numpy as np

from embodia.envs.compiled import compiled
from embodia.envs.drawing.atlas import packed, samples
from embodia.envs.drawing.scene import LIGHT_ONE, Array
from embodia.envs.homes.generator.mesh_builder import Quads

SHEET_WIDTH = 512  # texels across the light map
SHELL_SPACING, PIECE_SPACING = 0.22, 0.4  # [m] between light texels on walls and on furniture
MOST_TEXELS = 40  # along one side of a face
GAMMA = 2.2
NEAREST_LIGHT = 2.0  # [m2] squared distance below which a light grows no stronger: it is no point
OPENNESS_REACH = 1.0  # [m] within which surroundings darken the ambient light


class Lights(NamedTuple):
    """What shines in a home. Colours are linear, in units where 1 is a well-lit white wall."""

    points: Array  # (L, 3) [m]
    normals: Array  # (L, 3), where the light goes; zero = all around
    colours: Array  # (L, 3), times square metres
    room: Array  # (L,)
    ambient: Array  # (R, 3) per room
    room_boxes: Array  # (R, 6) low and high corner of each room
    windows: Array  # (W, 7) room, axis of the wall, its place across, low, high, bottom, top of the hole
    sun: Array  # (3,) direction to the sun
    sunlight: Array  # (3,)


def bake(quads: Quads, occluders: Array, lights: Lights) -> tuple[Array, Array]:
    """The light map (h, w, 3) uint8 and each quad's corners on it (Q, 4, 2) in texels."""
    columns, rows = _texel_counts(quads)
    left, top, height = packed(columns, rows, SHEET_WIDTH)
    quad, across, down = samples(columns, rows)
    place = _between(quads.corners[quad], across, down)
    normal = np.cross(quads.corners[:, 1] - quads.corners[:, 0], quads.corners[:, 3] - quads.corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    by_light, light_starts = _by_room(lights.room, len(lights.ambient))
    by_box, box_starts = _by_room(occluders[:, 6].astype(np.int64), len(lights.ambient))
    radiance = np.zeros((len(quad), 3))
    _gather(
        place + 0.012 * normal[quad], normal[quad], quads.room[quad].astype(np.int64), quads.double_sided[quad],
        lights.points[by_light], lights.normals[by_light], lights.colours[by_light], light_starts, lights.ambient,
        lights.room_boxes, occluders[by_box, :6], box_starts, _directions(), lights.windows, lights.sun,
        lights.sunlight, radiance,
    )  # fmt: skip
    shown = np.clip(radiance, 0.0, None) ** (1 / GAMMA)
    glow = quads.glow[quad, None]
    shown = (shown * (1 - np.minimum(glow, 1)) + glow) * quads.tint[quad]
    sheet = np.zeros((height, SHEET_WIDTH, 3), np.uint8)
    row = top[quad] + (down * (rows[quad] - 1)).round().astype(int)
    column = left[quad] + (across * (columns[quad] - 1)).round().astype(int)
    sheet[row, column] = np.round(np.clip(shown * LIGHT_ONE, 0, 255)).astype(np.uint8)
    corner_column = left[:, None] + np.array([0, 1, 1, 0]) * (columns[:, None] - 1) + 0.5
    corner_row = top[:, None] + np.array([0, 0, 1, 1]) * (rows[:, None] - 1) + 0.5
    return sheet, np.stack([corner_column, corner_row], axis=-1)


def _texel_counts(quads: Quads) -> tuple[Array, Array]:
    spacing = np.where(quads.shell, SHELL_SPACING, PIECE_SPACING)
    wide = np.linalg.norm(quads.corners[:, 1] - quads.corners[:, 0], axis=1)
    tall = np.linalg.norm(quads.corners[:, 3] - quads.corners[:, 0], axis=1)
    counts = [np.clip(np.ceil(side / spacing).astype(int) + 1, 2, MOST_TEXELS) for side in (wide, tall)]
    return counts[0], counts[1]


def _between(corners: Array, across: Array, down: Array) -> Array:
    """Points of quads (T, 4, 3), kept 2 cm off the edges where there is room: an edge often lies in another surface."""
    wide = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    tall = np.linalg.norm(corners[:, 3] - corners[:, 0], axis=1)
    rim_a, rim_d = np.minimum(0.02 / np.maximum(wide, 1e-6), 0.3), np.minimum(0.02 / np.maximum(tall, 1e-6), 0.3)
    a = np.clip(across, rim_a, 1 - rim_a)[:, None]
    d = np.clip(down, rim_d, 1 - rim_d)[:, None]
    first = corners[:, 0] * (1 - a) + corners[:, 1] * a
    second = corners[:, 3] * (1 - a) + corners[:, 2] * a
    return np.asarray(first * (1 - d) + second * d)


def _by_room(room: Array, count: int) -> tuple[Array, Array]:
    """An order by room, and where each room begins in it (R + 1,)."""
    order = np.argsort(room, kind="stable")
    return order, np.searchsorted(room[order], np.arange(count + 1))


def _directions() -> Array:
    """Eight directions over the hemisphere about +z, equally likely under the cosine law."""
    k = np.arange(8)
    radius, turn = np.sqrt((k + 0.5) / 8), 2 * np.pi * 0.618034 * k
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), np.sqrt(1 - radius**2)], axis=1)


@compiled
def _gather(  # type: ignore[no-untyped-def]
    place, normal, room, two_sided, points, light_normals, colours, light_starts, ambient, room_boxes, boxes,
    box_starts, directions, windows, sun, sunlight, out,
):  # fmt: skip
    ray = np.zeros(3)
    near = np.zeros(len(boxes), np.int64)
    for i in range(len(place)):
        r = room[i]
        first_box, last_box = box_starts[r], box_starts[r + 1]
        for j in range(light_starts[r], light_starts[r + 1]):
            distance2, cosine, leaving, directed = 1e-12, 0.0, 0.0, False
            for axis in range(3):
                ray[axis] = points[j, axis] - place[i, axis]
                distance2 += ray[axis] * ray[axis]
                cosine += normal[i, axis] * ray[axis]
                leaving -= light_normals[j, axis] * ray[axis]
                directed |= light_normals[j, axis] != 0
            distance = np.sqrt(distance2)
            cosine = (abs(cosine) if two_sided[i] else cosine) / distance
            strength = cosine * (leaving / distance if directed else 1.0) / max(distance2, NEAREST_LIGHT)
            if cosine <= 0 or strength <= 1e-3 or _blocked(place[i], ray, boxes, first_box, last_box):
                continue
            for channel in range(3):
                out[i, channel] += colours[j, channel] * strength
        cosine = normal[i, 0] * sun[0] + normal[i, 1] * sun[1] + normal[i, 2] * sun[2]
        if cosine > 0 and sunlight[0] > 0 and _sunlit(place[i], r, sun, windows):
            for axis in range(3):
                ray[axis] = 20.0 * sun[axis]
            if not _blocked(place[i], ray, boxes, first_box, last_box):
                for channel in range(3):
                    out[i, channel] += sunlight[channel] * cosine
        count = 0
        for k in range(first_box, last_box):
            distance2 = 0.0
            for axis in range(3):
                outside = max(boxes[k, axis] - place[i, axis], place[i, axis] - boxes[k, axis + 3], 0.0)
                distance2 += outside * outside
            if distance2 < OPENNESS_REACH * OPENNESS_REACH:
                near[count] = k
                count += 1
        openness = _openness(place[i], normal[i], room_boxes[r], boxes, near[:count], directions, ray)
        for channel in range(3):
            out[i, channel] += ambient[r, channel] * openness


@compiled
def _sunlit(origin, room, sun, windows):  # type: ignore[no-untyped-def]
    """Whether the sun is seen through one of the room's windows."""
    for k in range(len(windows)):
        if windows[k, 0] != room:
            continue
        along, across = (0, 2) if windows[k, 1] == 0 else (2, 0)
        reach = (windows[k, 2] - origin[across]) / sun[across] if abs(sun[across]) > 1e-6 else -1.0
        if reach > 0.02:
            y, s = origin[1] + reach * sun[1], origin[along] + reach * sun[along]
            if windows[k, 5] < y < windows[k, 6] and windows[k, 3] < s < windows[k, 4]:
                return True
    return False


@compiled
def _blocked(origin, ray, boxes, first, last):  # type: ignore[no-untyped-def]
    """Whether a box lies on the way; a box that holds the origin does not count."""
    inverse = _inverse(ray)
    for k in range(first, last):  # noqa: SIM110
        if _entry(origin, inverse, boxes[k]) < 1.0:
            return True
    return False


@compiled
def _inverse(ray):  # type: ignore[no-untyped-def]
    x = ray[0] if abs(ray[0]) > 1e-12 else 1e-12
    y = ray[1] if abs(ray[1]) > 1e-12 else 1e-12
    z = ray[2] if abs(ray[2]) > 1e-12 else 1e-12
    return 1.0 / x, 1.0 / y, 1.0 / z


@compiled
def _entry(origin, inverse, box):  # type: ignore[no-untyped-def]
    """Share of the ray at which it enters a box from outside; infinite where it misses it."""
    ax, bx = (box[0] - origin[0]) * inverse[0], (box[3] - origin[0]) * inverse[0]
    ay, by = (box[1] - origin[1]) * inverse[1], (box[4] - origin[1]) * inverse[1]
    az, bz = (box[2] - origin[2]) * inverse[2], (box[5] - origin[2]) * inverse[2]
    enter = max(max(min(ax, bx), min(ay, by)), min(az, bz))
    leave = min(min(max(ax, bx), max(ay, by)), max(az, bz))
    return enter if enter <= leave and enter > 0 else np.inf


@compiled
def _openness(origin, normal, room_box, boxes, near, directions, ray):  # type: ignore[no-untyped-def]
    """Share of the hemisphere that is open, near surroundings counting more."""
    side_x, side_y, side_z = 0.0, 0.0, 0.0  # a direction in the surface
    if abs(normal[1]) > 0.9:
        side_x = 1.0
    else:
        side_y = 1.0
    dot = side_x * normal[0] + side_y * normal[1]
    side_x, side_y, side_z = side_x - dot * normal[0], side_y - dot * normal[1], -dot * normal[2]
    length = np.sqrt(side_x * side_x + side_y * side_y + side_z * side_z)
    side_x, side_y, side_z = side_x / length, side_y / length, side_z / length
    up_x = normal[1] * side_z - normal[2] * side_y
    up_y = normal[2] * side_x - normal[0] * side_z
    up_z = normal[0] * side_y - normal[1] * side_x
    total = 0.0
    for d in range(len(directions)):
        a, b, c = directions[d, 0], directions[d, 1], directions[d, 2]
        ray[0] = a * side_x + b * up_x + c * normal[0]
        ray[1] = a * side_y + b * up_y + c * normal[1]
        ray[2] = a * side_z + b * up_z + c * normal[2]
        nearest = OPENNESS_REACH
        for axis in range(3):  # the room's own walls, seen from within; a doorway's sides lie outside them
            if origin[axis] < room_box[axis] or origin[axis] > room_box[axis + 3]:
                continue
            if ray[axis] > 1e-9:
                nearest = min(nearest, max(0.0, (room_box[axis + 3] - origin[axis]) / ray[axis]))
            elif ray[axis] < -1e-9:
                nearest = min(nearest, max(0.0, (room_box[axis] - origin[axis]) / ray[axis]))
        inverse = _inverse(ray)
        for k in near:
            nearest = min(nearest, _entry(origin, inverse, boxes[k]))
        total += nearest / OPENNESS_REACH
    return 0.35 + 0.65 * total / len(directions)
