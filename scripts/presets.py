"""Named configurations: one entry each, any leaf overridden by a flag."""

from dataclasses import dataclass, replace
from typing import Any

from agents.bc import BCConfig
from agents.dagger import DAggerConfig
from agents.loop import Schedule
from agents.sb3 import A2CConfig, DQNConfig, PPOConfig
from scripts.config import Config, EncoderConfig, EnvConfig, GridOptions, HomesOptions, RoadOptions
from scripts.mistake import Mistake, nearest


@dataclass(frozen=True)
class Preset:
    """A configuration with a name and a sentence."""

    name: str
    says: str
    config: Config


def grid(task: str, observation: str = "symbolic", num_envs: int = 8) -> EnvConfig:
    return EnvConfig(f"embodia/MiniGrid-{task}-v0", GridOptions(observation), num_envs)  # type: ignore[arg-type]


FULL = EncoderConfig(keys=("symbolic", "carrying"))
"""Reads the whole grid."""
VIEW = EncoderConfig(keys=("symbolic", "direction"), channels=16, depth=2)
"""Reads the agent's own view."""
EMPTY = grid("Empty-8x8")
LABELS = Schedule(steps=10_000, eval_every=2_000, log_every=512)
LONG: dict[str, Any] = {"updates": 48, "anneal_rows": 10_000}


def cloned(task: str, agent: BCConfig, steps: int) -> Config:
    """From the whole grid."""
    return Config(grid(task, "symbolic_full"), agent, FULL, replace(LABELS, steps=steps, eval_every=steps // 5))


def partial(task: str, agent: BCConfig, steps: int) -> Config:
    """From the agent's own view, advised by an expert that sees everything."""
    return Config(grid(task), agent, VIEW, replace(LABELS, steps=steps, eval_every=steps // 5))


SEARCH = ("rgb", "depth", "objectgoal", "compass", "gps")
DEPTH = ("depth", "pointgoal_with_gps_compass")
POINTNAV = EnvConfig("embodia/PointNav-v0", HomesOptions(DEPTH, 64, 64, detail="low"), 8)
SEES = EncoderConfig(dim=128, image="nature_cnn")
BLIND = EncoderConfig(dim=128, keys=DEPTH[1:])
NAVIGATOR = DAggerConfig(memory=128, sequence=16, batch_size=16, every=256, updates=32, learning_rate=5e-4)
OBJECTNAV = EnvConfig("embodia/ObjectNav-v0", HomesOptions(SEARCH, 64, 64, detail="low"), 8)
ROADS = EnvConfig("embodia/Driving-v0", RoadOptions(), 32)
DRIVER = BCConfig(hidden=(256, 256), learning_starts=4_000, every=128, updates=64, batch_size=256, learning_rate=5e-4)

ADVISED = DAggerConfig(**vars(DRIVER))


def learned(env: EnvConfig, agent: BCConfig | PPOConfig, encoder: EncoderConfig, steps: int) -> Config:
    """In a big world, evaluated rarely while it learns."""
    return Config(env, agent, encoder, Schedule(steps, eval_every=steps // 4, log_every=steps // 60))


PRESETS: tuple[Preset, ...] = (
    Preset(
        "ppo-empty",
        "PPO, the agent's own view",
        Config(EMPTY, PPOConfig(), VIEW, Schedule(steps=60_000, eval_every=10_000)),
    ),
    Preset(
        "a2c-empty",
        "A2C, the agent's own view",
        Config(EMPTY, A2CConfig(), VIEW, Schedule(steps=120_000, eval_every=20_000)),
    ),
    Preset(
        "dqn-empty",
        "DQN, the agent's own view",
        Config(EMPTY, DQNConfig(), VIEW, Schedule(steps=100_000, eval_every=20_000)),
    ),
    Preset("bc-doorkey", "clone the expert, whole grid", cloned("DoorKey-8x8", BCConfig(), 8_000)),
    Preset("dagger-doorkey", "DAgger, whole grid", cloned("DoorKey-8x8", DAggerConfig(), 8_000)),
    Preset("bc-fourrooms", "clone the expert, whole grid", cloned("FourRooms", BCConfig(**LONG), 10_000)),
    Preset("dagger-fourrooms", "DAgger, whole grid", cloned("FourRooms", DAggerConfig(**LONG), 10_000)),
    Preset("dagger-doorkey-view", "DAgger, own view, no memory", partial("DoorKey-8x8", DAggerConfig(), 8_000)),
    Preset(
        "dagger-doorkey-memory",
        "DAgger, own view, a GRU remembers",
        partial("DoorKey-8x8", DAggerConfig(memory=128, batch_size=16, sequence=32), 8_000),
    ),
    Preset(
        "dagger-fourrooms-view",
        "DAgger, own view, no memory",
        partial("FourRooms", DAggerConfig(**LONG), 10_000),
    ),
    Preset(
        "dagger-fourrooms-memory",
        "DAgger, own view, a GRU remembers",
        partial("FourRooms", DAggerConfig(memory=128, batch_size=16, sequence=32, **LONG), 10_000),
    ),
)


def preset(name: str) -> Config:
    """The named configuration. Raises Mistake with the nearest names."""
    for each in PRESETS:
        if each.name == name:
            return each.config
    raise Mistake(
        f"{name} is no preset. {nearest(name, [each.name for each in PRESETS])} `embodia list presets` names all."
    )
