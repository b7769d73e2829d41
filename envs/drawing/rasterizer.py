"""Batched pinhole cameras on the CPU: colour, depth and semantic ids, without OpenGL.

A scan-line z-buffer. Nodes of the scene's hierarchy are visited front to back. A node is skipped if it is outside the
view, or if everything drawn there so far is nearer (hierarchical z: N. Greene, M. Kass, G. Miller, SIGGRAPH 1993).
Triangles are clipped at the near plane and cover the pixels whose centres they contain; shared edges count once.
Inverse depth is linear over the image and follows from the triangle's plane, so depth is exact at the pixel's centre.
Colour is computed once per pixel, after all depths.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from embodia.envs.drawing.draw_kernels import Scratch, draw
from embodia.envs.drawing.drawable import Drawable, drawable, forget
from embodia.envs.drawing.scene import Array, Scene

Sensor = Literal["rgb", "depth", "semantic"]
SENSORS: tuple[Sensor, ...] = ("rgb", "depth", "semantic")


class Rasterizer:
    """Draws N cameras in any number of scenes with one call, into arrays that it reuses.

    Args:
        height: Height of an image [pixels].
        width: Width of an image [pixels].
        hfov: Horizontal field of view [deg]; pixels are square.
        near: Minimum visible depth [m].
        far: Maximum visible depth [m].
        sensors: Any of "rgb", "depth" and "semantic".
        threads: Number of threads; each draws one camera at a time.

    Raises:
        ValueError: If an argument is invalid.
    """

    def __init__(
        self,
        height: int,
        width: int,
        hfov: float = 90.0,
        near: float = 0.01,
        far: float = 1000.0,
        sensors: Sequence[str] = ("rgb", "depth"),
        threads: int = 1,
    ) -> None:
        unknown = sorted(set(sensors) - set(SENSORS))
        if unknown or not sensors:
            raise ValueError(f"sensors {tuple(sensors)}: unknown {unknown}; choose from {SENSORS}.")
        if height < 1 or width < 1 or not 0 < hfov < 180:
            raise ValueError(
                f"invalid camera: {height} x {width} pixels, hfov {hfov} degrees; expected hfov between 0 and 180."
            )
        if not 0 < near < far:
            raise ValueError(f"near {near} m and far {far} m: expected 0 < near < far.")
        self.height, self.width, self.hfov, self.near, self.far = height, width, hfov, near, far
        self.sensors = tuple(sensors)
        self.focal = width / 2 / np.tan(np.radians(hfov) / 2)  # [pixels]
        self.threads = max(1, threads)
        self._scratch = [Scratch.of(height, width) for _ in range(self.threads)]
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._images = self._allocate(0)

    def render(self, scenes: Sequence[Scene], scene_index: Array, camera_to_world: Array) -> dict[str, Array]:
        """Draw camera i in `scenes[scene_index[i]]` at the pose `camera_to_world[i]`.

        Args:
            scenes: Scenes.
            scene_index: Scene of each camera (N,).
            camera_to_world: Poses (N, 4, 4). A camera looks along its -z, with +x right and +y up.

        Returns:
            For the chosen sensors: rgb (N, H, W, 3) uint8, depth (N, H, W, 1) float32 [m] along the optical axis, and
                semantic (N, H, W, 1) int32; all are 0 where there is no surface. The next call overwrites these arrays,
                so copy what must be kept.

        Raises:
            ValueError: If poses are not finite, or shapes or indices do not fit.
        """
        poses = np.ascontiguousarray(camera_to_world, dtype=np.float64)
        index = [int(k) for k in scene_index]
        count = len(index)
        if poses.shape != (count, 4, 4):
            raise ValueError(f"camera_to_world has shape {poses.shape}, expected ({count}, 4, 4).")
        if count and not 0 <= min(index) <= max(index) < len(scenes):
            raise ValueError(f"scene_index names scene {max(index)} of {len(scenes)}.")
        if not np.isfinite(poses).all():
            raise ValueError(f"camera {int(np.nonzero(~np.isfinite(poses))[0][0])}: its pose has NaN or infinity.")
        if count > len(self._images["depth"]):
            self._images = self._allocate(count)
        groups = self._groups(scenes, index)
        if self.threads == 1 or count == 1:
            self._draw(groups, poses, self._scratch[0])
        else:
            self._draw_on_threads(groups, poses)
        return {name: self._images[name][:count] for name in self.sensors}

    def forget(self, scene: Scene) -> None:
        """Free the cached layout of `scene` before the scene itself is freed."""
        forget(scene)

    def _allocate(self, count: int) -> dict[str, Array]:
        shape = (count, self.height, self.width)
        wanted = {name: shape if name in self.sensors else (count, 0, 0) for name in SENSORS}
        return {
            "rgb": np.zeros((*wanted["rgb"], 3), np.uint8),
            "depth": np.zeros((*wanted["depth"], 1), np.float32),
            "semantic": np.zeros((*wanted["semantic"], 1), np.int32),
        }

    def _groups(self, scenes: Sequence[Scene], index: list[int]) -> list[tuple[Drawable, Array]]:
        """Return the layout of each scene, and its cameras."""
        cameras: dict[int, list[int]] = {}
        for camera, k in enumerate(index):
            cameras.setdefault(k, []).append(camera)
        return [(drawable(scenes[k]), np.array(members)) for k, members in cameras.items()]

    def _draw(self, groups: list[tuple[Drawable, Array]], poses: Array, scratch: Scratch) -> None:
        images = self._images
        for shape, cameras in groups:
            draw(
                shape, cameras, poses, self.focal, self.near, self.far, scratch,
                images["rgb"], images["depth"], images["semantic"],
            )  # fmt: skip

    def _draw_on_threads(self, groups: list[tuple[Drawable, Array]], poses: Array) -> None:
        """Distribute the cameras evenly over threads; the kernels hold no lock."""
        if self._pool is None or self._pool[0] != os.getpid():  # threads do not survive a fork
            self._pool = (os.getpid(), ThreadPoolExecutor(self.threads))
        share = -(-len(poses) // self.threads)
        hands: list[list[tuple[Drawable, Array]]] = [[]]
        room = share
        for shape, cameras in groups:
            while len(cameras):
                if room == 0:
                    hands.append([])
                    room = share
                hands[-1].append((shape, cameras[:room]))
                room, cameras = max(0, room - len(cameras)), cameras[room:]
        waiting = [self._pool[1].submit(self._draw, hand, poses, self._scratch[k]) for k, hand in enumerate(hands)]
        for job in waiting:
            job.result()
