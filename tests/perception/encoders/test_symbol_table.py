"""The table of symbols is a linear layer on one-hot codes, whichever way it is computed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces

from embodia.perception.encoders.symbol_table import SymbolTable

SPACE = spaces.Dict(grid=spaces.Box(0, np.tile(np.array([4, 2, 1], np.uint8), (3, 2, 1)), dtype=np.uint8))


def codes(n):
    return {"grid": torch.from_numpy(np.stack([SPACE["grid"].sample() for _ in range(n)]))}


def test_it_is_a_linear_layer_on_one_hot_codes():
    SPACE.seed(0)
    torch.manual_seed(0)
    net, obs = SymbolTable(SPACE, dim=7), codes(5)
    sizes = [5, 3, 2] * 6
    columns = obs["grid"].flatten(1).long().unbind(1)
    ones = torch.cat([F.one_hot(column, n) for column, n in zip(columns, sizes)], 1).float()
    expected = F.relu(ones @ net.table + net.bias)[:, None]
    torch.testing.assert_close(net(obs), expected)
    with torch.no_grad():  # by looking rows up
        torch.testing.assert_close(net(obs), expected)
    assert net(obs).shape == (5, net.num_tokens, net.dim)


def test_any_number_of_axes_and_gradients():
    SPACE.seed(0)
    net, obs = SymbolTable(SPACE, dim=4), codes(6)
    deep = net({"grid": obs["grid"].view(2, 3, 3, 2, 3)})
    torch.testing.assert_close(deep.flatten(0, 1), net(obs))
    deep.sum().backward()
    used = torch.zeros(len(net.table), dtype=torch.bool)
    used[(obs["grid"].flatten(1).long() + net.places).unique()] = True
    assert (net.table.grad[~used] == 0).all()


def test_two_grids_are_named():
    two = spaces.Dict(a=SPACE["grid"], b=SPACE["grid"])
    with pytest.raises(ValueError, match="name one of"):
        SymbolTable(two)
    assert SymbolTable(two, key="b").keys == ("b",)
