"""A camera on roads: colour, depth, categories and object ids of N scenes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.camera_geometry import unproject
from embodia.envs.drawing.rasterizer import Rasterizer
from embodia.envs.driving.sensors.road_scene import moving_scene
from embodia.envs.driving.sensors.roadside import Roadside
from embodia.envs.driving.sensors.solids import FIRST_BUILDING, FIRST_TRACK, GROUND, Category
from embodia.envs.driving.types import Floats

Image = NDArray[Any]
SKY_LOW, SKY_HIGH = np.array([206, 220, 232.0]), np.array([120, 166, 220.0])
"""Colours of the sky at the horizon and straight up."""
NEAR, FAR = 0.1, 1000.0  # [m]


@dataclass(frozen=True)
class RoadCamera:
    """A pinhole camera on the ego.

    Raises:
        ValueError: If a number is out of range.
    """

    height: int = 96
    """Height of an image in pixels."""
    width: int = 128
    """Width of an image in pixels."""
    hfov: float = 90.0
    """Horizontal field of view in degrees; pixels are square."""
    forward: float = 1.7
    """Position in metres ahead of the rear axle."""
    left: float = 0.0
    """Position in metres to the left of it."""
    above: float = 1.5
    """Height in metres above the ground."""
    yaw: float = 0.0
    """Direction in degrees, counter-clockwise from straight ahead."""
    pitch: float = 0.0
    """Tilt in degrees, upwards positive."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or not 0 < self.hfov < 180:
            raise ValueError(
                f"camera: {self.height} x {self.width} pixels, hfov {self.hfov} degrees; "
                "expected at least one pixel, and hfov between 0 and 180"
            )
        if not 0 < self.above < np.inf or not -90 <= self.pitch <= 90:
            raise ValueError(f"camera: {self.above} m above the ground, pitch {self.pitch} degrees; must look out")

    def mounted(self, poses: Floats) -> Floats:
        """Return the camera's poses (N, 4, 4), camera to world, on egos with rear axles at poses (N, >= 3).

        The camera looks along its own -z, with +x right and +y up; the world's z is up.
        """
        cos, sin = np.cos(poses[:, 2]), np.sin(poses[:, 2])
        place = [
            poses[:, 0] + cos * self.forward - sin * self.left,
            poses[:, 1] + sin * self.forward + cos * self.left,
            np.full(len(poses), self.above),
        ]
        return looking(np.stack(place, axis=-1), poses[:, 2] + np.radians(self.yaw), np.radians(self.pitch))


def looking(places: Floats, headings: Any, pitches: Any = 0.0) -> Floats:
    """Return camera-to-world poses (N, 4, 4) at places (N, 3), looking along headings and pitches (N,) [rad]."""
    headings, pitches = np.broadcast_to(headings, len(places)), np.broadcast_to(pitches, len(places))
    cos, sin, flat, steep = np.cos(headings), np.sin(headings), np.cos(pitches), np.sin(pitches)
    zero = np.zeros(len(places))
    poses = np.zeros((len(places), 4, 4))
    poses[:, :3, 0] = np.stack([sin, -cos, zero], axis=-1)
    poses[:, :3, 1] = np.stack([-steep * cos, -steep * sin, flat], axis=-1)
    poses[:, :3, 2] = -np.stack([flat * cos, flat * sin, steep], axis=-1)
    poses[:, :3, 3], poses[:, 3, 3] = places, 1
    return poses


@dataclass(frozen=True)
class Traffic:
    """The objects of one scene now, without the ego, in the scenario's own frame."""

    solids: Floats  # (M, 7)
    categories: NDArray[np.int64]  # (M,)
    ids: NDArray[np.int64]  # (M,) object ids


class RoadPainter:
    """Draws cameras of one size and field of view in any scenes."""

    def __init__(self, height: int, width: int, hfov: float = 90.0):
        self.rasterizer = Rasterizer(height, width, hfov, NEAR, FAR, ("rgb", "depth", "semantic"))

    def draw(self, roadsides: Sequence[Roadside], traffic: Sequence[Traffic], poses: Floats) -> dict[str, Image]:
        """Draw camera i among `traffic[i]` at `roadsides[i]`.

        Args:
            roadsides: Ground and buildings of each scene.
            traffic: Objects of each scene.
            poses: Camera-to-world poses (N, 4, 4) in each scenario's own frame.

        Returns:
            rgb (N, H, W, 3) uint8; depth (N, H, W, 1) float32 [m] along the optical axis, 0 for the sky; semantic
            (N, H, W, 1) int32, a `Category`; instance (N, H, W, 1) int32, an object id, 0 for the sky.
        """
        scenes = [roadside.scene for roadside in roadsides]
        background = self.rasterizer.render(scenes, np.arange(len(scenes)), poses)
        rgb, depth, instance = (background[name].copy() for name in ("rgb", "depth", "semantic"))
        self._draw_traffic(traffic, poses, rgb, depth, instance)
        semantic = np.stack(
            [
                self._categories(*each, poses[i], depth[i, ..., 0], instance[i, ..., 0])
                for i, each in enumerate(zip(roadsides, traffic))
            ]
        )
        sky = instance[..., 0] == 0
        rgb[sky] = self._sky(poses)[sky]
        return {"rgb": rgb, "depth": depth, "semantic": semantic[..., None], "instance": instance}

    def _draw_traffic(
        self, traffic: Sequence[Traffic], poses: Floats, rgb: Image, depth: Image, instance: Image
    ) -> None:
        """Draw the objects over the background, where they are nearer."""
        made = [moving_scene(each.solids, each.categories.tolist(), each.ids.tolist()) for each in traffic]
        there = np.array([i for i, scene in enumerate(made) if scene is not None], np.int64)
        if not len(there):
            return
        scenes = [scene for scene in made if scene is not None]
        front = self.rasterizer.render(scenes, np.arange(len(scenes)), poses[there])
        behind = depth[there]
        nearer = ((front["depth"] > 0) & ((behind == 0) | (front["depth"] < behind)))[..., 0]
        for image, name in ((rgb, "rgb"), (depth, "depth"), (instance, "semantic")):
            image[there] = np.where(nearer[..., None], front[name], image[there])

    def _categories(
        self, roadside: Roadside, traffic: Traffic, pose: Floats, depth: Image, instance: Image
    ) -> NDArray[np.int32]:
        """Categories (H, W): those of objects by their ids, those of the ground from its image."""
        category = np.where(instance >= FIRST_BUILDING, Category.BUILDING, Category.SKY).astype(np.int32)
        ground = instance == GROUND
        points = unproject(depth, self.rasterizer.focal, pose)[ground]
        category[ground] = roadside.ground.at(points[:, :2] + roadside.origin)
        moving = (instance >= FIRST_TRACK) & (instance < FIRST_BUILDING)
        if moving.any():
            order = np.argsort(traffic.ids)
            found = np.searchsorted(traffic.ids[order], instance[moving])
            category[moving] = traffic.categories[order][found]
        return category

    def _sky(self, poses: Floats) -> NDArray[np.uint8]:
        """Colours (N, H, W, 3) of the sky in the direction of each pixel."""
        camera = self.rasterizer
        across = (np.arange(camera.width) + 0.5 - camera.width / 2) / camera.focal
        up = (camera.height / 2 - np.arange(camera.height) - 0.5) / camera.focal
        length = np.sqrt(1 + across**2 + up[:, None] ** 2)
        right, upwards, back = poses[:, 2, 0, None, None], poses[:, 2, 1, None, None], poses[:, 2, 2, None, None]
        rise = np.clip((right * across + upwards * up[:, None] - back) / length, 0, 1)
        return (SKY_LOW + np.sqrt(rise)[..., None] * (SKY_HIGH - SKY_LOW)).astype(np.uint8)
