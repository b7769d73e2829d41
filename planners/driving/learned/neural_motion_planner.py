"""The neural motion planner: a network draws a space-time cost volume, and the cheapest sampled trajectory is driven.

Zeng, Luo, Suo, Sadat, Yang, Casas, Urtasun 2019, "End-to-end interpretable neural motion planner" (CVPR). The volume is
learned from drives alone, by max-margin over sampled trajectories (equation 4): the recorded driver's trajectory must
be cheaper than any other, by more the farther the other is away, and by more still where it hits somebody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from embodia.planners.driving.learned.centreline import Centreline
from embodia.planners.driving.learned.cost_volume import LIMIT, BevNet, read_volume
from embodia.planners.driving.learned.judged import Judged
from embodia.planners.driving.learned.learned_planner import LearnedPlanner, agreement, mean_over
from embodia.planners.driving.learned.max_margin import margin_over_time, max_margin_over_time
from embodia.planners.driving.learned.plan_features import JUDGED, hits
from embodia.planners.driving.learned.raster import raster
from embodia.planners.driving.learned.road_view import RoadView
from embodia.planners.driving.learned.trajectory_sampler import LANE_WIDTH, Samples


@dataclass(frozen=True)
class NeuralMotionPlannerConfig:
    """The network and the margin."""

    width: int = 24
    """Channels at the finest level of the U-Net."""
    collision: float = 10.0
    """What a collision adds to the margin, in metres; 0 leaves collisions out."""


class NeuralMotionPlanner(LearnedPlanner):
    """The planner with a learned cost volume.

    Args:
        config: hyperparameters.
    """

    def __init__(self, config: NeuralMotionPlannerConfig | None = None):
        super().__init__()
        self.config = config or NeuralMotionPlannerConfig()
        self.net = BevNet(self.config.width)
        self.head = nn.Conv2d(self.config.width, JUDGED, 1)

    def volume(self, view: RoadView, line: Centreline) -> Tensor:
        """Costs (N, 10, 40, 24) in 0.5, 1, ... 5 s."""
        costs: Tensor = self.head(self.net(raster(view, line))[0])
        return costs.clamp(-LIMIT, LIMIT)

    def judge(self, view: RoadView, line: Centreline, samples: Samples) -> Judged:
        volume = self.volume(view, line)
        cost = read_volume(volume, samples.poses)
        terms = {f"{0.5 * (k + 1):.1f} s": cost[..., k] for k in range(JUDGED)}
        return Judged(samples, cost.sum(-1), terms, volume)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        shown = self.demonstration(batch)
        volume = self.volume(shown.view, shown.line)
        costs = read_volume(volume, shown.samples.poses)
        rows = torch.arange(len(costs), device=costs.device)
        expert = costs[rows, shown.nearest]  # as drivable as the others, so that the margin is about where and when
        distance = shown.distance + shown.aside.clamp_max(LANE_WIDTH)[..., None]
        margin = margin_over_time(distance, hits(shown.view, shown.samples.poses), self.config.collision)
        hinge = max_margin_over_time(expert, costs, margin - margin[rows, shown.nearest][:, None])
        loss = mean_over(hinge, shown.on_line)
        return loss, {"margin": loss.detach(), **agreement(shown, costs.sum(-1).argmin(-1))}
