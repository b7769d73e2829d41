"""The simulator's own moves as a world model: an upper bound for learned models, and the true views of plans."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs.drawing.rotations import FORWARD, from_yaw, rotate, yaw_of
from embodia.envs.homes.vector_env import HomesVectorEnv
from embodia.planners import Prediction, State

Array = NDArray[Any]


class TrueMoves:
    """A `WorldModel` of velocity actions. State {"world": (B,) of `env`, "place": (B, 3) [m], "yaw": (B,) [rad]}.

    The reward is minus the straight distance to the goal, so a planner that maximises the return knows the true moves
    and the true goal. `observe` reads the current poses of `env`.
    """

    def __init__(self, env: HomesVectorEnv):
        if env.actions != "velocity":
            raise ValueError(f"true moves are those of velocity actions; this environment takes {env.actions} ones")
        self.env = env

    def initial(self, n: int) -> State:
        zeros = torch.zeros(n, dtype=torch.float64)
        return {"world": torch.zeros(n, dtype=torch.int64), "place": torch.zeros(n, 3).double(), "yaw": zeros}

    def observe(self, state: State, obs: Mapping[str, Any], action: Tensor, first: Tensor) -> State:
        """Read the current poses of all worlds of `env`."""
        poses = self.env.poses
        return {
            "world": torch.arange(self.env.num_envs),
            "place": torch.from_numpy(poses.position.astype(np.float64)),
            "yaw": torch.from_numpy(yaw_of(poses.rotation)),
        }

    def imagine(self, state: State, action: Tensor) -> State:
        control = self.env.velocity
        speed, turning = control.speeds(action.double().numpy()).T
        yaw = state["yaw"].numpy()
        start = state["place"].numpy()
        ahead = rotate(from_yaw(yaw), FORWARD) * (speed * control.time_step)[:, None]
        homes = [self.env.homes[world] for world in state["world"].tolist()]
        end = [home.pathfinder.try_step(a, b) for home, a, b in zip(homes, start, start + ahead, strict=True)]
        turned = yaw + np.deg2rad(turning) * control.time_step
        return {
            "world": state["world"],
            "place": torch.from_numpy(np.asarray(end, np.float64)),
            "yaw": torch.from_numpy(turned),
        }

    def predict(self, state: State) -> Prediction:
        return {"reward": -self.distance(state)}

    def distance(self, state: State) -> Tensor:
        """(B,) straight distance to the goal [m]."""
        goals = torch.from_numpy(self.env.goals)[state["world"]]
        return (state["place"] - goals).norm(dim=-1).float()

    def views(self, state: State) -> Array:
        """Render the views (B, H, W, 3) uint8 of these states."""
        env = self.env
        eyes = state["place"].numpy() + np.array([0, env.suite.camera.above_feet, 0])
        homes = [env.homes[world] for world in state["world"].tolist()]
        return env.engine.render(homes, eyes, from_yaw(state["yaw"].numpy()), env.suite.camera, ("rgb",))["rgb"]

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        raise TypeError("the moves of homes are known; there is nothing to learn")
