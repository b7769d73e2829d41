"""The control of the neural motion planner: the same network regresses the driver's trajectory, without samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from embodia.planners.driving.learned.centreline import Centreline
from embodia.planners.driving.learned.cost_volume import BevNet
from embodia.planners.driving.learned.judged import Judged
from embodia.planners.driving.learned.learned_planner import LearnedPlanner, mean_over
from embodia.planners.driving.learned.plan_features import JUDGED
from embodia.planners.driving.learned.raster import raster
from embodia.planners.driving.learned.road_view import RoadView
from embodia.planners.driving.learned.trajectory_sampler import INTERVAL, STEPS, Samples, recorded

SCALE = 10.0  # [m] of the network's outputs


@dataclass(frozen=True)
class TrajectoryRegressionConfig:
    """The network."""

    width: int = 24
    """Channels at the finest level of the U-Net."""
    hidden: int = 128
    """Width of the layer before the trajectory."""


class TrajectoryRegression(LearnedPlanner):
    """Behaviour cloning by least squares on the raster of the road.

    Args:
        config: hyperparameters.
    """

    def __init__(self, config: TrajectoryRegressionConfig | None = None):
        super().__init__()
        self.config = config or TrajectoryRegressionConfig()
        self.net = BevNet(self.config.width)
        cells = 10 * 6  # of the coarsest features
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(self.net.deep_width * cells, self.config.hidden),
            nn.ReLU(),
            nn.Linear(self.config.hidden, STEPS * 3),
        )

    def poses(self, view: RoadView, line: Centreline) -> Tensor:
        """Poses (N, 17, 3) from now on, as changes of driving straight on at constant speed."""
        change = SCALE * self.head(self.net(raster(view, line))[1]).view(-1, STEPS, 3)
        times = INTERVAL * torch.arange(1, STEPS + 1, device=change.device)
        straight = nn.functional.pad((view.ego[:, :1] * times)[..., None], (0, 2))
        scaled = change * change.new_tensor([1.0, 1.0, 0.1])
        return nn.functional.pad(straight + scaled, (0, 0, 1, 0))

    def judge(self, view: RoadView, line: Centreline, samples: Samples) -> Judged:
        """One trajectory (N, 1), at no cost."""
        made = recorded(view, line, self.poses(view, line))
        return Judged(made, torch.zeros_like(made.d[..., 0]), {})

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        shown = self.demonstration(batch)
        error = self.poses(shown.view, shown.line) - shown.expert.poses[:, 0]
        error = torch.cat([error[..., :2], SCALE * error[..., 2:].sin()], -1)
        loss = mean_over(error.square().sum(-1).mean(-1), shown.on_line)
        apart = error[:, JUDGED // 2 + 1, :2].norm(dim=-1).mean()
        return loss, {"distance_3s": apart.detach()}
