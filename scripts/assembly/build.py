"""From a configuration to worlds, encoder and agent: the one place where parts are chosen."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import gymnasium as gym
from gymnasium import Space, spaces

from embodia.agents import Agent
from embodia.agents.imitation.bc import BC, BCConfig
from embodia.agents.imitation.dagger import DAgger, DAggerConfig
from embodia.agents.references.expert import Expert, ExpertConfig
from embodia.agents.references.random import Random
from embodia.agents.reinforcement.dreamer import Dreamer, DreamerConfig
from embodia.agents.reinforcement.sb3.a2c import A2C, A2CConfig
from embodia.agents.reinforcement.sb3.dqn import DQN, DQNConfig
from embodia.agents.reinforcement.sb3.ppo import PPO, PPOConfig
from embodia.agents.reinforcement.td_mpc2 import TDMPC2, TDMPC2Config
from embodia.agents.training import checkpoint
from embodia.agents.training.rng import seed_all
from embodia.envs import Split
from embodia.envs.vector import make
from embodia.perception import Encoder
from embodia.perception.encoders.combined import CombinedEncoder
from embodia.perception.encoders.deep_sets import DeepSets
from embodia.perception.encoders.frozen import Frozen
from embodia.perception.encoders.observation import kind
from embodia.perception.encoders.point_goal import PointGoalEncoder
from embodia.perception.encoders.symbol_grid import SymbolGridCNN
from embodia.scripts.assembly.config import (
    AgentConfig,
    Config,
    EncoderConfig,
    EnvConfig,
    RoadOptions,
    known_id,
    make_options,
)
from embodia.scripts.assembly.drivers import DRIVERS
from embodia.scripts.assembly.image_encoders import IMAGE, ImageConfig, matching_key, pretrained
from embodia.scripts.assembly.image_encoders import make as make_image
from embodia.scripts.assembly.planning import MPCConfig, mpc
from embodia.scripts.mistake import Mistake


def worlds(env: EnvConfig, split: Split, num_envs: int | None = None, evaluation: bool = False) -> Any:
    """N worlds side by side. Raises Mistake for an unknown id or an option the environment does not know."""
    vectorization = "auto" if evaluation else env.vectorization
    workers = None if evaluation else env.workers
    options = make_options(env, split)
    if isinstance(env.options, RoadOptions):
        options["expert"] = DRIVERS[env.options.expert]
        if env.options.reactive is None:
            del options["reactive"]
    try:
        made = make(known_id(env.id), num_envs or env.num_envs, vectorization, workers, **options)
    except (TypeError, ValueError) as error:
        raise Mistake(f"{env.id} cannot be made with these options: {error}") from error
    if not isinstance(made.single_observation_space, spaces.Dict):
        made.close()
        raise Mistake(f"{env.id} observes a {made.single_observation_space}; agents here read a gymnasium.spaces.Dict, "
                      "so wrap it and name what it observes")  # fmt: skip
    return made


def encoder(config: EncoderConfig, space: spaces.Dict) -> Encoder:
    """One token of `dim` numbers from the chosen keys. Raises Mistake for keys that are not observed."""
    keys = config.keys or tuple(space.keys())
    if missing := [key for key in keys if key not in space.spaces]:
        raise Mistake(f"encoder.keys: {', '.join(missing)} is not observed; there are {', '.join(space.spaces)}")
    pictures = [key for key in keys if kind(space[key]) in ("image", "depth")]
    if (config.frozen or config.pretrained) and not pictures:
        raise Mistake(f"encoder.pretrained and encoder.frozen are about pictures; {', '.join(keys)} hold none")
    picture: Callable[..., Encoder] = IMAGE[config.image]
    if config.image == "conv":  # the network that pretraining makes, so that the two can be compared
        picture = partial(make_image, ImageConfig("conv", config.dim, config.width))
    chosen = dict.fromkeys(pictures, picture)
    if config.pretrained:
        chosen[matching_key(config.pretrained, space, keys)] = partial(pretrained, config.pretrained)
    if config.frozen:
        chosen = {key: partial(frozen, maker) for key, maker in chosen.items()}
    for key in keys:
        if key in config.sets:
            chosen[key] = DeepSets
        elif kind(space[key]) == "symbols":
            dilations = [2 ** (i % 4) for i in range(config.depth)]
            chosen[key] = partial(SymbolGridCNN, channels=config.channels, dilations=dilations)
        elif key.startswith("pointgoal"):
            chosen[key] = PointGoalEncoder
    return CombinedEncoder(space, config.dim, chosen, config.fuse, keys)


def frozen(make: Callable[[spaces.Dict], Encoder], space: spaces.Dict) -> Encoder:
    return Frozen(make(space))


def agent(config: Config, env: Any) -> Agent:
    """A fresh agent for the spaces of `env`, its weights drawn from the run's seed. Raises Mistake."""
    seed_all(config.schedule.seed)
    try:
        return learner(config.agent, config, env.single_observation_space, env.single_action_space)
    except (TypeError, ValueError) as error:
        raise Mistake(f"{type(config.agent).__name__} cannot be built for {config.env.id}: {error}") from error


def learner(kind: AgentConfig, config: Config, observed: spaces.Dict, actions: Space[Any]) -> Agent:
    if isinstance(kind, ExpertConfig):
        return Expert(observed, actions)
    reads = encoder(config.encoder, observed)
    match kind:
        case PPOConfig():
            return PPO(reads, actions, kind)
        case A2CConfig():
            return A2C(reads, actions, kind)
        case DQNConfig():
            return DQN(reads, actions, kind)
        case DreamerConfig():
            return Dreamer(observed, actions, reads, kind)
        case TDMPC2Config():
            return TDMPC2(observed, actions, reads, kind)
        case MPCConfig():
            return mpc(kind, reads, observed, actions, partial(simulator, config.env))
        case DAggerConfig():
            return DAgger(reads, actions, kind)
        case BCConfig():
            return BC(reads, actions, kind)


def simulator(env: EnvConfig) -> Any:
    """One world to plan in. Raises Mistake where it gives no snapshots."""
    world = gym.make(known_id(env.id), **make_options(env, "train")).unwrapped
    if not hasattr(world, "set_state"):
        raise Mistake(f"agent.model simulator needs get_state and set_state, which {env.id} does not have")
    world.reset(seed=0)
    return world


def reference(name: str, env: Any) -> Agent:
    """The floor or the bar of a comparison: `random` or `expert`."""
    if name == "random":
        return Random(env.single_observation_space, env.single_action_space)
    return Expert(env.single_observation_space, env.single_action_space)


def trained(config: Config, folder: Path, env: Any) -> Agent:
    """The agent of a run with the weights of one checkpoint. Raises CheckpointError where they do not fit."""
    made = agent(config, env)
    found = checkpoint.load(folder)
    checkpoint.check_fits(found, made)
    made.load(folder)
    return made


LOADED: WeakKeyDictionary[Agent, Config] = WeakKeyDictionary()
"""The run's configuration of each agent that `loaded` gave."""


def loaded(config: Config, folder: Path) -> Agent:
    """As `trained`, in worlds made only to see their spaces; remembered in `LOADED`."""
    env = worlds(config.env, "test", 1, evaluation=True)
    try:
        made = trained(config, folder, env)
    finally:
        env.close()
    LOADED[made] = config
    return made
