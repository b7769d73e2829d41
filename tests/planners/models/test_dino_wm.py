"""Tests of DINO-WM: causality, history, episode borders, and learning and planning with frozen features."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from embodia.planners.models.dino_wm import DINOWM, DINOWMConfig
from embodia.planners.models.imagination import imagine_plan
from embodia.planners.search.cem import CEM
from embodia.planners.search.objective import ObservedGoal

ACTIONS = spaces.Box(np.float32([-2.0]), np.float32([2.0]))
SPACE = spaces.Dict({"place": spaces.Box(-np.inf, np.inf, (1,), np.float32)})


class Bumps(nn.Module):
    """A frozen encoder: four tokens with the proximity of the place to four of sixteen points on [-2, 2]."""

    num_tokens, dim = 4, 4

    def forward(self, obs):
        posts = torch.linspace(-2, 2, 16)
        return torch.exp(-0.5 * (obs["place"].float() - posts).square()).unflatten(-1, (4, 4))


def dino(history=3, seed=0, **more):
    torch.manual_seed(seed)
    return DINOWM(SPACE, ACTIONS, Bumps(), DINOWMConfig(history=history, dim=32, depth=2, **more))


def rows(steps, worlds, seed):
    """A place that moves by half the action, between -2 and 2."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-2, 2, (steps, worlds, 1))
    place = np.zeros((steps, worlds, 1))
    place[0] = rng.uniform(-2, 2, (worlds, 1))
    for t in range(1, steps):
        place[t] = np.clip(place[t - 1] + action[t - 1] / 2, -2, 2)
    first = torch.zeros(steps, worlds, dtype=torch.bool)
    first[0] = True
    obs = {"place": torch.tensor(place, dtype=torch.float32)}
    return {"obs": obs, "action": torch.tensor(action, dtype=torch.float32), "first": first}


def test_a_frame_does_not_look_at_later_ones():
    model = dino()
    nn.init.normal_(model.leave[1].weight)
    tokens, actions, age = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 1), torch.tensor([3, 3])
    before = model.advance(tokens, actions, age)
    changed = tokens.clone()
    changed[:, 2] += 1
    after = model.advance(changed, actions, age)
    torch.testing.assert_close(after[:, :2], before[:, :2])
    assert not torch.allclose(after[:, 2] - changed[:, 2], before[:, 2] - tokens[:, 2])


def test_what_was_before_the_episode_is_not_seen():
    """An environment whose episode starts at row 2 imagines the same as one without earlier frames."""
    model, batch = dino(), rows(5, 2, 0)
    state, fresh = model.initial(2), model.initial(2)
    for t in range(5):
        obs = {"place": batch["obs"]["place"][t]}
        first = torch.tensor([t in (0, 2), t == 0])
        state = model.observe(state, obs, batch["action"][t - 1], first)
        if t >= 2:
            fresh = model.observe(fresh, obs, batch["action"][t - 1], torch.full((2,), t == 2))
    ours, theirs = (model.imagine(each, batch["action"][4])["tokens"][:, -1] for each in (state, fresh))
    torch.testing.assert_close(ours[0], theirs[0])
    longer = model.observe(model.initial(2), {"place": batch["obs"]["place"][4]}, batch["action"][3], torch.ones(2))
    assert not torch.allclose(theirs, model.imagine(longer, batch["action"][4])["tokens"][:, -1]), "history counts"


def test_nothing_is_learned_across_the_border_of_episodes():
    """A jump at the border of an episode adds no loss and no gradient."""
    model, batch = dino(history=2), rows(4, 8, 0)
    batch["first"][2] = True
    torch.manual_seed(1)
    one, _ = model.loss(batch)
    batch["action"][1] += 1.0  # the action of an episode's last row is never executed
    torch.manual_seed(1)
    other, _ = model.loss(batch)
    torch.testing.assert_close(one, other)


def test_the_encoder_stays_as_it_is():
    model = DINOWM(SPACE, ACTIONS, Learned(), DINOWMConfig(dim=32, depth=1))
    model.loss(rows(3, 4, 0))[0].backward()
    assert all(weight.grad is None for weight in model.encoder.parameters())
    assert all(weight.grad is not None for weight in model.leave.parameters())


class Learned(Bumps):
    """Bumps with a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, obs):
        return self.weight * super().forward(obs)


@pytest.mark.parametrize("history", [1, 2])
def test_learns_a_world_and_reaches_the_goal_that_is_shown(history):
    model = dino(history=history)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    for step in range(300):
        optimizer.zero_grad()
        loss, numbers = model.loss(rows(4, 64, step))
        loss.backward()
        optimizer.step()
    assert float(numbers["of_no_change"].detach()) < 0.1
    place, goal = torch.tensor([[-1.5], [1.0]]), torch.tensor([[1.2], [-0.3]])
    with torch.no_grad():
        obs = {"place": place, "goal_place": goal}
        state = model.observe(model.initial(2), obs, torch.zeros(2, 1), torch.ones(2, dtype=torch.bool))
        objective = ObservedGoal().given(model, obs, torch.zeros(2, 1))
        planner = CEM(ACTIONS, horizon=4, samples=64, elites=8, iterations=5)
        plan, _ = planner.plan(model, state, objective, {})
        assert imagine_plan(model, state, plan)["tokens"].shape == (2, 4, 4, 4)
    for t in range(4):
        place = (place + plan[:, t] / 2).clamp(-2, 2)
    torch.testing.assert_close(place, goal, atol=0.2, rtol=0)


def test_says_that_it_cannot_show_what_it_imagines():
    model = dino()
    with pytest.raises(TypeError, match="no decoder"):
        model.decode(model.initial(1))
    assert dino(decoder=True).decode(dino().initial(2))["place"].shape == (2, 1)
