"""Driving as a learning environment: N scenarios stepped together on arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from embodia.envs import Info, NoExpert, Observation, Split, State, content_digest, level_seed
from embodia.envs.drawing.labels import LabelledImage
from embodia.envs.driving.learning.commands import Commands, Plans
from embodia.envs.driving.learning.drives import Drives
from embodia.envs.driving.learning.expert import MakePlanner, make_expert
from embodia.envs.driving.learning.manoeuvre import MANOEUVRES, ActionKind, action_space
from embodia.envs.driving.learning.observation import observation_space, observe
from embodia.envs.driving.learning.pictures import Pictures
from embodia.envs.driving.learning.pool import KEPT, scenario_pool
from embodia.envs.driving.learning.reward import no_sums, step_reward
from embodia.envs.driving.learning.scores import Rules, declared, infos_at_the_end
from embodia.envs.driving.learning.sensors import SENSOR_KEYS, RoadSensors
from embodia.envs.driving.nuplan.logs import ScenarioFilter
from embodia.envs.driving.nuplan.source import LogScenarios
from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.simulation.worlds import TorchArrays
from embodia.envs.driving.types import Trajectory

Answer = tuple[NDArray[np.float32], Trajectory | None]
"""The expert's action, and the whole plan that it stands for, if there is one."""


class DrivingVectorEnv(VectorEnv):
    """N driving scenarios at 10 Hz. `DrivingEnv` documents the task; both take the same options."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10, "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        scenarios: Sequence[Scenario] | str | Path | None = None,
        test_scenarios: Sequence[Scenario] | str | Path | None = None,
        logs: str | Path | None = None,
        test_logs: str | Path | None = None,
        maps: str | Path | None = None,
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
        **chosen: Any,
    ):
        """Make N worlds.

        Args:
            scenarios: a list, or the path of a pack.
            test_scenarios: those of the test split, if they are other ones.
            logs: nuPlan logs instead of `scenarios`, as `LogScenarios` takes them.
            test_logs: logs of the test split, if they are other ones.
            maps: folder of nuPlan's maps.
            chosen: fields of a `ScenarioFilter` of the logs, and options of `RoadSensors`.
            num_scenarios: number of generated scenarios, if neither `scenarios` nor `logs` are given
                (`num_test_scenarios` on the test split).

        Raises ValueError for impossible options, or if there is no scenario.
        """
        if rules not in ("learning", "nuplan", None):
            raise ValueError(f"rules {rules!r}; choose learning or nuplan, or None for nuplan on test scenarios alone")
        sensors = {name: chosen.pop(name) for name in tuple(chosen) if name.startswith(("camera_", "laser_"))}
        if split == "test" and test_scenarios is not None:
            scenarios = test_scenarios
        if scenarios is not None and logs is not None:
            raise ValueError("scenarios and logs are given; give one of them")
        if split == "test" and test_logs is not None:
            logs = test_logs
        if logs is not None:
            scenarios = LogScenarios(logs, maps, ScenarioFilter(**chosen))
        elif maps is not None or chosen:
            raise ValueError(f"{', '.join(['maps'] * (maps is not None) + list(chosen))}: give logs too")
        if logs is not None or scenarios is None or isinstance(scenarios, str | Path):
            count = num_test_scenarios if split == "test" and num_test_scenarios else num_scenarios
            scenarios = scenario_pool(split, count, scenarios, max(KEPT, num_envs))
        if not len(scenarios):
            raise ValueError("no driving scenarios; give a list, the path of a pack, or None to generate them")
        self.num_envs, self.split, self.reactive, self.render_mode = num_envs, split, reactive, render_mode
        self.exact = rules == "nuplan" or (rules is None and split == "test")
        self.keeps_tracks = self.exact or expert is not None
        self.keys = tuple(key for key in observation if key not in SENSOR_KEYS)
        self.sensors = RoadSensors([key for key in observation if key in SENSOR_KEYS], num_envs, **sensors)
        seen = {**observation_space(self.keys).spaces, **self.sensors.space()}
        self.single_observation_space = spaces.Dict(seen)
        self.single_action_space = action_space(action)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {**self.metadata, "scores": declared(rules)}
        if action == "manoeuvre":
            self.metadata["action_names"] = MANOEUVRES
        self.scenarios, self.device = scenarios, torch.device(device)
        self.arrays = TorchArrays(scenarios, max_agents, self.device, num_envs)
        self.commands = Commands(action, num_envs, self.device)
        self.expert, self.pictures = make_expert(expert, action), Pictures()
        self.answers: dict[int, Answer] = {}  # the expert's in the present states, by world
        self.names: dict[int, str] = {}  # of the scenarios that have begun, by number
        self.drives: Drives | None = None  # before the first reset
        self.sums = no_sums(num_envs, self.device)
        self.over = np.zeros(num_envs, bool)
        self.generators = [np.random.default_rng() for _ in range(num_envs)]

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """`options={"reset_mask": (N,) bool}` restarts only those worlds; `{"scenario": (N,) int}` chooses theirs."""
        options = options or {}
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, bool)), bool)
        seeds = [seed] * self.num_envs if seed is None else seed
        if isinstance(seeds, int):
            seeds = [seeds + i for i in range(self.num_envs)]
        chosen = np.zeros(self.num_envs, np.int64)
        for i in np.flatnonzero(mask).tolist():
            given = seeds[i]
            if given is None:
                chosen[i] = self._drawn(i)
            else:
                self.generators[i] = np.random.default_rng(level_seed(self.split, given))
                chosen[i] = given % len(self.scenarios)
        if "scenario" in options:
            chosen = np.asarray(options["scenario"], np.int64)
        return self._observe(self._begin(chosen, mask)), self._levels(mask)

    def _begin(self, chosen: NDArray[np.int64], mask: NDArray[np.bool_]) -> Drives:
        """Start the scenarios `chosen` (N,) in the worlds under a mask (N,)."""
        if self.drives is not None:
            self.drives.begin(chosen, mask)
        elif mask.all():
            self.drives = Drives(self.arrays, chosen, self.reactive, self.exact, self.keeps_tracks)
        else:
            raise RuntimeError("the first reset of roads must restart every world; leave reset_mask out")
        where = torch.as_tensor(mask, device=self.device)
        self.sums = {name: torch.where(where, 0.0, value) for name, value in self.sums.items()}
        self.commands.begin(self.drives.worlds, where)
        if self.expert is not None:
            self.expert.forget(mask)
        self.answers = {i: answer for i, answer in self.answers.items() if not mask[i]}
        self.over &= ~mask
        return self.drives

    def step(self, actions: Any) -> tuple[Observation, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """Step all worlds. Raises ValueError for an action that is not finite, RuntimeError before the first reset.

        An action that a planner has just returned through `expert_action` stands for that planner's whole plan.
        """
        drives, fresh = self._under_way("the first step"), self.over.copy()
        old, answered = drives.worlds, self._answered(actions)
        command, plans = self.commands.of(actions, drives, fresh, answered)
        drives.step(command, ~fresh, plans)
        self.answers = {}
        new, restarted = drives.worlds, torch.as_tensor(fresh, device=self.device)
        # Before worlds restart, so that the last step of an episode is not added to the sums of the next one.
        reward, self.sums = step_reward(self.arrays, old, new, self.sums)
        if fresh.any():
            self._begin(np.array([self._drawn(i) if over else 0 for i, over in enumerate(fresh)]), fresh)
        drives.keep(~fresh)
        failed = (new.collided | new.off_road) & (not self.exact)
        # As in the closed loop, the last iteration is never recorded: the scenario ends one before it.
        terminated = failed & ~restarted
        truncated = (new.t >= self.arrays.length[new.scenario] - 2) & ~terminated & ~restarted
        flags = terminated.cpu().numpy(), truncated.cpu().numpy()
        self.over = flags[0] | flags[1]
        rewards = torch.where(restarted, 0.0, reward).cpu().numpy().astype(np.float64)
        infos = infos_at_the_end(drives, self.sums, self.over) | (self._levels(fresh) if fresh.any() else {})
        return self._observe(drives), rewards, *flags, infos

    def _drawn(self, i: int) -> int:
        """Sample the next scenario from world i's own generator."""
        return int(self.generators[i].integers(len(self.scenarios)))

    def _levels(self, begun: NDArray[np.bool_]) -> Info:
        """The names of the scenarios that have begun in the worlds under a mask (N,)."""
        drives = self._under_way("naming them")
        names = np.full(self.num_envs, "", object)
        for i in np.flatnonzero(begun).tolist():
            number = drives.number_of(i)
            if number not in self.names:
                self.names[number] = level_name(drives.scenario_of(i))
            names[i] = self.names[number]
        return {"level": names, "_level": begun.copy()}

    def metrics(self) -> Info:
        """The scores of every world's drive so far, each (N,)."""
        drives = self._under_way("scoring them")
        return infos_at_the_end(drives, self.sums, np.ones(self.num_envs, bool))["metrics"]

    def _observe(self, drives: Drives) -> Observation:
        seen = observe(self.arrays, drives.worlds, self.keys, drives.previous)
        return {key: value.cpu().numpy() for key, value in seen.items()} | self.sensors.observe(drives)

    def expert_action(self) -> NDArray[Any]:
        """Return the expert's actions in the present states. Raises NoExpert for manoeuvres, or PlannerError.

        The logged driver returns to its recorded way, by a trajectory or by the LQR tracker's commands.
        """
        drives = self._under_way("asking the expert")
        if self.expert is None:
            raise NoExpert("manoeuvres have no expert; use continuous or trajectory actions for imitation")
        space: Any = self.single_action_space
        # asked again in the same state, a planner would count it as another step
        asked = [i for i in np.flatnonzero(~self.over).tolist() if i not in self.answers]
        self.expert.prepare(drives, asked)
        for i in asked:
            action, plan = self.expert.action(drives, i)
            self.answers[i] = np.clip(action, space.low, space.high).astype(np.float32), plan
        nothing = np.zeros(space.shape, np.float32)
        return np.stack([self.answers[i][0] if i in self.answers else nothing for i in range(self.num_envs)])

    def _answered(self, actions: Any) -> Plans:
        """The plans of the worlds whose actions are what their planners answered."""
        rows = {i: (action, plan) for i, (action, plan) in self.answers.items() if plan is not None}
        return {i: plan for i, (action, plan) in rows.items() if np.array_equal(actions[i], action)}

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """Return one bird's-eye image (512, 512, 3) per world: road, lights, traffic, route, the way driven.

        If the expert is a planner with an `insight`, what it saw is drawn too.
        """
        drives = self._under_way("drawing them")
        tracked = self.commands.tracked
        insights = [None if self.expert is None else self.expert.insight(i) for i in range(self.num_envs)]
        return tuple(self.pictures.draw(drives, i, tracked.get(i), insights[i]) for i in range(self.num_envs))

    def labels(
        self, worlds: Sequence[int] | None = None, camera_to_world: NDArray[Any] | None = None
    ) -> list[LabelledImage]:
        """Return the labelled view of the chosen worlds, by default of all; see `RoadSensors.labels`."""
        chosen = range(self.num_envs) if worlds is None else worlds
        return self.sensors.labels(self._under_way("labelling them"), chosen, camera_to_world)

    def _under_way(self, what: str) -> Drives:
        if self.drives is None:
            raise RuntimeError(f"reset roads before {what}")
        return self.drives

    def get_state(self) -> State:
        """Return every world's state, the records that scores need, and the random generators."""
        return {
            **self._under_way("taking a snapshot").get_state(),
            "sums": {name: value.cpu().numpy().copy() for name, value in self.sums.items()},
            "target_offset": self.commands.target_offset.cpu().numpy().copy(),
            "over": self.over.copy(),
            "answers": [answer_to_state(self.answers.get(i)) for i in range(self.num_envs)],
            "generators": [generator.bit_generator.state for generator in self.generators],
        }

    def set_state(self, state: State) -> Observation:
        """Restore a snapshot; planners start again. Raises ValueError for a snapshot of another number of worlds."""
        if len(state["over"]) != self.num_envs:
            raise ValueError(f"a snapshot of {len(state['over'])} worlds does not fit {self.num_envs}")
        everywhere = np.ones(self.num_envs, bool)
        drives = self.drives or self._begin(np.array(state["worlds"]["scenario"]), everywhere)
        drives.set_state(state)
        if self.expert is not None:
            self.expert.forget(everywhere)
        self.sums = {
            name: torch.as_tensor(np.array(value), device=self.device) for name, value in state["sums"].items()
        }
        self.commands.target_offset = torch.as_tensor(np.array(state["target_offset"]), device=self.device)
        self.over = np.array(state["over"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        answers = state.get("answers", [])  # older snapshots have none
        self.answers = {i: state_to_answer(each) for i, each in enumerate(answers) if each is not None}
        return self._observe(drives)


def level_name(scenario: Scenario) -> str:
    """Log, token and a digest of what was recorded."""
    digest = content_digest(scenario.map.name, scenario.route, scenario.time_us, scenario.ego, scenario.tracks.boxes)
    return f"{scenario.log_name}/{scenario.token}/{digest}"


def answer_to_state(answer: Answer | None) -> State | None:
    if answer is None:
        return None
    action, plan = answer
    return {"action": action, "plan": None if plan is None else {"time_us": plan.time_us, "states": plan.states}}


def state_to_answer(state: State) -> Answer:
    plan = state["plan"]
    return np.asarray(state["action"]), None if plan is None else Trajectory(plan["time_us"], plan["states"])
