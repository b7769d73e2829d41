"""Tests of Deep Sets: order and missing rows have no effect, other rows do."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.perception.encoders.deep_sets import DeepSets

SPACE = spaces.Dict(agents=spaces.Box(-np.inf, np.inf, (5, 3), np.float32))


def test_a_set_has_no_order_and_no_missing_members():
    torch.manual_seed(0)
    encoder = DeepSets(SPACE, dim=8)
    rows = torch.randn(2, 4, 5, 3)
    rows[..., 3:, :] = 0
    seen = encoder({"agents": rows})
    assert seen.shape == (2, 4, 1, 8)
    torch.testing.assert_close(encoder({"agents": rows[..., [3, 2, 0, 4, 1], :]}), seen)
    fewer = rows.clone()
    fewer[..., 0, :] = 0
    assert (encoder({"agents": fewer}) != seen).any(-1).all()
    assert (encoder({"agents": torch.zeros(1, 5, 3)}) == 0).all()


def test_it_reads_rows_only():
    with pytest.raises(ValueError, match="one key of rows"):
        DeepSets(spaces.Dict(ego=spaces.Box(-1, 1, (3,), np.float32)))
