"""Observations: the ego, its neighbours, lanes and route as vectors with masks, or a raster."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from embodia.envs.driving.learning.raster import BEV_CHANNELS, BEV_SIZE, bev
from embodia.envs.driving.learning.sensors import SENSOR_KEYS
from embodia.envs.driving.simulation.map_queries import is_red, path_at
from embodia.envs.driving.simulation.plane import heading_vector, in_ego_frame, turned, wrap
from embodia.envs.driving.simulation.worlds import TorchArrays, Worlds
from embodia.envs.driving.types import StateColumn

AGENTS, LANES, ROUTE = 20, 24, 20
ROUTE_STEP = 4.0  # [m]
REACH = 60.0  # [m] objects farther away are not seen
SPEED, LENGTH = 10.0, 10.0  # [m/s], [m]: units of the vectors, so that numbers are near one
FUTURE_STEPS, FUTURE_FRAMES = 10, 5  # steps of a future, frames of 0.1 s between them
KEYS = ("ego", "agents", "lanes", "route", "bev", "futures")
SHAPES: dict[str, tuple[int, ...]] = {
    "ego": (10,),
    "agents": (AGENTS, 14),
    "lanes": (LANES, 23),
    "route": (ROUTE, 6),
    "futures": (AGENTS, FUTURE_STEPS, 5),
}
MASKED = ("agents", "lanes", "route")


def observation_space(keys: tuple[str, ...]) -> spaces.Dict:
    """Return the space of the chosen keys, masks included. Raises ValueError for an unknown key."""
    chosen: dict[str, spaces.Space[Any]] = {}
    for key in keys:
        if key not in KEYS:
            raise ValueError(f"no observation {key!r} on roads; choose from {', '.join((*KEYS, *SENSOR_KEYS))}")
        if key == "bev":
            chosen[key] = spaces.Box(0, 255, (BEV_SIZE, BEV_SIZE, len(BEV_CHANNELS)), np.uint8)
            continue
        chosen[key] = spaces.Box(-np.inf, np.inf, SHAPES[key], np.float32)
        if key in MASKED:
            chosen[f"{key}_mask"] = spaces.Box(0, 1, SHAPES[key][:1], np.float32)
    return spaces.Dict(chosen)


def observe(arrays: TorchArrays, worlds: Worlds, keys: tuple[str, ...], previous: Worlds) -> dict[str, Tensor]:
    """Return the chosen observations of N worlds, in the ego's frame (rear axle, x forward, y left)."""
    seen: dict[str, Tensor] = {}
    if "ego" in keys:
        seen["ego"] = ego_vector(arrays, worlds)
    if "agents" in keys:
        seen["agents"], seen["agents_mask"] = agents(arrays, worlds)
    if "lanes" in keys:
        seen["lanes"], seen["lanes_mask"] = lanes(arrays, worlds)
    if "route" in keys:
        seen["route"], seen["route_mask"] = route(arrays, worlds)
    if "bev" in keys:
        seen["bev"] = bev(arrays, worlds, previous)
    if "futures" in keys:
        seen["futures"] = futures(arrays, worlds)
    return seen


def ego_vector(arrays: TorchArrays, worlds: Worlds) -> Tensor:
    """(N, 10): speed, acceleration, steering, yaw rate, left offset from the route, heading error, speed limit,
    red light within 40 m ahead (1 or 0), nearness of it, share of the time gone."""
    s = worlds.path_s[:, None]
    here = path_at(arrays, worlds.scenario, s)
    ahead = s + torch.arange(1, 41, device=s.device)
    red = is_red(arrays, worlds, path_at(arrays, worlds.scenario, ahead)["light"])  # (N, 40)
    distance = torch.where(red, ahead - s, 40.0).amin(-1)
    ego = worlds.ego
    error = wrap(ego[:, 2] - here["heading"][:, 0])
    total = arrays.length[worlds.scenario]
    columns = [
        ego[:, StateColumn.VX] / SPEED,
        ego[:, StateColumn.AX] / 4,
        ego[:, StateColumn.STEERING],
        ego[:, StateColumn.YAW_RATE],
        worlds.path_offset / 4,
        error,
        here["limit"][:, 0] / SPEED,
        red.any(-1),
        1 - distance / 40,
        worlds.t / total,
    ]
    return torch.stack([column.float() for column in columns], -1)


def agents(arrays: TorchArrays, worlds: Worlds) -> tuple[Tensor, Tensor]:
    """The nearest objects: (N, 20, 14) place, heading (cos, sin), velocity, size, class (4), place along the route
    ahead of the ego and left of it; and the mask (N, 20)."""
    near, which = nearest(worlds)
    count = which.shape[1]
    rows = torch.arange(len(which), device=which.device)[:, None]
    boxes, velocities = worlds.boxes[rows, which], worlds.velocities[rows, which]
    kind = arrays.types[worlds.scenario[:, None], which].clamp_max(3)
    heading = boxes[..., 2] - worlds.ego[:, None, 2]
    turn = worlds.ego[:, None, 2].expand(-1, count)
    found = torch.cat(
        [
            in_ego_frame(worlds.ego, boxes[..., :2]) / LENGTH,
            heading_vector(heading),
            turned(velocities, turn) / SPEED,
            boxes[..., 3:] / LENGTH,
            torch.nn.functional.one_hot(kind, 4).float(),
            along_route(arrays, worlds, boxes[..., :2]) / LENGTH,
        ],
        -1,
    )
    mask = (near < REACH).float()
    found = found * mask[..., None]
    missing = AGENTS - count
    return torch.nn.functional.pad(found, (0, 0, 0, missing)), torch.nn.functional.pad(mask, (0, missing))


def nearest(worlds: Worlds) -> tuple[Tensor, Tensor]:
    """Distances [m] of the nearest objects (N, <= 20), inf where there is none, and which they are."""
    distance = (worlds.boxes[..., :2] - worlds.ego[:, None, :2]).norm(dim=-1)
    distance = torch.where(worlds.valid, distance, torch.inf)
    near, which = distance.topk(min(AGENTS, distance.shape[1]), dim=-1, largest=False)
    return near, which


def futures(arrays: TorchArrays, worlds: Worlds) -> Tensor:
    """Where the objects of `agents` will be in the recording, every 0.5 s for 5 s: (N, 20, 10, 5) place, heading (cos,
    sin), and 1 where it is known. A label for forecasts; a driver must not read it."""
    near, which = nearest(worlds)
    steps = worlds.t[:, None] + FUTURE_FRAMES * torch.arange(1, FUTURE_STEPS + 1, device=which.device)  # (N, 10)
    known = steps < arrays.length[worlds.scenario][:, None]
    steps = steps.clamp_max(arrays.boxes.shape[1] - 1)
    index = worlds.scenario[:, None, None], steps[:, None], which[..., None]
    boxes = arrays.boxes[index]  # (N, A, 10, 5)
    known = known[:, None] & arrays.valid[index] & (near < REACH)[..., None]
    heading = boxes[..., 2] - worlds.ego[:, None, None, 2]
    place = in_ego_frame(worlds.ego, boxes[..., :2]) / LENGTH
    found = torch.cat([place, heading_vector(heading), known[..., None].float()], -1) * known[..., None]
    return torch.nn.functional.pad(found, (0, 0, 0, 0, 0, AGENTS - which.shape[1]))


def along_route(arrays: TorchArrays, worlds: Worlds, points: Tensor) -> Tensor:
    """Points (N, K, 2) as arc length ahead of the ego and left offset [m] (N, K, 2) from the route's path."""
    ahead = ROUTE_STEP * torch.arange(-2, ROUTE + 1, device=points.device)
    path = path_at(arrays, worlds.scenario, worlds.path_s[:, None] + ahead)
    offset = points[:, :, None] - path["point"][:, None]  # (N, K, P, 2)
    nearest = offset.square().sum(-1).argmin(-1)  # (N, K)
    offset = offset.gather(2, nearest[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]
    local = turned(offset, path["heading"].gather(1, nearest))
    return torch.stack([ahead[nearest] + local[..., 0], local[..., 1]], -1)


def lanes(arrays: TorchArrays, worlds: Worlds) -> tuple[Tensor, Tensor]:
    """The nearest lane pieces: (N, 24, 23) ten points, speed limit, on the route, red; and the mask (N, 24)."""
    middle = arrays.pieces[worlds.scenario, :, 5]  # (N, L, 2)
    distance = (middle - worlds.ego[:, None, :2]).norm(dim=-1)
    distance = torch.where(arrays.piece_valid[worlds.scenario], distance, torch.inf)
    near, which = distance.topk(LANES, dim=-1, largest=False)
    rows = worlds.scenario[:, None]
    points = in_ego_frame(worlds.ego, arrays.pieces[rows, which]) / LENGTH  # (N, 24, 10, 2)
    red = is_red(arrays, worlds, arrays.piece_light[rows, which])
    flags = [arrays.piece_limit[rows, which] / SPEED, arrays.piece_on_route[rows, which].float(), red.float()]
    mask = (near < REACH).float()
    return torch.cat([points.flatten(2), torch.stack(flags, -1)], -1) * mask[..., None], mask


def route(arrays: TorchArrays, worlds: Worlds) -> tuple[Tensor, Tensor]:
    """The route ahead every 4 m: (N, 20, 6) place, heading (cos, sin), speed limit, red; and the mask (N, 20)."""
    s = worlds.path_s[:, None] + ROUTE_STEP * torch.arange(1, ROUTE + 1, device=worlds.path_s.device)
    path = path_at(arrays, worlds.scenario, s)
    heading = path["heading"] - worlds.ego[:, None, 2]
    red = is_red(arrays, worlds, path["light"]).float()
    found = torch.cat(
        [
            in_ego_frame(worlds.ego, path["point"]) / LENGTH,
            heading_vector(heading),
            (path["limit"] / SPEED)[..., None],
            red[..., None],
        ],
        -1,
    )
    mask = path["valid"].float()
    return found * mask[..., None], mask
