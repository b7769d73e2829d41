"""MP3's planner: trajectories scored on a field of occupancy and flow, with learned cost weights.

Casas, Sadat, Urtasun 2021, "MP3: A unified model to map, perceive, predict and plan" (CVPR), section 3.3. The planner
knows no objects, only the probability that a place will be taken, and how what takes it moves. Here objects at constant
velocity make the field; a learned forecaster's field is read in the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from embodia.planners.driving.learned.centreline import Centreline
from embodia.planners.driving.learned.judged import Judged
from embodia.planners.driving.learned.linear_cost import LinearCostPlanner
from embodia.planners.driving.learned.object_costs import GAP, HALF_LENGTH, HALF_WIDTH, HEADWAY
from embodia.planners.driving.learned.occupancy_flow import (
    OccupancyFlow,
    at_constant_velocity,
    read_over_time,
    standing,
)
from embodia.planners.driving.learned.plan_features import FEATURES, JUDGED, ground, of_the_road, time_weights
from embodia.planners.driving.learned.raster import box_points
from embodia.planners.driving.learned.road_view import RoadView
from embodia.planners.driving.learned.trajectory_sampler import Samples, body

NAMES = ("occupied", "occupied ahead", *FEATURES[4:])
WIDER = 0.4  # [m] by which the ego's box is wider where it reads
ALONG, ACROSS = 5, 3  # points of the ego's box where it reads
AHEAD = (0.25, 0.5, 0.75, 1.0)  # shares of the wanted gap at which it reads

FIELDS: dict[str, Callable[[RoadView], OccupancyFlow]] = {
    "constant-velocity": at_constant_velocity,
    "standing": standing,
}


@dataclass(frozen=True)
class MP3Config:
    """Field and learning."""

    field: Literal["constant-velocity", "standing"] = "constant-velocity"
    """How objects move in the field; standing has no flow."""
    collision: float = 30.0
    """What a collision adds to the margin, in metres."""
    imitation: float = 1.0
    """Weight of the imitation loss beside the max-margin loss."""


class MP3Planner(LinearCostPlanner):
    """The planner.

    Args:
        config: hyperparameters.
        forecast: gives the field of views; by default that of the configuration.
    """

    def __init__(self, config: MP3Config | None = None, forecast: Callable[[RoadView], OccupancyFlow] | None = None):
        self.config = config or MP3Config()
        super().__init__(NAMES, self.config.collision, self.config.imitation)
        self.forecast = forecast or FIELDS[self.config.field]

    def terms(self, view: RoadView, line: Centreline, samples: Samples) -> Tensor:
        return self.terms_on(self.forecast(view), view, line, samples)

    def terms_on(self, field: OccupancyFlow, view: RoadView, line: Centreline, samples: Samples) -> Tensor:
        """Terms (N, S, 13) of trajectories on a field."""
        return torch.cat([on_field(field, samples), of_the_road(view, ground(view, line), samples)], -1)

    def judge(self, view: RoadView, line: Centreline, samples: Samples) -> Judged:
        field = self.forecast(view)
        weighted = self.terms_on(field, view, line, samples) * self.weights
        terms = dict(zip(self.names, weighted.unbind(-1)))
        return Judged(samples, weighted.sum(-1), terms, field=field.occupancy)


def on_field(field: OccupancyFlow, samples: Samples) -> Tensor:
    """(N, S, 2) the probability that a place of the ego is taken, and that of the gap that it wants ahead of it.

    The gap counts by how much faster the ego is than the flow there, as a share of its speed.
    """
    poses, speed = samples.poses[:, :, 1 : JUDGED + 1], samples.speed[:, :, 1 : JUDGED + 1]
    weights = time_weights(samples)
    centre = body(poses)
    size = torch.tensor([2 * HALF_LENGTH, 2 * HALF_WIDTH + WIDER], device=poses.device)
    boxes = torch.cat([centre, poses[..., 2:], size.expand(*poses.shape[:-1], 2)], -1)
    taken = read_over_time(field.occupancy[:, :, None], box_points(boxes, ALONG, ACROSS))[..., 0].amax(-1)
    taken = taken.cummax(-1).values  # a collision does not end
    direction = torch.stack([poses[..., 2].cos(), poses[..., 2].sin()], -1)
    shares = torch.tensor(AHEAD, device=poses.device)
    away = HALF_LENGTH + shares * (GAP + HEADWAY * speed[..., None])
    points = centre[..., None, :] + away[..., None] * direction[..., None, :]
    found = read_over_time(torch.cat([field.occupancy[:, :, None], field.flow], 2), points)  # (N, S, 10, 4, 3)
    along = (found[..., 1:] * direction[..., None, :]).sum(-1)
    slower = ((speed[..., None] - along) / speed[..., None].clamp_min(1.0)).clamp(0, 1)
    gap = (found[..., 0] * (1 - shares + 0.25).square() * slower).amax(-1)
    return torch.stack([(taken * weights).sum(-1), (gap * weights).sum(-1)], -1)
