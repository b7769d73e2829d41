"""Driving as a learning environment: N scenarios stepped together, and one of them as a Gymnasium environment."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs import Info, NoExpert, Observation, Split, State, level_seed
from embodia.envs.driving.learning.log_expert import LogExpert, local_poses
from embodia.envs.driving.learning.manoeuvre import (
    ACCELERATION,
    MANOEUVRES,
    STEERING_RATE,
    TRAJECTORY_TIMES,
    ActionKind,
    action_space,
    controls,
    manoeuvres,
    trajectory_commands,
)
from embodia.envs.driving.learning.observation import observation_space, observe
from embodia.envs.driving.learning.pool import scenario_pool
from embodia.envs.driving.learning.scores import Rules, declared
from embodia.envs.driving.metrics.closed_loop_scores import MULTIPLIERS, WEIGHTS, score_history, weighted_score
from embodia.envs.driving.options import RoadOptions
from embodia.envs.driving.pictures.render import BirdsEye, View
from embodia.envs.driving.scenarios.scenario import HISTORY_FRAMES, Scenario
from embodia.envs.driving.simulation.closed_loop import History, Planner, PlannerError
from embodia.envs.driving.simulation.observations import IdmAgents
from embodia.envs.driving.simulation.simulator import (
    TorchArrays,
    Worlds,
    after,
    begun,
    bicycle,
    follow_log,
    path_at,
    pick,
    start,
    traffic,
)
from embodia.envs.driving.types import STATE_SIZE, EgoState, Scene, StateColumn, Tracks
from embodia.envs.driving.vehicle.lqr import Reference, fit_reference, lqr_commands, track

MakePlanner = Callable[[Scenario], Planner]
PROGRESS, FAILURE, DANGER, DISCOMFORT, OVERSPEED = 1.0, 1.0, 0.3, 0.02, 0.02
COMFORT_JERK, COMFORT_ACCELERATION = 8.0, 3.0  # [m/s^3], [m/s^2]
SUMS = ("ttc", "comfort", "overspeed", "backwards", "failed")
WORLD_FIELDS = tuple(Worlds.__dataclass_fields__)


class DrivingVectorEnv(VectorEnv):
    """N driving scenarios at 10 Hz, one native step on arrays.

    Task: follow the route for the scenario's 15 s under nuPlan's rules. `reset(seed=s)` starts scenario `s` modulo the
    number of scenarios; `reset()` draws one.

    Actions (`action`):
      continuous   Box(2): acceleration in 3 m/s^2 and steering rate in 0.5 rad/s, each in [-1, 1]
      manoeuvre    Discrete(9) = 3 * side (keep, left, right) + speed (slower, keep, faster); see `manoeuvre`
      trajectory   Box(51): 17 rear-axle poses (x, y, heading) [m, rad] in the ego's frame, 0.5 s apart from now on,
                   the first where the ego ought to be; LQR tracked
    The ego is nuPlan's kinematic bicycle. Traffic replays the log, or with `reactive` follows its logged paths by IDM.

    Observations (`observation`, each with its `_mask` where rows may be missing): `ego` (10,), `agents` (20, 14),
    `lanes` (24, 23), `route` (20, 6) in the ego's frame (see `learning_observation`), and `bev` uint8 (64, 64, 6).

    Reward: progress along the route in this step over the expert's progress in the whole scenario (at least 20 m; so a
    drive as far as the expert's earns 1), minus 1 for the first collision of its own fault or leaving the drivable
    area, minus 0.3 when a collision first is 0.9 s away, minus 0.02 a step for acceleration beyond 3 m/s^2, jerk beyond
    8 m/s^3 or being over the speed limit.

    Rules (`rules`): under "nuplan" it is nuPlan's closed loop, scored exactly: nothing ends before the scenario's end,
    and reactive traffic is nuPlan's IDM agents. Under "learning", several times faster, an at-fault collision or a
    corner 0.3 m off the drivable area terminates, reactive traffic keeps to its logged paths, and scores are computed
    on the arrays, comfort from instantaneous bounds and fault from the path; an episode that ended early is scored on
    what was driven, its progress over the expert's whole scenario. By default test scenarios are under nuPlan's rules.

    Truncation: the scenario's end. Scores, in `info["metrics"]` on the last step, under nuPlan's names: `score` and
    its parts, and `success` (1 where no multiplier is 0); higher is better in all. `score` decides; under "learning"
    on both splits it is `ego_progress_along_expert_route` (see `scores.declared`).

    Expert: the logged driver, or a planner (`expert`, made for a scenario) that is asked in the state at hand.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10, "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        scenarios: Sequence[Scenario] | str | Path | None = None,
        num_scenarios: int = 64,
        num_test_scenarios: int | None = None,
        split: Split = "train",
        action: ActionKind = "continuous",
        observation: Sequence[str] = ("ego", "agents", "lanes", "route"),
        reactive: bool = False,
        rules: Rules | None = None,
        expert: MakePlanner | None = None,
        device: str = "cpu",
        max_agents: int = 32,
        render_mode: str | None = "rgb_array",
    ):
        """`scenarios`: a list, or the path of a pack, of which `num_scenarios` (`num_test_scenarios` of the test split)
        are used; None generates so many once.

        Raises ValueError for impossible options and where there is no scenario.
        """
        if rules not in ("learning", "nuplan", None):
            raise ValueError(f"rules {rules!r}; choose learning or nuplan, or None for nuplan on test scenarios alone")
        if scenarios is None or isinstance(scenarios, str | Path):
            count = num_test_scenarios if split == "test" and num_test_scenarios else num_scenarios
            scenarios = scenario_pool(split, count, scenarios)
        if not len(scenarios):
            raise ValueError("no driving scenarios; give a list, the path of a pack, or None to generate some")
        self.scenarios = scenarios
        self.num_envs, self.split, self.reactive, self.expert = num_envs, split, reactive, expert
        self.exact = rules == "nuplan" or (rules is None and split == "test")
        self.action_kind, self.keys, self.render_mode = action, tuple(observation), render_mode
        self.device = torch.device(device)
        self.single_observation_space = observation_space(self.keys)
        self.single_action_space = action_space(action)
        self.metadata = {**self.metadata, "scores": declared(rules)}
        if action == "manoeuvre":
            self.metadata["action_names"] = MANOEUVRES
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.arrays = TorchArrays(scenarios, max_agents, self.device)
        self.length = scenarios[0].num_iterations
        self._drives: dict[int, tuple[LogExpert, Reference]] = {}
        self._painters: dict[int, BirdsEye] = {}
        self.worlds: Worlds | None = None
        self.planned: NDArray[Any] | None = None  # (N, 81, 3) what was last tracked, for pictures

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """`options={"reset_mask": (N,) bool}` restarts only those worlds; `{"scenario": (N,) int}` chooses theirs."""
        options = options or {}
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, bool)), bool)
        if self.worlds is None and not mask.all():
            raise RuntimeError("the first reset of roads must restart every world; leave reset_mask out")
        seeds = [seed] * self.num_envs if seed is None else seed
        if isinstance(seeds, int):
            seeds = [seeds + i for i in range(self.num_envs)]
        if self.worlds is None:
            self.generators = [np.random.default_rng() for _ in range(self.num_envs)]
        chosen = np.zeros(self.num_envs, np.int64)
        for i, given in enumerate(seeds):
            if given is not None and mask[i]:
                self.generators[i] = np.random.default_rng(level_seed(self.split, given))
                chosen[i] = given % len(self.scenarios)
            elif mask[i]:
                chosen[i] = self.generators[i].integers(len(self.scenarios))
        if "scenario" in options:
            chosen = np.asarray(options["scenario"], np.int64)
        self._begin(chosen, mask)
        return self._observe(), {}

    def _begin(self, chosen: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        fresh = start(self.arrays, torch.as_tensor(chosen, device=self.device))
        where = torch.as_tensor(mask, device=self.device)
        first = self.worlds is None
        if first:
            n, t = self.num_envs, self.length
            self.worlds = self.previous = fresh
            self.record = torch.zeros(n, t, STATE_SIZE, device=self.device)
            self.sums = {name: torch.zeros(n, device=self.device) for name in SUMS}
            self.target_offset = torch.zeros(n, device=self.device)
            self.over = np.zeros(n, bool)
            self.traffic: list[list[Tracks]] = [[] for _ in range(n)]
            self.agents: list[IdmAgents | None] = [None] * n
            self.plans: list[tuple[Planner, dict[str, Any]] | None] = [None] * n
        assert self.worlds is not None
        if self.exact and self.reactive:
            for i in np.flatnonzero(mask):
                self.agents[i] = IdmAgents(self.scenarios[chosen[i]])
            fresh = begun(self.arrays, replace(fresh, **self._agents_as_arrays(fresh, mask)))
        self.worlds = self.worlds.where(where, fresh)
        self.previous = self.previous.where(where, fresh)
        self.record[:, 0] = pick(where, self.worlds.ego, self.record[:, 0])
        self.sums = {name: torch.where(where, 0.0, value) for name, value in self.sums.items()}
        self.target_offset = torch.where(where, self.worlds.path_offset, self.target_offset)
        self.over &= ~mask
        for i in np.flatnonzero(mask):
            self.traffic[i], self.plans[i] = [], None
            self._record_traffic(int(i))

    def step(self, actions: Any) -> tuple[Observation, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """Raises ValueError for a NaN in the actions, RuntimeError before the first reset."""
        if self.worlds is None:
            raise RuntimeError("reset roads before the first step")
        old, fresh = self.worlds, self.over.copy()
        command = self._command(actions)
        new = after(self.arrays, old, bicycle(old.ego, command), self._traffic(old))
        restarted = torch.as_tensor(fresh, device=self.device)
        self.previous, self.worlds = old, new
        # Before worlds restart: what a finished world's last step adds must not stand in the next episode's sums.
        reward = torch.where(restarted, 0.0, self._reward(old, new))
        if fresh.any():
            self._begin(self._draw(fresh), fresh)
        running = torch.arange(self.num_envs, device=self.device)
        self.record[running, self.worlds.t] = self.worlds.ego
        failed = (new.collided | new.off_road) & (not self.exact)
        # As in the closed loop, the last iteration is never recorded: the scenario ends one before it.
        terminated = failed & ~restarted
        truncated = (new.t >= self.length - 2) & ~terminated & ~restarted
        self.over = (terminated | truncated).cpu().numpy()
        for i in np.flatnonzero(~fresh):
            self._record_traffic(int(i))
        infos = self._infos()
        flags = terminated.cpu().numpy(), truncated.cpu().numpy()
        return self._observe(), reward.cpu().numpy().astype(np.float64), *flags, infos

    def _draw(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        chosen = np.zeros(self.num_envs, np.int64)
        for i in np.flatnonzero(mask):
            chosen[i] = self.generators[i].integers(len(self.scenarios))
        return chosen

    def _command(self, actions: Any) -> Tensor:
        """(N, 2) acceleration and steering rate."""
        assert self.worlds is not None
        action = torch.as_tensor(np.asarray(actions), device=self.device)
        action = pick(torch.as_tensor(~self.over, device=self.device), action, torch.zeros_like(action))  # else ignored
        if action.is_floating_point() and not bool(action.isfinite().all()):
            world = int((~action.isfinite()).any(-1).nonzero()[0])
            at = f"world {world}, step {int(self.worlds.t[world])}"
            raise ValueError(f"roads, {at}: the action is not finite: {action[world].tolist()}")
        if self.action_kind == "continuous":
            return controls(action.float())
        if self.action_kind == "manoeuvre":
            command, self.target_offset = manoeuvres(self.arrays, self.worlds, action.long(), self.target_offset)
            return command
        command, self.planned = trajectory_commands(self.worlds, action.float())
        return command

    def _reward(self, old: Worlds, new: Worlds) -> Tensor:
        """(N,); also adds up what the fast scores need."""
        progress = (new.path_s - old.path_s) / self._expected(new)
        limit = path_at(self.arrays, new.scenario, new.path_s[:, None])["limit"][:, 0]
        speed, a = new.ego[:, StateColumn.VX], new.ego[:, StateColumn.AX]
        jerk = (a - old.ego[:, StateColumn.AX]).abs() / 0.1
        lateral = (speed * new.ego[:, StateColumn.YAW_RATE]).abs()
        harsh = (a.abs() > COMFORT_ACCELERATION) | (jerk > COMFORT_JERK) | (lateral > COMFORT_ACCELERATION)
        fast = speed > limit
        # once, as in the score, where time to collision weighs as much as a third of the whole way
        danger = (new.ttc & (self.sums["ttc"] == 0)).float()
        self.sums["ttc"] += new.ttc
        self.sums["comfort"] += harsh
        self.sums["overspeed"] += (speed - limit).clamp_min(0) * 0.1
        self.sums["backwards"] += (old.path_s - new.path_s).clamp_min(0)
        failed = (new.collided | new.off_road).float() * (1 - self.sums["failed"])
        self.sums["failed"] += failed
        unpleasant = DISCOMFORT * harsh.float() + OVERSPEED * fast.float()
        return PROGRESS * progress - FAILURE * failed - DANGER * danger - unpleasant

    def _expected(self, worlds: Worlds) -> Tensor:
        """[m] the expert's progress in the whole scenario, at least 20."""
        return self.arrays.expert_progress[worlds.scenario].clamp_min(20.0)

    def _infos(self) -> Info:
        """The scores of the worlds that ended, in Gymnasium's layout."""
        if not self.over.any():
            return {}
        rows = [self._score(int(i)) if self.over[i] else {} for i in range(self.num_envs)]
        names = next(row for row in rows if row)
        metrics: Info = {}
        for name in names:
            metrics[name] = np.array([row.get(name, 0.0) for row in rows])
            metrics[f"_{name}"] = self.over.copy()
        return {"metrics": metrics, "_metrics": self.over.copy()}

    def _score(self, i: int) -> dict[str, float]:
        metrics = self._exact_score(i) if self.exact else self._fast_score(i)
        success = float(all(metrics[name] > 0 for name in MULTIPLIERS))
        return {"score": metrics["score"], "success": success, **metrics}  # first what a caption has room for

    def _fast_score(self, i: int) -> dict[str, float]:
        assert self.worlds is not None
        w, steps = self.worlds, max(1, int(self.worlds.t[i]))
        expert = float(self.arrays.expert_progress[w.scenario[i]])
        driven = float(w.path_s[i] - w.start_s[i])
        ratio = min(1.0, max(driven, 0.1) / max(expert, 0.1)) if driven > -0.1 else 0.0
        back = float(self.sums["backwards"][i])
        metrics = {
            "no_ego_at_fault_collisions": 1.0 - float(w.collided[i]),
            "drivable_area_compliance": 1.0 - float(w.off_road[i]),
            "ego_is_making_progress": float(ratio >= 0.2),
            "driving_direction_compliance": 1.0 if back < 2 else 0.5 if back < 6 else 0.0,
            "ego_progress_along_expert_route": ratio,
            "time_to_collision_within_bound": float(self.sums["ttc"][i] == 0),
            "speed_limit_compliance": max(0.0, 1 - float(self.sums["overspeed"][i]) / (2.23 * steps * 0.1)),
            "ego_is_comfortable": float(self.sums["comfort"][i] == 0),
        }
        return {**metrics, "score": weighted_score(metrics, MULTIPLIERS, WEIGHTS)}

    def _exact_score(self, i: int) -> dict[str, float]:
        """nuPlan's scores of what was driven, on the recorded states in map coordinates."""
        scenario, steps = self.scenario_of(i), int(self.worlds.t[i]) + 1  # type: ignore[union-attr]
        ego = self.record[i, :steps].cpu().double().numpy()
        ego[:, :2] += scenario.ego[scenario.start, :2]
        times = scenario.time_us[scenario.start : scenario.start + steps]
        return dict(score_history(History(scenario, times, ego, self.traffic[i][:steps])).metrics)

    def scenario_of(self, i: int) -> Scenario:
        """The scenario that world i drives."""
        assert self.worlds is not None
        return self.scenarios[int(self.worlds.scenario[i])]

    def _record_traffic(self, i: int) -> None:
        """Keep what traffic did, for exact scores and planners."""
        if self.exact or self.expert is not None:
            self.traffic[i].append(self._tracks(i))

    def _tracks(self, i: int) -> Tracks:
        """The traffic of world i now, in map coordinates."""
        assert self.worlds is not None
        scenario, t = self.scenario_of(i), int(self.worlds.t[i])
        agents = self.agents[i]
        if agents is not None:
            return agents.tracks
        if not self.reactive:
            return scenario.tracks_at(t)
        valid = self.worlds.valid[i].cpu().numpy()
        boxes = self.worlds.boxes[i].cpu().double().numpy()[valid]
        boxes[:, :2] += scenario.ego[scenario.start, :2]
        kinds = self.arrays.types[self.worlds.scenario[i]].cpu().numpy()[valid].astype(np.int8)
        tokens = tuple(str(k) for k in np.flatnonzero(valid))
        return Tracks(tokens, kinds, boxes, self.worlds.velocities[i].cpu().double().numpy()[valid])

    def _traffic(self, worlds: Worlds) -> dict[str, Tensor]:
        """The objects one step later."""
        if not (self.exact and self.reactive):
            return traffic(self.arrays, worlds, self.reactive)
        running = ~self.over
        for i in np.flatnonzero(running):
            agents, scenario, t = self.agents[i], self.scenario_of(int(i)), int(worlds.t[i])
            assert agents is not None
            before, now = (int(scenario.time_us[scenario.start + k]) for k in (t, t + 1))
            agents.step(t + 1, self._ego(int(i)), now * 1e-6 - before * 1e-6)
        return self._agents_as_arrays(worlds, running)

    def _agents_as_arrays(self, worlds: Worlds, mask: NDArray[np.bool_]) -> dict[str, Tensor]:
        """nuPlan's IDM agents of the worlds under a mask as fields of `Worlds`, in the columns of their tracks."""
        fields = follow_log(self.arrays, worlds, worlds.t)
        for i in np.flatnonzero(mask):
            agents, number = self.agents[i], int(worlds.scenario[i])
            assert agents is not None
            scenario, tracks = self.scenarios[number], agents.tracks
            row = {token: k for k, token in enumerate(tracks.tokens)}
            names = [scenario.tracks.tokens[k] if k >= 0 else "" for k in self.arrays.track[number].tolist()]
            slots = [k for k, name in enumerate(names) if name in row]
            rows = [row[names[k]] for k in slots]
            boxes = tracks.boxes[rows]
            boxes[:, :2] -= scenario.ego[scenario.start, :2]
            fields["valid"][i] = False
            fields["valid"][i, slots] = True
            fields["boxes"][i, slots] = torch.as_tensor(boxes, dtype=torch.float32, device=self.device)
            velocities = torch.as_tensor(tracks.velocities[rows], dtype=torch.float32, device=self.device)
            fields["velocities"][i, slots] = velocities
            fields["agent_speed"][i, slots] = velocities.norm(dim=-1)
        return fields

    def _ego(self, i: int, t: int | None = None) -> EgoState:
        """The ego of world i, now or at an iteration it has driven (negative: its history), in map coordinates."""
        assert self.worlds is not None
        scenario, t = self.scenario_of(i), int(self.worlds.t[i]) if t is None else t
        if t < 0:
            return scenario.ego_at(t)
        row = self.record[i, t].cpu().double().numpy()
        row[:2] += scenario.ego[scenario.start, :2]
        return EgoState.from_array(int(scenario.time_us[scenario.start + t]), row)

    def _observe(self) -> Observation:
        assert self.worlds is not None
        seen = observe(self.arrays, self.worlds, self.keys, self.previous)
        return {key: seen[key].cpu().numpy() for key in seen}

    def expert_action(self) -> NDArray[Any]:
        """What the expert would do in the states at hand. Raises NoExpert for manoeuvres, PlannerError from a planner.

        The logged driver comes back to where it was recorded: as a trajectory, or by the LQR tracker's commands.
        """
        if self.worlds is None:
            raise RuntimeError("reset roads before asking the expert")
        if self.action_kind == "manoeuvre":
            raise NoExpert("no expert says manoeuvres; use continuous or trajectory actions for imitation")
        answer = self._logged if self.expert is None else self._planned
        nothing = np.zeros(self.single_action_space.shape or (), np.float32)
        rows = [nothing if over else answer(i) for i, over in enumerate(self.over)]
        space: Any = self.single_action_space
        return np.clip(np.stack(rows), space.low, space.high).astype(np.float32)

    def _logged(self, i: int) -> NDArray[Any]:
        """The logged driver's action in world i."""
        log, t, ego = self.scenario_of(i), int(self.worlds.t[i]), self._ego(i).array()  # type: ignore[union-attr]
        number = int(self.worlds.scenario[i])  # type: ignore[union-attr]
        if number not in self._drives:
            poses = log.ego[log.start :, :3]
            self._drives[number] = LogExpert(poses), fit_reference(poses[None])
        expert, reference = self._drives[number]
        if self.action_kind == "trajectory":
            return expert.plan(t, ego, TRAJECTORY_TIMES).ravel()
        t = min(t, reference.poses.shape[1] - 2)
        profiles = (reference.velocity, reference.curvature, reference.times())
        command = lqr_commands(ego[None], reference.poses[:, t], *profiles, 0.1 * t)[0]
        return command / (ACCELERATION, STEERING_RATE)

    def _planned(self, i: int) -> NDArray[Any]:
        """The planner's action in world i."""
        scenario, scene = self.scenario_of(i), self._scene(i)
        assert self.expert is not None
        if (plan := self.plans[i]) is None:
            planner = self.expert(scenario)
            plan = planner, planner.initial(list(scenario.route), scenario.goal, scenario.map)
        planner, carry = plan
        try:
            trajectory, carry = planner.plan(scene, carry)
        except Exception as error:
            place = f"scenario {scenario.token}, iteration {scene.iteration}"
            raise PlannerError(f"{place}: {type(planner).__name__} raised {type(error).__name__}: {error}") from error
        self.plans[i] = planner, carry
        ego = scene.ego.array()
        if self.action_kind == "continuous":
            return track(ego, trajectory, scene.time_us) / (ACCELERATION, STEERING_RATE)
        times = scene.time_us + np.round(TRAJECTORY_TIMES * 1e6).astype(np.int64)
        return local_poses(trajectory.at(np.minimum(times, trajectory.end_us))[:, :3], ego).ravel()

    def _scene(self, i: int) -> Scene:
        """What a planner is shown of world i."""
        assert self.worlds is not None
        scenario, t = self.scenario_of(i), int(self.worlds.t[i])
        past = range(max(t - HISTORY_FRAMES, -scenario.start), t + 1)
        tracks = [scenario.tracks_at(k) if k < 0 else self.traffic[i][k] for k in past]
        time_us = int(scenario.time_us[scenario.start + t])
        return Scene(t, time_us, [self._ego(i, k) for k in past], tracks, scenario.lights_at(t))

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """One bird's-eye picture (512, 512, 3) per world: road, lights, traffic, the route, the way driven."""
        if self.worlds is None:
            raise RuntimeError("reset roads before drawing them")
        return tuple(self._picture(i) for i in range(self.num_envs))

    def _picture(self, i: int) -> NDArray[np.uint8]:
        assert self.worlds is not None
        scenario, t = self.scenario_of(i), int(self.worlds.t[i])
        number = int(self.worlds.scenario[i])
        if number not in self._painters:
            around = scenario.ego[scenario.iterations, :2]
            self._painters[number] = BirdsEye(scenario.map, around, scenario.route, View(512, 512))
        driven = self.record[i, : t + 1].cpu().double().numpy()
        driven[:, :2] += scenario.ego[scenario.start, :2]
        planned = None if self.planned is None or t == 0 else self.planned[i, :, :2] + scenario.ego[scenario.start, :2]
        return self._painters[number].draw(driven[-1], self._tracks(i), scenario.lights_at(t), planned, driven[:, :2])

    def get_state(self) -> State:
        """Every world's state, the records that scores need, and the generators."""
        if self.worlds is None:
            raise RuntimeError("reset roads before taking a snapshot")
        return {
            "worlds": {name: getattr(self.worlds, name).cpu().numpy().copy() for name in WORLD_FIELDS},
            "previous": {name: getattr(self.previous, name).cpu().numpy().copy() for name in WORLD_FIELDS},
            "record": self.record.cpu().numpy().copy(),
            "sums": {name: value.cpu().numpy().copy() for name, value in self.sums.items()},
            "target_offset": self.target_offset.cpu().numpy().copy(),
            "over": self.over.copy(),
            "traffic": [[tracks_to_state(t) for t in frames] for frames in self.traffic],
            "agents": [None if agents is None else agents.get_state() for agents in self.agents],
            "generators": [generator.bit_generator.state for generator in self.generators],
        }

    def set_state(self, state: State) -> Observation:
        """Raises ValueError for a snapshot of another number of worlds. A planner that is the expert starts anew."""
        if len(state["over"]) != self.num_envs:
            raise ValueError(f"a snapshot of {len(state['over'])} worlds does not fit {self.num_envs}")
        self.arrays.need(np.asarray(state["worlds"]["scenario"]))
        if self.worlds is None:
            self.reset(seed=0)

        def tensor(value: Any) -> Tensor:
            return torch.as_tensor(np.array(value), device=self.device)

        self.worlds = Worlds(**{name: tensor(state["worlds"][name]) for name in WORLD_FIELDS})
        self.previous = Worlds(**{name: tensor(state["previous"][name]) for name in WORLD_FIELDS})
        self.record, self.target_offset = tensor(state["record"]), tensor(state["target_offset"])
        self.sums = {name: tensor(value) for name, value in state["sums"].items()}
        self.over = np.array(state["over"])
        self.traffic = [[state_to_tracks(t) for t in frames] for frames in state["traffic"]]
        self.plans = [None] * self.num_envs
        for i, saved in enumerate(state["agents"]):
            self.agents[i] = agents = None if saved is None else IdmAgents(self.scenario_of(i))
            if agents is not None:
                agents.set_state(saved)
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        return self._observe()


def tracks_to_state(tracks: Tracks) -> State:
    return {
        "tokens": list(tracks.tokens),
        "types": tracks.types,
        "boxes": tracks.boxes,
        "velocities": tracks.velocities,
    }


def state_to_tracks(state: State) -> Tracks:
    return Tracks(tuple(state["tokens"]), state["types"], state["boxes"], state["velocities"])


class DrivingEnv(gym.Env[Observation, Any]):
    """One world of `DrivingVectorEnv`, which is its spec sheet; the same options."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    Options = RoadOptions

    def __init__(self, render_mode: str | None = "rgb_array", **options: Any):
        self.vector = DrivingVectorEnv(1, **options)
        self.metadata = {key: value for key, value in self.vector.metadata.items() if key != "autoreset_mode"}
        self.render_mode = render_mode
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        super().reset(seed=seed)
        if seed is None and self.vector.worlds is None:
            seed = int(self.np_random.integers(2**30))
        obs, _ = self.vector.reset(seed=None if seed is None else [seed], options=options)
        return self._first(obs), {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        obs, reward, terminated, truncated, infos = self.vector.step(np.asarray(action)[None])
        info: Info = {}
        if "metrics" in infos:
            info["metrics"] = {k: float(v[0]) for k, v in infos["metrics"].items() if not k.startswith("_")}
        return self._first(obs), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> NDArray[np.uint8]:
        return self.vector.render()[0]

    def expert_action(self) -> Any:
        return self.vector.expert_action()[0]

    def get_state(self) -> State:
        return self.vector.get_state()

    def set_state(self, state: State) -> Observation:
        return self._first(self.vector.set_state(state))

    @staticmethod
    def _first(obs: Observation) -> Observation:
        return {key: value[0] for key, value in obs.items()}
