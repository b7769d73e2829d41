"""Hundreds of scenarios driven together: one step of all of them is a few dozen tensor operations, on CPU or GPU.

The same bicycle as the closed loop's (`vehicle.bicycle_step`); traffic replays the log, or follows its logged paths by
IDM (`logged_traffic`). Collisions are exact (`contacts`, separating axes of oriented boxes); the drivable area is
`arrays.ScenarioArrays.grid`. Everything is a function of the worlds' state; nothing is kept between calls.
"""

from dataclasses import replace

import torch
from torch import Tensor

from embodia.envs.driving.simulation.contacts import at_fault, near_collision, overlapping
from embodia.envs.driving.simulation.map_queries import outside, project
from embodia.envs.driving.simulation.plane import ego_centre, wrap
from embodia.envs.driving.simulation.worlds import DT, TorchArrays, Worlds
from embodia.envs.driving.vehicle.bicycle import (
    ACCELERATION_TIME_CONSTANT,
    MAX_STEERING,
    PACIFICA,
    STEERING_TIME_CONSTANT,
)

OFF_ROAD = 0.3  # [m] a corner may leave the drivable area by this much


def start(arrays: TorchArrays, chosen: Tensor, busy: Tensor | None = None) -> Worlds:
    """Worlds at iteration 0 of the scenarios `chosen` (N,), while others drive in the arrays' rows `busy` (n,)."""
    rows = arrays.rows(chosen.cpu().numpy(), None if busy is None else busy.cpu().numpy())
    scenario = torch.as_tensor(rows, device=chosen.device)
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
    """Mark objects that touch the ego at the start, which are no collisions of the policy."""
    return replace(worlds, hit=overlapping(worlds), off_road=outside(arrays, worlds) >= OFF_ROAD)


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
