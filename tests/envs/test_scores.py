"""Every environment declares its scores, and whatever wraps or batches it passes them on."""

import gymnasium as gym
import pytest

from embodia.agents.training.scores import declared_scores
from embodia.envs import Environment, VectorEnvironment
from embodia.envs.control.ids import CONTROL_IDS
from embodia.envs.driving.ids import IDS as ROAD_IDS
from embodia.envs.grid.ids import GRID_IDS, NEED_SOURCE
from embodia.envs.homes.ids import HOME_IDS
from embodia.envs.vector import make
from embodia.tests.envs.driving.road import ego_history, scenario_on, synthetic_road

FIRST = {
    **dict.fromkeys(GRID_IDS, "success"),
    **dict.fromkeys(HOME_IDS, "success"),
    "embodia/Exploration-v0": "coverage",
    "embodia/Exploration-Velocity-v0": "coverage",
    **dict.fromkeys(ROAD_IDS, "score"),
    **dict.fromkeys(CONTROL_IDS, "success"),
    "embodia/RaceTrack-v0": "progress",
}
ONE_OF_EACH = ("embodia/MiniGrid-Empty-5x5-v0", "embodia/PointNav-v0", "embodia/Exploration-Velocity-v0",
               "embodia/DrivingManoeuvre-v0", "embodia/Wall-v0")  # fmt: skip


@pytest.fixture(scope="module")
def road():
    return scenario_on(synthetic_road(), ego_history(10.0, speed=5.0, num=30))


def options(env_id, road):
    return {"scenarios": [road]} if env_id in ROAD_IDS else {}


@pytest.mark.parametrize("env_id", [env_id for env_id in FIRST if env_id not in NEED_SOURCE])
def test_every_id_says_which_score_decides_and_what_its_actions_are_called(env_id, road):
    env = gym.make(env_id, **options(env_id, road))
    assert isinstance(env.unwrapped, Environment)
    scores = declared_scores(env)
    assert next(iter(scores)) == FIRST[env_id]
    names = env.metadata.get("action_names")
    if isinstance(env.action_space, gym.spaces.Discrete):
        assert len(names) >= env.action_space.n
        assert len(set(names)) == len(names)
    else:
        assert names is None
    env.close()


@pytest.mark.parametrize("env_id", ONE_OF_EACH)
def test_wrapped_vectorised_and_made_by_id_they_say_the_same(env_id, road):
    given = options(env_id, road)
    alone = gym.make(env_id, **given)
    wrapped = gym.wrappers.TimeLimit(gym.wrappers.RecordEpisodeStatistics(alone), 5)
    made = [make(env_id, 2, "sync", **given), make(env_id, 2, "subprocess", workers=1, **given)]
    made += [make(env_id, 2, **given), gym.make_vec(env_id, 2, **given)]
    for each in (wrapped, *made):
        assert each.metadata["scores"] == alone.metadata["scores"]
        assert each.metadata.get("action_names") == alone.metadata.get("action_names")
        each.close()
    assert all(isinstance(each, VectorEnvironment) for each in made[:3])


def test_a_lesson_on_both_splits_is_judged_by_the_way_driven(road):
    env = gym.make("embodia/Driving-v0", scenarios=[road], rules="learning")
    assert next(iter(declared_scores(env))) == "ego_progress_along_expert_route"
    assert set(declared_scores(env)) == set(declared_scores(gym.make("embodia/Driving-v0", scenarios=[road])))
