"""Labels of rendered images: boxes, masks, 3-D boxes, camera and optical flow.

The labels follow from the images of a renderer (depth and object ids), the camera, and the objects' boxes in the world.
Homes and roads return them by `labels`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from embodia.envs.drawing.camera_geometry import project, unproject
from embodia.envs.drawing.scene import Array, SceneObject

OCCLUSION = 0.02  # relative difference of inverse depth beyond which a point counts as hidden


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image and everything that is known about it. H and W are its height and width in pixels.

    Raises:
        ValueError: If shapes do not fit, or the pose is not finite.
    """

    rgb: Array  # (H, W, 3) uint8
    depth: Array  # (H, W) float32 [m] along the optical axis, 0 where there is nothing
    instance: Array  # (H, W) int32, ids of objects (`SceneObject.semantic_id`) and of surfaces that are no objects
    category: Array  # (H, W) int32, index in `categories`
    categories: tuple[str, ...]
    objects: tuple[SceneObject, ...]  # all objects of the scene, visible or not, with their 3-D boxes in the world
    intrinsics: Array  # (3, 3), see `camera_geometry.intrinsics`
    camera_to_world: Array  # (4, 4); the camera looks along its -z, with +x right and +y up

    def __post_init__(self) -> None:
        size = self.depth.shape
        found = {"rgb": self.rgb.shape[:2], "instance": self.instance.shape, "category": self.category.shape}
        for name, shape in found.items():
            if shape != size or len(size) != 2:
                raise ValueError(f"labels: {name} has shape {shape}, but depth has {size}")
        if self.camera_to_world.shape != (4, 4) or not np.isfinite(self.camera_to_world).all():
            raise ValueError(f"labels: the camera's pose must be a finite matrix (4, 4); got {self.camera_to_world}")

    @cached_property
    def _places(self) -> dict[int, tuple[slice, slice]]:
        ids, place = np.unique(self.instance, return_inverse=True)
        found = ndimage.find_objects(place.reshape(self.instance.shape) + 1)
        return {int(i): where for i, where in zip(ids, found)}

    @cached_property
    def visible(self) -> tuple[SceneObject, ...]:
        """The n objects with at least one pixel in the image."""
        return tuple(each for each in self.objects if each.semantic_id in self._places)

    @cached_property
    def boxes(self) -> Array:
        """Boxes (n, 4) of the visible pixels of `visible`: left, top, right, bottom [pixels].

        The right and bottom edges are those of the last pixel, so a box's width is right - left.
        """
        places = [self._places[each.semantic_id] for each in self.visible]
        rows = [(across.start, down.start, across.stop, down.stop) for down, across in places]
        return np.array(rows, np.float64).reshape(-1, 4)

    @cached_property
    def areas(self) -> Array:
        """Numbers (n,) of visible pixels of `visible`."""
        return np.array([self.mask(each.semantic_id).sum() for each in self.visible], np.int64)

    def mask(self, semantic_id: int) -> Array:
        """Return the pixels (H, W) bool of an object id."""
        return self.instance == semantic_id


def optical_flow(first: LabelledImage, second: LabelledImage) -> tuple[Array, Array]:
    """Return the true optical flow from one image to another of the same scene.

    It follows from the depth of the first image, both cameras, and the motion of the objects' boxes.

    Returns:
        Flow (H, W, 2) float32 [pixels], (columns, rows) by which each pixel of the first image moves; and the mask
        (H, W) bool of the pixels that are visible in the second image. Where there is no surface (depth 0 or not
        finite), or the object is no longer in the scene, flow is 0 and the mask is False.
    """
    known = np.isfinite(first.depth) & (first.depth > 0)
    depth = np.where(known, first.depth, 1.0)
    points = unproject(depth, first.intrinsics[0, 0], first.camera_to_world)
    later = {each.semantic_id: each for each in second.objects}
    for each in first.visible:
        pixels = first.mask(each.semantic_id)
        if each.semantic_id not in later:
            known = known & ~pixels
            continue
        then = later[each.semantic_id]
        turn = then.rotation @ each.rotation.T
        points[pixels] = (points[pixels] - each.center) @ turn.T + then.center
    ends, expected = project(points, second.intrinsics, second.camera_to_world)
    height, width = first.depth.shape
    starts = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    known &= expected > 0
    flow = np.where(known[..., None], ends - starts, 0.0)
    return flow.astype(np.float32), known & _seen(ends, expected, second.depth)


def _seen(pixels: Array, expected: Array, depth: Array) -> Array:
    """Whether points at pixel coordinates (H, W, 2) are inside an image, and not behind its surfaces.

    A point lies up to half a pixel beside the pixel's centre, where the depth is known. Inverse depth is linear over a
    plane, so its change towards the smoother neighbours says how much it may differ there.
    """
    height, width = depth.shape
    inside = (pixels >= 0).all(-1) & (pixels[..., 0] < width) & (pixels[..., 1] < height)
    column, row = (np.where(inside, np.floor(pixels[..., k]), 0).astype(np.int64) for k in range(2))
    there = np.isfinite(depth) & (depth > 0)
    inverse = np.where(there, 1 / np.where(there, depth, 1), 0)
    nearest = inverse * (1 - OCCLUSION) - (_slope(inverse, 0) + _slope(inverse, 1)) / 2
    return inside & there[row, column] & (1 / np.where(expected > 0, expected, np.inf) >= nearest[row, column])


def _slope(values: Array, axis: int) -> Array:
    """Absolute difference (H, W) to the neighbour along an axis that differs less."""
    change = np.abs(np.diff(values, axis=axis))
    edge = np.full_like(values.take([0], axis), np.inf)
    smaller = np.minimum(np.concatenate([edge, change], axis), np.concatenate([change, edge], axis))
    return np.where(np.isfinite(smaller), smaller, 0.0)


def upright_object(semantic_id: int, category: str, solid: Array) -> SceneObject:
    """Return an object with a box (7,): x, y, heading, length, width, bottom and top, in a world whose z is up."""
    x, y, heading, length, width, bottom, top = (float(value) for value in solid)
    cos, sin = np.cos(heading), np.sin(heading)
    return SceneObject(
        semantic_id=semantic_id,
        name=f"{category}_{semantic_id}",
        category=category,
        room=-1,
        center=np.array([x, y, (bottom + top) / 2]),
        half_extents=np.array([length, width, top - bottom]) / 2,
        rotation=np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]),
    )


def box_corners_3d(thing: SceneObject) -> Array:
    """Return the corners (8, 3) of an object's box in the world."""
    signs = np.stack(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0], indexing="ij"), axis=-1).reshape(8, 3)
    return signs * thing.half_extents @ thing.rotation.T + thing.center


def categories_of(objects: Sequence[SceneObject]) -> tuple[str, ...]:
    """Return the names of the objects' categories in alphabetical order, after "unlabelled"."""
    return ("unlabelled", *sorted({each.category for each in objects} - {"unlabelled"}))


def category_mask(instance: Array, objects: Sequence[SceneObject], categories: Sequence[str]) -> Array:
    """Return the category (H, W) int32 of every pixel of an id image (H, W); 0 where the id is no object's."""
    number = {name: k for k, name in enumerate(categories)}
    ids = np.array([each.semantic_id for each in objects], np.int64)
    kinds = np.array([number[each.category] for each in objects], np.int32)
    if not len(ids):
        return np.zeros(instance.shape, np.int32)
    order = np.argsort(ids)
    place = np.minimum(np.searchsorted(ids[order], instance), len(ids) - 1)
    return np.where(ids[order][place] == instance, kinds[order][place], np.int32(0))
