"""nuPlan's reactive traffic in batched worlds: one set of IDM agents per world, written into the arrays."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs import State
from embodia.envs.driving.simulation.logged_traffic import follow_log
from embodia.envs.driving.simulation.observations import IdmAgents, step_together
from embodia.envs.driving.simulation.worlds import TorchArrays, Worlds
from embodia.envs.driving.types import EgoState, Tracks


class NuPlanTraffic:
    """The IDM agents of N worlds."""

    def __init__(self, arrays: TorchArrays, num_envs: int):
        self.arrays = arrays
        self.agents: dict[int, IdmAgents] = {}
        self.num_envs = num_envs

    def begin(self, worlds: Worlds, mask: NDArray[np.bool_]) -> dict[str, Tensor]:
        """New agents for the worlds under a mask (N,), as fields of `Worlds`."""
        chosen = np.flatnonzero(mask).tolist()
        self.agents |= {i: IdmAgents(self.arrays.scenario(int(worlds.scenario[i]))) for i in chosen}
        return self._as_arrays(worlds, chosen)

    def step(self, worlds: Worlds, egos: Mapping[int, EgoState]) -> dict[str, Tensor]:
        """The objects one step later, as fields of `Worlds`, where egos (now, by world) are given."""
        steps = []
        for i, ego in egos.items():
            scenario, t = self.arrays.scenario(int(worlds.scenario[i])), int(worlds.t[i])
            now = int(scenario.time_us[scenario.start + t + 1])
            steps.append((t + 1, ego, now * 1e-6 - ego.time_us * 1e-6))
        errors = step_together([self.agents[i] for i in egos], steps)
        if error := next(filter(None, errors), None):
            raise error
        return self._as_arrays(worlds, egos)

    def tracks(self, i: int) -> Tracks:
        """The traffic of world i now, in map coordinates."""
        return self.agents[i].tracks

    def _as_arrays(self, worlds: Worlds, some: Iterable[int]) -> dict[str, Tensor]:
        """Fields of `Worlds`, agents in the columns of their tracks; in all other worlds the log."""
        device = self.arrays.device
        fields = follow_log(self.arrays, worlds, worlds.t)
        for i in some:
            where = int(worlds.scenario[i])
            scenario, tracks = self.arrays.scenario(where), self.agents[i].tracks
            row = {token: k for k, token in enumerate(tracks.tokens)}
            names = [scenario.tracks.tokens[k] if k >= 0 else "" for k in self.arrays.track[where].tolist()]
            slots = [k for k, name in enumerate(names) if name in row]
            rows = [row[names[k]] for k in slots]
            boxes = tracks.boxes[rows]
            boxes[:, :2] -= scenario.ego[scenario.start, :2]
            fields["valid"][i] = False
            fields["valid"][i, slots] = True
            fields["boxes"][i, slots] = torch.as_tensor(boxes, dtype=torch.float32, device=device)
            velocities = torch.as_tensor(np.nan_to_num(tracks.velocities[rows]), dtype=torch.float32, device=device)
            fields["velocities"][i, slots] = velocities
            fields["agent_speed"][i, slots] = velocities.norm(dim=-1)
        return fields

    def get_state(self) -> list[Any]:
        return [self.agents[i].get_state() for i in range(self.num_envs)]

    def set_state(self, states: list[Any], worlds: Worlds) -> None:
        for i, state in enumerate(states):
            self.agents[i] = IdmAgents(self.arrays.scenario(int(worlds.scenario[i])))
            self.agents[i].set_state(state)


def tracks_to_state(tracks: Tracks) -> State:
    return {
        "tokens": list(tracks.tokens),
        "types": tracks.types,
        "boxes": tracks.boxes,
        "velocities": tracks.velocities,
    }


def state_to_tracks(state: State) -> Tracks:
    return Tracks(tuple(state["tokens"]), state["types"], state["boxes"], state["velocities"])
