"""`embodia export-policy`: write a trained policy as ONNX and torch.export programs for use without Embodia."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from embodia.agents import Agent
from embodia.agents.training.evaluate import after_step, with_mask
from embodia.scripts.assembly import build, runs
from embodia.scripts.assembly.parts import names
from embodia.scripts.commands.eval import Policy, load, resolve
from embodia.scripts.data import exported_policy as exported
from embodia.scripts.mistake import Mistake, at_least_one
from embodia.scripts.report.progress import over

WRITERS = {"onnx": (exported.write_onnx, "policy.onnx"), "torch": (exported.write_torch, "policy.pt2")}


@dataclass(frozen=True)
class Args:
    """Write a trained policy as programs that run without Embodia: observation, memory and `first` in, action and
    memory out. Each program is compared with the agent on observations of test levels."""

    who: Annotated[Policy, tyro.conf.arg(name="")]
    to: tuple[Literal["onnx", "torch"], ...] = ("onnx", "torch")
    """Formats: onnx (policy.onnx) and torch (policy.pt2, read by torch.export.load)."""
    steps: int = 200
    """Number of steps in the environment on which programs and agent are compared."""
    out: Path | None = None
    """Output folder; by default RUN/policy."""


def main(arguments: Sequence[str]) -> int:
    rest, named = names(arguments)
    args = tyro.cli(Args, args=rest, prog="embodia export-policy")
    at_least_one(steps=args.steps)
    config, run = resolve(args.who, named)
    if run is None:
        raise Mistake(f"{args.who.policy} has no trained policy; name a run")
    env = build.worlds(config.env, "test", 1, evaluation=True)
    try:
        agent, facts = load(args.who, config, run, env)
        module = exported.policy_of(agent)
        steps = played(agent, env, args.steps)
    finally:
        env.close()
    policy = exported.Flat(module, steps[0])
    with runs.filled(args.out, run / "policy") as folder:
        checked = write(policy, steps, args.to, folder)
        about = exported.description(agent, policy, steps[0], checked)
        about = {"env": config.env.id, "checkpoint": facts["checkpoint"], **about}
        (folder / "policy.json").write_text(json.dumps(about, indent=2) + "\n")
    for name, found in checked.items():
        print(f"{folder / WRITERS[name][1]}: {found}")
    print(f"{folder / 'policy.json'}: inputs, outputs and the comparison")
    return 0


def played(agent: Agent, env: Any, number: int) -> list[exported.Recorded]:
    """Record the agent's answers in `number` steps of one environment, over as many episodes as that takes."""
    obs, _ = with_mask(*env.reset(seed=[0]))
    seen = {"first": np.ones(1, bool), "last": np.zeros(1, bool)}
    carry, found = agent.initial(1), []
    for _ in over(range(number), "recording", "steps"):
        step, carry = exported.recorded(agent, obs, carry, seen["first"])
        obs, reward, terminated, truncated, info = env.step(step.action)
        obs, _ = with_mask(obs, info)
        seen = {**after_step(seen, reward, terminated, truncated)}
        found.append(step)
    return found


def write(
    policy: exported.Flat, steps: Sequence[exported.Recorded], formats: Sequence[str], folder: Path
) -> dict[str, exported.Parity]:
    """Write the programs and compare each with the agent.

    Raises:
        Mistake: if the policy cannot be traced, or a program differs from the agent; the program is then removed.
    """
    checked = {}
    for name in formats:
        writer, file = WRITERS[name]
        program = writer(policy, steps[0], folder / file)
        checked[name] = found = exported.parity(policy, program, steps)
        if not found.holds:
            (folder / file).unlink()
            raise Mistake(f"{file} differs from the agent ({found}), so it was removed")
    return checked
