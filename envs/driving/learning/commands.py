"""Convert actions to commands or plans of N vehicles, and keep the state that this needs between steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs.driving.learning.drives import Drives
from embodia.envs.driving.learning.manoeuvre import (
    TRAJECTORY_TIMES,
    ActionKind,
    controls,
    manoeuvres,
    poses_around,
    trajectory_commands,
)
from embodia.envs.driving.simulation.worlds import Worlds, pick
from embodia.envs.driving.types import Floats, Trajectory

Plans = dict[int, Trajectory]
"""By world."""


class Commands:
    """Converts actions; holds the target offset (N,) [m] left of the route, and the poses that each ego tracks."""

    def __init__(self, kind: ActionKind, num_envs: int, device: torch.device):
        self.kind = kind
        self.target_offset = torch.zeros(num_envs, device=device)
        self.tracked: dict[int, Floats] = {}  # poses (K, 3) in map coordinates, by world

    def begin(self, worlds: Worlds, where: Tensor) -> None:
        """Start episodes in the worlds under a mask (N,)."""
        self.target_offset = torch.where(where, worlds.path_offset, self.target_offset)

    def of(
        self, actions: Any, drives: Drives, over: NDArray[np.bool_], answered: Mapping[int, Trajectory]
    ) -> tuple[Tensor, Plans]:
        """Return commands (N, 2), acceleration [m/s^2] and steering rate [rad/s], and the plans of worlds with one.

        A world has a plan if its action stands for one (`answered`), or if drives are exact and actions are
        trajectories. Actions of worlds that are `over` (N,) are ignored.

        Raises ValueError for an action that is not finite.
        """
        device, worlds = drives.arrays.device, drives.worlds
        action = torch.as_tensor(np.asarray(actions), device=device)
        action = pick(torch.as_tensor(~over, device=device), action, torch.zeros_like(action))
        if action.is_floating_point() and not bool(action.isfinite().all()):
            world = int((~action.isfinite()).any(-1).nonzero()[0])
            at = f"world {world}, step {int(worlds.t[world])}"
            raise ValueError(f"roads, {at}: the action is not finite: {action[world].tolist()}")
        plans = dict(answered)
        if self.kind == "continuous":
            command = controls(action.float())
        elif self.kind == "manoeuvre":
            command, self.target_offset = manoeuvres(drives.arrays, worlds, action.long(), self.target_offset)
        elif drives.exact:
            command = torch.zeros(len(action), 2, device=device)
            plans = {i: answered.get(i) or planned(drives, i, action[i]) for i in np.flatnonzero(~over).tolist()}
        else:
            command, poses = trajectory_commands(worlds, action.float())
            self.tracked = {i: drives.in_map(i, each) for i, each in enumerate(poses)}
        self.tracked |= {i: plan.poses for i, plan in plans.items()}
        return command, plans


def planned(drives: Drives, i: int, action: Tensor) -> Trajectory:
    """Return world i's plan of 8 s through the poses of an action (51,)."""
    ego = drives.ego(i)
    local = action.cpu().double().numpy().reshape(1, len(TRAJECTORY_TIMES), 3)
    times = ego.time_us + np.round(TRAJECTORY_TIMES * 1e6).astype(np.int64)
    return Trajectory.from_poses(times, poses_around(ego.pose[None], local)[0])
