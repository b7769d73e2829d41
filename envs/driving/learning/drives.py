"""N drives under way: where every ego and its traffic are, stepped together on arrays, and what they did so far."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs import State
from embodia.envs.driving.learning.nuplan_traffic import NuPlanTraffic, state_to_tracks, tracks_to_state
from embodia.envs.driving.scenarios.scenario import HISTORY_FRAMES, Scenario
from embodia.envs.driving.simulation.closed_loop import History
from embodia.envs.driving.simulation.logged_traffic import traffic
from embodia.envs.driving.simulation.simulator import after, begun, bicycle, start
from embodia.envs.driving.simulation.worlds import TorchArrays, Worlds, pick
from embodia.envs.driving.types import STATE_SIZE, EgoState, Floats, Scene, Tracks

WORLD_FIELDS = tuple(Worlds.__dataclass_fields__)


class Drives:
    """Scenarios being driven, world i the one of `scenario_of(i)`.

    Args:
        arrays: the scenarios there are.
        chosen: (N,) which of them each world drives first.
        reactive: traffic reacts to the ego: on its logged paths, or, where `exact`, as nuPlan's IDM agents.
        exact: nuPlan's closed loop, scored on records.
        keeps_tracks: records what traffic did, for exact scores and planners.
    """

    def __init__(self, arrays: TorchArrays, chosen: NDArray[np.int64], reactive: bool, exact: bool, keeps_tracks: bool):
        n, self.length = len(chosen), arrays.scenarios[0].num_iterations
        self.arrays, self.reactive, self.exact, self.keeps_tracks = arrays, reactive, exact, keeps_tracks
        self.worlds = self.previous = start(arrays, torch.as_tensor(chosen, device=arrays.device))
        self.record = torch.zeros(n, self.length, STATE_SIZE, device=arrays.device)  # the ego at every iteration
        self.track_log: list[list[Tracks]] = [[] for _ in range(n)]
        self.agents = NuPlanTraffic(arrays, n) if exact and reactive else None
        self.begin(chosen, np.ones(n, bool))

    def begin(self, chosen: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        """Start the scenarios `chosen` (N,) in the worlds under a mask (N,)."""
        fresh = start(self.arrays, torch.as_tensor(chosen, device=self.arrays.device))
        if self.agents is not None:
            fresh = begun(self.arrays, replace(fresh, **self.agents.begin(fresh, mask)))
        where = torch.as_tensor(mask, device=self.arrays.device)
        self.worlds, self.previous = self.worlds.where(where, fresh), self.previous.where(where, fresh)
        self.record[:, 0] = pick(where, self.worlds.ego, self.record[:, 0])
        for i in np.flatnonzero(mask).tolist():
            self.track_log[i] = []
            self._keep_tracks(i)

    def step(self, command: Tensor, running: NDArray[np.bool_]) -> None:
        """Drive by commands (N, 2): acceleration [m/s^2] and steering rate [rad/s]; all worlds move, those that are
        not `running` (N,) to no purpose."""
        old = self.worlds
        if self.agents is None:
            moved = traffic(self.arrays, old, self.reactive)
        else:
            moved = self.agents.step(old, {i: self.ego(i) for i in np.flatnonzero(running).tolist()})
        self.previous, self.worlds = old, after(self.arrays, old, bicycle(old.ego, command), moved)

    def keep(self, running: NDArray[np.bool_]) -> None:
        """Record where everybody is, of traffic where worlds are `running` (N,)."""
        self.record[torch.arange(len(running), device=self.arrays.device), self.worlds.t] = self.worlds.ego
        for i in np.flatnonzero(running).tolist():
            self._keep_tracks(i)

    def _keep_tracks(self, i: int) -> None:
        if self.keeps_tracks:
            self.track_log[i].append(self.tracks(i))

    def scenario_of(self, i: int) -> Scenario:
        return self.arrays.scenarios[int(self.worlds.scenario[i])]

    def iteration(self, i: int) -> int:
        return int(self.worlds.t[i])

    def ego(self, i: int, t: int | None = None) -> EgoState:
        """The ego of world i, now or at an iteration it has driven (negative: its history), in map coordinates."""
        scenario, t = self.scenario_of(i), self.iteration(i) if t is None else t
        if t < 0:
            return scenario.ego_at(t)
        return EgoState.from_array(int(scenario.time_us[scenario.start + t]), self.driven(i, t + 1)[t])

    def driven(self, i: int, steps: int) -> Floats:
        """(steps, 11) states of world i's ego from iteration 0 on, in map coordinates."""
        scenario = self.scenario_of(i)
        ego = self.record[i, :steps].cpu().double().numpy()
        ego[:, :2] += scenario.ego[scenario.start, :2]
        return ego

    def tracks(self, i: int) -> Tracks:
        """The traffic of world i now, in map coordinates."""
        if self.agents is not None:
            return self.agents.tracks(i)
        scenario = self.scenario_of(i)
        if not self.reactive:
            return scenario.tracks_at(self.iteration(i))
        valid = self.worlds.valid[i].cpu().numpy()
        boxes = self.worlds.boxes[i].cpu().double().numpy()[valid]
        boxes[:, :2] += scenario.ego[scenario.start, :2]
        kinds = self.arrays.types[self.worlds.scenario[i]].cpu().numpy()[valid].astype(np.int8)
        tokens = tuple(str(k) for k in np.flatnonzero(valid))
        return Tracks(tokens, kinds, boxes, self.worlds.velocities[i].cpu().double().numpy()[valid])

    def scene(self, i: int) -> Scene:
        """What a planner is shown of world i. Needs `keeps_tracks`."""
        scenario, t = self.scenario_of(i), self.iteration(i)
        past = range(max(t - HISTORY_FRAMES, -scenario.start), t + 1)
        tracks = [scenario.tracks_at(k) if k < 0 else self.track_log[i][k] for k in past]
        time_us = int(scenario.time_us[scenario.start + t])
        return Scene(t, time_us, [self.ego(i, k) for k in past], tracks, scenario.lights_at(t))

    def history(self, i: int) -> History:
        """What world i has driven, as nuPlan's scores read it. Needs `keeps_tracks`."""
        scenario, steps = self.scenario_of(i), self.iteration(i) + 1
        times = scenario.time_us[scenario.start : scenario.start + steps]
        return History(scenario, times, self.driven(i, steps), self.track_log[i][:steps])

    def get_state(self) -> State:
        return {
            "worlds": {name: getattr(self.worlds, name).cpu().numpy().copy() for name in WORLD_FIELDS},
            "previous": {name: getattr(self.previous, name).cpu().numpy().copy() for name in WORLD_FIELDS},
            "record": self.record.cpu().numpy().copy(),
            "traffic": [[tracks_to_state(tracks) for tracks in frames] for frames in self.track_log],
            "agents": [None] * len(self.track_log) if self.agents is None else self.agents.get_state(),
        }

    def set_state(self, state: State) -> None:
        self.arrays.need(np.asarray(state["worlds"]["scenario"]))
        self.worlds, self.previous = (
            Worlds(**{name: torch.as_tensor(np.array(state[when][name]), device=self.arrays.device)
                      for name in WORLD_FIELDS})
            for when in ("worlds", "previous")
        )  # fmt: skip
        self.record = torch.as_tensor(np.array(state["record"]), device=self.arrays.device)
        self.track_log = [[state_to_tracks(tracks) for tracks in frames] for frames in state["traffic"]]
        if self.agents is not None:
            self.agents.set_state(state["agents"], self.worlds)
