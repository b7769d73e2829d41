"""Minigrid's own wrappers around our ids: the same as around minigrid's, with experts, snapshots and scores."""

import gymnasium as gym
import minigrid.wrappers as wrappers
import numpy as np
import pytest
from numpy.testing import assert_equal

import embodia  # noqa: F401 (registers the ids)
from embodia.envs import level_seed
from embodia.envs.vector import make

TASK = "MiniGrid-LavaCrossingS9N1-v0"
NAMES = [
    *("ActionBonus", "PositionBonus", "ImgObsWrapper", "OneHotPartialObsWrapper", "RGBImgObsWrapper"),
    *("RGBImgPartialObsWrapper", "FullyObsWrapper", "DictObservationSpaceWrapper", "FlatObsWrapper"),
    *("ViewSizeWrapper", "DirectionObsWrapper", "SymbolicObsWrapper", "StochasticActionWrapper", "NoDeath"),
]


def options(name):
    return {"NoDeath": {"no_death_types": ("lava",)}, "StochasticActionWrapper": {"prob": 1.0}}.get(name, {})


def test_every_wrapper_of_minigrid_is_tested():
    classes = {name: each for name, each in vars(wrappers).items() if isinstance(each, type)}
    own = {name: each for name, each in classes.items() if each.__module__ == wrappers.__name__}
    theirs = {name for name, each in own.items() if issubclass(each, gym.Wrapper)}
    assert theirs == {*NAMES, "ReseedWrapper"}


@pytest.mark.parametrize("name", NAMES)
def test_a_wrapper_does_the_same_around_our_id(name):
    wrapper = getattr(wrappers, name)
    ours = wrapper(gym.make(f"embodia/{TASK}", observation="minigrid"), **options(name))
    theirs = wrapper(gym.make(TASK), **options(name))
    seen, _ = ours.reset(seed=3)
    expected, _ = theirs.reset(seed=level_seed("train", 3))
    assert_equal(seen, expected)
    assert ours.observation_space == theirs.observation_space
    actions = np.random.default_rng(0).choice([0, 1, 2, 2], 60)
    for action in actions:
        expected, reward, terminated, truncated, _ = theirs.step(action)
        seen, gain, over, timed, info = ours.step(action)
        assert_equal((seen, gain, over, timed), (expected, reward, terminated, truncated))
        if over:
            assert set(info["metrics"]) == {"success", "return", "path_efficiency"}
            break
    assert ours.get_wrapper_attr("expert_action")() in range(7)


def test_reseeding_repeats_levels():
    env = wrappers.ReseedWrapper(gym.make(f"embodia/{TASK}"), seeds=(7, 8))
    levels = [env.reset()[1]["level"] for _ in range(4)]
    assert levels[:2] == levels[2:]
    assert levels[0] != levels[1]


def test_a_wrapper_that_needs_minigrids_observation_says_so():
    with pytest.raises(KeyError, match=r'need the option observation=.*"minigrid"'):
        wrappers.ImgObsWrapper(gym.make(f"embodia/{TASK}"))


@pytest.mark.parametrize("vectorization", ["sync", "subprocess"])
def test_a_batch_of_wrapped_grids_goes_back_to_a_snapshot(vectorization):
    wraps = [wrappers.PositionBonus, wrappers.RGBImgPartialObsWrapper, wrappers.ImgObsWrapper]
    env, other = (
        make(f"embodia/{TASK}", 2, each, wrappers=wraps, observation="minigrid") for each in ("sync", vectorization)
    )
    obs, _ = env.reset(seed=[1, 2])
    assert obs["rgb"].shape == (2, 56, 56, 3)
    actions = np.random.default_rng(1).integers(3, size=(60, 2))
    for action in actions[:30]:
        env.step(action)
    other.set_state(env.get_state())
    assert_equal([other.step(action) for action in actions[30:]], [env.step(action) for action in actions[30:]])
    other.close()
