"""Interpretable features of sampled trajectories, shared by all learned-cost planners; all are costs, 0 at best.

They are scaled so that 1 is a clearly bad trajectory. All are differentiable almost everywhere, because trajectories
are also refined by gradients.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.envs.driving.vehicle.bicycle import PACIFICA
from embodia.planners.driving.learned.centreline import Centreline
from embodia.planners.driving.learned.object_costs import SAME_WAY, Objects, object_costs, touches
from embodia.planners.driving.learned.road_view import RoadView
from embodia.planners.driving.learned.trajectory_sampler import INTERVAL, Samples

JUDGED = 10  # intervals that count: 5 s
FEATURES = (
    "collision",
    "collision from behind",
    "nearness",
    "headway",
    "progress",
    "speeding",
    "lane",
    "lane at the end",
    "off the lanes",
    "red light",
    "acceleration",
    "braking",
    "jerk",
    "lateral acceleration",
    "steering",
)
BEHIND_ASIDE = 2.5  # [m] an object behind the ego is on the same way up to this far aside
HALF_LANE, OFF = 1.75, 0.5  # [m] from a lane's centre line to where the lane ends; beyond it that is clearly bad
LANE_GRID_STEP, LANE_ROWS, LANE_COLUMNS, LANE_BEHIND = 2.0, 40, 24, 8.0  # of the field of distances to lanes
FADING = 0.9  # weight of an interval over that of the one before


@dataclass(frozen=True)
class Ground:
    """What the features of N views have in common: the route, the forecast and the lanes."""

    line: Centreline
    objects: Objects  # in 0.5, 1, ... 5 s
    lane_distance: Tensor  # (N, 1, 40, 24) [m] to the nearest lane's centre line


def ground(view: RoadView, line: Centreline, boxes: Tensor | None = None) -> Ground:
    """`boxes` (N, A, 10, 5) are the forecast; by default objects keep their velocities."""
    return Ground(line, objects_of(view, constant_velocity(view) if boxes is None else boxes), lane_distance(view))


def objects_of(view: RoadView, boxes: Tensor) -> Objects:
    """The objects of N views with a forecast (N, A, T, 5)."""
    x, y, heading = view.boxes[..., 0], view.boxes[..., 1], view.boxes[..., 2]
    behind = (x < -view.boxes[..., 3] / 2) & (y.abs() < BEHIND_ASIDE) & (heading.cos() > SAME_WAY)
    return Objects(boxes, view.there, behind)


def constant_velocity(view: RoadView, steps: int = JUDGED) -> Tensor:
    """Boxes (N, A, T, 5) of objects that keep their velocity and heading."""
    times = INTERVAL * torch.arange(1, steps + 1, device=view.ego.device)
    place = view.boxes[:, :, None, :2] + times[:, None] * view.velocities[:, :, None]
    return torch.cat([place, view.boxes[:, :, None, 2:].expand(-1, -1, steps, -1)], -1)


def recorded_boxes(view: RoadView) -> Tensor:
    """Boxes (N, A, T, 5) from the recorded futures; objects whose future is unknown keep their velocity."""
    kept = constant_velocity(view)
    if view.futures is None:
        return kept
    known = view.futures[..., 3:] > 0.5
    return torch.cat([torch.where(known, view.futures[..., :3], kept[..., :3]), kept[..., 3:]], -1)


def lane_distance(view: RoadView) -> Tensor:
    """Distances (N, 1, 40, 24) [m] to the nearest lane's centre line every 2 m; rows lead forward, columns left.

    Without lanes there is none to keep to, and it is 0.
    """
    x = torch.arange(LANE_ROWS, device=view.ego.device) * LANE_GRID_STEP - LANE_BEHIND
    y = (torch.arange(LANE_COLUMNS, device=view.ego.device) - (LANE_COLUMNS - 1) / 2) * LANE_GRID_STEP
    nodes = torch.stack(torch.meshgrid(x, y, indexing="ij"), -1).view(1, -1, 2)
    lanes = view.lanes + 1e4 * ~view.lane_there[..., None, None]
    distance = torch.cdist(nodes.expand(len(view), -1, -1), lanes.flatten(1, 2)).amin(-1)
    distance = torch.where(view.lane_there.any(1, keepdim=True), distance, 0.0)
    return distance.view(-1, 1, LANE_ROWS, LANE_COLUMNS)


def read(field: Tensor, points: Tensor, step: float, behind: float) -> Tensor:
    """Read fields bilinearly; beyond its edge, a field is as at its edge.

    Args:
        field: (N, C, rows, columns); row 0 lies `behind` [m] behind the ego, rows lead forward and columns left.
        points: (N, K, 2) in the ego's frame [m].
        step: [m] between rows and between columns.

    Returns:
        (N, C, K).
    """
    rows, columns = field.shape[-2:]
    row = 2 * (points[..., 0] + behind) / step / (rows - 1) - 1
    column = 2 * points[..., 1] / step / (columns - 1)
    grid = torch.stack([column, row], -1)[:, :, None]  # (N, K, 1, 2)
    found = torch.nn.functional.grid_sample(field, grid, "bilinear", "border", align_corners=True)
    return found[..., 0]


def features(view: RoadView, around: Ground, samples: Samples) -> Tensor:
    """Features (N, S, 15) of trajectories, in the order of FEATURES."""
    later = slice(1, JUDGED + 1)
    weights = time_weights(samples)
    near = object_costs(around.objects, samples.poses[:, :, later], samples.speed[:, :, later], weights)
    return torch.cat([near, of_the_road(view, around, samples)], -1)


def time_weights(samples: Samples) -> Tensor:
    """(10,) weights of the times, which sum to 1; the sooner, the heavier."""
    weights = FADING ** torch.arange(JUDGED, device=samples.poses.device)
    return weights / weights.sum()


def of_the_road(view: RoadView, around: Ground, samples: Samples) -> Tensor:
    """Features (N, S, 11) that have nothing to do with other objects: those from "progress" on."""
    weights, later = time_weights(samples), slice(1, JUDGED + 1)
    poses, speed = samples.poses[:, :, later], samples.speed[:, :, later]
    rate, bend = samples.acceleration[:, :, :JUDGED], samples.curvature[:, :, :JUDGED]

    def over_time(values: Tensor) -> Tensor:
        return (values * weights).sum(-1)

    sideways = samples.speed[:, :, :JUDGED].square() * bend
    # the first acceleration is compared with the ego's own, the others with the one before
    before = torch.cat([view.ego[:, 1].view(-1, 1, 1).expand(-1, rate.shape[1], -1), rate[..., :-1]], -1)
    limit = around.line.limit_at(samples.s[:, :, later].flatten(1)).view_as(speed)
    limit = torch.where(limit > 0, limit, torch.inf)
    columns = [
        lag(view, around, samples),
        over_time((speed - limit).clamp_min(0).square()),
        over_time(bounded(samples.d[:, :, later])),
        bounded(samples.d[:, :, JUDGED]),
        off_lanes(around, poses).amax(-1),
        over_time(beyond_light(view, samples)),
        over_time(rate.clamp_min(0).square()) / 4,
        over_time(rate.clamp_max(0).square()) / 4,
        over_time((rate - before).square()) / 4,
        over_time(sideways.square()) / 4,
        over_time((bend.diff(dim=-1, append=bend[..., -1:]) * speed).square()) / 4,
    ]
    return torch.stack(columns, -1)


def bounded(offset: Tensor) -> Tensor:
    """The square of an offset [m] where it is small, and never above 1: a lane aside is as bad as two."""
    return offset.square() / (1 + offset.square())


def hits(view: RoadView, poses: Tensor) -> Tensor:
    """(N, S, 10) whether the ego at poses (N, S, 17, 3) has touched an object where the recording has it."""
    return touches(objects_of(view, recorded_boxes(view)), poses[:, :, 1 : JUDGED + 1]).cummax(-1).values


def lag(view: RoadView, around: Ground, samples: Samples) -> Tensor:
    """(N, S) the share of the way at the speed limit, or at the limit minus what cannot be reached yet, not driven."""
    limit = around.line.limit_at(torch.zeros_like(view.ego[:, :1]))
    horizon = INTERVAL * JUDGED
    wanted = torch.where(limit > 0, limit, view.ego[:, :1].clamp_min(5.0)) * horizon
    made = samples.s[:, :, JUDGED] - samples.s[:, :, 0]
    return ((wanted - made) / wanted.clamp_min(5.0)).clamp_min(0)


def off_lanes(around: Ground, poses: Tensor) -> Tensor:
    """(N, S, T) how far [m] the worse side of the ego's front and rear is beyond the lanes, in 0.5 m, at most 2."""
    cos, sin = poses[..., 2].cos(), poses[..., 2].sin()
    forward = torch.stack([cos, sin], -1)
    left = torch.stack([-sin, cos], -1) * (PACIFICA.width / 2)
    front, rear = poses[..., :2] + PACIFICA.front_length * forward, poses[..., :2] - PACIFICA.rear_length * forward
    corners = torch.stack([front + left, front - left, rear + left, rear - left], -2)  # (N, S, T, 4, 2)
    distance = read(around.lane_distance, corners.flatten(1, 3), LANE_GRID_STEP, LANE_BEHIND)[:, 0]
    return ((distance.view(corners.shape[:-1]).amax(-1) - HALF_LANE) / OFF).clamp(0, 2)


def beyond_light(view: RoadView, samples: Samples) -> Tensor:
    """(N, S, T) how far [m] the ego's front is beyond a red light's line, in 4 m, at most 1; 0 once it has passed."""
    line = view.red[:, None, None]
    front = samples.s + PACIFICA.front_length
    passed = front[:, :, :1] > line + 0.5
    over = ((front[:, :, 1 : JUDGED + 1] - line) / 4).clamp(0, 1)
    return torch.where(passed, 0.0, over)
