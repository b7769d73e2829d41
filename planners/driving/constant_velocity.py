"""The simplest driving planner: straight on at constant speed, like nuPlan's SimplePlanner."""

from typing import Any

import numpy as np

from embodia.envs.driving.types import Scene, StateColumn, Trajectory, TrajectorySampling
from embodia.planners import Carry


class ConstantVelocity:
    """Keeps heading and speed; never reverses."""

    def __init__(self, sampling: TrajectorySampling | None = None):
        self.sampling = sampling or TrajectorySampling(80, 0.1)

    def initial(self, route_roadblock_ids: list[str], goal: Any, map_api: Any) -> Carry:
        return {}

    def plan(self, scene: Scene, carry: Carry) -> tuple[Trajectory, Carry]:
        """Return a straight line of 8 s at the present speed."""
        ego = scene.ego
        states = np.tile(ego.array()[:8], (self.sampling.num_poses + 1, 1))
        travelled = max(ego.vx, 0.0) * self.sampling.interval * np.arange(self.sampling.num_poses + 1)
        states[:, StateColumn.X] += travelled * np.cos(ego.heading)
        states[:, StateColumn.Y] += travelled * np.sin(ego.heading)
        states[:, StateColumn.AX :] = 0.0
        return Trajectory(self.sampling.times_us(scene.time_us), states), carry
