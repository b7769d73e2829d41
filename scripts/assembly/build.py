"""Build environments, encoder and agent from a configuration."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import gymnasium as gym
from gymnasium import spaces

from embodia.agents import Agent
from embodia.agents.training import checkpoint
from embodia.agents.training.rng import seed_all
from embodia.envs import Split
from embodia.envs.vector import make
from embodia.envs.worlds import leaves
from embodia.perception import Encoder
from embodia.perception.encoders.combined import CombinedEncoder
from embodia.perception.encoders.deep_sets import DeepSets
from embodia.perception.encoders.frozen import Frozen
from embodia.perception.encoders.observation import kind
from embodia.perception.encoders.point_goal import PointGoalEncoder
from embodia.perception.encoders.symbol_grid import SymbolGridCNN
from embodia.perception.encoders.symbol_table import SymbolTable
from embodia.scripts.assembly.config import Config, EncoderConfig
from embodia.scripts.assembly.env_ids import known_id
from embodia.scripts.assembly.environments import EnvConfig, arguments
from embodia.scripts.assembly.image_encoders import matching_key, pretrained
from embodia.scripts.assembly.kinds import AGENT, ENCODER
from embodia.scripts.assembly.parts import Given, build
from embodia.scripts.mistake import Mistake


def worlds(
    env: EnvConfig, split: Split, num_envs: int | None = None, evaluation: bool = False, agent: Agent | None = None
) -> Any:
    """Make a vector environment.

    Args:
        env: configuration of the environment.
        split: split of the levels, `train` or `test`.
        num_envs: number of parallel environments; by default that of `env`.
        evaluation: step the environments in this process, or natively, instead of as `env` says.
        agent: the agent to be evaluated in them; if it has a driving planner, that is the environment's expert.

    Raises:
        Mistake: if the id or an option is unknown, or if observations are not a Dict.
    """
    vectorization = "auto" if evaluation else env.vectorization
    workers, options = None if evaluation else env.workers, arguments(env, split)
    if (planner := getattr(agent, "driving_planner", None)) is not None:
        if not hasattr(env.options, "expert"):
            raise Mistake(f"{type(planner).__name__} needs a driving environment, not {env.id}")
        options["expert"] = lambda scenario: planner
    try:
        made = make(known_id(env.id), num_envs or env.num_envs, vectorization, workers, **options)
    except (TypeError, ValueError) as error:
        raise Mistake(f"{env.id} cannot be made with these options: {error}") from error
    if not isinstance(made.single_observation_space, spaces.Dict):
        made.close()
        raise Mistake(f"{env.id} has the observation space {made.single_observation_space}; agents here need a "
                      "gymnasium.spaces.Dict, so wrap the environment and name its observation")  # fmt: skip
    if any(isinstance(number, int) for path, _ in leaves(made.single_observation_space) for number in path):
        made.close()
        raise Mistake(f"{env.id}: its observation space has a Tuple, {made.single_observation_space}; agents here need "
                      "names, so wrap the environment and use gymnasium.spaces.Dict")  # fmt: skip
    return made


def encoder(config: EncoderConfig, space: spaces.Dict) -> Encoder:
    """Build the encoder of an observation space: one encoder per key, combined.

    Raises:
        Mistake: if a key is not observed, or a pretrained encoder does not fit.
    """
    keys = config.keys or tuple(space.keys())
    if missing := [key for key in keys if key not in space.spaces]:
        raise Mistake(f"encoder.keys: {', '.join(missing)} is not observed; choose from {', '.join(space.spaces)}")
    pictures = [key for key in keys if kind(space[key]) in ("image", "depth")]
    if (config.frozen or config.pretrained) and not pictures:
        raise Mistake(f"encoder.pretrained and encoder.frozen need an image; {', '.join(keys)} are no images")
    chosen: dict[str, Callable[..., Encoder]] = dict.fromkeys(pictures, partial(image_encoder, config.image))
    if config.pretrained:
        named = ("encoder.image", ENCODER.name(config.image))
        chosen[matching_key(config.pretrained, space, keys)] = partial(pretrained, config.pretrained, named=named)
    if config.frozen:
        chosen = {key: partial(frozen, maker) for key, maker in chosen.items()}
    for key in keys:
        if key in config.sets:
            chosen[key] = DeepSets
        elif kind(space[key]) == "symbols" and config.symbols == "table":
            chosen[key] = SymbolTable
        elif kind(space[key]) == "symbols":
            dilations = [2 ** (i % 4) for i in range(config.depth)]
            chosen[key] = partial(SymbolGridCNN, channels=config.channels, dilations=dilations)
        elif key.startswith("pointgoal"):
            chosen[key] = PointGoalEncoder
    return CombinedEncoder(space, config.dim, chosen, config.fuse, keys)


def image_encoder(config: Any, space: spaces.Dict) -> Encoder:
    """Build the encoder for the one image of `space`."""
    return build(ENCODER, config, {"space": lambda: space, "keys": lambda: None})


def frozen(make: Callable[[spaces.Dict], Encoder], space: spaces.Dict) -> Encoder:
    return Frozen(make(space))


def agent(config: Config, env: Any) -> Agent:
    """Build an untrained agent for the spaces of `env`; its weights depend on the run's seed. Raises Mistake."""
    seed_all(config.schedule.seed)
    try:
        return build(AGENT, config.agent, given(config, env.single_observation_space, env.single_action_space))
    except (TypeError, ValueError) as error:
        raise Mistake(f"{AGENT.name(config.agent)} cannot be built for {config.env.id}: {error}") from error


def given(config: Config, observed: spaces.Dict, actions: spaces.Space[Any]) -> Given:
    """Return what constructors of agents, world models and planners can be given, by name; they share one encoder."""
    reads = cache(partial(encoder, config.encoder, observed))
    return {
        "observation_space": lambda: observed,
        "action_space": lambda: actions,
        "actions": partial(number_of, actions),
        "encoder": reads,
        "keys": lambda: reads().keys,
        "space": lambda: spaces.Dict({key: observed[key] for key in reads().keys}),
        "simulator": partial(simulator, config.env),
        "steps": lambda: config.schedule.steps,
    }


def number_of(actions: spaces.Space[Any]) -> int:
    """Return the number of discrete actions. Raises TypeError for another action space."""
    if not isinstance(actions, spaces.Discrete):
        raise TypeError(f"this planner needs discrete actions; for {actions} use cem")
    return int(actions.n)


def simulator(env: EnvConfig) -> Any:
    """Make an environment to plan in. Raises Mistake if it has no snapshots."""
    world = gym.make(known_id(env.id), **arguments(env, "train")).unwrapped
    if not hasattr(world, "set_state"):
        raise Mistake(f"agent.model simulator needs get_state and set_state, which {env.id} does not have")
    world.reset(seed=0)
    return world


def reference(name: str, env: Any) -> Agent:
    """Build the reference agent `random` or `expert`."""
    observed, actions = env.single_observation_space, env.single_action_space
    return build(AGENT, name, {"observation_space": lambda: observed, "action_space": lambda: actions})


def trained(config: Config, folder: Path, env: Any) -> Agent:
    """Build the agent of a run with the weights of a checkpoint. Raises CheckpointError if they do not fit."""
    made = agent(config, env)
    found = checkpoint.load(folder)
    checkpoint.check_fits(found, made)
    made.load(folder)
    return made


LOADED: WeakKeyDictionary[Agent, Config] = WeakKeyDictionary()
"""The run's configuration for each agent that `loaded` returned."""


def loaded(config: Config, folder: Path) -> Agent:
    """As `trained`, with the spaces of the run's environment; the configuration is stored in `LOADED`."""
    env = worlds(config.env, "test", 1, evaluation=True)
    try:
        made = trained(config, folder, env)
    finally:
        env.close()
    LOADED[made] = config
    return made
