"""What a scenario's map says of a place: along the route's path, on the grid of the drivable area, at its lights."""

import torch
from torch import Tensor

from embodia.envs.driving.simulation.arrays import GRID_STEP, GRID_UNIT, NO_LIGHT, PATH_STEP
from embodia.envs.driving.simulation.plane import ego_boxes, heading_vector
from embodia.envs.driving.simulation.worlds import TorchArrays, Worlds
from embodia.envs.driving.vehicle.bicycle import PACIFICA


def project(
    arrays: TorchArrays, scenario: Tensor, point: Tensor, near: Tensor, everywhere: bool = False
) -> tuple[Tensor, Tensor]:
    """Arc length and left offset [m] (N,) of points (N, 2) on the path, sought 5 m behind to 12 m ahead of `near`."""
    last = arrays.path_valid.shape[1] - 2
    if everywhere:
        index = torch.arange(last + 1, device=point.device).expand(len(point), -1)
    else:
        window = torch.arange(-5, 13, device=point.device)
        index = ((near / PATH_STEP).long()[:, None] + window).clamp(0, last)  # (N, W)
    rows = scenario[:, None]
    a, b = arrays.path[rows, index], arrays.path[rows, index + 1]
    along = b - a
    share = (((point[:, None] - a) * along).sum(-1) / along.square().sum(-1).clamp_min(1e-6)).clamp(0, 1)
    away = point[:, None] - (a + share[..., None] * along)
    distance = away.norm(dim=-1) + 1e4 * ~arrays.path_valid[rows, index + 1]
    best = distance.argmin(-1, keepdim=True)
    s = (index + share).gather(1, best)[:, 0] * PATH_STEP
    cross = along[..., 0] * away[..., 1] - along[..., 1] * away[..., 0]
    offset = distance.gather(1, best)[:, 0] * cross.gather(1, best)[:, 0].sign()
    return s, offset


def path_at(arrays: TorchArrays, scenario: Tensor, s: Tensor) -> dict[str, Tensor]:
    """point (N, K, 2), heading, limit, valid, light (N, K) of the path at arc lengths s (N, K), to the metre."""
    index = (s / PATH_STEP).long().clamp(0, arrays.path_valid.shape[1] - 1)
    rows = scenario[:, None]
    share = (s / PATH_STEP - index)[..., None].clamp(0, 1)
    after_ = (index + 1).clamp_max(arrays.path_valid.shape[1] - 1)
    point = arrays.path[rows, index]
    return {
        "point": point + share * (arrays.path[rows, after_] - point),
        "heading": arrays.path_heading[rows, index],
        "limit": arrays.path_limit[rows, index],
        "valid": arrays.path_valid[rows, index],
        "on_route": arrays.path_on_route[rows, index],
        "light": arrays.path_light[rows, index],
    }


def is_red(arrays: TorchArrays, worlds: Worlds, light: Tensor) -> Tensor:
    """(N, K) whether lights (N, K), columns of the scenario's reports, are red now."""
    t = worlds.t.clamp_max(arrays.red.shape[1] - 1)
    now = arrays.red[worlds.scenario, t]  # (N, C)
    return now.gather(1, light.clamp_min(0)) & (light != NO_LIGHT)


def outside(arrays: TorchArrays, worlds: Worlds) -> Tensor:
    """(N,) how far [m] the worst corner is outside the drivable area; negative inside."""
    box = ego_boxes(worlds.ego)
    forward = heading_vector(box[:, 2])
    left = torch.stack([-forward[:, 1], forward[:, 0]], -1)
    signs = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]], device=box.device) / 2
    reach = signs[:, 0, None] * PACIFICA.length * forward[:, None] + signs[:, 1, None] * PACIFICA.width * left[:, None]
    corners = box[:, None, :2] + reach  # (N, 4, 2)
    return sample_grid(arrays, worlds.scenario, corners).amax(-1)


def sample_grid(arrays: TorchArrays, scenario: Tensor, points: Tensor) -> Tensor:
    """Signed distance [m] at points (N, K, 2), bilinear between the grid's nodes."""
    size = arrays.grid.shape[1]
    place = (points - arrays.grid_origin[scenario][:, None]) / GRID_STEP
    low = place.floor().clamp(0, size - 2)
    share = (place - low).clamp(0, 1)
    x, y = low[..., 0].long(), low[..., 1].long()
    rows = scenario[:, None]
    corner = [[arrays.grid[rows, y + j, x + i].float() for i in (0, 1)] for j in (0, 1)]
    top = corner[0][0] + share[..., 0] * (corner[0][1] - corner[0][0])
    bottom = corner[1][0] + share[..., 0] * (corner[1][1] - corner[1][0])
    return (top + share[..., 1] * (bottom - top)) * GRID_UNIT
