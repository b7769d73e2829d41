"""MPC: combinations of model, planner and objective, independent environments, training and resume of a model."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.agents.reinforcement.mpc import MPC, MPCSettings
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.loop import Schedule, train
from embodia.envs.vector import SyncVector, make
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.planners.control.ilqr import ILQR
from embodia.planners.models.linear_system import LinearSystem
from embodia.planners.models.pendulum import Pendulum
from embodia.planners.models.rssm import RSSM, RSSMConfig
from embodia.planners.models.snapshot import SnapshotModel
from embodia.planners.search.cem import CEM
from embodia.planners.search.mcts import MCTS
from embodia.planners.search.objective import ObservedGoal, Quadratic, Return
from embodia.tests.corridors import CELL, Corridors, assert_resumes, live
from embodia.tests.fakes import IdentityEnv

BOX = spaces.Box(-1.0, 1.0, (1,))
PLACE = spaces.Dict({"state": spaces.Box(-10, 10, (2,), np.float64)})
EYE = torch.eye(2, dtype=torch.float64)
TINY = RSSMConfig(deter=32, stoch=4, classes=4, units=32, blocks=4, free_nats=0.1)


def cart():
    a = torch.tensor([[1.0, 0.3], [0.0, 1.0]], dtype=torch.float64)
    return LinearSystem(a, torch.tensor([[0.0], [0.3]], dtype=torch.float64))


def to_origin():
    return Quadratic(EYE, 0.1 * EYE[:1, :1], 5 * EYE, torch.zeros(2, dtype=torch.float64))


class Counted:
    """A planner that records the number of environments of each call."""

    def __init__(self, planner):
        self.planner, self.calls = planner, []

    def plan(self, model, state, objective, carry):
        self.calls.append(len(state["x"]))
        return self.planner.plan(model, state, objective, carry)


def drive(agent, x, firsts):
    """Actions (T, n, 1) in `cart` from x (n, 2), episodes begin where `firsts` (T, n) is set."""
    start, x, carry, taken = x, x.copy(), agent.initial(len(x)), []
    for first in firsts:
        x = np.where(first[:, None], start, x)
        action, carry, _ = agent.act({"state": x}, carry, first, "eval")
        x = cart().dynamics(torch.tensor(x), torch.tensor(action, dtype=torch.float64)).numpy()
        taken.append(action)
    return np.stack(taken)


def test_worlds_are_planned_for_as_if_they_were_alone():
    """Also if their episodes begin at different times, and for any period of replanning."""
    starts = np.array([[1.0, 0.0], [-0.5, 0.4], [0.2, -1.0]])
    firsts = np.zeros((6, 3), bool)
    firsts[0], firsts[2, 0], firsts[3, 2] = True, True, True
    for execute in (1, 3):
        agent = MPC(PLACE, BOX, cart(), CEM(BOX, horizon=4, samples=32, elites=4, iterations=2), to_origin(),
                    MPCSettings(n_action_steps=execute))  # fmt: skip
        together = drive(agent, starts, firsts)
        for world in range(3):
            alone = drive(agent, starts[world : world + 1], firsts[:, world : world + 1])
            np.testing.assert_allclose(together[:, world], alone[:, 0], atol=1e-6)


def test_a_plan_is_carried_out_before_the_next():
    counted = Counted(ILQR(BOX, horizon=4))
    agent = MPC(PLACE, BOX, cart(), counted, to_origin(), MPCSettings(n_action_steps=4))
    firsts = np.zeros((10, 2), bool)
    firsts[0], firsts[6, 1] = True, True
    drive(agent, np.ones((2, 2)), firsts)
    # Both plan at rows 0 and 4, the second at row 6 (a new episode), the first at row 8, the second at row 10.
    assert counted.calls == [2, 2, 1, 1]


def test_swings_gymnasiums_pendulum_up_by_its_equations():
    env = make("Pendulum-v1", 3)
    q = torch.diag(torch.tensor([1.0, 1.0, 0.1], dtype=torch.float64))
    objective = Quadratic(q, torch.tensor([[1e-3]], dtype=torch.float64), q, torch.tensor([1.0, 0, 0]).double())
    planner = CEM(env.single_action_space, horizon=30, samples=48, elites=6, iterations=3)
    agent = MPC(env.single_observation_space, env.single_action_space, Pendulum(), planner, objective)
    returns = [episode.return_ for episode in evaluate(agent, env, range(3))]
    assert min(returns) > -450, returns  # random: about -1200
    env.close()


def corridor_agent(seed=0):
    torch.manual_seed(seed)
    actions = spaces.Discrete(2)
    model = RSSM(CELL, actions, MLPEncoder(CELL), TINY)
    settings = MPCSettings(batch_size=16, sequence_length=10, learning_starts=200, train_ratio=40, learning_rate=3e-3)
    planner = CEM(actions, horizon=5, samples=16, elites=4, iterations=2)
    return MPC(CELL, actions, model, planner, Return(0.9), settings)


def test_learns_a_model_and_plans_for_the_far_prize():
    agent, env = corridor_agent(), Corridors(8)
    live(agent, agent.buffer(), env, agent.initial(8), 160)
    env, carry, ended = Corridors(20), agent.initial(20), []
    for _ in range(4):
        row = env.row()
        action, carry, _ = agent.act(row["obs"], carry, row["first"], "eval")
        env.step(action)
        ended += env.reward[env.last].tolist()
    assert sum(reward == 1 for reward in ended) >= 18, ended


def test_resumes_bit_for_bit(tmp_path):
    assert_resumes(corridor_agent, lambda agent: agent.model.state_dict(), tmp_path, before=70, after=12)


def test_a_checkpoint_in_the_middle_of_a_plan_is_gone_on_with(tmp_path):
    """The loop saves and restores the plan, its age and the planner's memory with the carry."""

    def parts():
        env = make("Pendulum-v1", 2)
        planner = CEM(env.single_action_space, horizon=4, samples=8, elites=2, iterations=1)
        q = torch.eye(3, dtype=torch.float64)
        objective = Quadratic(q, q[:1, :1], q, torch.tensor([1.0, 0, 0]).double())
        settings = MPCSettings(n_action_steps=3)
        return MPC(env.single_observation_space, env.single_action_space, Pendulum(), planner, objective, settings), env

    agent, env = parts()
    train(agent, env, Schedule(steps=10, save_every=10), tmp_path)
    again, env = parts()
    with pytest.warns(UserWarning, match="no get_state"):
        now = train(again, env, Schedule(steps=20), tmp_path, resume=True)
    assert now.step == 20
    assert set(now.carry["memory"]) == {"planner", "plan", "age"}


@pytest.mark.parametrize("kind", [CEM, MCTS])
def test_plans_in_the_environment_itself_through_its_snapshots(kind):
    """The correct action is observed. The planner finds it by search, without changing the environments."""
    env = SyncVector([lambda: IdentityEnv(n=3)] * 2)
    actions = env.single_action_space
    planner = CEM(actions, horizon=1, samples=24, elites=4, warm_start=False) if kind is CEM else MCTS(3, 40, 1)
    model = SnapshotModel(IdentityEnv(n=3))
    model.simulator.reset(seed=0)
    agent = MPC(env.single_observation_space, actions, model, planner, Return())
    assert [episode.return_ for episode in evaluate(agent, env, range(3))] == [8.0, 8.0, 8.0]
    env.close()


def test_plans_in_snapshots_resume_bit_for_bit(tmp_path):
    """The model's observed state is in the carry and in the checkpoint, as for any other model."""

    def parts():
        env = SyncVector([lambda: IdentityEnv(n=3)] * 2)
        planner = CEM(env.single_action_space, horizon=2, samples=6, elites=2, iterations=1)
        model = SnapshotModel(IdentityEnv(n=3))
        agent = MPC(env.single_observation_space, env.single_action_space, model, planner, Return(),
                    MPCSettings(n_action_steps=2))  # fmt: skip
        return agent, env

    straight, interrupted = tmp_path / "straight", tmp_path / "interrupted"
    whole = train(*parts(), Schedule(steps=30), straight)
    train(*parts(), Schedule(steps=14, save_every=14), interrupted)
    again = train(*parts(), Schedule(steps=30), interrupted, resume=True)
    for name in ("return_", "length", "episodes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    np.testing.assert_array_equal(again.carry["memory"]["plan"], whole.carry["memory"]["plan"])
    np.testing.assert_equal(list(again.carry["model"]["snapshot"]), list(whole.carry["model"]["snapshot"]))


def test_says_early_what_does_not_fit():
    with pytest.raises(TypeError, match="Return scores the predicted reward, but LinearSystem predicts state"):
        MPC(PLACE, BOX, cart(), CEM(BOX), Return())
    agent = MPC(PLACE, BOX, cart(), CEM(BOX, samples=4, elites=2), ObservedGoal("state"))
    with pytest.raises(KeyError, match="no goal is observed"):
        agent.act({"state": np.zeros((1, 2))}, agent.initial(1), np.ones(1, bool), "eval")


def test_habitats_goal_picture_is_the_goal_of_what_is_seen():
    class Seeing:
        def initial(self, n):
            return {}

        def observe(self, state, obs, action, first):
            return {"seen": obs["rgb"]}

        def predict(self, state):
            return {"tokens": state["seen"]}

    goal = torch.arange(6.0).view(2, 3)
    objective = ObservedGoal().given(Seeing(), {"rgb": torch.zeros(2, 3), "imagegoal": goal}, torch.zeros(2, 1))
    torch.testing.assert_close(objective({"tokens": goal[:, None]}, torch.zeros(2, 1, 1)), torch.zeros(2))


def test_goes_to_the_goal_that_is_shown():
    agent = MPC(PLACE, BOX, cart(), CEM(BOX, horizon=8, min_std=0.01), ObservedGoal("state"))
    x, carry = np.zeros((2, 2)), agent.initial(2)
    goal = np.array([[0.8, 0.0], [-0.5, 0.0]])
    for t in range(15):
        action, carry, _ = agent.act({"state": x, "goal_state": goal}, carry, np.full(2, t == 0), "eval")
        x = cart().dynamics(torch.tensor(x), torch.tensor(action, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(x, goal, atol=0.1)
