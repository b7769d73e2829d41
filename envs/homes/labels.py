"""Labelled images of homes: masks, boxes, 3-D boxes and camera, at any pose."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from embodia.envs.drawing.camera_geometry import intrinsics
from embodia.envs.drawing.labels import LabelledImage, categories_of, category_mask
from embodia.envs.drawing.scene import Array
from embodia.envs.homes.engines.engine import Engine, Home
from embodia.envs.homes.tasks.navigation import CAMERA_SENSORS, Camera


def labelled_images(
    engine: Engine, homes: Sequence[Home], camera: Camera, camera_to_world: Array
) -> list[LabelledImage]:
    """Draw camera i in homes[i] and label its image.

    Args:
        engine: The simulator.
        homes: N homes.
        camera: Size and field of view of the images.
        camera_to_world: Poses (N, 4, 4); the world is Habitat's, +y up.

    Raises:
        ValueError: If poses are not finite or have another shape.
    """
    poses = np.asarray(camera_to_world, np.float64)
    if poses.shape != (len(homes), 4, 4) or not np.isfinite(poses).all():
        raise ValueError(f"labels: {len(homes)} homes need finite poses ({len(homes)}, 4, 4); got {poses.shape}")
    turns = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    images = engine.render(homes, poses[:, :3, 3], turns, camera, CAMERA_SENSORS)
    matrix = intrinsics(camera.height, camera.width, camera.hfov)
    found = []
    for i, home in enumerate(homes):
        instance, categories = images["semantic"][i, ..., 0], categories_of(home.objects)
        found.append(
            LabelledImage(
                rgb=images["rgb"][i],
                depth=images["depth"][i, ..., 0],
                instance=instance,
                category=category_mask(instance, home.objects, categories),
                categories=categories,
                objects=tuple(home.objects),
                intrinsics=matrix,
                camera_to_world=poses[i],
            )
        )
    return found
