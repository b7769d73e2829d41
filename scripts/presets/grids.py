"""Presets of the grid environments."""

from dataclasses import replace
from typing import Any

from embodia.agents.imitation.bc import BCConfig
from embodia.agents.imitation.dagger import DAggerConfig
from embodia.agents.reinforcement.ppo import PPOConfig
from embodia.agents.reinforcement.sb3.a2c import A2CConfig
from embodia.agents.reinforcement.sb3.dqn import SB3DQNConfig
from embodia.agents.reinforcement.sb3.ppo import SB3PPOConfig
from embodia.agents.training.loop import Schedule
from embodia.envs.grid.options import GridOptions, View
from embodia.scripts.assembly.config import Config, EncoderConfig, Preset
from embodia.scripts.assembly.environments import EnvConfig


def grid(task: str, observation: View = "symbolic", num_envs: int = 8) -> EnvConfig:
    return EnvConfig(f"embodia/MiniGrid-{task}-v0", GridOptions(observation), num_envs)


FULL = EncoderConfig(keys=("symbolic", "carrying"))
"""Reads the whole grid."""
VIEW = EncoderConfig(keys=("symbolic", "direction"), channels=16, depth=2)
"""Reads the agent's own view."""
FAST = EncoderConfig(dim=64, keys=("symbolic",), symbols="table")
"""Reads the agent's own view at a hundredth of the cost."""
EMPTY = grid("Empty-8x8")
LABELS = Schedule(steps=10_000, eval_every=2_000, log_every=512)
PIECES: dict[str, Any] = {"batch_size": 16, "sequence_length": 32, "gradient_steps": 24, "anneal_rows": 60_000}
"""Sequences of rows share their map, so the encoder reads it once per sequence."""


def cloned(task: str, agent: BCConfig, steps: int) -> Config:
    """Imitation from observations of the whole grid."""
    return Config(grid(task, "symbolic_full"), agent, FULL, replace(LABELS, steps=steps, eval_every=steps // 5))


def partial(task: str, agent: BCConfig, steps: int) -> Config:
    """Imitation from the agent's own view; the expert sees the whole grid."""
    return Config(grid(task), agent, VIEW, replace(LABELS, steps=steps, eval_every=steps // 5))


GRIDS: tuple[Preset, ...] = (
    Preset(
        "ppo-empty",
        "PPO on the agent's own view",
        Config(EMPTY, SB3PPOConfig(), VIEW, Schedule(steps=60_000, eval_every=10_000)),
    ),
    Preset(
        "fast-ppo-empty",
        "PPO with large batches on the agent's own view, in 256 worlds",
        Config(
            replace(EMPTY, num_envs=256, options=GridOptions(levels=64)),
            PPOConfig(n_steps=16, batch_size=512, n_epochs=1, learning_rate=5e-3),
            FAST,
            Schedule(steps=120_000, log_every=20_000),
        ),
    ),
    Preset(
        "fast-ppo-doorkey",
        "PPO on the agent's own view, from rare rewards alone, in 128 worlds",
        Config(
            replace(grid("DoorKey-8x8", num_envs=128), options=GridOptions(levels=10_000)),
            PPOConfig(
                n_steps=64,
                batch_size=1024,
                n_epochs=3,
                learning_rate=1e-3,
                gamma=0.995,
                gae_lambda=0.97,
                ent_coef=3e-4,
                normalize_advantage=False,
            ),
            FAST,
            Schedule(steps=3_600_000, log_every=100_000, eval_every=600_000),
        ),
    ),
    Preset(
        "a2c-empty",
        "A2C on the agent's own view",
        Config(EMPTY, A2CConfig(), VIEW, Schedule(steps=120_000, eval_every=20_000)),
    ),
    Preset(
        "dqn-empty",
        "DQN on the agent's own view",
        Config(EMPTY, SB3DQNConfig(), VIEW, Schedule(steps=100_000, eval_every=20_000)),
    ),
    Preset("bc-doorkey", "behaviour cloning on the whole grid", cloned("DoorKey-8x8", BCConfig(), 8_000)),
    Preset("dagger-doorkey", "DAgger on the whole grid", cloned("DoorKey-8x8", DAggerConfig(), 8_000)),
    Preset("bc-fourrooms", "behaviour cloning on the whole grid", cloned("FourRooms", BCConfig(**PIECES), 60_000)),
    Preset("dagger-fourrooms", "DAgger on the whole grid", cloned("FourRooms", DAggerConfig(**PIECES), 60_000)),
    Preset(
        "dagger-fourrooms-view",
        "DAgger on the agent's own view, without memory",
        partial("FourRooms", DAggerConfig(**PIECES), 60_000),
    ),
    Preset(
        "dagger-fourrooms-memory",
        "DAgger on the agent's own view, with a GRU memory over whole episodes",
        partial("FourRooms", DAggerConfig(memory=128, **PIECES | {"sequence_length": 100}), 60_000),
    ),
)
