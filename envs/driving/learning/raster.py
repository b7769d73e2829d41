"""The road around an ego as a raster: a learner's bird's-eye view."""

import torch
from torch import Tensor

from embodia.envs.driving.simulation.map_queries import is_red, sample_grid
from embodia.envs.driving.simulation.plane import in_ego_frame, turned
from embodia.envs.driving.simulation.worlds import TorchArrays, Worlds

BEV_SIZE, BEV_STEP, BEV_BEHIND = 64, 1.0, 16.0  # pixels a side, [m] a pixel, [m] behind the ego
BEV_CHANNELS = ("drivable", "lanes", "route", "agents", "agents_before", "red")


def bev(arrays: TorchArrays, worlds: Worlds, previous: Worlds) -> Tensor:
    """(N, 64, 64, 6) uint8 raster, a metre a pixel, the ego at row 48, column 32 looking up; channels BEV_CHANNELS."""
    n, device = len(worlds.t), worlds.ego.device
    ahead = (BEV_SIZE - BEV_BEHIND) - 0.5 - torch.arange(BEV_SIZE, device=device)  # rows: forward
    left = BEV_SIZE / 2 - 0.5 - torch.arange(BEV_SIZE, device=device)  # columns: left to right
    local = torch.stack(torch.meshgrid(ahead, left, indexing="ij"), -1).view(1, -1, 2) * BEV_STEP
    points = turned(local.expand(n, -1, -1), -worlds.ego[:, None, 2]) + worlds.ego[:, None, :2]
    drivable = (sample_grid(arrays, worlds.scenario, points) < 0).float()
    pieces = in_ego_frame(worlds.ego, arrays.pieces[worlds.scenario])  # (N, L, 10, 2)
    there = arrays.piece_valid[worlds.scenario][..., None].expand(pieces.shape[:-1])
    red = is_red(arrays, worlds, arrays.piece_light[worlds.scenario])[..., None] & there
    path = in_ego_frame(worlds.ego, arrays.path[worlds.scenario])
    channels = [
        drivable,
        dots(pieces.flatten(1, 2), there.flatten(1)),
        dots(path, arrays.path_valid[worlds.scenario]),
        filled(points, worlds.boxes, worlds.valid),
        filled(points, previous.boxes, previous.valid),
        dots(pieces.flatten(1, 2), red.flatten(1)),
    ]
    return (torch.stack(channels, -1) * 255).to(torch.uint8).view(n, BEV_SIZE, BEV_SIZE, -1)


def dots(points: Tensor, there: Tensor) -> Tensor:
    """(N, 64 * 64) ones at the pixels of points (N, K, 2) in the ego's frame."""
    row = (BEV_SIZE - BEV_BEHIND - points[..., 0] / BEV_STEP).floor().long()
    column = (BEV_SIZE / 2 - points[..., 1] / BEV_STEP).floor().long()
    inside = there & (row >= 0) & (row < BEV_SIZE) & (column >= 0) & (column < BEV_SIZE)
    image = torch.zeros(len(points), BEV_SIZE * BEV_SIZE + 1, device=points.device)
    index = torch.where(inside, row * BEV_SIZE + column, BEV_SIZE * BEV_SIZE)
    return image.scatter(1, index, 1.0)[:, :-1]


def filled(points: Tensor, boxes: Tensor, valid: Tensor) -> Tensor:
    """(N, P) ones at points (N, P, 2) inside any of the boxes (N, M, 5)."""
    image = torch.zeros(points.shape[:2], device=points.device)
    for m in range(boxes.shape[1]):
        box = boxes[:, m, None]  # (N, 1, 5): one object at a time keeps memory small
        offset = turned(points - box[..., :2], box[..., 2].expand(points.shape[:2]))
        inside = (offset[..., 0].abs() <= box[..., 3] / 2) & (offset[..., 1].abs() <= box[..., 4] / 2)
        image = torch.where(inside & valid[:, m, None], 1.0, image)
    return image
