"""N drives, stepped together on arrays: the present state of every ego and its traffic, and the record so far."""

from collections.abc import Mapping
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
from embodia.envs.driving.simulation.worlds import TorchArrays, Worlds, lengthened, pick
from embodia.envs.driving.types import STATE_SIZE, EgoState, Floats, Scene, Tracks, Trajectory
from embodia.envs.driving.vehicle.lqr import drive, track

WORLD_FIELDS = tuple(Worlds.__dataclass_fields__)


class Drives:
    """N scenarios being driven; world i drives `scenario_of(i)`.

    Args:
        arrays: all scenarios.
        chosen: (N,) the scenario that each world drives first.
        reactive: whether traffic reacts to the ego: on its logged paths, or as nuPlan's IDM agents if `exact`.
        exact: whether drives are nuPlan's closed loop, scored on the record.
        keeps_tracks: whether traffic is recorded, as exact scores and planners need it.
    """

    def __init__(self, arrays: TorchArrays, chosen: NDArray[np.int64], reactive: bool, exact: bool, keeps_tracks: bool):
        n = len(chosen)
        self.arrays, self.reactive, self.exact, self.keeps_tracks = arrays, reactive, exact, keeps_tracks
        self.worlds = self.previous = start(arrays, torch.as_tensor(chosen, device=arrays.device))
        steps = 0 if exact else arrays.ego.shape[1]
        self.record = torch.zeros(n, steps, STATE_SIZE, device=arrays.device)  # the ego at every iteration
        self.egos: list[Floats] = [np.zeros((0, STATE_SIZE))] * n  # in its place where `exact`, in map coordinates
        self.arrived: dict[int, Floats] = {}  # the exact egos of the worlds that have just been driven by a plan
        self.track_log: list[list[Tracks]] = [[] for _ in range(n)]
        self.agents = NuPlanTraffic(arrays, n) if exact and reactive else None
        self.begin(chosen, np.ones(n, bool))

    def begin(self, chosen: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        """Start the scenarios `chosen` (N,) in the worlds under a mask (N,)."""
        fresh = start(self.arrays, torch.as_tensor(chosen, device=self.arrays.device), self.worlds.scenario)
        if self.agents is not None:
            fresh = begun(self.arrays, replace(fresh, **self.agents.begin(fresh, mask)))
        where = torch.as_tensor(mask, device=self.arrays.device)
        self.worlds, self.previous = self.worlds.where(where, fresh), self.previous.where(where, fresh)
        if self.exact:
            for i in np.flatnonzero(mask).tolist():
                scenario = self.scenario_of(i)
                self.egos[i] = np.zeros((scenario.num_iterations, STATE_SIZE))
                self.egos[i][0] = scenario.ego[scenario.start]
        else:
            self.record = lengthened(self.record, self.arrays.ego.shape[1], axis=1)
            self.record[:, 0] = pick(where, self.worlds.ego, self.record[:, 0])
        for i in np.flatnonzero(mask).tolist():
            self.track_log[i] = []
            self._keep_tracks(i)

    def step(self, command: Tensor, running: NDArray[np.bool_], plans: Mapping[int, Trajectory]) -> None:
        """Drive by commands (N, 2): acceleration [m/s^2] and steering rate [rad/s], or by the plans of some worlds.

        All worlds move; the result is not used where they are not `running` (N,). If `exact`, a plan is driven bit
        for bit as in the closed loop, otherwise by the LQR tracker's commands.
        """
        old = self.worlds
        if self.agents is None:
            moved = traffic(self.arrays, old, self.reactive)
        else:
            moved = self.agents.step(old, {i: self.ego(i) for i in np.flatnonzero(running).tolist()})
        ego = self._planned_egos(bicycle(old.ego, command), plans) if self.exact else self._tracked(command, plans)
        self.previous, self.worlds = old, after(self.arrays, old, ego, moved)

    def _tracked(self, command: Tensor, plans: Mapping[int, Trajectory]) -> Tensor:
        """The egos (N, 11) one step on, worlds with a plan by the tracker's commands."""
        for i, plan in plans.items():
            command[i] = torch.as_tensor(track(self.ego(i).array(), plan, plan.start_us), dtype=command.dtype)
        return bicycle(self.worlds.ego, command)

    def _planned_egos(self, ego: Tensor, plans: Mapping[int, Trajectory]) -> Tensor:
        """The egos (N, 11) one step on, worlds with a plan by it; the exact ones stay in `arrived`."""
        if not plans:
            return ego
        states = np.stack([self.egos[i][self.iteration(i)] for i in plans])
        until = np.array([self.time_us(i, self.iteration(i) + 1) for i in plans])
        self.arrived = dict(zip(plans, drive(states, list(plans.values()), until)))
        for i, state in self.arrived.items():
            scenario = self.scenario_of(i)
            local = state.copy()
            local[:2] -= scenario.ego[scenario.start, :2]
            ego[i] = torch.as_tensor(local, dtype=ego.dtype)
        return ego

    def keep(self, running: NDArray[np.bool_]) -> None:
        """Record the egos, and the traffic of the worlds that are `running` (N,)."""
        if not self.exact:
            self.record[torch.arange(len(running), device=self.arrays.device), self.worlds.t] = self.worlds.ego
        for i in np.flatnonzero(running).tolist():
            if self.exact:
                self.egos[i][self.iteration(i)] = self.arrived.get(
                    i, self.in_map(i, self.worlds.ego[i].cpu().double().numpy())
                )
            self._keep_tracks(i)
        self.arrived = {}

    def _keep_tracks(self, i: int) -> None:
        if self.keeps_tracks:
            self.track_log[i].append(self.tracks(i))

    def scenario_of(self, i: int) -> Scenario:
        return self.arrays.scenario(int(self.worlds.scenario[i]))

    def number_of(self, i: int) -> int:
        """Index of the scenario that world i drives."""
        return int(self.arrays.number[int(self.worlds.scenario[i])])

    def iteration(self, i: int) -> int:
        return int(self.worlds.t[i])

    def time_us(self, i: int, t: int) -> int:
        """World i's time at an iteration."""
        scenario = self.scenario_of(i)
        return int(scenario.time_us[scenario.start + t])

    def ego(self, i: int, t: int | None = None) -> EgoState:
        """The ego of world i, now or at an iteration it has driven (negative: its history), in map coordinates."""
        t = self.iteration(i) if t is None else t
        if t < 0:
            return self.scenario_of(i).ego_at(t)
        state = self.egos[i][t] if self.exact else self.in_map(i, self.record[i, t].cpu().double().numpy())
        return EgoState.from_array(self.time_us(i, t), state)

    def driven(self, i: int, steps: int) -> Floats:
        """(steps, 11) states of world i's ego from iteration 0 on, in map coordinates."""
        return (
            self.egos[i][:steps].copy() if self.exact else self.in_map(i, self.record[i, :steps].cpu().double().numpy())
        )

    def in_map(self, i: int, states: Floats) -> Floats:
        """States or poses (..., >= 2) of world i's own frame in map coordinates."""
        scenario, moved = self.scenario_of(i), states.copy()
        moved[..., :2] += scenario.ego[scenario.start, :2]
        return moved

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
        """Input of a planner in world i. Needs `keeps_tracks`."""
        scenario, t = self.scenario_of(i), self.iteration(i)
        past = range(max(t - HISTORY_FRAMES, -scenario.start), t + 1)
        tracks = [scenario.tracks_at(k) if k < 0 else self.track_log[i][k] for k in past]
        return Scene(t, self.time_us(i, t), [self.ego(i, k) for k in past], tracks, scenario.lights_at(t))

    def history(self, i: int) -> History:
        """Record of world i, as nuPlan's scores read it. Needs `keeps_tracks`."""
        scenario, steps = self.scenario_of(i), self.iteration(i) + 1
        times = scenario.time_us[scenario.start : scenario.start + steps]
        return History(scenario, times, self.driven(i, steps), self.track_log[i][:steps])

    def get_state(self) -> State:
        return {
            "worlds": self._worlds_to_state(self.worlds),
            "previous": self._worlds_to_state(self.previous),
            "record": self.record.cpu().numpy().copy(),
            "egos": [states.copy() for states in self.egos],
            "traffic": [[tracks_to_state(tracks) for tracks in frames] for frames in self.track_log],
            "agents": [None] * len(self.track_log) if self.agents is None else self.agents.get_state(),
        }

    def set_state(self, state: State) -> None:
        self.worlds, self.previous = (self._state_to_worlds(state[when]) for when in ("worlds", "previous"))
        self.record = torch.as_tensor(np.array(state["record"]), device=self.arrays.device)
        self.egos = [np.array(states) for states in state.get("egos", self.egos)]  # older ones have none
        self.track_log = [[state_to_tracks(tracks) for tracks in frames] for frames in state["traffic"]]
        if self.agents is not None:
            self.agents.set_state(state["agents"], self.worlds)

    def _worlds_to_state(self, worlds: Worlds) -> State:
        """Every field as an array; the scenarios by their own numbers, which do not depend on what else is kept."""
        state = {name: getattr(worlds, name).cpu().numpy().copy() for name in WORLD_FIELDS}
        return {**state, "scenario": self.arrays.number[state["scenario"]]}

    def _state_to_worlds(self, state: State) -> Worlds:
        rows = self.arrays.rows(np.asarray(state["scenario"]))
        arrays = {**{name: np.array(state[name]) for name in WORLD_FIELDS}, "scenario": rows}
        return Worlds(**{name: torch.as_tensor(array, device=self.arrays.device) for name, array in arrays.items()})
