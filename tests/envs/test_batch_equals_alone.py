"""A batch equals its worlds alone: no world feels the others or its own past.

Worlds of every id are played together over several episodes each: autoresets at different times, two restarts of some
worlds by `reset_mask`, random, reckless and expert-like actions. Then every episode is played again in one world alone,
the last ones first, so that what came before each is another past. Observations, rewards, ends, infos, metrics and the
expert's answers must be the same, bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import minigrid  # noqa: F401 (registers its own ids)
import numpy as np
import pytest
from gymnasium import spaces

from embodia.agents.training.evaluate import world_info
from embodia.agents.training.scores import declared_scores
from embodia.envs import NoExpert
from embodia.envs.control.ids import CONTROL_IDS
from embodia.envs.driving.ids import IDS as ROAD_IDS
from embodia.envs.driving.learning.pool import scenario_pool
from embodia.envs.driving.learning.sensors import SENSOR_KEYS
from embodia.envs.driving.types import TrackedObjectType
from embodia.envs.grid.ids import GRID_IDS, NEED_SOURCE
from embodia.envs.homes.engines import engine
from embodia.envs.homes.episodes.dataset import EpisodeDataset
from embodia.envs.homes.ids import HOME_IDS
from embodia.envs.homes.vector_env import HomesVectorEnv
from embodia.envs.vector import Vectorization, make
from embodia.planners.driving.idm import IdmPlanner
from embodia.tests.envs.driving.road import car, ego_history, join, scenario_on, synthetic_road

EPISODES = 3
STYLES = ("reckless", "expert", "random", "reckless")
"""Of the actions of each world of a batch."""


@dataclass
class Step:
    """What one world was told and what came of it."""

    action: Any
    expert: Any
    seen: dict[str, Any]


@dataclass
class Played:
    """One episode of one world of a batch: it begins with `reset(seed)` and then so many resets without a seed."""

    seed: int
    draws: int
    began: dict[str, Any]
    steps: list[Step] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return bool(self.steps) and bool(self.steps[-1].seen["terminated"] or self.steps[-1].seen["truncated"])


def of_world(batch: Any, i: int) -> dict[str, Any]:
    """World i's part of what `reset` or `step` of a vector gave."""
    obs, *rest, infos = batch
    seen = {"obs": {key: value[i] for key, value in obs.items()}, "info": world_info(infos, i)}
    return seen | dict(zip(("reward", "terminated", "truncated"), (value[i] for value in rest), strict=False))


def as_seen(alone: Any) -> dict[str, Any]:
    """What `reset` or `step` of one environment gave, in the same form: a batch gives scores on last steps only."""
    obs, *rest, info = alone
    if rest and not (rest[1] or rest[2]):
        info = {key: value for key, value in info.items() if key != "metrics"}
    return {"obs": obs, "info": info} | dict(zip(("reward", "terminated", "truncated"), rest, strict=False))


def sample(space: Any, rng: np.random.Generator) -> Any:
    if isinstance(space, spaces.Discrete):
        return int(space.start + rng.integers(space.n))
    return rng.uniform(space.low, space.high).astype(space.dtype)


def extreme(space: Any, rng: np.random.Generator) -> Any:
    """An action at the ends of its range, its first number at the upper one: full speed, somewhere."""
    if isinstance(space, spaces.Discrete):
        return sample(space, rng)
    ends = np.where(rng.random(space.shape) < 0.5, space.low, space.high)
    ends.flat[0] = space.high.flat[0]
    return ends.astype(space.dtype)


def expert_actions(env: Any) -> Any:
    try:
        return env.expert_action()
    except NoExpert:
        return None


def nonsense(space: Any) -> Any:
    """No action at all, for worlds that are over: theirs is ignored."""
    return (
        space.start + space.n + 7 if isinstance(space, spaces.Discrete) else np.full(space.shape, np.nan, space.dtype)
    )


def chosen(style: str, played: Played, expert: Any, space: Any, rng: np.random.Generator) -> Any:
    """An action in the style of its world; a reckless one does one thing throughout."""
    if style == "reckless":
        return played.steps[0].action if played.steps else extreme(space, rng)
    if style == "expert" and expert is not None and rng.random() < 0.9:
        return expert
    return sample(space, rng)


def together(env: Any, episodes: int, longest: int, rng: np.random.Generator) -> list[list[Played]]:
    """Each world's episodes: at least so many that ended by themselves."""
    n, space = env.num_envs, env.single_action_space
    assert n == len(STYLES)
    seeds = [int(seed) for seed in rng.integers(2**20, size=n)]
    batch = env.reset(seed=seeds)
    worlds = [[Played(seeds[i], 0, of_world(batch, i))] for i in range(n)]
    restarts = {False: 5, True: 9}  # the first step after which one world that is running, or over, is restarted
    for t in range(longest):
        over = np.array([played[-1].over for played in worlds])
        expert = expert_actions(env)
        asked = [None if expert is None else expert[i] for i in range(n)]
        actions = [
            nonsense(space) if over[i] else chosen(STYLES[i], worlds[i][-1], asked[i], space, rng) for i in range(n)
        ]
        batch = env.step(np.stack(actions))
        for i, played in enumerate(worlds):
            if over[i]:
                assert batch[1][i] == 0
                played.append(Played(played[-1].seed, played[-1].draws + 1, of_world(batch, i)))
            else:
                played[-1].steps.append(Step(actions[i], asked[i], of_world(batch, i)))
        over = np.array([played[-1].over for played in worlds])
        for state, first in list(restarts.items()):
            if t >= first and (over == state).any():
                del restarts[state]
                restart(env, worlds, int(np.flatnonzero(over == state)[0]), int(rng.integers(2**20)))
        ended = [sum(each.over for each in played) for played in worlds]
        if not restarts and min(ended) >= episodes:
            return worlds
    raise AssertionError(f"{ended} episodes ended in {longest} steps; restarts not done: {restarts}")


def restart(env: Any, worlds: list[list[Played]], world: int, seed: int) -> None:
    """Restart one world by a mask, as evaluation does; the others stay where they are."""
    mask = np.arange(env.num_envs) == world
    batch = env.reset(seed=[seed if new else None for new in mask], options={"reset_mask": mask})
    for i, played in enumerate(worlds):
        now = of_world(batch, i)
        if i == world:
            played.append(Played(seed, 0, now))
        else:
            last = played[-1].steps[-1].seen if played[-1].steps else played[-1].began
            same(now["obs"], last["obs"], f"world {i} while world {world} restarts")


def same(ours: Any, theirs: Any, where: str) -> None:
    np.testing.assert_equal(ours, theirs, err_msg=where)


def alone(env: Any, played: Played, where: str) -> None:
    """Play an episode again and compare."""
    began = env.reset(seed=played.seed)
    for _ in range(played.draws):
        began = env.reset()
    same(as_seen(began), {key: played.began[key] for key in ("obs", "info")}, f"{where}, reset")
    for number, step in enumerate(played.steps):
        if step.expert is not None:
            same(np.asarray(env.expert_action(), step.expert.dtype), step.expert, f"{where}, expert at step {number}")
        same(as_seen(env.step(step.action)), step.seen, f"{where}, step {number}")


def check(
    env_id: str,
    vectorization: Vectorization = "auto",
    workers: int | None = None,
    longest: int = 400,
    before_alone: Callable[[], None] = lambda: None,
    **options: Any,
) -> None:
    """A batch of an id against its worlds alone."""
    env = make(env_id, len(STYLES), vectorization, workers, **options)
    worlds = together(env, EPISODES, longest, np.random.default_rng(0))
    scores = set(declared_scores(env))
    env.close()
    for each in (each for played in worlds for each in played if each.over):
        assert set(each.steps[-1].seen["info"]["metrics"]) == scores, "what is reported is what is declared"
    before_alone()
    single = gym.make(env_id, disable_env_checker=True, **options).unwrapped
    for i, played in enumerate(worlds):
        for number, each in reversed(list(enumerate(played))):
            alone(single, each, f"{env_id}, world {i}, episode {number} (seed {each.seed}, draw {each.draws})")
    single.close()


# Grids and small worlds: a batch is a vector of single worlds

FAMILIES = {gym.spec(name.removeprefix("embodia/")).entry_point: name for name in reversed(GRID_IDS)}
"""minigrid's class of a task -> the first id that has it."""
SENTENCES = (
    "GoToRedBall",
    "GoToLocal",
    "GoToObjDoor",
    "OpenTwoDoors",
    "PickupLoc",
    "PutNextS4N1",
    "FindObjS5",
    "OneRoomS8",
)
"""BabyAI's classes differ in their rooms and sentences only: one of each kind of sentence, those with quick experts."""


def quick_ids() -> list[str]:
    """The first id of each of MiniGrid's families, and some of BabyAI's."""
    rooms = [name for name in FAMILIES.values() if "MiniGrid-" in name and name not in NEED_SOURCE]
    slow = "embodia/MiniGrid-ObstructedMaze-2Dlhb-v1"  # a tenth of a second an answer of its expert
    return [*(name for name in rooms if name != slow), *(f"embodia/BabyAI-{name}-v0" for name in SENTENCES)]


@pytest.mark.parametrize("env_id", quick_ids())
def test_a_grid_of_each_family(env_id):
    check(env_id, max_steps=8)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", [name for name in GRID_IDS if name not in NEED_SOURCE])
def test_every_grid(env_id):
    check(env_id, max_steps=24)


@pytest.mark.parametrize("observation", ["symbolic_full", "rgb", "rgb_full"])
def test_views_of_grids(observation):
    check("embodia/MiniGrid-DoorKey-5x5-v0", max_steps=16, observation=observation)


@pytest.mark.parametrize("env_id", CONTROL_IDS)
def test_small_worlds(env_id):
    check(env_id, max_steps=8)


def test_walls_in_other_places():
    check("embodia/Wall-v0", max_steps=8, layout="random")


def test_worlds_in_other_processes():
    check("embodia/MiniGrid-Dynamic-Obstacles-6x6-v0", "subprocess", workers=2, max_steps=8)


# Homes: one simulator of many


HOMES: dict[str, Any] = {"width": 24, "height": 16, "num_scenes": 2, "detail": "low", "max_steps": 8}
ANY_GOAL = ("pointgoal_with_gps_compass", "pointgoal", "map_goal")
BODY = ("rgb", "depth", "semantic", "gps", "compass", "heading", "proximity", "map", "map_pose")
SENSORS = {
    "PointNav": (*BODY, *ANY_GOAL, "imagegoal"),
    "ObjectNav": (*BODY, *ANY_GOAL, "objectgoal"),
    "ImageNav": (*BODY, *ANY_GOAL, "imagegoal"),
    "InstanceImageNav": (*BODY, *ANY_GOAL, "objectgoal", "instance_imagegoal", "instance_imagegoal_hfov"),
    "Exploration": BODY,
}
"""All that a task can show."""


def homes(env_id: str, **options: Any) -> None:
    """What is known of a home is worked out anew for the worlds alone."""
    task = env_id.removeprefix("embodia/").split("-")[0]
    check(env_id, before_alone=engine._generated.cache_clear, **{**HOMES, "sensors": SENSORS[task], **options})


@pytest.mark.parametrize("env_id", HOME_IDS)
def test_homes(env_id):
    homes(env_id)


@pytest.mark.parametrize("env_id", ["embodia/PointNav-Velocity-v0", "embodia/ObjectNav-Velocity-v0"])
def test_homes_with_long_moves_and_other_goal_formats(env_id):
    """Moves of 4 s meet walls; one task slides along them, the other does not."""
    homes(env_id, time_step=4.0, goal_format="CARTESIAN", goal_dimensions=3, normalize_depth=False, split="test")


def test_homes_of_an_episode_file():
    """Worlds share the episodes and each goes through them in its own order."""
    shown = HomesVectorEnv(6, "ObjectNav", **{**HOMES, "sensors": ("depth",)})
    shown.reset(seed=[0, 1, 2, 3, 4, 5])
    episodes = EpisodeDataset(tuple(episode for episode in shown.episodes if episode))
    homes("embodia/ObjectNav-v0", episodes=episodes)


# Roads: one simulator of many

ROADS: dict[str, Any] = {"observation": ("ego", "agents", "lanes", "route"), "max_agents": 4}


@pytest.fixture(scope="module")
def roads():
    """Drives of 2.4 s: alone, behind a slow car, beside a parked one, with a walker and a cyclist ahead."""
    way, num = synthetic_road(), 25
    lead = [car("lead", 22.0 + 0.3 * k, velocity=(3.0, 0.0)) for k in range(num)]
    parked = [join(car("behind", 0.7 * k, velocity=(7.0, 0.0)), car("parked", 24.0, 1.75)) for k in range(num)]
    walker, rider = TrackedObjectType.PEDESTRIAN, TrackedObjectType.BICYCLE
    weak = [
        join(
            car("walker", 26.0, -4.0 + 0.1 * k, np.pi / 2, (0.0, 1.0), (0.6, 0.6), walker),
            car("rider", 40.0 + 0.4 * k, -1.0, velocity=(4.0, 0.0), size=(1.8, 0.6), kind=rider),
        )
        for k in range(num)
    ]
    expert = ego_history(10.0, speed=5.0, num=num)
    frames = (None, lead, parked, weak)
    return [scenario_on(way, expert, each, token=str(i) * 16) for i, each in enumerate(frames)]


@pytest.mark.parametrize("rules", ["learning", "nuplan"])
@pytest.mark.parametrize("env_id", ROAD_IDS)
def test_roads(env_id, rules, roads):
    check(env_id, scenarios=roads, rules=rules, **ROADS)


def test_the_raster_of_roads(roads):
    check("embodia/DrivingManoeuvre-v0", scenarios=roads, rules="learning", **{**ROADS, "observation": ("bev",)})


@pytest.mark.parametrize("rules", ["learning", "nuplan"])
def test_the_sensors_of_roads(rules, roads):
    """Camera and laser scanner, whose surroundings are worked out anew for the worlds alone."""
    size = {"camera_height": 12, "camera_width": 16, "laser_azimuths": 24, "laser_elevations": (-8.0, 0.0)}
    keys = {"observation": SENSOR_KEYS}
    check("embodia/Driving-v0", scenarios=roads, rules=rules, **{**ROADS, **keys, **size, "laser_edges": True})


@pytest.mark.parametrize("rules", ["learning", "nuplan"])
def test_manoeuvres_among_traffic_that_reacts(rules, roads):
    check("embodia/DrivingManoeuvre-v0", scenarios=roads, rules=rules, reactive=True, **{**ROADS, "max_agents": 1})


@pytest.mark.parametrize(("action", "rules"), [("Trajectory", "learning"), ("Reactive", "nuplan")])
def test_roads_with_a_planner_as_the_expert(action, rules, roads):
    check(
        f"embodia/Driving{action}-v0",
        scenarios=roads,
        rules=rules,
        expert=idm,
        observation=("ego", "agents"),
    )


def idm(scenario):
    return IdmPlanner()


@pytest.mark.slow
@pytest.mark.parametrize("rules", ["learning", "nuplan"])
@pytest.mark.parametrize("env_id", ROAD_IDS)
def test_generated_roads(env_id, rules):
    """Real junctions, lights and traffic, cut to 5 s."""
    scenarios = [replace(scenario, num_iterations=50) for scenario in scenario_pool("train", 6)]
    check(env_id, scenarios=scenarios, rules=rules, observation=("ego", "agents", "lanes", "route", "bev"))
