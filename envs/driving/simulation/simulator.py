"""Hundreds of scenarios driven together: one step of all of them is a few dozen tensor operations, on CPU or GPU.

The same bicycle as the closed loop's (`vehicle.bicycle_step`); traffic replays the log, or follows its logged paths by
IDM. Collisions are exact (separating axes of oriented boxes); the drivable area is `arrays.ScenarioArrays.grid`.
Everything is a function of the worlds' state; nothing is kept between calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.simulation.arrays import GRID_STEP, GRID_UNIT, NO_LIGHT, PATH_STEP, compile_scenario
from embodia.envs.driving.types import StateColumn, TrackedObjectType
from embodia.envs.driving.vehicle.bicycle import (
    ACCELERATION_TIME_CONSTANT,
    MAX_STEERING,
    PACIFICA,
    STEERING_TIME_CONSTANT,
)

DT = 0.1  # [s]
STOPPED = 0.05  # [m/s] below which a vehicle stands, for the question of fault
BEHIND = 150 * np.pi / 180  # [rad] bearing beyond which a track is behind the ego
OFF_ROAD = 0.3  # [m] a corner may leave the drivable area by this much
OFF_CENTRE = 1.0  # [m] lateral offset beyond which a sideways collision counts as the ego's fault
TTC_TIMES = (0.3, 0.6, 0.9)  # [s]
IDM_LIMIT, IDM_GAP, IDM_HEADWAY, IDM_ACCELERATION, IDM_BRAKING = 10.0, 1.0, 1.5, 1.0, 2.0  # nuPlan's reactive agents


class TorchArrays:
    """Scenarios as tensors by the names of `arrays.ScenarioArrays`, each compiled when it is first asked for."""

    def __init__(self, scenarios: Sequence[Scenario], max_agents: int, device: torch.device):
        self.scenarios, self.max_agents, self.device = scenarios, max_agents, device
        self.ready = np.zeros(len(scenarios), bool)

    def need(self, chosen: NDArray[np.int64]) -> None:
        """Compile the scenarios (n,) that are not yet. Raises ValueError where their lengths differ."""
        for number in np.unique(chosen[~self.ready[chosen]]).tolist():
            compiled = compile_scenario(self.scenarios[number], self.max_agents)
            for f in fields(compiled):
                value = torch.as_tensor(getattr(compiled, f.name))
                if f.name not in self.__dict__:  # numpy's zeros take no memory before they are written to
                    empty = np.zeros((len(self.scenarios), *value.shape), value.numpy().dtype)
                    setattr(self, f.name, torch.as_tensor(empty, device=self.device))
                table = getattr(self, f.name)
                if table[number].shape != value.shape:
                    raise ValueError(
                        f"scenarios stepped together need one length; {self.scenarios[number].token} has "
                        f"{len(compiled.ego)} iterations, others {self.ego.shape[1]}"
                    )
                table[number] = value
            self.ready[number] = True

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@dataclass(frozen=True)
class Worlds:
    """N worlds at one time; every field has the worlds first."""

    scenario: Tensor  # (N,) int64 index into the arrays
    t: Tensor  # (N,) int64 iteration
    ego: Tensor  # (N, 11) as `types.StateColumn`
    boxes: Tensor  # (N, M, 5) the objects now
    velocities: Tensor  # (N, M, 2)
    valid: Tensor  # (N, M) bool
    agent_arc: Tensor  # (N, M) [m] how far each object is along its logged path
    agent_speed: Tensor  # (N, M) [m/s]
    path_s: Tensor  # (N,) [m] of the ego's box centre along the route's path
    path_offset: Tensor  # (N,) [m] left of it
    start_s: Tensor  # (N,) [m]
    hit: Tensor  # (N, M) bool: has collided before; each object counts once
    collided: Tensor  # (N,) bool: an at-fault collision in this step
    off_road: Tensor  # (N,) bool now
    ttc: Tensor  # (N,) bool: a collision within 0.9 s at constant velocities

    def where(self, mask: Tensor, other: "Worlds") -> "Worlds":
        """These worlds, those of `other` where `mask` (N,)."""
        return replace(
            self, **{f.name: pick(mask, getattr(other, f.name), getattr(self, f.name)) for f in fields(self)}
        )


def pick(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where mask (N,), else b; both (N, ...)."""
    return torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b)


def start(arrays: TorchArrays, scenario: Tensor) -> Worlds:
    """Worlds at iteration 0 of their scenarios (N,)."""
    arrays.need(scenario.cpu().numpy())
    t = torch.zeros_like(scenario)
    ego = arrays.ego[scenario, 0]
    boxes, velocities, valid = (getattr(arrays, name)[scenario, 0] for name in ("boxes", "velocities", "valid"))
    false = torch.zeros(len(scenario), dtype=torch.bool, device=ego.device)
    zero = torch.zeros(len(scenario), device=ego.device)
    worlds = Worlds(
        scenario, t, ego, boxes, velocities, valid, torch.zeros_like(boxes[..., 0]), velocities.norm(dim=-1),
        zero, zero, zero, torch.zeros_like(valid), false, false, false,
    )  # fmt: skip
    s, offset = project(arrays, scenario, ego_centre(ego), zero, everywhere=True)
    return begun(arrays, replace(worlds, path_s=s, path_offset=offset, start_s=s))


def begun(arrays: TorchArrays, worlds: Worlds) -> Worlds:
    """The same: what touches the ego at the start was not run into by the policy."""
    return replace(worlds, hit=overlapping(worlds), off_road=outside(arrays, worlds) >= OFF_ROAD)


def step(arrays: TorchArrays, worlds: Worlds, command: Tensor, reactive: bool) -> Worlds:
    """Drive by commands (N, 2): acceleration [m/s^2] and steering rate [rad/s], 0.1 s."""
    return after(arrays, worlds, bicycle(worlds.ego, command), traffic(arrays, worlds, reactive))


def traffic(arrays: TorchArrays, worlds: Worlds, reactive: bool) -> dict[str, Tensor]:
    """The objects one step later, as fields of `Worlds`: recorded, or reacting to the ego as it is now."""
    replayed = follow_log(arrays, worlds, worlds.t + 1)
    return follow_path(arrays, worlds, replayed) if reactive else replayed


def after(arrays: TorchArrays, worlds: Worlds, ego: Tensor, moved: dict[str, Tensor]) -> Worlds:
    """The worlds one step later, with the ego at a state (N, 11) and the objects where `traffic` says."""
    t = worlds.t + 1
    worlds = replace(worlds, t=t, ego=ego, **moved)
    s, offset = project(arrays, worlds.scenario, ego_centre(ego), worlds.path_s)
    worlds = replace(worlds, path_s=s, path_offset=offset)
    touching = overlapping(worlds)
    fault = (touching & ~worlds.hit & at_fault(worlds)).any(-1)
    return replace(
        worlds,
        hit=worlds.hit | touching,
        collided=fault,
        off_road=outside(arrays, worlds) >= OFF_ROAD,
        ttc=near_collision(worlds),
    )


def bicycle(ego: Tensor, command: Tensor) -> Tensor:
    """`vehicle.bicycle_step` in torch: ego (N, 11), command (N, 2) -> (N, 11)."""
    x, y, heading, v, _, a, _, steering, _, yaw_rate, _ = ego.unbind(-1)
    a_new = a + DT / (DT + ACCELERATION_TIME_CONSTANT) * (command[:, 0] - a)
    lagged = steering + DT / (DT + STEERING_TIME_CONSTANT) * DT * command[:, 1]
    rate = (lagged - steering) / DT
    v_new = v + a_new * DT
    steering_new = (steering + rate * DT).clamp(-MAX_STEERING, MAX_STEERING)
    yaw_new = v_new * steering_new.tan() / PACIFICA.wheel_base
    zero = torch.zeros_like(x)
    return torch.stack(
        [
            x + v * heading.cos() * DT,
            y + v * heading.sin() * DT,
            wrap(heading + v * steering.tan() / PACIFICA.wheel_base * DT),
            v_new, zero, a_new, zero, steering_new, rate, yaw_new, (yaw_new - yaw_rate) / DT,
        ],
        -1,
    )  # fmt: skip


def follow_log(arrays: TorchArrays, worlds: Worlds, t: Tensor) -> dict[str, Tensor]:
    """The objects as they were recorded."""
    t = t.clamp_max(arrays.boxes.shape[1] - 1)
    recorded = {name: getattr(arrays, name)[worlds.scenario, t] for name in ("boxes", "velocities", "valid")}
    return {
        **recorded,
        "agent_arc": arrays.arc[worlds.scenario, t],
        "agent_speed": recorded["velocities"].norm(dim=-1),
    }


def follow_path(arrays: TorchArrays, worlds: Worlds, replayed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Vehicles present from the start keep to their logged paths at IDM's speed; cyclists are dropped, as in nuPlan."""
    kind = arrays.types[worlds.scenario]  # (N, M)
    present = arrays.valid[worlds.scenario, 0]
    reacts = (kind == TrackedObjectType.VEHICLE) & present & arrays.moves[worlds.scenario]
    parked = (kind == TrackedObjectType.VEHICLE) & present & ~arrays.moves[worlds.scenario]
    acceleration = idm(worlds, leads(worlds))
    speed = (worlds.agent_speed + DT * acceleration).clamp_min(0)
    arc = worlds.agent_arc + DT * worlds.agent_speed
    boxes = boxes_at(arrays, worlds.scenario, arc, worlds.boxes)
    heading = boxes[..., 2]
    velocity = torch.stack([speed * heading.cos(), speed * heading.sin()], -1)
    stays = parked[..., None]
    valid = torch.where(reacts, worlds.valid, replayed["valid"])
    valid = valid & (kind != TrackedObjectType.BICYCLE) & ~((kind == TrackedObjectType.VEHICLE) & ~present)
    chosen = reacts[..., None]
    return {
        "boxes": torch.where(chosen, boxes, torch.where(stays, worlds.boxes, replayed["boxes"])),
        "velocities": torch.where(chosen, velocity, replayed["velocities"]),
        "valid": valid | parked,
        "agent_arc": torch.where(reacts, arc, replayed["agent_arc"]),
        "agent_speed": torch.where(reacts, speed, replayed["agent_speed"]),
    }


def boxes_at(arrays: TorchArrays, scenario: Tensor, arc: Tensor, now: Tensor) -> Tensor:
    """Boxes (N, M, 5) at arc lengths (N, M) of the logged paths; straight on beyond a path's end."""
    table = arrays.arc[scenario].transpose(1, 2).contiguous()  # (N, M, T)
    after_ = torch.searchsorted(table, arc[..., None].contiguous(), right=True)[..., 0].clamp(1, table.shape[-1] - 1)
    worlds, agents = torch.arange(len(arc))[:, None], torch.arange(arc.shape[1])[None]
    low, high = table[worlds, agents, after_ - 1], table[worlds, agents, after_]
    share = ((arc - low) / (high - low).clamp_min(1e-3)).clamp(0, 1)[..., None]
    a = arrays.boxes[scenario[:, None], after_ - 1, agents]
    b = arrays.boxes[scenario[:, None], after_, agents]
    xy = a[..., :2] + share * (b[..., :2] - a[..., :2])
    heading = wrap(a[..., 2] + share[..., 0] * wrap(b[..., 2] - a[..., 2]))
    beyond = (arc - table[..., -1]).clamp_min(0)
    xy = xy + beyond[..., None] * torch.stack([heading.cos(), heading.sin()], -1)
    return torch.cat([xy, heading[..., None], now[..., 3:]], -1)


def leads(worlds: Worlds) -> tuple[Tensor, Tensor]:
    """Gap [m] and speed [m/s] along its own heading of what each object has straight ahead, (N, M) each."""
    ego_box = ego_boxes(worlds.ego)[:, None]
    ego_velocity = worlds.ego[:, StateColumn.VX, None] * heading_vector(worlds.ego[:, StateColumn.HEADING])
    boxes = torch.cat([worlds.boxes, ego_box], 1)  # (N, M + 1, 5)
    velocities = torch.cat([worlds.velocities, ego_velocity[:, None]], 1)
    present = torch.cat([worlds.valid, torch.ones_like(worlds.valid[:, :1])], 1)
    forward = heading_vector(worlds.boxes[..., 2])  # (N, M, 2)
    offset = boxes[:, None, :, :2] - worlds.boxes[:, :, None, :2]  # (N, M, M + 1, 2)
    ahead = (offset * forward[:, :, None]).sum(-1)
    aside = (offset[..., 1] * forward[:, :, None, 0] - offset[..., 0] * forward[:, :, None, 1]).abs()
    turn = boxes[:, None, :, 2] - worlds.boxes[:, :, None, 2]
    cos, sin = turn.cos().abs(), turn.sin().abs()
    half_length = (boxes[:, None, :, 3] * cos + boxes[:, None, :, 4] * sin) / 2
    half_width = (boxes[:, None, :, 3] * sin + boxes[:, None, :, 4] * cos) / 2
    in_way = (aside < half_width + worlds.boxes[:, :, None, 4] / 2) & (ahead > 0) & present[:, None]
    gap = torch.where(in_way, ahead - half_length - worlds.boxes[:, :, None, 3] / 2, 1e4)
    nearest, which = gap.min(-1)
    chosen = velocities.gather(1, which[..., None].expand(-1, -1, 2))  # (N, M, 2)
    return nearest, (chosen * forward).sum(-1)


def idm(worlds: Worlds, lead: tuple[Tensor, Tensor]) -> Tensor:
    """Accelerations (N, M) [m/s^2] of the intelligent driver model (Treiber 2000) with nuPlan's parameters."""
    gap, lead_speed = lead
    v = worlds.agent_speed
    wanted = IDM_GAP + v * IDM_HEADWAY + v * (v - lead_speed) / (2 * (IDM_ACCELERATION * IDM_BRAKING) ** 0.5)
    acceleration = IDM_ACCELERATION * (1 - (v / IDM_LIMIT) ** 4 - (wanted / gap.clamp_min(IDM_GAP)) ** 2)
    return acceleration.clamp(-IDM_BRAKING, IDM_ACCELERATION)


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


def ego_centre(ego: Tensor) -> Tensor:
    """(N, 2)"""
    return ego[:, :2] + PACIFICA.rear_axle_to_center * heading_vector(ego[:, 2])


def ego_boxes(ego: Tensor) -> Tensor:
    """(N, 5)"""
    size = torch.tensor([PACIFICA.length, PACIFICA.width], device=ego.device).expand(len(ego), 2)
    return torch.cat([ego_centre(ego), ego[:, 2:3], size], -1)


def heading_vector(heading: Tensor) -> Tensor:
    """(..., 2)"""
    return torch.stack([heading.cos(), heading.sin()], -1)


def wrap(angle: Tensor) -> Tensor:
    """In [-pi, pi)."""
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi


def separation(a: Tensor, b: Tensor) -> Tensor:
    """`geometry.box_separation` in torch: the largest gap of boxes (..., 5) along their axes, negative in overlap."""
    offset = b[..., :2] - a[..., :2]
    turn = b[..., 2] - a[..., 2]
    cos, sin = turn.cos().abs(), turn.sin().abs()
    gaps = []
    for own, other in ((a, b), (b, a)):
        c, s = own[..., 2].cos(), own[..., 2].sin()
        along = (offset[..., 0] * c + offset[..., 1] * s).abs()
        across = (offset[..., 1] * c - offset[..., 0] * s).abs()
        gaps.append(along - (own[..., 3] + other[..., 3] * cos + other[..., 4] * sin) / 2)
        gaps.append(across - (own[..., 4] + other[..., 3] * sin + other[..., 4] * cos) / 2)
    return torch.stack(gaps).amax(0)


def overlapping(worlds: Worlds) -> Tensor:
    """(N, M) objects that the ego's box touches."""
    return (separation(ego_boxes(worlds.ego)[:, None], worlds.boxes) <= 0) & worlds.valid


def at_fault(worlds: Worlds) -> Tensor:
    """(N, M) whether a first contact now would be the ego's fault, by nuPlan's classes.

    Sideways contacts count where the ego's centre is a metre off its path (the exact score asks the lane graph).
    """
    ego = worlds.ego
    stopped = ego[:, StateColumn.VX].abs()[:, None] <= STOPPED
    stands = worlds.velocities.norm(dim=-1) <= STOPPED
    offset = worlds.boxes[..., :2] - ego[:, None, :2]
    bearing = wrap(torch.atan2(offset[..., 1], offset[..., 0]) - ego[:, None, 2]).abs()
    edge = ego_boxes(ego)
    front = edge.clone()
    front[:, :2] = edge[:, :2] + PACIFICA.length / 2 * heading_vector(edge[:, 2])
    front[:, 3] = 0.0
    by_front = separation(front[:, None], worlds.boxes) <= 0
    astray = (worlds.path_offset.abs() > OFF_CENTRE)[:, None]
    return ~stopped & (stands | ((bearing <= BEHIND) & (by_front | astray)))


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


def near_collision(worlds: Worlds) -> Tensor:
    """(N,) whether the ego would touch something ahead within 0.9 s at constant velocities."""
    box = ego_boxes(worlds.ego)
    velocity = worlds.ego[:, StateColumn.VX, None] * heading_vector(worlds.ego[:, 2])
    times = torch.tensor(TTC_TIMES, device=box.device)[:, None, None]  # (K, 1, 1)
    ego = box.expand(len(TTC_TIMES), *box.shape).clone()
    ego[..., :2] += times * velocity
    others = worlds.boxes.expand(len(TTC_TIMES), *worlds.boxes.shape).clone()
    others[..., :2] += times[..., None] * worlds.velocities
    soon = (separation(ego[:, :, None], others) <= 0).any(0) & worlds.valid & ~worlds.hit
    offset = worlds.boxes[..., :2] - worlds.ego[:, None, :2]
    ahead = wrap(torch.atan2(offset[..., 1], offset[..., 0]) - worlds.ego[:, None, 2]).abs() <= torch.pi / 2
    moving = worlds.ego[:, StateColumn.VX].abs()[:, None] > STOPPED
    return (soon & ahead & moving).any(-1)


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
