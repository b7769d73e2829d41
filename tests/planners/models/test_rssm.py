"""Tests of the exact parts of DreamerV3's world model, and of learning in a small environment."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from embodia.planners.models.networks import BlockGRU, BlockLinear
from embodia.planners.models.rssm import RSSM, RSSMConfig, kl, sample
from embodia.planners.models.two_hot import TwoHot, symexp, symlog
from embodia.planners.trees import tree_map

SPACE = spaces.Dict({"cell": spaces.Discrete(6), "position": spaces.Box(-np.inf, np.inf, (2,))})
SMALL = RSSMConfig(deter=32, stoch=4, classes=4, units=32, blocks=4)


class Flat(nn.Module):
    """The smallest encoder: one-hot cell and position as one token."""

    num_tokens, dim = 1, 8

    def forward(self, obs):
        cell = nn.functional.one_hot(obs["cell"].long(), 6).float()
        return torch.cat([cell, symlog(obs["position"].float())], -1)[..., None, :]


def rssm(seed=0, config=SMALL):
    torch.manual_seed(seed)
    return RSSM(SPACE, spaces.Discrete(3), Flat(), config)


def rows(steps=7, worlds=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {
        "obs": {
            "cell": torch.randint(6, (steps, worlds), generator=g),
            "position": torch.randn(steps, worlds, 2, generator=g),
        },
        "reward": torch.randn(steps, worlds, generator=g),
        "first": torch.zeros(steps, worlds, dtype=torch.bool),
        "terminal": torch.zeros(steps, worlds, dtype=torch.bool),
        "action": torch.randint(3, (steps, worlds), generator=g),
    }


def test_symexp_inverts_symlog():
    x = torch.linspace(-1000, 1000, 4001, dtype=torch.float64)
    torch.testing.assert_close(symexp(symlog(x)), x, atol=1e-9, rtol=1e-12)


def test_two_hot_has_the_value_as_its_mean():
    value = (torch.rand(10_000, generator=torch.Generator().manual_seed(0)) * 2 - 1) * 20
    two_hot = TwoHot()
    weights = two_hot.target(value)
    assert int((weights > 0).sum(-1).max()) <= 2
    torch.testing.assert_close(weights.sum(-1), torch.ones(10_000))
    torch.testing.assert_close((weights * two_hot.bins).sum(-1), value, atol=1e-4, rtol=1e-5)
    assert float(two_hot.mean(torch.zeros(255))) == 0.0


def test_straight_through_gives_the_softmax_gradient():
    logits = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weight = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(1))
    drawn = sample(logits.log_softmax(-1))
    assert bool(((drawn.detach().round() - drawn.detach()).abs() < 1e-6).all())
    (through,) = torch.autograd.grad((drawn * weight).sum(), logits)
    (softmax,) = torch.autograd.grad((logits.softmax(-1) * weight).sum(), logits)
    torch.testing.assert_close(through, softmax)


def test_kl_is_that_of_torch_distributions():
    p, q = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Independent(torch.distributions.OneHotCategorical(logits=p), 1),
        torch.distributions.Independent(torch.distributions.OneHotCategorical(logits=q), 1),
    )
    torch.testing.assert_close(kl(p, q), expected)


def test_free_nats_leave_no_gradient_and_stop_gradients_split_the_kl():
    model, batch = rssm(config=RSSMConfig(deter=32, stoch=4, classes=4, units=32, blocks=4, free_nats=1e3)), rows()
    _, numbers = model.loss(batch)
    dyn = numbers["loss/dyn"]
    assert not any(g.abs().sum() for g in torch.autograd.grad(dyn, model.prior_net.parameters(), retain_graph=True))
    model = rssm()
    _, numbers = model.loss(batch)
    # Only dyn trains the prior, and only rep trains the posterior's logits.
    rep = torch.autograd.grad(
        numbers["loss/rep"], list(model.prior_net.parameters()), retain_graph=True, allow_unused=True
    )
    assert all(g is None or not g.abs().sum() for g in rep)


def test_first_forgets_the_past():
    model, batch = rssm(), rows()
    batch["first"][3] = True
    other = {
        **batch,
        "obs": {key: value.clone() for key, value in batch["obs"].items()},
        "action": batch["action"].clone(),
    }
    other["obs"]["position"][:3] += 5
    other["action"][:3] = (other["action"][:3] + 1) % 3
    torch.manual_seed(1)
    ours, post = model.unroll(batch)
    torch.manual_seed(1)
    theirs, post_other = model.unroll(other)
    assert not torch.equal(ours["deter"][2], theirs["deter"][2])
    torch.testing.assert_close(ours["deter"][3:], theirs["deter"][3:])
    torch.testing.assert_close(post[3:], post_other[3:])


def test_observe_step_by_step_is_the_unrolled_model():
    model, batch = rssm(), rows()
    torch.manual_seed(1)
    unrolled, _ = model.unroll(batch)
    torch.manual_seed(1)
    state, action = model.initial(5), torch.zeros(5, dtype=torch.int64)
    for t in range(7):
        obs = {key: value[t] for key, value in batch["obs"].items()}
        first = torch.ones(5, dtype=torch.bool) if t == 0 else batch["first"][t]
        state = model.observe(state, obs, action, first)
        torch.testing.assert_close(state["deter"], unrolled["deter"][t])
        action = batch["action"][t]


def test_block_linear_is_a_block_diagonal_matrix():
    layer = BlockLinear(8, 12, 4)
    dense = torch.block_diag(*layer.weight)  # (8, 12)
    x = torch.randn(3, 8)
    torch.testing.assert_close(layer(x), x @ dense + layer.bias)


def test_the_recurrent_state_starts_slow():
    """The update gate's bias is -1, so with small inputs most of the memory is kept."""
    gru = BlockGRU(16, (4,), 16, 4)
    h = torch.randn(100, 16)
    assert float((gru(h, torch.zeros(100, 4)) - h).abs().mean()) < 0.5 * float(h.abs().mean())


def walk(steps, worlds, seed):
    """A walk on a ring of six cells: left, stay, right; reward 1 on cell 0."""
    rng = np.random.default_rng(seed)
    action = rng.integers(3, size=(steps, worlds))
    cell = (
        rng.integers(6, size=worlds) + np.concatenate([np.zeros((1, worlds), int), np.cumsum(action - 1, 0)[:-1]])
    ) % 6
    batch = rows(steps, worlds)
    batch["obs"] = {"cell": torch.tensor(cell), "position": torch.zeros(steps, worlds, 2)}
    batch["action"], batch["reward"] = torch.tensor(action), torch.tensor(cell == 0).float()
    batch["first"][0] = True
    return batch


def test_learns_to_imagine_a_ring():
    """After a short training, open-loop imagination predicts the cell ten steps ahead; chance is 1/6."""
    # The cell has ln 6 = 1.8 nat of information. With one free nat, a prior that is often wrong would cost nothing.
    model = rssm(config=dataclasses.replace(SMALL, free_nats=0.05))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(300):
        optimizer.zero_grad()
        model.loss(walk(6, 32, step))[0].backward()
        optimizer.step()
    test = walk(15, 200, 10_000)
    with torch.no_grad():
        states, _ = model.unroll(tree_map(lambda leaf: leaf[:5], test))
        state = {key: value[-1] for key, value in states.items()}
        for t in range(4, 14):
            state = model.imagine(state, test["action"][t])
        cell = model.decode(state)["cell"]
        reward = model.predict(state)["reward"]
    assert float((cell == test["obs"]["cell"][14]).float().mean()) > 0.9
    assert float((reward - test["reward"][14]).abs().mean()) < 0.15


def test_refuses_actions_it_cannot_feed():
    with pytest.raises(TypeError, match="Discrete"):
        RSSM(SPACE, spaces.MultiDiscrete([2, 2]), Flat(), SMALL)
