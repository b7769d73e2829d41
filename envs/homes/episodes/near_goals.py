"""ImageNav episodes with a near, visible goal, which can be planned without a map."""

from collections.abc import Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

from embodia.envs import Split, level_seed
from embodia.envs.drawing.rotations import from_yaw, yaw_of
from embodia.envs.homes.engines.engine import EmbodiaEngine, Home
from embodia.envs.homes.episodes.dataset import Episode, EpisodeDataset, Goal
from embodia.envs.homes.episodes.islands import indoor_island
from embodia.envs.homes.tasks.navigation import TASKS
from embodia.envs.homes.tasks.sensors import image_goal_rotation

Array = NDArray[np.float64]

TASK = TASKS["ImageNav"]
NEAREST, FURTHEST = 1.0, 2.5  # [m] along the floor
STRAIGHT = 1.1  # most that the way may exceed the straight line: no corner hides the goal
ASIDE = np.pi / 4  # [rad] the goal lies at most so far to the side of the first view
TURNED = np.pi / 3  # [rad] the goal's view is turned at most so far from the first


def near_goals(split: Split, homes: Sequence[int], each: int, seed: int = 0, detail: str = "low") -> EpisodeDataset:
    """`each` episodes in every one of the generated `homes` (their numbers in the split), home by home.

    Start and goal lie 1 to 2.5 m apart and almost straight; the goal is less than 45 degrees to the side, and its view
    turned by less than 60. ImageNav turns a goal's camera by the episode's id, so ids are tried until one fits.
    """
    engine = EmbodiaEngine(TASK.navmesh, cache_size=1)
    episodes: list[Episode] = []
    for number in homes:
        home = engine.home(f"home-{level_seed(split, number)}-{detail}")
        rng = np.random.default_rng([level_seed(split, number), seed])
        episodes += [near_goal(home, rng, f"{number}-{seed}-{i}") for i in range(each)]
    engine.close()
    return EpisodeDataset(tuple(episodes))


def near_goal(home: Home, rng: np.random.Generator, name: str) -> Episode:
    """One such episode; its id is `name`, and a number that turns the goal's camera as wanted."""
    start, goal, way = near_pair(home, rng)
    bearing = np.arctan2(start[0] - goal[0], start[2] - goal[2])
    yaw = bearing + rng.uniform(-ASIDE, ASIDE)
    wanted = yaw + rng.uniform(-TURNED, TURNED)
    ids = (f"{name}-{k}" for k in count())
    chosen = next(each for each in ids if abs(turned(float(yaw_of(image_goal_rotation(each))), wanted)) < np.deg2rad(2))
    return Episode(
        episode_id=chosen,
        scene_id=home.scene_id,
        start_position=tuple(start.tolist()),
        start_rotation=tuple(from_yaw(yaw).tolist()),
        goals=(Goal(tuple(goal.tolist()), radius=TASK.success_distance),),
        info={"geodesic_distance": way},
    )


def near_pair(home: Home, rng: np.random.Generator) -> tuple[Array, Array, float]:
    """Start and goal (3,) on the home's floor, and the way between them [m]."""
    finder, island = home.pathfinder, indoor_island(home)
    while True:
        start, goal = (np.asarray(finder.get_random_navigable_point(rng, island), np.float64) for _ in range(2))
        apart = float(np.linalg.norm(goal - start))
        if not NEAREST <= apart <= FURTHEST:
            continue
        way = float(finder.geodesic_distance(start, goal))
        if NEAREST <= way <= min(FURTHEST, STRAIGHT * apart):
            return start, goal, way


def turned(yaw: float, other: float) -> float:
    """The angle from `other` to `yaw`, in [-pi, pi)."""
    return float((yaw - other + np.pi) % (2 * np.pi) - np.pi)
