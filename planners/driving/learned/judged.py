"""Sampled trajectories with their costs, and the way back from the ego's frame to the map."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from embodia.envs.driving.types import Floats, Scene
from embodia.planners.driving.learned.trajectory_sampler import Samples


@dataclass(frozen=True)
class Judged:
    """S trajectories of each of N egos, and what they cost."""

    samples: Samples
    cost: Tensor  # (N, S), lower is better
    terms: dict[str, Tensor]  # (N, S) each; they sum to the cost
    field: Tensor | None = None  # (N, T, 40, 24) what the planner sees of space and time, to be drawn
    futures: tuple[Tensor, Tensor] | None = None  # boxes (N, M, K, T, 5) of others, probabilities (N, M, K)

    def best(self) -> Tensor:
        """(N,) index of the cheapest trajectory."""
        return self.cost.argmin(-1)


def in_map(poses: Floats, scene: Scene) -> Floats:
    """Poses (T, 3) of the ego's frame in map coordinates."""
    ego = scene.ego
    cos, sin = np.cos(ego.heading), np.sin(ego.heading)
    x, y = poses[:, 0], poses[:, 1]
    return np.stack([ego.x + cos * x - sin * y, ego.y + sin * x + cos * y, ego.heading + poses[:, 2]], -1)
