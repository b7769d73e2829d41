"""A run's whole configuration as frozen dataclasses, as JSON, and whether it can be carried out."""

import dataclasses
import importlib.util
import json
import os
import sys
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import gymnasium as gym
import tyro

import embodia  # noqa: F401 (registers the ids)
from embodia.agents.imitation.bc import BCConfig
from embodia.agents.imitation.dagger import DAggerConfig
from embodia.agents.references.expert import ExpertConfig
from embodia.agents.reinforcement.dreamer import DreamerConfig
from embodia.agents.reinforcement.sb3.a2c import A2CConfig
from embodia.agents.reinforcement.sb3.dqn import DQNConfig
from embodia.agents.reinforcement.sb3.ppo import PPOConfig
from embodia.agents.reinforcement.td_mpc2 import TDMPC2Config
from embodia.agents.training.loop import Schedule
from embodia.envs.grid.env import View
from embodia.envs.grid.expert import NO_EXPERT
from embodia.envs.vector import Vectorization
from embodia.scripts.assembly.image_encoders import find as find_encoder
from embodia.scripts.assembly.planning import MPCConfig
from embodia.scripts.assembly.provenance import plain
from embodia.scripts.assembly.renamed import renamed
from embodia.scripts.mistake import Mistake, nearest


@dataclass(frozen=True)
class GridOptions:
    """MiniGrid and BabyAI."""

    observation: View = "symbolic"
    """The agent's view or the whole grid, as symbols or as a picture."""
    max_steps: int | None = None
    """Time limit; None for the task's own."""
    tile_size: int = 8
    """Pixels per cell of the rgb observations."""


@dataclass(frozen=True)
class WallOptions:
    """The Wall world."""

    layout: Literal["fixed", "random"] = "fixed"
    """Wall and door always in the same place, or another place in each level."""
    frameskip: int = 5
    """Moves per action."""
    max_steps: int = 20
    """Time limit [actions]."""


@dataclass(frozen=True)
class HomesOptions:
    """Habitat's tasks in homes."""

    sensors: tuple[str, ...] | None = None
    """What is sensed; None for the task's own sensors."""
    height: int | None = None
    """Of the camera [pixels]; None for the task's."""
    width: int | None = None
    """Of the camera [pixels]; None for the task's."""
    num_scenes: int = 64
    """Generated homes to live in."""
    detail: Literal["low", "medium", "high"] = "medium"
    """How many triangles a generated home has."""
    scenes: tuple[str, ...] | None = None
    """Scenes on disk (.glb, .obj) in place of generated homes."""
    episodes: str | None = None
    """A Habitat episode file (.json.gz) in place of generated episodes."""
    scenes_dir: str | None = None
    """Where the scenes that episodes name lie."""
    engine: Literal["embodia", "habitat-sim"] = "embodia"
    """Who draws and moves: this project, or habitat-sim where it is installed."""
    max_steps: int | None = None
    """Time limit; None for the task's own."""


@dataclass(frozen=True)
class RoadOptions:
    """nuPlan-style driving."""

    observation: tuple[str, ...] = ("ego", "agents", "lanes", "route")
    """What is seen; bev is a raster."""
    reactive: bool | None = None
    """Whether traffic reacts to the ego (IDM) or replays the log; None: as the environment's id says."""
    rules: Literal["learning", "nuplan"] | None = None
    """nuPlan's closed loop and scores exactly, or those to learn under, faster; None: exactly on test scenarios."""
    expert: Literal["log", "constant-velocity", "idm", "pdm-closed"] = "log"
    """Whom `expert_action` asks: the logged driver or a planner."""
    num_scenarios: int = 200
    """Scenarios to train on; generated ones are made once and kept."""
    num_test_scenarios: int = 200
    """Scenarios to test on."""
    scenarios: str | None = None
    """A scenario pack on disk in place of generated ones."""


@dataclass(frozen=True)
class NoOptions:
    """An environment from elsewhere, made as it is registered."""


Options = GridOptions | WallOptions | HomesOptions | RoadOptions | NoOptions
WORLDS: dict[str, type[GridOptions] | type[WallOptions] | type[HomesOptions] | type[RoadOptions]] = {
    "embodia.envs.grid.env": GridOptions,
    "embodia.envs.control.wall": WallOptions,
    "embodia.envs.homes": HomesOptions,
    "embodia.envs.driving": RoadOptions,
}
"""Where an environment's class lies -> its options."""


@dataclass(frozen=True)
class EnvConfig:
    """Where it happens."""

    id: str
    """A registered id; `module:Id-v0` imports the module first."""
    options: Options = field(default_factory=GridOptions)
    """What this world lets one choose."""
    num_envs: int = 8
    """Worlds side by side in training."""
    vectorization: Vectorization = "auto"
    """Worlds in this process (sync) or in others (subprocess); native where the simulator steps N worlds itself."""
    workers: int | None = None
    """Processes for subprocess; None for one per world."""


@dataclass(frozen=True)
class EncoderConfig:
    """What reads the observation: one encoder per key, fused to one token."""

    dim: int = 128
    """Width of the token."""
    fuse: bool = True
    """One token of everything; else all patches of all pictures stay apart, as dino-wm needs them."""
    keys: tuple[str, ...] | None = None
    """Observation keys to read; None for all."""
    image: Literal["resnet", "nature_cnn", "patch_cnn", "vit", "conv"] = "resnet"
    """What reads a picture."""
    width: int = 32
    """Channels of the first stage of conv."""
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


AgentConfig = (
    PPOConfig
    | A2CConfig
    | DQNConfig
    | BCConfig
    | DAggerConfig
    | DreamerConfig
    | MPCConfig
    | TDMPC2Config
    | ExpertConfig
)


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
    agent: AgentConfig
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    schedule: Schedule = field(default_factory=Schedule)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def learned(env: EnvConfig, agent: AgentConfig, encoder: EncoderConfig, steps: int) -> Config:
    """For worlds where evaluation costs as much as learning: judged four times while it learns."""
    return Config(env, agent, encoder, Schedule(steps, eval_every=steps // 4, log_every=steps // 60))


@dataclass(frozen=True)
class Preset:
    """A configuration with a name and a sentence."""

    name: str
    says: str
    config: Config


# Environments by id ---------------------------------------------------------------------------------------------


OURS = ("", "embodia", "envs")
"""Modules before an id's colon that mean this project; runs made before it had one import name say `envs`."""


def known_id(name: str) -> str:
    """The id as `gymnasium.make` takes it. Raises Mistake with the nearest names for one that is not registered."""
    module, _, rest = name.rpartition(":")
    if module not in OURS:
        if os.getcwd() not in sys.path:  # the user's own module beside the run; last, so that it hides nothing
            sys.path.append(os.getcwd())
        if "." not in module and importlib.util.find_spec(module) is None:
            raise Mistake(f"env.id {name}: there is no module {module}; install it or mend the name")
        importlib.import_module(module)
    for each in (rest, f"embodia/{rest}") if module not in OURS else (f"embodia/{rest}", rest):
        if each in gym.registry:
            return f"embodia:{each}" if each.startswith("embodia/") else name
    ours = [each.removeprefix("embodia/") for each in gym.registry if each.startswith("embodia/")]
    hint = nearest(rest.removeprefix("embodia/"), ours)
    raise Mistake(f"env.id {name} is not registered. {hint} `embodia list envs` names all.")


def fitting(env: EnvConfig) -> EnvConfig:
    """The same, its options those of the id's world: what one world lets one choose means nothing to another."""
    entry = gym.spec(known_id(env.id).rpartition(":")[2]).entry_point
    kind = next((kind for start, kind in WORLDS.items() if str(entry).startswith(start)), NoOptions)
    return env if isinstance(env.options, kind) else dataclasses.replace(env, options=kind())


def make_options(env: EnvConfig, split: str) -> dict[str, Any]:
    """Keyword arguments of the environment; only this project's environments know splits, and all of them draw."""
    if known_id(env.id).startswith("embodia:"):
        return {**dataclasses.asdict(env.options), "split": split}
    entry: Any = gym.spec(env.id.rpartition(":")[2]).entry_point
    creator = gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    draws = "rgb_array" in (getattr(creator, "metadata", None) or {}).get("render_modes", ())
    return {**dataclasses.asdict(env.options), **({"render_mode": "rgb_array"} if draws else {})}


# Whether it can be carried out ----------------------------------------------------------------------------------


def check(config: Config) -> None:
    """Refuse what cannot work, before anything is built. Raises Mistake naming the flag and what to do."""
    for problem in problems(config):
        raise Mistake(problem)


def problems(config: Config) -> Iterator[str]:
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
        find_encoder(config.encoder.pretrained)
    yield from agent_problems(config)


def agent_problems(config: Config) -> Iterator[str]:
    agent = config.agent
    if agent.device not in ("auto", "cpu", "cuda") and not agent.device.startswith("cuda:"):
        yield f"agent.device is {agent.device}; choose auto, cpu, cuda or cuda:N"
    if not isinstance(agent, ExpertConfig) and not 0 < agent.learning_rate < 10:
        yield f"agent.learning_rate is {agent.learning_rate}; give a number above 0, such as 0.001"
    if isinstance(agent, PPOConfig) and agent.batch_size > agent.n_steps * config.env.num_envs:
        rollout = agent.n_steps * config.env.num_envs
        yield f"agent.batch_size is {agent.batch_size}, but a rollout is agent.n_steps x env.num_envs = {rollout} rows"
    task = known_id(config.env.id).removeprefix("embodia:embodia/")
    if isinstance(agent, BCConfig) and task in NO_EXPERT:
        yield f"{type(agent).__name__} asks the expert, and {task} has none: {NO_EXPERT[task]}"


Root = TypeVar("Root")

# As JSON --------------------------------------------------------------------------------------------------------


def write(config: Any, path: Path, **more: Any) -> None:
    """The configuration, and what else is to be remembered beside it."""
    path.write_text(json.dumps({**more, "config": plain(config)}, indent=2))


def read(path: Path, root: type[Root] = Config) -> Root:  # type: ignore[assignment]
    """What `write` wrote. Raises Mistake naming file and field where it cannot be read."""
    try:
        data = json.loads(path.read_text())["config"]
    except FileNotFoundError as error:
        raise Mistake(f"{path.parent} is no run: it holds no {path.name}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{path} cannot be read ({error}); take it from a whole run") from error
    config = restore(data, path, root=root)
    if not isinstance(config, root):
        raise Mistake(f"{path}: config is a {type(config).__name__}, not a {root.__name__}")
    return config


def kinds(annotation: Any = Config) -> dict[str, type]:
    """Every dataclass a configuration may hold, by name."""
    found: dict[str, type] = {}
    parts: Iterable[Any] = typing.get_args(annotation)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        found[annotation.__name__] = annotation
        parts = typing.get_type_hints(annotation).values()
    for part in parts:
        found |= kinds(part)
    return found


def restore(value: Any, path: Path, where: str = "config", root: type = Config) -> Any:
    """Plain JSON to the dataclasses that a `root` may hold, and tuples."""
    if isinstance(value, list):
        return tuple(restore(each, path, where, root) for each in value)
    if not isinstance(value, dict):
        return value
    name, known = value.get("kind"), kinds(root)
    if name not in known:
        raise Mistake(f"{path}: {where}: {name!r} is no part of a configuration. {nearest(str(name), known)}")
    kind: Any = known[name]
    value = renamed(str(name), value)
    fields = {each.name for each in dataclasses.fields(kind)}
    if unknown := set(value) - fields - {"kind"}:
        raise Mistake(f"{path}: {where}: {name} has no {', '.join(sorted(unknown))}; it was written by another version")
    parts = {key: restore(each, path, f"{where}.{key}", root) for key, each in value.items() if key != "kind"}
    try:
        return kind(**parts)
    except TypeError as error:
        raise Mistake(f"{path}: {where}: {error}; it was written by another version") from error
