"""The configuration of a run as frozen dataclasses, and its checks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from embodia.agents import Agent
from embodia.agents.training.loop import Schedule
from embodia.envs.grid.expert import NO_EXPERT
from embodia.perception import Encoder
from embodia.scripts.assembly.env_ids import known_id
from embodia.scripts.assembly.environments import EnvConfig
from embodia.scripts.assembly.image_encoders import configuration
from embodia.scripts.assembly.kinds import AGENT, ENCODER
from embodia.scripts.assembly.parts import settled
from embodia.scripts.mistake import Mistake


@dataclass(frozen=True)
class EncoderConfig:
    """Observation encoder: one encoder per observation key, fused to one token."""

    dim: int = 128
    """Width of the token."""
    fuse: bool = True
    """Fuse all keys to one token. Otherwise all image patches remain separate tokens, as dino-wm needs."""
    keys: tuple[str, ...] | None = None
    """Observation keys to read; None for all."""
    image: Annotated[Any, Encoder] = "resnet"
    """Image encoder."""
    sets: tuple[str, ...] = ()
    """Keys whose rows are a set, encoded by Deep Sets."""
    symbols: Literal["cnn", "table"] = "cnn"
    """Encoder of symbolic grids: convolutions, or one learned vector for each code in each cell, which is a hundred
    times cheaper and suits an agent's own view."""
    channels: int = 32
    """Number of channels of the convolutions on symbolic grids."""
    depth: int = 8
    """Number of residual blocks of the encoder of symbolic grids; 2 suit an agent's own view, 8 a whole grid."""
    pretrained: str | None = None
    """Pretrained image encoder: a run of `embodia pretrain`, or a folder with encoder.json."""
    frozen: Annotated[bool, tyro.conf.FlagConversionOff] = False
    """Do not train the image encoder (pretrained, or as initialised)."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation. The best checkpoint is selected on validation levels and evaluated on test levels."""

    episodes: int = 200
    """Number of test episodes in the report; their seeds are 0, 1, ..."""
    during: int = 50
    """Number of episodes of each evaluation during training."""
    num_envs: int = 16
    """Number of parallel environments."""
    confidence: float = 0.95
    """Level of the confidence intervals."""
    films: int = 2
    """Number of worst episodes, and of best episodes, to record as videos."""


@dataclass(frozen=True)
class Config:
    """The configuration of a run. Every field is a flag."""

    env: EnvConfig
    agent: Annotated[Any, Agent]
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    schedule: Schedule = field(default_factory=Schedule)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def learned(env: EnvConfig, agent: Any, encoder: EncoderConfig, steps: int) -> Config:
    """A configuration with four evaluations in training, for environments where evaluation is as slow as learning."""
    return Config(env, agent, encoder, Schedule(steps, eval_every=steps // 4, log_every=steps // 60))


@dataclass(frozen=True)
class Preset:
    """A configuration with a name and a description."""

    name: str
    says: str
    config: Config


def check(config: Config, learns: bool = False) -> None:
    """Check a configuration before anything is built.

    Args:
        config: the configuration.
        learns: whether the agent will learn in the environment, where it may need the expert.

    Raises:
        Mistake: if it cannot work; the message names the flag and says what to do.
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
            yield f"{name} is {value}; it must be at least {least}"
    if not 0 < config.evaluation.confidence < 1:
        yield f"evaluation.confidence is {config.evaluation.confidence}; give a number between 0 and 1, such as 0.95"
    if config.env.workers is not None and config.env.vectorization != "subprocess":
        yield f"env.workers needs env.vectorization subprocess, but it is {config.env.vectorization}"
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
        yield f"{AGENT.name(agent)} needs an expert, but {task} has none: {NO_EXPERT[task]}"
