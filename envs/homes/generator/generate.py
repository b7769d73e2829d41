"""Furnished homes by seed: a floor plan, its rooms, furniture in them, and the light baked in."""

from typing import Literal

import numpy as np

from embodia.envs.drawing.scene import HM3D_CATEGORIES, Array, Room, Scene, oriented_boxes
from embodia.envs.homes.generator.floor_plan import FloorPlan, draw_floor_plan
from embodia.envs.homes.generator.furnish import Layout, build_furniture, furnish
from embodia.envs.homes.generator.furniture_style import draw_style
from embodia.envs.homes.generator.lighting import bake
from embodia.envs.homes.generator.mesh_builder import MeshBuilder
from embodia.envs.homes.generator.shell import build_shell, draw_finish, home_lights
from embodia.envs.homes.generator.texture import textures

Detail = Literal["low", "medium", "high"]
DETAILS: tuple[Detail, ...] = ("low", "medium", "high")
ATTEMPTS = 40  # plans drawn until one holds all goal categories


def generate_home(seed: int, detail: Detail = "medium", bedrooms: int | None = None) -> Scene:
    """The furnished home of a seed: the same arguments give the same home, bit for bit.

    About 600 (`low`), 1,800 (`medium`) or 5,000 (`high`) triangles; `bedrooms` from 1 to 4, drawn from the seed where
    not given. The home stands with one corner near the origin, floor at y = 0. Every home has a living room, a
    kitchen, a bathroom, a bedroom and a corridor, all connected through doors of 0.8 m or more, and at least one
    object of each of HM3D's six goal categories. Raises ValueError for a detail or a number of bedrooms unknown.
    """
    if detail not in DETAILS:
        raise ValueError(f"detail {detail!r} is unknown; choose from {DETAILS}.")
    if bedrooms is not None and not 1 <= bedrooms <= 4:
        raise ValueError(f"a home of {bedrooms} bedrooms cannot be built; ask for 1 to 4.")
    if seed < 0:
        raise ValueError(f"seed {seed} is negative; use 0 or more.")
    level = DETAILS.index(detail)
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, attempt])
        drawn = int(rng.integers(*((1, 2), (1, 4), (2, 5))[level]))
        plan = draw_floor_plan(rng, bedrooms or drawn)
        style = draw_style(rng, level)
        layouts = furnish(rng, plan, style)
        builder = MeshBuilder()
        finish = draw_finish(rng, plan)
        build_shell(builder, plan, finish, level)
        build_furniture(builder, rng, layouts, style)
        if {category for category, _ in builder.labels.values()}.issuperset(HM3D_CATEGORIES):
            break
    light, corners = bake(builder.quads(), builder.occluders(), home_lights(plan, finish))
    return _scene(f"home-{seed}-{detail}-{_bedrooms(plan)}", plan, layouts, builder, light, corners)


def _bedrooms(plan: FloorPlan) -> int:
    return sum(room.kind == "bedroom" for room in plan.rooms)


def _scene(
    scene_id: str, plan: FloorPlan, layouts: list[Layout], builder: MeshBuilder, light: Array, light_corners: Array
) -> Scene:
    quads = builder.quads()
    first, second = np.array([0, 1, 2]), np.array([0, 2, 3])
    whole = np.flatnonzero(~quads.half)
    quad = np.concatenate([np.arange(len(quads.half)), whole])
    corner = np.concatenate([np.tile(first, (len(quads.half), 1)), np.tile(second, (len(whole), 1))])
    order = np.argsort(quad, kind="stable")  # the two halves of a quad side by side
    quad, corner = quad[order], corner[order]
    pick = (quad[:, None], corner)
    vertices, faces = _merged(quads.corners[pick].astype(np.float32))
    return Scene(
        scene_id=scene_id,
        vertices=vertices,
        faces=faces,
        semantic_id=quads.semantic_id[quad].astype(np.int32),
        texture=quads.texture[quad].astype(np.int32),
        uv=quads.uv[pick].astype(np.float32),
        textures=textures(),
        light=light,
        light_uv=light_corners[pick].astype(np.float32),
        double_sided=quads.double_sided[quad],
        objects=oriented_boxes(quads.corners[pick], quads.semantic_id[quad], builder.labels, builder.yaws),
        rooms=_rooms(plan),
    )


def _merged(corners: Array) -> tuple[Array, Array]:
    """Vertices shared where they coincide, and the faces over them."""
    vertices, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    return vertices, index.reshape(-1, 3).astype(np.int32)


def _rooms(plan: FloorPlan) -> tuple[Room, ...]:
    rooms = []
    for number, room in enumerate(plan.rooms):
        (x0, z0), (x1, z1) = room.low, room.high
        polygon = np.array([[x0, z0], [x1, z0], [x1, z1], [x0, z1]])
        name = f"{room.kind.replace(' ', '_')}_{number}"
        rooms.append(Room(name, room.kind, polygon, 0.0, plan.height))
    return tuple(rooms)
