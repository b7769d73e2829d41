"""Tests of missions as tokens."""

import numpy as np
import pytest

from embodia.envs.grid.env import GridEnv
from embodia.envs.grid.mission import BABYAI_LENGTH, MINIGRID_LENGTH, TOKENS, WORDS, decode_mission, encode_mission


@pytest.mark.parametrize(
    "mission",
    [
        "",
        "reach the goal",
        "get the red key from the blue room, unlock the red door and go to the goal",
        "put a grey ball on your left next to the box behind you, then open the door in front of you",
    ],
)
def test_decoding_gives_the_mission_back(mission):
    tokens = encode_mission(mission, 24)
    assert tokens.shape == (24,)
    assert tokens.dtype == np.int64
    assert decode_mission(tokens) == mission


def test_words_are_distinct_and_padding_is_zero():
    assert len(set(WORDS)) == len(WORDS) == len(TOKENS)
    assert encode_mission("go to the ball", 6)[4:].tolist() == [0, 0]


def test_the_longest_missions_fit():
    room = "get the green key from the purple room, unlock the yellow door and go to the goal"
    assert len(room.replace(",", " ,").split()) <= MINIGRID_LENGTH
    put = "put the grey ball in front of you next to the grey ball in front of you"
    boss = f"{put} and {put} after you {put} and {put}"
    assert decode_mission(encode_mission(boss, BABYAI_LENGTH)) == boss


def test_an_unknown_word_and_too_long_a_mission_are_named():
    with pytest.raises(ValueError, match="'teapot' is not in"):
        encode_mission("fetch the teapot", 20)
    with pytest.raises(ValueError, match="has 4 words; mission_length=3"):
        encode_mission("go to the ball", 3)


@pytest.mark.parametrize("task", ["BabyAI-BossLevel-v0", "BabyAI-OpenDoorLoc-v0", "MiniGrid-Fetch-5x5-N2-v0"])
def test_missions_of_real_levels_survive(task):
    env = GridEnv(task)
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        assert decode_mission(observation["mission"]) == env.world.mission
        assert env.observation_space.contains(observation)
