"""From a learner's actions of one kind to commands of N vehicles, and what that remembers between steps."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs.driving.learning.manoeuvre import ActionKind, controls, manoeuvres, trajectory_commands
from embodia.envs.driving.simulation.worlds import TorchArrays, Worlds, pick
from embodia.envs.driving.types import Floats


class Commands:
    """The target offset (N,) [m] left of the route, for manoeuvres; the poses (N, 81, 3) last tracked, for pictures."""

    def __init__(self, kind: ActionKind, num_envs: int, device: torch.device):
        self.kind = kind
        self.target_offset = torch.zeros(num_envs, device=device)
        self.planned: Floats | None = None

    def begin(self, worlds: Worlds, where: Tensor) -> None:
        """Episodes begin in the worlds of a mask (N,)."""
        self.target_offset = torch.where(where, worlds.path_offset, self.target_offset)

    def of(self, actions: Any, arrays: TorchArrays, worlds: Worlds, over: NDArray[np.bool_]) -> Tensor:
        """(N, 2) acceleration [m/s^2] and steering rate [rad/s]; the actions of worlds that are `over` are ignored.

        Raises ValueError for an action that is not finite.
        """
        action = torch.as_tensor(np.asarray(actions), device=arrays.device)
        action = pick(torch.as_tensor(~over, device=arrays.device), action, torch.zeros_like(action))
        if action.is_floating_point() and not bool(action.isfinite().all()):
            world = int((~action.isfinite()).any(-1).nonzero()[0])
            at = f"world {world}, step {int(worlds.t[world])}"
            raise ValueError(f"roads, {at}: the action is not finite: {action[world].tolist()}")
        if self.kind == "continuous":
            return controls(action.float())
        if self.kind == "manoeuvre":
            command, self.target_offset = manoeuvres(arrays, worlds, action.long(), self.target_offset)
            return command
        command, self.planned = trajectory_commands(worlds, action.float())
        return command
