"""The numbers that `update` logs: scalar tensors without a graph, not yet read from their device."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.agents.imitation.bc import BC, BCConfig
from embodia.agents.reinforcement.dreamer import Dreamer, DreamerConfig
from embodia.agents.reinforcement.mpc import MPC, MPCSettings
from embodia.agents.reinforcement.td_mpc2 import TDMPC2, TDMPC2Config
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.planners.models.rssm import RSSM, RSSMConfig
from embodia.planners.models.td_mpc2 import TDMPC2ModelConfig
from embodia.planners.search.cem import CEM
from embodia.planners.search.objective import Return

SPACE = spaces.Dict({"state": spaces.Box(-1, 1, (3,), np.float32)})
BOX = spaces.Box(-1, 1, (2,), np.float32)
TINY = RSSMConfig(deter=16, stoch=2, classes=4, units=16, blocks=4)


def mpc(encoder):
    return MPC(
        SPACE, BOX, RSSM(SPACE, BOX, encoder, TINY), CEM(BOX), Return(), MPCSettings(batch_size=2, sequence_length=4)
    )


def td_mpc2(encoder):
    model = TDMPC2ModelConfig(latent_dim=16, units=16, critics=2)
    return TDMPC2(SPACE, BOX, encoder, TDMPC2Config(model=model, batch_size=2))


AGENTS = {
    "bc": lambda encoder: BC(encoder, BOX, BCConfig(sequence_length=4)),
    "dreamer": lambda encoder: Dreamer(SPACE, BOX, encoder, DreamerConfig(model=TINY, imagination_horizon=3)),
    "mpc": mpc,
    "td-mpc2": td_mpc2,
}


def rows(steps=4, worlds=2):
    rng = np.random.default_rng(0)
    flags = {name: np.zeros((steps, worlds), bool) for name in ("first", "last", "terminal")}
    obs = {"state": rng.uniform(-1, 1, (steps, worlds, 3)).astype(np.float32)}
    action = rng.uniform(-1, 1, (steps, worlds, 2)).astype(np.float32)
    reward = rng.standard_normal((steps, worlds)).astype(np.float32)
    return {"obs": obs, "action": action, "reward": reward, "extras": {}, **flags}


@pytest.mark.parametrize("name", AGENTS)
def test_numbers_stay_on_the_device_until_a_line_is_written(name):
    torch.manual_seed(0)
    agent = AGENTS[name](MLPEncoder(SPACE, 8))
    numbers = agent.update(rows())
    assert len(numbers) >= 3
    for key, value in numbers.items():
        assert isinstance(value, torch.Tensor), f"{key} was read from the device"
        assert value.ndim == 0, key
        assert not value.requires_grad, f"{key} keeps the graph of its update"
    before = {key: value.clone() for key, value in numbers.items()}
    agent.update(rows())
    assert all(torch.equal(value, before[key]) for key, value in numbers.items()), "the next update wrote over them"
