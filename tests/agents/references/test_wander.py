"""Wander: actions are uniform at each time, correlated over time, and independent between episodes."""

import numpy as np
import pytest
from gymnasium import spaces

from embodia.agents.references.wander import Wander

SPACE = spaces.Dict({"state": spaces.Box(-1, 1, (1,))})
BOX = spaces.Box(np.float32([-1, 0]), np.float32([1, 4]))


def actions(agent, n, steps, again=False):
    carry, taken = agent.initial(n), []
    for t in range(steps):
        action, carry, _ = agent.act({}, carry, np.full(n, t == 0 or again), "eval")
        taken.append(action)
    return np.stack(taken)


def test_uniform_at_any_time():
    for action in actions(Wander(SPACE, BOX), 4000, 3):
        share = (action - BOX.low) / (BOX.high - BOX.low)
        np.testing.assert_allclose(np.quantile(share, [0.1, 0.5, 0.9], axis=0).T, [[0.1, 0.5, 0.9]] * 2, atol=0.03)
        assert action.dtype == np.float32


@pytest.mark.parametrize("persistence", [0.0, 0.7])
def test_persists(persistence):
    """The rank correlation of a bivariate normal with correlation r is 6 / pi asin(r / 2)."""
    one, two = actions(Wander(SPACE, BOX, persistence), 20_000, 2)[..., 0]
    assert np.corrcoef(one, two)[0, 1] == pytest.approx(6 / np.pi * np.arcsin(persistence / 2), abs=0.02)


def test_begins_anew_with_an_episode():
    one, two = actions(Wander(SPACE, BOX, 0.9), 20_000, 2, again=True)[..., 0]
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.02


def test_resumes():
    agent, other = Wander(SPACE, BOX), Wander(SPACE, BOX, seed=5)
    actions(agent, 2, 3)
    other.set_training_state(agent.training_state())
    np.testing.assert_array_equal(actions(agent, 2, 3), actions(other, 2, 3))


def test_what_it_refuses():
    with pytest.raises(TypeError, match="use random"):
        Wander(SPACE, spaces.Discrete(3))
    with pytest.raises(ValueError, match="persistence is 1"):
        Wander(SPACE, BOX, 1.0)
