"""Small scenes made by hand, and an independent ray caster to check pictures against."""

import numpy as np
import trimesh
from scipy import ndimage

from embodia.envs.drawing.scene import LIGHT_ONE, Scene


def scene_of(mesh, *, semantic_id=None, double_sided=False, texture=None, uv=None):
    """A trimesh as a white, unlit scene."""
    count = len(mesh.faces)
    return Scene(
        scene_id="by hand",
        vertices=np.asarray(mesh.vertices, np.float32),
        faces=np.asarray(mesh.faces, np.int32),
        semantic_id=np.zeros(count, np.int32) if semantic_id is None else np.asarray(semantic_id, np.int32),
        texture=np.zeros(count, np.int32),
        uv=np.zeros((count, 3, 2), np.float32) if uv is None else uv,
        textures=(np.full((1, 1, 3), 255, np.uint8) if texture is None else texture,),
        light=np.full((1, 1, 3), LIGHT_ONE, np.uint8),
        light_uv=np.full((count, 3, 2), 0.5, np.float32),
        double_sided=np.full(count, double_sided),
    )


def random_pose(rng, place):
    """A camera at `place`, turned at random, head level within half a radian."""
    yaw, pitch = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
    turn = trimesh.transformations.euler_matrix(yaw, pitch, 0, "ryxz")
    turn[:3, 3] = place
    return turn


def cast_depth(scene, pose, height, width, hfov):
    """Depth (H, W) [m] along the optical axis by Embree, front faces only, 0 where nothing is hit."""
    focal = width / 2 / np.tan(np.radians(hfov) / 2)
    column, row = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    rays = np.stack([column / focal, -row / focal, -np.ones_like(row)], axis=-1).reshape(-1, 3)
    mesh = trimesh.Trimesh(scene.vertices, scene.faces, process=False)
    direction = rays @ pose[:3, :3].T
    place, ray, _ = mesh.ray.intersects_location(np.tile(pose[:3, 3], (len(rays), 1)), direction, multiple_hits=False)
    depth = np.zeros(height * width)
    depth[ray] = -((place - pose[:3, 3]) @ pose[:3, 2])
    return depth.reshape(height, width)


def silhouettes(depth, threshold=5e-4):
    """Pixels beside which one surface ends and another begins.

    On a plane inverse depth is linear over the image: where its second difference, as a depth [m], exceeds
    `threshold`, another surface lies within a pixel.
    """
    inverse = 1 / np.maximum(np.pad(depth, 1, mode="reflect", reflect_type="odd"), 1e-3)
    middle = inverse[1:-1, 1:-1]
    edge = np.zeros(depth.shape, bool)
    for before, after in (((1, 0), (1, 2)), ((0, 1), (2, 1)), ((0, 0), (2, 2)), ((0, 2), (2, 0))):
        one, two = (inverse[dy : dy + depth.shape[0], dx : dx + depth.shape[1]] for dy, dx in (before, after))
        edge |= np.abs(one + two - 2 * middle) > threshold * middle**2
    return ndimage.binary_dilation(edge, np.ones((3, 3)))
