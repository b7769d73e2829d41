"""One home as a `gymnasium.Env`: the vector environment with one world."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from embodia.envs import Info, Observation, State
from embodia.envs.drawing.labels import LabelledImage
from embodia.envs.homes.options import HomesOptions
from embodia.envs.homes.vector_env import HomesVectorEnv


class HomesEnv(gym.Env[Observation, Any]):
    """Habitat's navigation tasks in furnished homes (Savva et al. 2019; Batra et al. 2020; habitat-lab 0.3).

    Task, by `task`: PointNav (go to a point), ObjectNav (to any object of a category), ImageNav (to the place where an
    image was taken), InstanceImageNav (to the object in an image), Exploration (see as much floor as possible). The
    agent succeeds by calling stop at the goal: within 0.2 m geodesic distance of the point, or 0.1 m of a place from
    which the object is seen (`success_distance` of `embodia.envs.homes.tasks.navigation`).

    Scenes: generated homes (`num_scenes` per split, of low, medium or high `detail`; splits share none), or scene files
    (`scenes`; `up` says which axis points up, `island` where episodes start), or the episodes of a Habitat data set
    (`episodes`, a `{split}.json.gz`; its scenes are in `scenes_dir`, or generated ones by name). `reset(seed=s)` plays
    level s of the split, or episode s of the file. An episode whose goal cannot be reached is an error; with
    `skip_unreachable`, the next one that can be solved is played instead, and `unreachable` lists what was skipped.

    Actions, discrete: 0 stop, 1 forward 0.25 m, 2 turn left, 3 turn right, by 10 deg (ObjectNav and InstanceImageNav:
    30 deg, and 4 look up, 5 look down by 30 deg). Velocity: (2,) in [-1, 1], speed in 0..0.25 m/s and turning in
    -10..10 deg/s for `time_step` seconds (default 1); a speed and a turn near zero are stop.

    Observations, by `sensors`, Habitat's names and formulas: rgb uint8 (H, W, 3); depth float32 (H, W, 1), z-depth
    clipped to 0..10 m (ObjectNav, InstanceImageNav 0.5..5 m) and scaled to [0, 1] unless `normalize_depth` is off;
    semantic int32 (H, W, 1); category int32 (H, W, 1), 1 + the goal category's id, 0 for other things;
    pointgoal_with_gps_compass and pointgoal [m, rad], positive to the left; gps [m]; compass
    and heading [rad]; proximity [m]; objectgoal int64 (1,); imagegoal; instance_imagegoal, instance_imagegoal_hfov.
    `labels()` returns the camera's view, or one from any pose, with boxes, masks and 3-D boxes (docs/sensors.md).

    Reward: -0.01 + metres nearer to the goal + 2.5 on success. Exploration: 0.1 per m2 newly seen - 0.01.

    Termination: stop. Truncation: `max_steps`, 500 (ImageNav and InstanceImageNav 1000) unless given.

    Scores so far, in `info["metrics"]` of every step, by Habitat's names: success (the main score), spl, soft_spl,
    distance_to_goal, num_steps, collisions/count, ... (`NAVIGATION_SCORES` lists whether higher or lower is better).
    Exploration: coverage (the main score), success (90 % of the floor seen), area_seen [m2].

    Distances are geodesics as habitat-sim's search measures them (`geodesics="detour"`), which sometimes takes a longer
    path than necessary; `geodesics="exact"` measures exact shortest paths.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's own form)
    Options = HomesOptions

    def __init__(self, **options: Any) -> None:
        """Take the options of `HomesVectorEnv`. Raises ValueError for an invalid one."""
        self.vector = HomesVectorEnv(num_envs=1, **options)
        self.metadata = {key: value for key, value in self.vector.metadata.items() if key != "autoreset_mode"}
        self.observation_space: spaces.Dict = self.vector.single_observation_space  # type: ignore[assignment]
        self.action_space: spaces.Space[Any] = self.vector.single_action_space
        self.render_mode = self.vector.render_mode

    @property
    def unreachable(self) -> dict[str, str]:
        """Episodes (or levels of scene files) that were skipped so far, with the reason."""
        return self.vector.unreachable

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        """Start level `seed` of the split (or episode of the file); without a seed, the next level."""
        super().reset(seed=seed)
        observation, info = self.vector.reset(seed=seed)
        return _only(observation), _unbatched(info)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Raises ValueError for an invalid action, RuntimeError before `reset` and after the last step."""
        if self.vector.over[0]:
            steps = int(self.vector.measures.num_steps[0])
            raise RuntimeError(
                f"embodia/{self.vector.task.name}: the episode is over after {steps} steps; call reset before step."
            )
        observation, reward, terminated, truncated, info = self.vector.step(np.asarray(action)[None])
        whole = {**_unbatched(info), "metrics": self.metrics()}
        return _only(observation), float(reward[0]), bool(terminated[0]), bool(truncated[0]), whole

    def metrics(self) -> dict[str, float]:
        """Return the scores of the episode so far."""
        return {name: float(value[0]) for name, value in self.vector.metrics().items()}

    def expert_action(self) -> Any:
        """Return the privileged expert's action: habitat-sim's greedy geodesic follower, or the way to unseen floor."""
        action = self.vector.expert_action()[0]
        return int(action) if isinstance(self.action_space, spaces.Discrete) else action

    def get_state(self) -> State:
        """Return an exact snapshot, random generators included."""
        return {**self.vector.get_state(), "generator": self.np_random.bit_generator.state}

    def set_state(self, state: State) -> Observation:
        self.np_random.bit_generator.state = state["generator"]
        return _only(self.vector.set_state(state))

    def render(self) -> NDArray[np.uint8]:
        """Return an image (H, W, 3): RGB, depth, semantic ids and the map with fog of war, paths and goal."""
        return self.vector.render()[0]

    def labels(self, camera_to_world: NDArray[Any] | None = None) -> LabelledImage:
        """Return the labelled view of the agent's camera, or of one at a pose (4, 4)."""
        return self.vector.labels(camera_to_world=None if camera_to_world is None else camera_to_world[None])[0]

    def top_down_map(self, resolution: int = 1024) -> dict[str, Any]:
        """Return Habitat's top_down_map measure of the episode so far."""
        return self.vector.top_down_map(0, resolution)

    def close(self) -> None:
        self.vector.close()


def _only(observation: Observation) -> Observation:
    return {name: value[0] for name, value in observation.items()}


def _unbatched(info: Info) -> Info:
    """Return the infos of the single world, without Gymnasium's masks."""
    single: Info = {}
    for name, value in info.items():
        if name.startswith("_") or not info[f"_{name}"][0]:
            continue
        if isinstance(value, dict):
            single[name] = {key: float(scores[0]) for key, scores in value.items()}
        else:
            single[name] = value[0].item() if isinstance(value[0], np.generic) else value[0]
    return single
