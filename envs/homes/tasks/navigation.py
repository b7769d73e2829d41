"""Habitat's navigation tasks as data: bodies, cameras, actions, thresholds.

Values are those of habitat-lab 0.3's benchmark configurations (PointNav and ImageNav gibson, ObjectNav and
InstanceImageNav hm3d). Exploration is ours: see as much of the floor as the steps allow.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from embodia.envs.homes.navmesh.navmesh import NavMeshSettings

GoalKind = Literal["point", "object", "image", "instance", "none"]
ActionKind = Literal["discrete", "velocity"]

CAMERA_SENSORS = ("rgb", "depth", "semantic")
TASK_SENSORS = (
    "pointgoal_with_gps_compass",
    "pointgoal",
    "gps",
    "compass",
    "heading",
    "proximity",
    "objectgoal",
    "imagegoal",
    "instance_imagegoal",
    "instance_imagegoal_hfov",
    "category",
    "map",
    "map_pose",
    "map_goal",
)
SENSORS = CAMERA_SENSORS + TASK_SENSORS

STOP, FORWARD, LEFT, RIGHT, LOOK_UP, LOOK_DOWN = range(6)
ACTION_NAMES = ("stop", "move_forward", "turn_left", "turn_right", "look_up", "look_down")


@dataclass(frozen=True)
class Camera:
    """A pinhole camera on the body: pixels, horizontal angle of view [deg], height over the feet [m]."""

    height: int = 256
    width: int = 256
    hfov: float = 90.0
    above_feet: float = 1.25
    near: float = 0.01
    far: float = 1000.0


@dataclass(frozen=True)
class VelocityControl:
    """Habitat's continuous action: ranges of speed [m/s] and turning [deg/s] over one second."""

    linear: tuple[float, float] = (0.0, 0.25)
    angular: tuple[float, float] = (-10.0, 10.0)
    min_linear: float = 0.025
    min_angular: float = 1.0
    time_step: float = 1.0  # [s]

    def speeds(self, action: np.ndarray) -> np.ndarray:
        """Actions (N, 2) in [-1, 1] -> linear [m/s] and angular [deg/s] speed."""
        low, high = np.array([self.linear, self.angular]).T
        return low + (np.clip(action, -1, 1) + 1) / 2 * (high - low)


@dataclass(frozen=True)
class Task:
    """One task's numbers; lengths in metres, angles in degrees."""

    name: str
    goal: GoalKind
    max_steps: int = 500
    success_distance: float = 0.2
    forward: float = 0.25
    turn: float = 10.0
    tilt: float = 0.0  # 0 = no look_up, look_down
    sliding: bool = True
    agent_height: float = 1.5
    agent_radius: float = 0.1
    camera: Camera = Camera()
    depth_range: tuple[float, float] = (0.0, 10.0)
    sensors: tuple[str, ...] = ("rgb", "depth")

    @property
    def num_actions(self) -> int:
        return 6 if self.tilt else 4

    @property
    def navmesh(self) -> NavMeshSettings:
        """The walkable surface of this body, as habitat-lab recomputes it for an agent."""
        return NavMeshSettings(agent_height=self.agent_height, agent_radius=self.agent_radius)


HM3D_CAMERA = Camera(height=480, width=640, hfov=79.0, above_feet=0.88)

TASKS = {
    task.name: task
    for task in (
        Task("PointNav", "point", sensors=("rgb", "depth", "pointgoal_with_gps_compass")),
        Task("ImageNav", "image", max_steps=1000, sensors=("rgb", "imagegoal")),
        Task(
            "ObjectNav",
            "object",
            success_distance=0.1,
            turn=30.0,
            tilt=30.0,
            sliding=False,
            agent_height=0.88,
            agent_radius=0.18,
            camera=HM3D_CAMERA,
            depth_range=(0.5, 5.0),
            sensors=("rgb", "depth", "objectgoal", "compass", "gps"),
        ),
        Task(
            "InstanceImageNav",
            "instance",
            max_steps=1000,
            success_distance=0.1,
            turn=30.0,
            tilt=30.0,
            sliding=False,
            agent_height=0.88,
            agent_radius=0.18,
            camera=HM3D_CAMERA,
            depth_range=(0.5, 5.0),
            sensors=("rgb", "depth", "instance_imagegoal", "instance_imagegoal_hfov", "compass", "gps"),
        ),
        Task("Exploration", "none", sensors=("rgb", "depth", "compass", "gps")),
    )
}

NEEDS_GOAL: dict[str, tuple[GoalKind, ...]] = {
    "pointgoal_with_gps_compass": ("point", "image", "object", "instance"),
    "pointgoal": ("point", "image", "object", "instance"),
    "objectgoal": ("object", "instance"),
    "imagegoal": ("image", "point"),
    "instance_imagegoal": ("instance",),
    "instance_imagegoal_hfov": ("instance",),
    "map_goal": ("point", "image", "object", "instance"),
}


def check_sensors(task: Task, sensors: tuple[str, ...]) -> None:
    """Raises ValueError for an unknown sensor, one the task cannot feed, or none at all."""
    unknown = [name for name in sensors if name not in SENSORS]
    if unknown or not sensors:
        raise ValueError(f"{task.name}: unknown sensors {unknown}; choose from {', '.join(SENSORS)}.")
    for name in sensors:
        if name in NEEDS_GOAL and task.goal not in NEEDS_GOAL[name]:
            raise ValueError(f"{task.name} has no goal that sensor {name!r} could show; leave it out.")
