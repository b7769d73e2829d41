"""Occupancy and flow of the space around the ego over time, and their reading along trajectories."""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.planners.driving.learned.plan_features import JUDGED, constant_velocity, read, recorded_boxes
from embodia.planners.driving.learned.raster import box_points
from embodia.planners.driving.learned.road_view import RoadView
from embodia.planners.driving.learned.trajectory_sampler import INTERVAL

ROWS, COLUMNS, STEP, BEHIND = 80, 48, 1.0, 8.0  # cells, [m] a side, [m] from the first row's nodes to the ego
ALONG, ACROSS = 9, 4  # points of an object's box that are drawn


@dataclass(frozen=True)
class OccupancyFlow:
    """Fields of N egos in 0.5, 1, ... 5 s: row r lies r - 8 m ahead of the ego, columns lead left."""

    occupancy: Tensor  # (N, 10, 80, 48) probability that somebody is there
    flow: Tensor  # (N, 10, 2, 80, 48) [m/s] velocity of who is there


def from_boxes(view: RoadView, boxes: Tensor) -> OccupancyFlow:
    """Draw objects with forecast boxes (N, A, 10, 5); each moves as from its place before to its place then."""
    n, count = boxes.shape[:2]
    before = torch.cat([view.boxes[:, :, None, :2], boxes[:, :, :-1, :2]], 2)
    velocity = (boxes[..., :2] - before) / INTERVAL
    points = box_points(boxes, ALONG, ACROSS).transpose(1, 2).flatten(0, 1)  # (N * 10, A, P, 2)
    values = torch.cat([torch.ones_like(velocity[..., :1]), velocity], -1).transpose(1, 2).flatten(0, 1)
    values = values[:, :, None].expand(-1, -1, points.shape[2], -1).flatten(1, 2)
    there = view.there[:, None, :, None].expand(n, JUDGED, count, points.shape[2]).reshape(n * JUDGED, -1)
    image = torch.zeros(n * JUDGED, 3, ROWS * COLUMNS + 1, device=boxes.device)
    row = ((points[..., 0] + BEHIND) / STEP).round().long().flatten(1)
    column = (points[..., 1] / STEP + (COLUMNS - 1) / 2).round().long().flatten(1)
    inside = there & (row >= 0) & (row < ROWS) & (column >= 0) & (column < COLUMNS)
    index = torch.where(inside, row * COLUMNS + column, ROWS * COLUMNS)
    image.scatter_(2, index[:, None].expand(-1, 3, -1), values.transpose(1, 2))
    fields = image[..., :-1].view(n, JUDGED, 3, ROWS, COLUMNS)
    return OccupancyFlow(fields[:, :, 0], fields[:, :, 1:])


def at_constant_velocity(view: RoadView) -> OccupancyFlow:
    """The fields if every object keeps its velocity."""
    return from_boxes(view, constant_velocity(view))


def standing(view: RoadView) -> OccupancyFlow:
    """The fields if every object stood where it is: what a planner without flow sees."""
    return from_boxes(view, view.boxes[:, :, None].expand(-1, -1, JUDGED, -1))


def as_recorded(view: RoadView) -> OccupancyFlow:
    """The true fields of recorded drives; objects whose future is unknown keep their velocity."""
    return from_boxes(view, recorded_boxes(view))


def read_over_time(fields: Tensor, points: Tensor) -> Tensor:
    """Read fields (N, 10, C, 80, 48) at points (N, S, 10, P, 2) of the same times: (N, S, 10, P, C)."""
    n, s, times, count = points.shape[:4]
    by_time = points.transpose(1, 2).reshape(n * times, s * count, 2)
    found = read(fields.flatten(0, 1), by_time, STEP, BEHIND)  # (N * 10, C, S * P)
    return found.view(n, times, -1, s, count).permute(0, 3, 1, 4, 2)
