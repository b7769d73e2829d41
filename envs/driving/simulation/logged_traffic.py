"""Traffic one step later: as it was recorded, or on its logged paths at the speeds of nuPlan's IDM."""

import torch
from torch import Tensor

from embodia.envs.driving.simulation.plane import ego_boxes, heading_vector, wrap
from embodia.envs.driving.simulation.worlds import DT, TorchArrays, Worlds
from embodia.envs.driving.types import StateColumn, TrackedObjectType

IDM_LIMIT, IDM_GAP, IDM_HEADWAY, IDM_ACCELERATION, IDM_BRAKING = 10.0, 1.0, 1.5, 1.0, 2.0  # nuPlan's reactive agents


def traffic(arrays: TorchArrays, worlds: Worlds, reactive: bool) -> dict[str, Tensor]:
    """The objects one step later, as fields of `Worlds`: recorded, or reacting to the ego as it is now."""
    replayed = follow_log(arrays, worlds, worlds.t + 1)
    return follow_path(arrays, worlds, replayed) if reactive else replayed


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
