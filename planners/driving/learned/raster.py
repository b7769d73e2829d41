"""A raster of the road around the ego: lanes, route, red light, objects with their velocities, and the ego's motion."""

import torch
from torch import Tensor

from embodia.planners.driving.learned.centreline import BEHIND as LINE_BEHIND
from embodia.planners.driving.learned.centreline import Centreline
from embodia.planners.driving.learned.road_view import ACCELERATION, SPEED, RoadView

ROWS, COLUMNS = 80, 48  # pixels of a metre
BEHIND = 9.0  # [m] behind the ego where the raster begins: two of its rows average to a row of the fields of 2 m
CHANNELS = (
    "lanes",
    "lane direction x",
    "lane direction y",
    "route",
    "speed limit",
    "behind the red light",
    "vehicles",
    "other objects",
    "velocity x",
    "velocity y",
    "ego speed",
    "ego acceleration",
)
ALONG, ACROSS = 7, 3  # points of an object's box that are drawn


def raster(view: RoadView, line: Centreline) -> Tensor:
    """(N, 12, 80, 48): rows lead forward from 9 m behind the ego, columns left from 24 m to the right of it."""
    image = torch.zeros(len(view), len(CHANNELS), ROWS * COLUMNS + 1, device=view.ego.device)  # one pixel for the rest
    direction = view.lanes.diff(dim=2)
    direction = torch.nn.functional.normalize(torch.cat([direction, direction[:, :, -1:]], 2), dim=-1)
    shown = view.lane_there[..., None].expand(view.lanes.shape[:-1])
    lanes = torch.cat([torch.ones_like(direction[..., :1]), direction], -1)
    draw(image[:, :3], view.lanes.flatten(1, 2), lanes.flatten(1, 2), shown.flatten(1))
    s = torch.arange(line.points.shape[1], device=image.device) - LINE_BEHIND
    red = (s > view.red[:, None]).float()
    route = torch.stack([torch.ones_like(red), line.limits / SPEED, red], -1)
    draw(image[:, 3:6], line.points, route, view.on_route.any(1, keepdim=True).expand_as(red))
    points = box_points(view.boxes, ALONG, ACROSS)
    vehicle = (view.kinds == 0).float()
    values = torch.cat([vehicle[..., None], 1 - vehicle[..., None], view.velocities / SPEED], -1)
    values = values[:, :, None].expand(-1, -1, points.shape[2], -1)
    draw(image[:, 6:10], points.flatten(1, 2), values.flatten(1, 2), inside_of(view.there, points).flatten(1))
    image[:, 10], image[:, 11] = view.ego[:, :1] / SPEED, view.ego[:, 1:2] / ACCELERATION
    return image[..., :-1].view(len(view), len(CHANNELS), ROWS, COLUMNS)


def box_points(boxes: Tensor, along: int, across: int) -> Tensor:
    """Points (..., along * across, 2) spread evenly over boxes (..., 5), the corners included."""
    u = torch.linspace(-0.5, 0.5, along, device=boxes.device)
    v = torch.linspace(-0.5, 0.5, across, device=boxes.device)
    unit = torch.stack(torch.meshgrid(u, v, indexing="ij"), -1).view(-1, 2)
    x, y = boxes[..., 3:4] * unit[:, 0], boxes[..., 4:5] * unit[:, 1]
    cos, sin = boxes[..., 2:3].cos(), boxes[..., 2:3].sin()
    return boxes[..., None, :2] + torch.stack([x * cos - y * sin, x * sin + y * cos], -1)


def inside_of(there: Tensor, points: Tensor) -> Tensor:
    """Whether an object is there (N, A), for each of its points (N, A, P, 2): (N, A, P)."""
    return there[..., None].expand(points.shape[:-1])


def draw(image: Tensor, points: Tensor, values: Tensor, shown: Tensor) -> None:
    """Write values (N, K, C) at the pixels of points (N, K, 2) where they are shown (N, K) into (N, C, pixels + 1)."""
    row = (points[..., 0] + BEHIND).floor().long()
    column = (points[..., 1] + COLUMNS / 2).floor().long()
    inside = shown & (row >= 0) & (row < ROWS) & (column >= 0) & (column < COLUMNS)
    index = torch.where(inside, row * COLUMNS + column, ROWS * COLUMNS)
    image.scatter_(2, index[:, None].expand(-1, image.shape[1], -1), values.transpose(1, 2))
