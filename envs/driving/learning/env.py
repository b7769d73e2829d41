"""One driving scenario as a `gymnasium.Env`."""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from embodia.envs import Info, Observation, State
from embodia.envs.drawing.labels import LabelledImage
from embodia.envs.driving.learning.vector_env import DrivingVectorEnv
from embodia.envs.driving.options import RoadOptions


class DrivingEnv(gym.Env[Observation, Any]):
    """A driving scenario at 10 Hz: the view of `DrivingVectorEnv` for one world.

    Task: follow the route for the scenario's 15 s under nuPlan's rules. `reset(seed=s)` starts scenario `s` modulo the
    number of scenarios; `reset()` samples one.

    Actions (`action`):
      continuous   Box(2): acceleration in 3 m/s^2 and steering rate in 0.5 rad/s, each in [-1, 1]
      manoeuvre    Discrete(9) = 3 * side (keep, left, right) + speed (slower, keep, faster); see `manoeuvre`
      trajectory   Box(51): 17 rear-axle poses (x, y, heading) [m, rad] in the ego's frame, 0.5 s apart from now on,
                   the first where the ego ought to be; LQR tracked
    The ego is nuPlan's kinematic bicycle. Traffic replays the log, or with `reactive` follows its logged paths by IDM.

    Observations (`observation`, each with its `_mask` where rows may be missing): `ego` (10,), `agents` (20, 14),
    `lanes` (24, 23), `route` (20, 6) in the ego's frame (see `observation`), and `bev` uint8 (64, 64, 6). The camera
    on the ego: `rgb` uint8 (H, W, 3); `depth` float32 (H, W, 1) [m] along the optical axis, 0 for the sky; `semantic`
    int32 (H, W, 1), a `Category`; `instance` int32 (H, W, 1), an object id. The laser scanner above its centre:
    `laser` float32 (elevations, azimuths) [m], counter-clockwise from straight ahead, `laser_range` where nothing
    returns; `laser_id` int32 of the same shape, an object id. `solids` lists categories and object ids. `labels()`
    returns the camera's view with boxes, masks and 3-D boxes. docs/sensors.md is the spec sheet of the sensors.
    `futures` (20, 10, 5) says where the recording has the objects of `agents` in 0.5 to 5 s: a label, not a sensor.

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

    Expert: the logged driver, or a planner (`expert`, a function that makes one for a scenario). An action that the
    planner has just returned stands for its whole trajectory, which is driven exactly as in the closed loop.
    """

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
        if seed is None and self.vector.drives is None:
            seed = int(self.np_random.integers(2**30))
        obs, infos = self.vector.reset(seed=None if seed is None else [seed], options=options)
        return self._first(obs), {"level": infos["level"][0]}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        obs, reward, terminated, truncated, infos = self.vector.step(np.asarray(action)[None])
        info: Info = {}
        if "metrics" in infos:
            info["metrics"] = {k: float(v[0]) for k, v in infos["metrics"].items() if not k.startswith("_")}
        return self._first(obs), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def metrics(self) -> dict[str, float]:
        """The scores of the drive so far."""
        return {k: float(v[0]) for k, v in self.vector.metrics().items() if not k.startswith("_")}

    def render(self) -> NDArray[np.uint8]:
        return self.vector.render()[0]

    def expert_action(self) -> Any:
        return self.vector.expert_action()[0]

    def labels(self, camera_to_world: NDArray[Any] | None = None) -> LabelledImage:
        """Return the labelled view of the camera on the ego, or at a pose (4, 4) in map coordinates."""
        return self.vector.labels(camera_to_world=None if camera_to_world is None else camera_to_world[None])[0]

    def get_state(self) -> State:
        return self.vector.get_state()

    def set_state(self, state: State) -> Observation:
        return self._first(self.vector.set_state(state))

    @staticmethod
    def _first(obs: Observation) -> Observation:
        return {key: value[0] for key, value in obs.items()}
