"""A home as triangles: geometry, textures, baked light, and the object of each triangle.

World frame (Habitat's): right-handed, metres, +y up; a camera looks along its own -z with +x right. Rendering,
navigation and tasks all use this class; `load.load_scene` and `generate.generate_home` create it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

HM3D_CATEGORIES = ("chair", "bed", "plant", "toilet", "tv_monitor", "sofa")
"""The six ObjectNav goal categories of HM3D, in the order of their task ids."""

LIGHT_ONE = 128
"""Value of the light map for a factor of 1. Textures are multiplied by light / LIGHT_ONE in display (gamma) space."""

Array = NDArray[Any]


class SceneError(ValueError):
    """A scene that cannot be used. The message names the file or scene, the problem, and a remedy."""


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One annotated object: a piece of furniture, a wall, a floor."""

    semantic_id: int  # value in semantic images; >= 1
    name: str  # "bed_12": category and semantic id
    category: str
    room: int  # index in Scene.rooms for generated homes, the region id of the annotation otherwise; -1 = none
    center: Array  # (3,) float64 [m], centre of the oriented bounding box
    half_extents: Array  # (3,) float64 [m], along the box's own axes
    rotation: Array  # (3, 3) float64, columns are the box's axes in the world

    @property
    def aabb(self) -> Array:
        """Axis-aligned bounds (2, 3) [m] of the oriented box."""
        reach = np.abs(self.rotation) @ self.half_extents
        return np.stack([self.center - reach, self.center + reach])


@dataclass(frozen=True, slots=True)
class Room:
    """One room in top view."""

    name: str  # "bedroom_1"
    category: str  # "bedroom", "living room", ...
    polygon: Array  # (P, 2) float64 [m], corners (x, z) of the inner walls, without the closing point
    floor: float  # y of the floor [m]
    ceiling: float  # y of the ceiling [m]


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Scene:
    """Triangles with texture, light and labels. Its arrays must not be modified.

    Front faces are counter-clockwise.

    Raises:
        SceneError: If there are no faces, indices are out of range, vertices are NaN or infinite, or shapes do not fit.
    """

    scene_id: str
    vertices: Array  # (V, 3) float32 [m]
    faces: Array  # (F, 3) int32
    semantic_id: Array  # (F,) int32, 0 = unlabelled
    texture: Array  # (F,) int32, index in textures
    uv: Array  # (F, 3, 2) float32 per corner, in repeats of the texture; v points up, as in OpenGL
    textures: tuple[Array, ...]  # each (h, w, 3) uint8, first row on top
    light: Array  # (h, w, 3) uint8, LIGHT_ONE = factor 1; baked light and plain colours
    light_uv: Array  # (F, 3, 2) float32 per corner, (column, row) in texels of light, centres at .5
    double_sided: Array  # (F,) bool
    objects: tuple[SceneObject, ...] = ()
    rooms: tuple[Room, ...] = ()
    source: Path | None = None  # the file it was read from

    def __post_init__(self) -> None:
        where = f"scene {self.scene_id!r}" if self.source is None else f"scene {str(self.source)!r}"
        if self.faces.ndim != 2 or len(self.faces) == 0:
            raise SceneError(f"{where} has no faces, so there is nothing to draw or walk on. Export its triangles.")
        bad = np.unique(np.nonzero(~np.isfinite(self.vertices))[0])
        if len(bad):
            raise SceneError(
                f"{where}: {len(bad)} of {len(self.vertices)} vertices are NaN or infinite (first: vertex {bad[0]}). "
                "Repair the mesh, or remove these vertices before loading."
            )
        if self.faces.min() < 0 or self.faces.max() >= len(self.vertices):
            raise SceneError(f"{where}: a face names vertex {self.faces.max()} of {len(self.vertices)}.")
        count = len(self.faces)
        shapes = {
            "semantic_id": (count,),
            "texture": (count,),
            "uv": (count, 3, 2),
            "light_uv": (count, 3, 2),
            "double_sided": (count,),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise SceneError(f"{where}: {name} has shape {getattr(self, name).shape}, expected {shape}.")

    @property
    def triangles(self) -> Array:
        """Corners (F, 3, 3) float32 [m]."""
        return self.vertices[self.faces]

    @property
    def bounds(self) -> Array:
        """Bounds (2, 3) float32 [m]: lowest and highest corner of the faces' vertices."""
        used = self.vertices[self.faces.ravel()]
        return np.stack([used.min(axis=0), used.max(axis=0)])


def oriented_boxes(
    triangles: Array, semantic_id: Array, labels: dict[int, tuple[str, int]], yaws: dict[int, float] | None = None
) -> tuple[SceneObject, ...]:
    """Return the annotated objects of a labelled mesh, with boxes that rotate only about the vertical axis.

    Args:
        triangles: Corners (F, 3, 3) [m].
        semantic_id: Label of each triangle (F,).
        labels: {semantic id: (category, room)}. Labels without a triangle are skipped.
        yaws: {semantic id: rotation of the box [rad]}. None chooses the box with the smallest floor area.
    """
    order = np.argsort(semantic_id, kind="stable")
    ids, starts = np.unique(semantic_id[order], return_index=True)
    points = triangles[order].reshape(-1, 3).astype(np.float64)
    ends = np.append(starts[1:], len(order)) * 3
    known = [k for k, label in enumerate(ids) if int(label) in labels]
    if yaws is None:
        turns = np.array([_smallest_turn(points[3 * starts[k] : ends[k], ::2]) for k in known])
    else:
        turns = np.array([yaws[int(ids[k])] for k in known])
    objects = []
    for k, turn in zip(known, turns):
        label = int(ids[k])
        category, room = labels[label]
        box = _box(points[3 * starts[k] : ends[k]], float(turn))
        objects.append(SceneObject(label, f"{category}_{label}", category, room, *box))
    return tuple(objects)


def _box(points: Array, yaw: float) -> tuple[Array, Array, Array]:
    """Return centre, half extents and rotation of the box around points (P, 3) with this yaw."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    rotation = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    local = points @ rotation
    low, high = local.min(axis=0), local.max(axis=0)
    return rotation @ ((low + high) / 2), (high - low) / 2, rotation


def _smallest_turn(plan: Array) -> float:
    """Return the yaw of the rectangle with the smallest area around points (P, 2), (x, z); 0 if none is smaller.

    It lies along an edge of the convex hull.
    """
    hull = shapely.convex_hull(shapely.MultiPoint(plan))
    best, turn = np.prod(np.ptp(plan, axis=0)), 0.0
    if hull.geom_type == "Polygon":
        edges = np.diff(np.asarray(hull.exterior.coords), axis=0)
        for angle in np.unique(np.round(np.arctan2(-edges[:, 1], edges[:, 0]) % (np.pi / 2), 6)):
            cos, sin = np.cos(angle), np.sin(angle)
            area = np.prod(np.ptp(plan @ np.array([[cos, sin], [-sin, cos]]), axis=0))
            if area < best * (1 - 1e-6) - 1e-9:
                best, turn = area, float(angle)
    return turn
