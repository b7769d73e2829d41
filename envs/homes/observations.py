"""Observation spaces and readings of N worlds: cameras in one call, then Habitat's task sensors on arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from embodia.envs.drawing.rotations import multiply, rotate
from embodia.envs.homes.engines.engine import Engine, Home
from embodia.envs.homes.episodes.dataset import HM3D_CATEGORIES, Episode, EpisodeError
from embodia.envs.homes.episodes.episode_generator import INSTANCE_SIZE, image_goal_pose
from embodia.envs.homes.measures.floor_map import MAP_SIDE, MapFrame, floor_map
from embodia.envs.homes.measures.top_down_map import map_angle
from embodia.envs.homes.tasks.navigation import CAMERA_SENSORS, Camera, Task
from embodia.envs.homes.tasks.sensors import GoalFormat, compass, depth_reading, gps, heading, point_goal

Array = NDArray[Any]

FAR = 1000.0  # [m], bound of every position reading
MAX_SEMANTIC = 2**24
PROXIMITY = 2.0  # [m]


@dataclass(frozen=True)
class SensorSuite:
    """The sensors of an agent and their formats."""

    task: Task
    sensors: tuple[str, ...]
    camera: Camera
    normalize_depth: bool = True
    goal_format: GoalFormat = "POLAR"
    goal_dimensions: Literal[2, 3] = 2
    goal_size: tuple[int, int] = INSTANCE_SIZE  # of instance_imagegoal
    category_ids: tuple[tuple[str, int], ...] = tuple(HM3D_CATEGORIES.items())

    @property
    def cameras(self) -> tuple[str, ...]:
        drawn = (*self.sensors, "semantic") if "category" in self.sensors else self.sensors
        return tuple(name for name in CAMERA_SENSORS if name in drawn)

    def space(self) -> spaces.Dict:
        return spaces.Dict({name: self._space(name) for name in self.sensors})

    def _space(self, name: str) -> spaces.Space[Any]:
        size = (self.camera.height, self.camera.width)
        low, high = (0.0, 1.0) if self.normalize_depth else self.task.depth_range
        dimensions = self.goal_dimensions
        boxes: dict[str, spaces.Space[Any]] = {
            "rgb": spaces.Box(0, 255, (*size, 3), np.uint8),
            "depth": spaces.Box(low, high, (*size, 1), np.float32),
            "semantic": spaces.Box(0, MAX_SEMANTIC, (*size, 1), np.int32),
            "category": spaces.Box(0, 1 + max(i for _, i in self.category_ids), (*size, 1), np.int32),
            "imagegoal": spaces.Box(0, 255, (*size, 3), np.uint8),
            "instance_imagegoal": spaces.Box(0, 255, (*self.goal_size, 3), np.uint8),
            "instance_imagegoal_hfov": spaces.Box(0.0, 180.0, (1,), np.float32),
            "objectgoal": spaces.Box(0, max(i for _, i in self.category_ids), (1,), np.int64),
            "gps": spaces.Box(-FAR, FAR, (2,), np.float32),
            "compass": spaces.Box(-np.pi, np.pi, (1,), np.float32),
            "heading": spaces.Box(-np.pi, np.pi, (1,), np.float32),
            "proximity": spaces.Box(0.0, PROXIMITY, (1,), np.float32),
            "map": spaces.Box(0.0, 1.0, (MAP_SIDE, MAP_SIDE, 1), np.float32),
            "map_pose": spaces.Box(-FAR, FAR, (4,), np.float32),
            "map_goal": spaces.Box(-FAR, FAR, (2,), np.float32),
        }
        if name.startswith("pointgoal"):
            return spaces.Box(-FAR, FAR, (dimensions,), np.float32)
        return boxes[name]


@dataclass
class Poses:
    """Current poses, start poses and camera tilts of the agents in N worlds."""

    position: Array  # (N, 3) [m]
    rotation: Array  # (N, 4) xyzw
    tilt: Array  # (N,) [rad], up positive
    start_position: Array  # (N, 3)
    start_rotation: Array  # (N, 4)

    @classmethod
    def zeros(cls, num_envs: int) -> "Poses":
        still = np.tile([0.0, 0.0, 0.0, 1.0], (num_envs, 1))
        zeros = np.zeros((num_envs, 3))
        return cls(zeros.copy(), still.copy(), np.zeros(num_envs), zeros.copy(), still.copy())


def camera_pose(poses: Poses, camera: Camera) -> tuple[Array, Array]:
    """Return position (N, 3) and rotation (N, 4) of the cameras: above the feet, tilted about their own x axis."""
    half = poses.tilt / 2
    tilt = np.stack([np.sin(half), 0 * half, 0 * half, np.cos(half)], axis=-1)
    eyes = poses.position + rotate(poses.rotation, [0, camera.above_feet, 0])
    return eyes, multiply(poses.rotation, tilt)


def observe(
    suite: SensorSuite, engine: Engine, homes: Sequence[Home], poses: Poses, goals: Array, pictures: dict[str, Array]
) -> dict[str, Array]:
    """Return the readings of all sensors of N worlds.

    Args:
        goals: goal point of each episode, (N, 3) [m].
        pictures: readings that stay the same through an episode.
    """
    readings = dict(pictures)
    if suite.cameras:
        eyes, lenses = camera_pose(poses, suite.camera)
        readings |= engine.render(homes, eyes, lenses, suite.camera, suite.cameras)
    if "depth" in readings:
        readings["depth"] = depth_reading(readings["depth"], *suite.task.depth_range, suite.normalize_depth)
    if "category" in suite.sensors:
        tables = [_category_table(home, suite.category_ids) for home in homes]
        readings["category"] = np.stack([table[ids] for table, ids in zip(tables, readings["semantic"])])
    for name in suite.sensors:
        if name not in readings:
            readings[name] = _body_sense(name, suite, homes, poses, goals)
    return {name: readings[name] for name in suite.sensors}


def _category_table(home: Home, category_ids: tuple[tuple[str, int], ...]) -> Array:
    """Return, for each semantic id of a home, 1 + the goal category's id, or 0 for things of no goal category."""
    key = ("category table", category_ids)
    if key not in home.memory:
        known = dict(category_ids)
        table = np.zeros(1 + max((thing.semantic_id for thing in home.objects), default=0), np.int32)
        for thing in home.objects:
            table[thing.semantic_id] = 1 + known.get(thing.category, -1)
        home.memory[key] = table
    return home.memory[key]


def _body_sense(name: str, suite: SensorSuite, homes: Sequence[Home], poses: Poses, goals: Array) -> Array:
    form = (suite.goal_format, suite.goal_dimensions)
    if name == "pointgoal_with_gps_compass":
        return point_goal(poses.position, poses.rotation, goals, *form)
    if name == "pointgoal":
        return point_goal(poses.start_position, poses.start_rotation, goals, *form)
    if name == "gps":
        return gps(poses.position, poses.start_position, poses.start_rotation)
    if name == "compass":
        return compass(poses.rotation, poses.start_rotation)
    if name == "heading":
        return heading(poses.rotation)
    if name.startswith("map"):
        places = goals if name == "map_goal" else poses.position
        frames = [MapFrame.of(home.pathfinder.bounds) for home in homes]
        cells = np.stack([frame.cell_of(place) for frame, place in zip(frames, places)])
        if name == "map_goal":
            return cells.astype(np.float32)
        turns = [[map_angle(rotation), frame.size] for rotation, frame in zip(poses.rotation, frames)]
        return np.concatenate([cells, turns], 1).astype(np.float32)
    near = [home.pathfinder.distance_to_closest_obstacle(p, PROXIMITY) for home, p in zip(homes, poses.position)]
    return np.minimum(np.array(near, np.float32), np.float32(PROXIMITY))[:, None]  # off the navmesh it is infinite


def goal_pictures(suite: SensorSuite, engine: Engine, home: Home, episode: Episode) -> dict[str, Array]:
    """Return the readings that stay the same through an episode: the map; the goal's image, field of view, category."""
    fixed: dict[str, Array] = {}
    if "map" in suite.sensors:
        fixed["map"] = floor_map(home.pathfinder, float(episode.start_position[1]))
    if "objectgoal" in suite.sensors:
        ids = dict(suite.category_ids)
        if episode.object_category not in ids:
            raise EpisodeError(
                f"episode {episode.episode_id!r}: category {episode.object_category!r} is none of {sorted(ids)}."
            )
        fixed["objectgoal"] = np.array([ids[episode.object_category]], np.int64)
    if "imagegoal" in suite.sensors:
        eye, rotation = image_goal_pose(episode, suite.camera)
        fixed["imagegoal"] = engine.render([home], eye[None], rotation[None], suite.camera, ("rgb",))["rgb"][0]
    if {"instance_imagegoal", "instance_imagegoal_hfov"} & set(suite.sensors):
        image = episode.goals[0].image_goals[episode.goal_image_id or 0]
        fixed["instance_imagegoal_hfov"] = np.array([image.hfov], np.float32)
        height, width = suite.goal_size
        camera = replace(suite.camera, height=height, width=width, hfov=image.hfov)
        position, rotation = np.array([image.position]), np.array([image.rotation])
        fixed["instance_imagegoal"] = engine.render([home], position, rotation, camera, ("rgb",))["rgb"][0]
    return {name: value for name, value in fixed.items() if name in suite.sensors}
