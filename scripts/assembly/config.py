"""A run's whole configuration as frozen dataclasses, and whether it can be carried out."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from embodia.agents import Agent
from embodia.agents.training.loop import Schedule
from embodia.envs.grid.expert import NO_EXPERT
from embodia.perception import Encoder
from embodia.scripts.assembly.environments import EnvConfig, known_id
from embodia.scripts.assembly.image_encoders import configuration
from embodia.scripts.assembly.kinds import AGENT, ENCODER
from embodia.scripts.assembly.parts import settled
from embodia.scripts.mistake import Mistake


@dataclass(frozen=True)
class EncoderConfig:
    """What reads the observation: one encoder per key, fused to one token."""

    dim: int = 128
    """Width of the token."""
    fuse: bool = True
    """One token of everything; else all patches of all pictures stay apart, as dino-wm needs them."""
    keys: tuple[str, ...] | None = None
    """Observation keys to read; None for all."""
    image: Annotated[Any, Encoder] = "resnet"
    """What reads a picture."""
    sets: tuple[str, ...] = ()
    """Keys whose rows are a set, read by Deep Sets."""
    channels: int = 32
    """Of the net that reads a grid of symbols."""
    depth: int = 8
    """Its blocks; an agent's own view needs 2, a whole grid 8."""
    pretrained: str | None = None
    """What reads a picture, as `embodia pretrain` wrote it: a run, or a folder with encoder.json."""
    frozen: Annotated[bool, tyro.conf.FlagConversionOff] = False
    """Whether what reads pictures (pretrained, or as it was drawn) stays as it is."""


@dataclass(frozen=True)
class EvaluationConfig:
    """How the trained agent is judged. Checkpoints are chosen on levels of the training split, reported on the test."""

    episodes: int = 200
    """Test episodes of the report, seeds 0, 1, ..."""
    during: int = 50
    """Episodes of an evaluation while training."""
    num_envs: int = 16
    """Worlds side by side."""
    confidence: float = 0.95
    """Of the intervals."""
    films: int = 2
    """Worst and best episodes filmed, each."""


@dataclass(frozen=True)
class Config:
    """A run. Every leaf is a flag."""

    env: EnvConfig
    agent: Annotated[Any, Agent]
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    schedule: Schedule = field(default_factory=Schedule)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def learned(env: EnvConfig, agent: Any, encoder: EncoderConfig, steps: int) -> Config:
    """For worlds where evaluation costs as much as learning: judged four times while it learns."""
    return Config(env, agent, encoder, Schedule(steps, eval_every=steps // 4, log_every=steps // 60))


@dataclass(frozen=True)
class Preset:
    """A configuration with a name and a sentence."""

    name: str
    says: str
    config: Config


def check(config: Config, learns: bool = False) -> None:
    """Refuse what cannot work, before anything is built. Raises Mistake naming the flag and what to do.

    `learns`: whether the agent is to learn in the environment, where it may need the expert.
    """
    for problem in problems(config, learns):
        raise Mistake(problem)


def problems(config: Config, learns: bool = False) -> Iterator[str]:
    known_id(config.env.id)
    at_least = {
        "env.num_envs": (config.env.num_envs, 1),
        "schedule.steps": (config.schedule.steps, 1),
        "evaluation.episodes": (config.evaluation.episodes, 1),
        "evaluation.during": (config.evaluation.during, 1),
        "evaluation.num_envs": (config.evaluation.num_envs, 1),
        "encoder.dim": (config.encoder.dim, 1),
    }
    for name, (value, least) in at_least.items():
        if value < least:
            yield f"{name} is {value}; give at least {least}"
    if not 0 < config.evaluation.confidence < 1:
        yield f"evaluation.confidence is {config.evaluation.confidence}; give a number between 0 and 1, such as 0.95"
    if config.env.workers is not None and config.env.vectorization != "subprocess":
        yield f"env.workers needs env.vectorization subprocess, which is {config.env.vectorization}"
    if config.encoder.pretrained is not None:
        configuration(config.encoder.pretrained, ("encoder.image", ENCODER.name(config.encoder.image)))
    yield from agent_problems(config, learns)


def agent_problems(config: Config, learns: bool) -> Iterator[str]:
    agent, method = settled(config).agent, AGENT.method(settled(config).agent)
    device, rate = getattr(agent, "device", "auto"), getattr(agent, "learning_rate", 1e-3)
    if device not in ("auto", "cpu", "cuda") and not device.startswith("cuda:"):
        yield f"agent.device is {device}; choose auto, cpu, cuda or cuda:N"
    if not 0 < rate < 10:
        yield f"agent.learning_rate is {rate}; give a number above 0, such as 0.001"
    if hasattr(agent, "problems"):
        yield from agent.problems(config.env.num_envs)
    task = known_id(config.env.id).removeprefix("embodia:embodia/")
    if learns and "train" in getattr(method, "needs_expert", ()) and task in NO_EXPERT:
        yield f"{AGENT.name(agent)} asks the expert, and {task} has none: {NO_EXPERT[task]}"
