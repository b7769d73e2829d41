"""The constant agent."""

import numpy as np
import pytest
from gymnasium import spaces

from embodia.agents.references.constant import Constant

SEEN = spaces.Dict(x=spaces.Box(-1, 1, (1,)))


@pytest.mark.parametrize(
    ("space", "action"),
    [(spaces.Discrete(4), 2), (spaces.Discrete(3, start=5), 6), (spaces.Box(-1, 1, (2,), np.float32), [0.5, -0.5])],
)
def test_it_does_the_same_in_every_world_whatever_it_sees(space, action):
    agent = Constant(SEEN, space, action)
    for seen in (0.0, 1.0):
        done, carry, extra = agent.act({"x": np.full((3, 1), seen)}, {}, np.array([True, False, True]), "greedy")
        assert (carry, extra) == ({}, {})
        assert len(done) == 3
        assert all(each in space for each in done)
        np.testing.assert_array_equal(done, [action] * 3)
