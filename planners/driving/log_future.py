"""The planner that returns the recorded future, the upper bound of open-loop scores.

It knows the expert, so it is built for one scenario. Every other planner sees only the scene.
"""

from typing import Any

import numpy as np

from embodia.envs.driving.types import InvalidTrajectory, Scene, Trajectory, TrajectorySampling
from embodia.planners import Carry

FRAME = 0.1  # [s] nominal time between two rows of the log


class LogFuture:
    """nuPlan's LogFuturePlanner.

    The plan is the recorded states of this frame and of every fifth frame after it (16 x 0.5 s), each at the time of
    its own row: rows of a real log are not exactly 0.1 s apart, and nothing is interpolated. Beyond the log's end the
    vehicle keeps its last state, where nuPlan's plan ends.
    """

    def __init__(self, log: Trajectory, sampling: TrajectorySampling | None = None):
        """log: the recorded ego states from iteration 0 on, one row a frame of 0.1 s (`Scenario.expert`)."""
        self.log = log
        self.sampling = sampling or TrajectorySampling(16, 0.5)

    def initial(self, route_roadblock_ids: list[str], goal: Any, map_api: Any) -> Carry:
        return {}

    def plan(self, scene: Scene, carry: Carry) -> tuple[Trajectory, Carry]:
        """Raises InvalidTrajectory where the log has no row at the scene's time."""
        times = self.log.time_us
        now = int(np.searchsorted(times, scene.time_us))
        if now == len(times) or times[now] != scene.time_us:
            raise InvalidTrajectory(f"the log has no row at {scene.time_us} us")
        rows = now + round(self.sampling.interval / FRAME) * np.arange(self.sampling.num_poses + 1)
        recorded = rows[rows < len(times)]
        missing = np.arange(1, len(rows) - len(recorded) + 1)
        beyond = times[recorded[-1]] + np.round(missing * self.sampling.interval * 1e6).astype(np.int64)
        rows = np.minimum(rows, len(times) - 1)
        return Trajectory(np.concatenate([times[recorded], beyond]), self.log.states[rows]), carry
