"""The compiled generator against NumPy's."""

import numpy as np
import pytest

from embodia.envs.grid.native.pcg64 import integer, state_of, words


@pytest.mark.parametrize("seed", range(5))
def test_bounded_integers_are_numpy_s(seed):
    theirs = np.random.default_rng(seed)
    state = np.array(words(theirs.bit_generator.state), np.uint64)
    bounds = np.random.default_rng(seed + 99).integers(-5, 2**31, size=(500, 2))
    for low, extra in bounds.tolist():
        high = low % 7 + 1 + extra % (2 if extra % 3 else 2**31)  # ranges of one, two and many
        assert integer(state, low % 7, high) == theirs.integers(low % 7, high)
    assert state_of(state) == theirs.bit_generator.state
