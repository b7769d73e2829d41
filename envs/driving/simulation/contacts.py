"""Who touches the ego, whose fault it is, and whether somebody soon will."""

import numpy as np
import torch
from torch import Tensor

from embodia.envs.driving.simulation.plane import ego_boxes, heading_vector, separation, wrap
from embodia.envs.driving.simulation.worlds import Worlds
from embodia.envs.driving.types import StateColumn
from embodia.envs.driving.vehicle.bicycle import PACIFICA

STOPPED = 0.05  # [m/s] below which a vehicle stands, for the question of fault
BEHIND = 150 * np.pi / 180  # [rad] bearing beyond which a track is behind the ego
OFF_CENTRE = 1.0  # [m] lateral offset beyond which a sideways collision counts as the ego's fault
TTC_TIMES = (0.3, 0.6, 0.9)  # [s]


def overlapping(worlds: Worlds) -> Tensor:
    """(N, M) objects that the ego's box touches."""
    return (separation(ego_boxes(worlds.ego)[:, None], worlds.boxes) <= 0) & worlds.valid


def at_fault(worlds: Worlds) -> Tensor:
    """(N, M) whether a first contact now would be the ego's fault, by nuPlan's classes.

    Sideways contacts count where the ego's centre is a metre off its path (the exact score asks the lane graph).
    """
    ego = worlds.ego
    stopped = ego[:, StateColumn.VX].abs()[:, None] <= STOPPED
    stands = worlds.velocities.norm(dim=-1) <= STOPPED
    offset = worlds.boxes[..., :2] - ego[:, None, :2]
    bearing = wrap(torch.atan2(offset[..., 1], offset[..., 0]) - ego[:, None, 2]).abs()
    edge = ego_boxes(ego)
    front = edge.clone()
    front[:, :2] = edge[:, :2] + PACIFICA.length / 2 * heading_vector(edge[:, 2])
    front[:, 3] = 0.0
    by_front = separation(front[:, None], worlds.boxes) <= 0
    astray = (worlds.path_offset.abs() > OFF_CENTRE)[:, None]
    return ~stopped & (stands | ((bearing <= BEHIND) & (by_front | astray)))


def near_collision(worlds: Worlds) -> Tensor:
    """(N,) whether the ego would touch something ahead within 0.9 s at constant velocities."""
    box = ego_boxes(worlds.ego)
    velocity = worlds.ego[:, StateColumn.VX, None] * heading_vector(worlds.ego[:, 2])
    times = torch.tensor(TTC_TIMES, device=box.device)[:, None, None]  # (K, 1, 1)
    ego = box.expand(len(TTC_TIMES), *box.shape).clone()
    ego[..., :2] += times * velocity
    others = worlds.boxes.expand(len(TTC_TIMES), *worlds.boxes.shape).clone()
    others[..., :2] += times[..., None] * worlds.velocities
    soon = (separation(ego[:, :, None], others) <= 0).any(0) & worlds.valid & ~worlds.hit
    offset = worlds.boxes[..., :2] - worlds.ego[:, None, :2]
    ahead = wrap(torch.atan2(offset[..., 1], offset[..., 0]) - worlds.ego[:, None, 2]).abs() <= torch.pi / 2
    moving = worlds.ego[:, StateColumn.VX].abs()[:, None] > STOPPED
    return (soon & ahead & moving).any(-1)
