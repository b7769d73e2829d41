"""The neural motion planner: a network draws a space-time cost volume, and the cheapest sampled trajectory is driven.

Zeng, Luo, Suo, Sadat, Yang, Casas, Urtasun 2019, "End-to-end interpretable neural motion planner" (CVPR). The volume is
learned from drives alone, by max-margin over sampled trajectories (equation 4): the recorded driver's trajectory must
be cheaper than any other, by more the farther the other is away, and by more still where it hits somebody. As in P3
(Sadat et al. 2020), interpretable terms with learned weights stand beside the volume, unless they are switched off.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from embodia.planners.driving.learned.centreline import Centreline
from embodia.planners.driving.learned.cost_volume import LIMIT, BevNet, read_volume
from embodia.planners.driving.learned.judged import Judged
from embodia.planners.driving.learned.learned_planner import Demonstration, mean_over
from embodia.planners.driving.learned.linear_cost import LinearCostPlanner
from embodia.planners.driving.learned.max_margin import margin_over_time, max_margin_over_time
from embodia.planners.driving.learned.plan_features import FEATURES, JUDGED, features, ground, hits
from embodia.planners.driving.learned.raster import raster
from embodia.planners.driving.learned.road_view import RoadView
from embodia.planners.driving.learned.trajectory_sampler import LANE_WIDTH, Samples

FIRST_WEIGHTS = (40.0, 16.0, 14.0, 14.0, 14.0, 7.0, 7.0, 8.0, 1.5, 18.0, 7.5, 5.0, 3.5, 6.0, 10.0)
"""Of the terms: what the joint planner learns, because the network's learning rate is too low to find them."""


@dataclass(frozen=True)
class NeuralMotionPlannerConfig:
    """The network and the margin."""

    width: int = 24
    """Channels at the finest level of the U-Net."""
    terms: bool = True
    """Whether interpretable terms stand beside the cost volume."""
    collision: float = 30.0
    """What a collision adds to the margin, in metres; 0 leaves collisions out."""
    imitation: float = 1.0
    """Weight of the imitation loss beside the max-margin loss."""


class NeuralMotionPlanner(LinearCostPlanner):
    """The planner with a learned cost volume.

    Args:
        config: hyperparameters.
    """

    def __init__(self, config: NeuralMotionPlannerConfig | None = None):
        self.config = config or NeuralMotionPlannerConfig()
        super().__init__(FEATURES, self.config.collision, self.config.imitation, FIRST_WEIGHTS)
        self.net = BevNet(self.config.width)
        self.head = nn.Conv2d(self.config.width, JUDGED, 1)

    def volume(self, view: RoadView, line: Centreline) -> Tensor:
        """Costs (N, 10, 40, 24) in 0.5, 1, ... 5 s."""
        costs: Tensor = self.head(self.net(raster(view, line))[0])
        return costs.clamp(-LIMIT, LIMIT)

    def terms(self, view: RoadView, line: Centreline, samples: Samples) -> Tensor:
        return features(view, ground(view, line), samples)

    def judge(self, view: RoadView, line: Centreline, samples: Samples) -> Judged:
        volume = self.volume(view, line)
        return self.judge_with(volume, read_volume(volume, samples.poses), view, line, samples)

    def judge_with(self, volume: Tensor, read: Tensor, view: RoadView, line: Centreline, samples: Samples) -> Judged:
        """The cost is the volume's mean over the times (N, S, 10) at which it is read, plus the weighted terms."""
        own = {"cost volume": read.mean(-1)}
        if not self.config.terms:
            return Judged(samples, own["cost volume"], own, volume)
        weighted = self.terms(view, line, samples) * self.weights
        terms = own | dict(zip(self.names, weighted.unbind(-1)))
        return Judged(samples, own["cost volume"] + weighted.sum(-1), terms, volume)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The hinge of the volume at every time, and the margin loss of the whole cost."""
        shown = self.demonstration(batch)
        volume = self.volume(shown.view, shown.line)
        read = read_volume(volume, shown.samples.poses)
        cost = self.judge_with(volume, read, shown.view, shown.line, shown.samples).cost
        over_time = self.volume_loss(shown, read)
        loss, numbers = self.margin_loss(shown, cost)
        return loss + over_time, {**numbers, "volume": over_time.detach()}

    def volume_loss(self, shown: Demonstration, read: Tensor) -> Tensor:
        """Max-margin of the costs over time (N, S, 10) that samples read, the mean over time."""
        rows = torch.arange(len(read), device=read.device)
        distance = shown.distance + shown.aside.clamp_max(LANE_WIDTH)[..., None]
        margin = margin_over_time(distance, hits(shown.view, shown.samples.poses), self.config.collision)
        margin = margin - margin[rows, shown.nearest][:, None]
        return mean_over(max_margin_over_time(read[rows, shown.nearest], read, margin), shown.on_line) / JUDGED
