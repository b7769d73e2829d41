"""A planner on roads with one weight: how much faster than now it will be, each second."""

import numpy as np
import torch
from torch import nn

from embodia.envs.driving.types import StateColumn, Trajectory, TrajectorySampling

SPEED = 10.0  # [m/s], unit of the observation
TIMES = 0.5 * torch.arange(17)  # [s] of the poses of an action


class Rushing(nn.Module):
    """Straight on; the distance to come is speed times time, times a factor that drives teach."""

    def __init__(self, start: float = 0.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(start))
        self.sampling = TrajectorySampling(80, 0.1)

    def loss(self, batch):
        speed = SPEED * batch["obs"]["ego"][:, :1]
        ahead = batch["extras"]["expert_action"].view(-1, 17, 3)[..., 0]
        return (self.factor * speed * TIMES - ahead).square().mean(), {"factor": self.factor}

    def initial(self, route_roadblock_ids, goal, map_api):
        return {}

    def plan(self, scene, carry):
        ego, interval = scene.ego, self.sampling.interval
        states = np.tile(ego.array()[:8], (self.sampling.num_poses + 1, 1))
        way = self.factor.item() * max(ego.vx, 0.0) * interval * np.arange(self.sampling.num_poses + 1)
        states[:, StateColumn.X] += way * np.cos(ego.heading)
        states[:, StateColumn.Y] += way * np.sin(ego.heading)
        states[:, StateColumn.AX :] = 0.0
        return Trajectory(self.sampling.times_us(scene.time_us), states), carry
