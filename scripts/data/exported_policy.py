"""A trained policy as a program of `torch.export` or ONNX, with flat inputs, compared with the agent it came from.

Inputs are `obs.KEY` (n, ...), `carry.KEY` (n, ...) and `first` (n,) bool; outputs are `action` (n, ...) and the next
`carry.KEY`. Any number n of episodes runs at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embodia.agents import Agent, Array, Carry
from embodia.agents.policy import PolicyModule
from embodia.agents.training.rows import to_torch
from embodia.agents.training.spaces import space_to_json
from embodia.scripts.mistake import Mistake

OPSET = 18
TOLERANCE = 1e-5
"""Largest difference allowed between an exported program and the agent, of actions and of the carry."""
Program = Callable[[dict[str, Array]], list[Array]]
"""Maps the inputs, by name, to the outputs, in order."""


@dataclass(frozen=True)
class Recorded:
    """One step of n episodes: what the agent got, and what it answered."""

    obs: Mapping[str, Array]
    carry: Mapping[str, Array]
    first: NDArray[np.bool_]
    action: Array
    after: Mapping[str, Array]
    """The next carry."""

    def inputs(self, names: Sequence[str]) -> dict[str, Array]:
        """The inputs of a program, by name."""
        found = {f"obs.{key}": value for key, value in self.obs.items()}
        found |= {f"carry.{key}": value for key, value in self.carry.items()} | {"first": self.first}
        return {name: np.ascontiguousarray(found[name]) for name in names}

    def outputs(self, names: Sequence[str]) -> list[Array]:
        """The outputs that a program should give."""
        found = {"action": self.action} | {f"carry.{key}": value for key, value in self.after.items()}
        return [found[name] for name in names]


@dataclass(frozen=True)
class Parity:
    """How far an exported program is from the agent on recorded observations."""

    steps: int
    error: float
    """Largest absolute difference of continuous actions and of the carry."""
    differing: int
    """Number of discrete actions that differ."""

    @property
    def holds(self) -> bool:
        """Whether the differences are at most `TOLERANCE`, and no discrete action differs."""
        return self.error <= TOLERANCE and self.differing == 0

    def __str__(self) -> str:
        return f"{self.steps} steps compared, {self.differing} actions differ, largest difference {self.error:.1g}"


class Flat(nn.Module):
    """A policy whose inputs and outputs are tensors in a fixed order instead of dicts."""

    def __init__(self, policy: PolicyModule, example: Recorded):
        super().__init__()
        self.policy = policy
        self.obs = [key for key in example.obs if key in policy.keys or key == "action_mask"]
        self.carry = sorted(example.carry)

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs."""
        return [*(f"obs.{key}" for key in self.obs), *(f"carry.{key}" for key in self.carry), "first"]

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return ["action", *(f"carry.{key}" for key in self.carry)]

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        *values, first = given
        obs = dict(zip(self.obs, values))
        action, after = self.policy(obs, dict(zip(self.carry, values[len(self.obs) :])), first)
        return (action, *(after[key] for key in self.carry))


def policy_of(agent: Agent) -> PolicyModule:
    """The policy of an agent, on the CPU and in evaluation mode. Raises Mistake if the agent has none to export."""
    module = agent.policy_module()
    if module is None:
        raise Mistake(
            f"{type(agent).__name__} has no policy that can be exported; bc, dagger, ppo, dqn, sb3-ppo, sb3-a2c and "
            "sb3-dqn have one, and an agent of your own with `policy_module()`"
        )
    return module.cpu().eval()


def recorded(agent: Agent, obs: Mapping[str, Array], carry: Carry, first: NDArray[np.bool_]) -> tuple[Recorded, Carry]:
    """Let the agent answer once, in mode `eval`; also return the next carry."""
    action, after, _ = agent.act(obs, carry, first, "eval")
    return Recorded(dict(obs), arrays(carry), first, action, arrays(after)), after


def arrays(carry: Carry) -> dict[str, Array]:
    return {key: value.detach().cpu().numpy() for key, value in carry.items()}


def write_torch(policy: Flat, example: Recorded, path: Path) -> Program:
    """Write a program of `torch.export` (.pt2) and return it, read back from the file."""
    torch.export.save(traced(policy, example), path)
    program = torch.export.load(path).module()
    return lambda inputs: [each.detach().numpy() for each in program(*to_torch(inputs).values())]


def write_onnx(policy: Flat, example: Recorded, path: Path) -> Program:
    """Write an ONNX model and return it as ONNX Runtime runs it.

    Raises:
        Mistake: if onnx, onnxscript or onnxruntime is not installed.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        raise Mistake(f"ONNX needs {error.name}: pip install 'embodia[onnx]', or --to torch") from error
    torch.onnx.export(
        traced(policy, example),
        (),
        str(path),
        input_names=policy.inputs,
        output_names=[f"next.{name}" if name in policy.inputs else name for name in policy.outputs],
        opset_version=OPSET,
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    read = {each.name for each in session.get_inputs()}
    return lambda inputs: session.run(None, {name: value for name, value in inputs.items() if name in read})


def traced(policy: Flat, example: Recorded) -> torch.export.ExportedProgram:
    """Trace the policy for any number of episodes."""
    inputs = tuple(to_torch(twice(example).inputs(policy.inputs)).values())
    n = torch.export.Dim("n", min=1, max=2**16)
    with torch.no_grad():
        return torch.export.export(policy, inputs, dynamic_shapes={"given": tuple({0: n} for _ in inputs)})


def twice(step: Recorded) -> Recorded:
    """Two copies of a step: torch.export would specialise on a batch of one."""

    def doubled(tree: Mapping[str, Array]) -> dict[str, Array]:
        return {key: np.concatenate([value, value]) for key, value in tree.items()}

    first, action = np.concatenate([step.first] * 2), np.concatenate([step.action] * 2)
    return Recorded(doubled(step.obs), doubled(step.carry), first, action, doubled(step.after))


def parity(policy: Flat, program: Program, steps: Sequence[Recorded]) -> Parity:
    """Compare a program with the agent's recorded answers, step by step from the same carry."""
    error, differing = 0.0, 0
    for step in steps:
        got = program(step.inputs(policy.inputs))
        for mine, its in zip(step.outputs(policy.outputs), got, strict=True):
            if np.issubdtype(mine.dtype, np.floating):
                error = max(error, float(np.abs(mine - its).max(initial=0.0)))
            else:
                differing += int((mine != its).sum())
    return Parity(len(steps), error, differing)


def description(agent: Agent, policy: Flat, example: Recorded, checked: Mapping[str, Parity]) -> dict[str, Any]:
    """What a program's user needs to know, as JSON: inputs, outputs, spaces, the first carry, and the comparison."""
    values, start = example.inputs(policy.inputs), arrays(agent.initial(1))
    return {
        "inputs": {
            name: {"shape": ["n", *value.shape[1:]], "dtype": str(value.dtype)} for name, value in values.items()
        },
        "outputs": {
            name: {"shape": ["n", *value.shape[1:]], "dtype": str(value.dtype)}
            for name, value in zip(policy.outputs, example.outputs(policy.outputs))
        },
        "first_carry": {f"carry.{key}": value[0].tolist() for key, value in start.items()},
        "observation_space": space_to_json(agent.observation_space),
        "action_space": space_to_json(agent.action_space),
        "parity": {name: {**vars(each), "tolerance": TOLERANCE} for name, each in checked.items()},
    }
