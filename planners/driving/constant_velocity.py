"""The simplest planner on roads: go on straight ahead at the present speed (nuPlan's SimplePlanner without its car)."""

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
        """A straight line from the rear axle on, its length the speed times 8 s."""
        ego = scene.ego
        states = np.tile(ego.array()[:8], (self.sampling.num_poses + 1, 1))
        travelled = max(ego.vx, 0.0) * self.sampling.interval * np.arange(self.sampling.num_poses + 1)
        states[:, StateColumn.X] += travelled * np.cos(ego.heading)
        states[:, StateColumn.Y] += travelled * np.sin(ego.heading)
        states[:, StateColumn.AX :] = 0.0
        return Trajectory(self.sampling.times_us(scene.time_us), states), carry
