"""The reward of a step, and the sums over an episode that rewards and scores need."""

import torch
from torch import Tensor

from embodia.envs.driving.simulation.map_queries import path_at
from embodia.envs.driving.simulation.worlds import TorchArrays, Worlds
from embodia.envs.driving.types import StateColumn

PROGRESS, FAILURE, DANGER, DISCOMFORT, OVERSPEED = 1.0, 1.0, 0.3, 0.02, 0.02
COMFORT_JERK, COMFORT_ACCELERATION = 8.0, 3.0  # [m/s^3], [m/s^2]
LEAST_WAY = 20.0  # [m] lower bound of the expert's progress, by which progress is divided

Sums = dict[str, Tensor]
"""Each (N,): steps with a collision near, uncomfortable steps, overspeed [m], metres backwards, failures."""


def no_sums(num_envs: int, device: torch.device) -> Sums:
    """Return the sums at the start of an episode: zeros."""
    return {
        name: torch.zeros(num_envs, device=device) for name in ("ttc", "comfort", "overspeed", "backwards", "failed")
    }


def step_reward(arrays: TorchArrays, old: Worlds, new: Worlds, sums: Sums) -> tuple[Tensor, Sums]:
    """Return the reward (N,) of a step from `old` to `new`, and the updated sums."""
    progress = (new.path_s - old.path_s) / arrays.expert_progress[new.scenario].clamp_min(LEAST_WAY)
    limit = path_at(arrays, new.scenario, new.path_s[:, None])["limit"][:, 0]
    speed, a = new.ego[:, StateColumn.VX], new.ego[:, StateColumn.AX]
    jerk = (a - old.ego[:, StateColumn.AX]).abs() / 0.1
    lateral = (speed * new.ego[:, StateColumn.YAW_RATE]).abs()
    harsh = (a.abs() > COMFORT_ACCELERATION) | (jerk > COMFORT_JERK) | (lateral > COMFORT_ACCELERATION)
    fast = speed > limit
    # once, as in the score, where time to collision weighs as much as a third of the whole way
    danger = (new.ttc & (sums["ttc"] == 0)).float()
    failed = (new.collided | new.off_road).float() * (1 - sums["failed"])
    sums = {
        "ttc": sums["ttc"] + new.ttc,
        "comfort": sums["comfort"] + harsh,
        "overspeed": sums["overspeed"] + (speed - limit).clamp_min(0) * 0.1,
        "backwards": sums["backwards"] + (old.path_s - new.path_s).clamp_min(0),
        "failed": sums["failed"] + failed,
    }
    unpleasant = DISCOMFORT * harsh.float() + OVERSPEED * fast.float()
    return PROGRESS * progress - FAILURE * failed - DANGER * danger - unpleasant, sums
