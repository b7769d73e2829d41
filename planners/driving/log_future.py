"""The planner that returns what was recorded: nuPlan's log future, the upper bound of open-loop scores.

It knows the expert, so it is built for one scenario; every other planner sees the scene alone.
"""

from typing import Any

import numpy as np

from embodia.envs.driving.types import Scene, Trajectory, TrajectorySampling
from embodia.planners import Carry


class LogFuture:
    """The log's own future; beyond the log's end the vehicle keeps its last state."""

    def __init__(self, log: Trajectory, sampling: TrajectorySampling | None = None):
        self.log = log
        self.sampling = sampling or TrajectorySampling(80, 0.1)

    def initial(self, route_roadblock_ids: list[str], goal: Any, map_api: Any) -> Carry:
        return {}

    def plan(self, scene: Scene, carry: Carry) -> tuple[Trajectory, Carry]:
        """The recorded states at the sampled times. Raises InvalidTrajectory for a time before the log."""
        times = self.sampling.times_us(scene.time_us)
        return Trajectory(times, self.log.at(np.minimum(times, self.log.end_us))), carry
