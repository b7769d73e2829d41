"""Kinds of actions, and how each becomes commands of the vehicle: controls, manoeuvres, or trajectories."""

from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from embodia.envs.driving.simulation.map_queries import path_at
from embodia.envs.driving.simulation.plane import wrap
from embodia.envs.driving.simulation.worlds import TorchArrays, Worlds
from embodia.envs.driving.types import Floats, StateColumn
from embodia.envs.driving.vehicle.bicycle import PACIFICA
from embodia.envs.driving.vehicle.lqr import fit_reference, lqr_commands

ActionKind = Literal["continuous", "manoeuvre", "trajectory"]
ACCELERATION, STEERING_RATE = 3.0, 0.5  # [m/s^2], [rad/s] at action 1
SPEED_CHANGES = (-2.0, 0.0, 2.0)  # [m/s] of the target speed
MANOEUVRES = (
    *("slower", "keep", "faster"),
    *("left, slower", "left", "left, faster"),
    *("right, slower", "right", "right, faster"),
)
"""What each action is called: 3 * side + speed."""
SIDE_STEP = 0.35  # [m] a manoeuvre moves its target offset by, each 0.1 s
MAX_SIDE = 7.0  # [m] two lanes
LOOKAHEAD_TIME, MIN_LOOKAHEAD = 1.0, 5.0  # [s], [m] of pure pursuit
TRAJECTORY_INTERVAL = 0.5  # [s] between poses, as nuPlan's learned planners plan
TRAJECTORY_TIMES: Floats = np.arange(17, dtype=np.float64) * TRAJECTORY_INTERVAL  # [s] from now to 8 s
MAX_SPEED, MAX_YAW_RATE = 25.0, 1.0  # [m/s], [rad/s] that bound a trajectory's poses,
FIRST_REACH = 0.2  # [s] and how far the first one may be from the ego at these


def action_space(kind: ActionKind) -> spaces.Space[Any]:
    """Return the space of a kind of actions. Raises ValueError for an unknown kind."""
    if kind == "continuous":
        return spaces.Box(-1.0, 1.0, (2,), np.float32)
    if kind == "manoeuvre":
        return spaces.Discrete(9)
    if kind == "trajectory":
        return trajectory_space()
    raise ValueError(f"action {kind!r}; choose continuous, manoeuvre or trajectory")


def trajectory_space() -> spaces.Box:
    """Return the space of trajectories, bounded by what a car can reach at each time."""
    t = TRAJECTORY_TIMES + FIRST_REACH
    reach = np.stack([MAX_SPEED * t, MAX_SPEED * t, np.minimum(MAX_YAW_RATE * t, np.pi)], -1).ravel()
    return spaces.Box((-reach).astype(np.float32), reach.astype(np.float32))


def controls(action: Tensor) -> Tensor:
    """Box actions (N, 2) in [-1, 1] -> acceleration [m/s^2] and steering rate [rad/s] (N, 2)."""
    return action.clamp(-1, 1) * torch.tensor([ACCELERATION, STEERING_RATE], device=action.device)


def manoeuvres(arrays: TorchArrays, worlds: Worlds, action: Tensor, target_offset: Tensor) -> tuple[Tensor, Tensor]:
    """Discrete actions (N,) -> commands (N, 2) and the new target offsets (N,) [m] left of the route.

    action = 3 * side + speed: side 0 keeps the offset it has, 1 moves left, 2 moves right; speed 0 slower, 1 as it is,
    2 faster. Steering is pure pursuit of the route's path at the target offset.
    """
    side = torch.div(action, 3, rounding_mode="floor")
    change = torch.tensor(SPEED_CHANGES, device=action.device)[action % 3]
    move = torch.tensor([0.0, SIDE_STEP, -SIDE_STEP], device=action.device)[side]
    target_offset = (target_offset + move).clamp(-MAX_SIDE, MAX_SIDE)
    v = worlds.ego[:, StateColumn.VX]
    acceleration = ((v + change).clamp_min(0) - v).clamp(-ACCELERATION, ACCELERATION)
    return torch.stack([acceleration, pursuit(arrays, worlds, target_offset)], -1), target_offset


def pursuit(arrays: TorchArrays, worlds: Worlds, offset: Tensor) -> Tensor:
    """Steering rates (N,) [rad/s] towards a point ahead on the path, `offset` (N,) [m] left of it (Coulter 1992)."""
    v = worlds.ego[:, StateColumn.VX]
    distance = (v * LOOKAHEAD_TIME).clamp_min(MIN_LOOKAHEAD)
    ahead = path_at(arrays, worlds.scenario, (worlds.path_s + distance)[:, None])
    heading = ahead["heading"][:, 0]
    left = torch.stack([-heading.sin(), heading.cos()], -1)
    to = ahead["point"][:, 0] + offset[:, None] * left - worlds.ego[:, :2]
    bearing = wrap(torch.atan2(to[:, 1], to[:, 0]) - worlds.ego[:, StateColumn.HEADING])
    wanted = torch.atan(2 * PACIFICA.wheel_base * bearing.sin() / to.norm(dim=-1).clamp_min(1.0))
    return ((wanted - worlds.ego[:, StateColumn.STEERING]) / 0.2).clamp(-STEERING_RATE, STEERING_RATE)


def trajectory_commands(worlds: Worlds, action: Tensor) -> tuple[Tensor, Floats]:
    """Planned poses (N, 51) in the ego's frame, 0.5 s apart -> the LQR tracker's commands (N, 2) for the next 0.1 s,
    and the poses (N, 81, 3) it tracks."""
    ego = worlds.ego.cpu().double().numpy()
    local = action.cpu().double().numpy().reshape(len(ego), len(TRAJECTORY_TIMES), 3)
    reference = fit_reference(dense_poses(ego[:, :3], local))
    profiles = (reference.velocity, reference.curvature, reference.times())
    commands = lqr_commands(ego, reference.poses[:, 0], *profiles, 0.0)
    return torch.as_tensor(commands, dtype=worlds.ego.dtype, device=worlds.ego.device), reference.poses


def poses_around(now: Floats, local: Floats) -> Floats:
    """Transform poses (N, K, 3) from the frames of the poses `now` (N, 3) to the frame of `now`."""
    cos, sin = np.cos(now[:, None, 2]), np.sin(now[:, None, 2])
    x = now[:, None, 0] + cos * local[..., 0] - sin * local[..., 1]
    y = now[:, None, 1] + sin * local[..., 0] + cos * local[..., 1]
    return np.stack([x, y, np.unwrap(now[:, None, 2] + local[..., 2], axis=1)], -1)


def dense_poses(now: Floats, local: Floats) -> Floats:
    """Interpolate poses (N, 17, 3), given in the frames of `now` (N, 3), every 0.1 s: (N, 81, 3)."""
    coarse = poses_around(now, local)
    per = round(TRAJECTORY_INTERVAL / 0.1)
    share = np.arange((len(TRAJECTORY_TIMES) - 1) * per + 1) / per
    low = np.minimum(share.astype(int), len(TRAJECTORY_TIMES) - 2)
    return coarse[:, low] + (share - low)[:, None] * (coarse[:, low + 1] - coarse[:, low])
