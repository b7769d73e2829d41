"""Policies as torch.export and ONNX programs: equal to the agent on observations, for every agent that has one."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from gymnasium import spaces

from embodia.agents.imitation.bc import BC, BCConfig
from embodia.agents.reinforcement.dqn import DQN
from embodia.agents.reinforcement.dreamer import Dreamer
from embodia.agents.reinforcement.ppo import PPO, PPOConfig
from embodia.agents.reinforcement.sb3.dqn import SB3DQN
from embodia.agents.reinforcement.sb3.ppo import SB3PPO
from embodia.perception.encoders.combined import CombinedEncoder
from embodia.scripts.data import exported_policy as exported
from embodia.scripts.mistake import Mistake

HOME = spaces.Dict({
    "depth": spaces.Box(0.0, 1.0, (16, 16, 1), np.float32),
    "rgb": spaces.Box(0, 255, (16, 16, 3), np.uint8),
    "pointgoal": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "objectgoal": spaces.Discrete(6),
})  # fmt: skip
GRID = spaces.Dict({"grid": spaces.Box(0, np.broadcast_to(np.array([10, 5, 3], np.uint8), (7, 7, 3)), dtype=np.uint8),
                    "mission": spaces.Box(0, 40, (5,), np.int64)})  # fmt: skip
FOUR, CONTROLS = spaces.Discrete(4, start=1), spaces.Box(-1.5, np.array([0.1, 2.0]), (2,), np.float64)


def made(kind, space, actions):
    torch.manual_seed(0)
    encoder = CombinedEncoder(space, 16)
    match kind:
        case "bc":
            return BC(encoder, actions)
        case "bc with memory, sampled":
            return BC(encoder, actions, BCConfig(memory=8, memory_skip=True, temperature=0.5))
        case "ppo":
            return PPO(encoder, actions)
        case "ppo with memory":
            return PPO(encoder, actions, PPOConfig(memory=8))
        case "dqn":
            return DQN(encoder, actions)
        case "sb3-ppo":
            return SB3PPO(encoder, spaces.Discrete(4) if actions is FOUR else actions)
        case "sb3-dqn":
            return SB3DQN(encoder, spaces.Discrete(4))


def walk(agent, steps=5, n=1, mask=None):
    """Answers of an agent to random observations, with a new episode in the middle."""
    space = agent.observation_space
    space.seed(0)
    carry, found = agent.initial(n), []
    for t in range(steps):
        drawn = [space.sample() for _ in range(n)]
        obs = {key: np.stack([each[key] for each in drawn]) for key in space}
        if mask is not None:
            obs["action_mask"] = np.roll(mask, t, 1)
        step, carry = exported.recorded(agent, obs, carry, np.full(n, t in (0, 3)))
        found.append(step)
    return found


CASES = [
    ("bc", HOME, FOUR),
    ("bc", GRID, CONTROLS),
    ("bc with memory, sampled", HOME, FOUR),
    ("ppo", GRID, FOUR),
    ("ppo", HOME, CONTROLS),
    ("ppo with memory", HOME, spaces.MultiDiscrete([2, 3])),
    ("dqn", GRID, FOUR),
    ("sb3-ppo", HOME, CONTROLS),
    ("sb3-dqn", GRID, FOUR),
]


@pytest.mark.parametrize(("kind", "space", "actions"), CASES)
def test_a_program_of_torch_equals_the_agent_for_any_number_of_episodes(kind, space, actions, tmp_path):
    agent = made(kind, space, actions)
    policy = exported.Flat(exported.policy_of(agent), walk(agent)[0])
    program = exported.write_torch(policy, walk(agent)[0], tmp_path / "policy.pt2")
    for n in (1, 3):
        found = exported.parity(policy, program, walk(agent, n=n))
        assert found.steps == 5
        assert found.holds, found


@pytest.mark.parametrize(("kind", "space", "actions"), [CASES[2], CASES[4], CASES[6]])
def test_an_onnx_model_equals_the_agent_to_1e_5(kind, space, actions, tmp_path):
    agent = made(kind, space, actions)
    policy = exported.Flat(exported.policy_of(agent), walk(agent)[0])
    program = exported.write_onnx(policy, walk(agent)[0], tmp_path / "policy.onnx")
    for n in (1, 3):
        found = exported.parity(policy, program, walk(agent, n=n))
        assert found.holds, found
    names = [each.name for each in onnxruntime.InferenceSession(str(tmp_path / "policy.onnx")).get_inputs()]
    assert set(names) <= set(policy.inputs)


def test_a_forbidden_action_is_never_chosen(tmp_path):
    agent = made("ppo", HOME, FOUR)
    steps = walk(agent, n=3, mask=np.array([[True, False, False, False]] * 3))
    policy = exported.Flat(exported.policy_of(agent), steps[0])
    assert "obs.action_mask" in policy.inputs
    program = exported.write_torch(policy, steps[0], tmp_path / "policy.pt2")
    assert exported.parity(policy, program, steps).holds
    assert [int(step.action[0]) for step in steps] == [1 + t % 4 for t in range(5)]


def test_a_program_of_another_agent_is_told_apart(tmp_path):
    agent, other = made("ppo", GRID, CONTROLS), made("bc", GRID, CONTROLS)
    policy = exported.Flat(exported.policy_of(agent), walk(agent)[0])
    program = exported.write_torch(policy, walk(agent)[0], tmp_path / "policy.pt2")
    found = exported.parity(policy, program, walk(other))
    assert found.error > exported.TOLERANCE
    assert not found.holds


def test_the_description_is_what_a_user_of_the_program_needs():
    agent = made("bc with memory, sampled", HOME, FOUR)
    policy = exported.Flat(exported.policy_of(agent), walk(agent)[0])
    about = json.loads(json.dumps(exported.description(agent, policy, walk(agent)[0], {})))
    assert about["inputs"]["obs.depth"] == {"shape": ["n", 16, 16, 1], "dtype": "float32"}
    assert about["inputs"]["first"] == {"shape": ["n"], "dtype": "bool"}
    assert about["first_carry"] == {"carry.memory": [0.0] * 8, "carry.step": 0}
    assert list(about["outputs"]) == ["action", "carry.memory", "carry.step"]


def test_an_agent_without_a_policy_is_named():
    agent = Dreamer(HOME, FOUR, CombinedEncoder(HOME, 16))
    with pytest.raises(Mistake, match="Dreamer has no policy that can be exported"):
        exported.policy_of(agent)
