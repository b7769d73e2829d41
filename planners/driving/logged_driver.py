"""The logged driver as a planner: from any state it returns to the recorded way and time."""

from typing import Any

import numpy as np

from embodia.envs.driving.types import Scene, Trajectory, TrajectorySampling
from embodia.envs.driving.vehicle.log_expert import LogExpert
from embodia.planners import Carry


class LoggedDriver:
    """The expert of imitation learning: it follows the recorded way and makes up for a lag behind the log."""

    def __init__(self, log: Trajectory, sampling: TrajectorySampling | None = None):
        """log: the recorded ego states from iteration 0 on, one row a frame of 0.1 s (`Scenario.expert`)."""
        self.expert = LogExpert(log.poses)
        self.sampling = sampling or TrajectorySampling(16, 0.5)

    def initial(self, route_roadblock_ids: list[str], goal: Any, map_api: Any) -> Carry:
        return {}

    def plan(self, scene: Scene, carry: Carry) -> tuple[Trajectory, Carry]:
        """Return 16 poses every 0.5 s on the recorded way; the first is beside the ego."""
        times = self.sampling.times_us(scene.time_us)
        ahead = np.asarray((times - scene.time_us) * 1e-6, np.float64)
        poses = self.expert.ahead(scene.iteration, scene.ego.pose, ahead)
        return Trajectory.from_poses(times, poses), carry
