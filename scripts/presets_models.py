"""Presets of the agents that learn a world model, or plan in one."""

from dataclasses import replace

from agents.dreamer import DreamerConfig
from agents.loop import Schedule
from planners.rssm import RSSMConfig
from scripts.config import Config, EncoderConfig, EnvConfig, EvaluationConfig, GridOptions, NoOptions, Preset

VIEW = EncoderConfig(keys=("symbolic", "direction"), channels=16, depth=2)
"""Reads the agent's own view."""
CLOSE = EnvConfig("embodia/MiniGrid-Empty-5x5-v0", GridOptions("symbolic"), num_envs=4)
PENDULUM = EnvConfig("Pendulum-v1", NoOptions(), num_envs=4)
SWING = EvaluationConfig(episodes=50, during=16)

DREAMER = DreamerConfig(model=RSSMConfig(deter=128, stoch=8, classes=8, units=96), imagine_last=8)
"""Small enough for a CPU core; imagination starts from the last rows only, which costs a third."""

MODELS: tuple[Preset, ...] = (
    Preset(
        "dreamer-empty",
        "Dreamer, the agent's own view",
        Config(
            CLOSE,
            replace(DREAMER, learning_starts=500, entropy=1e-3),
            VIEW,
            Schedule(steps=8_000, eval_every=1_000, log_every=400),
        ),
    ),
    Preset(
        "dreamer-pendulum",
        "Dreamer swings a pendulum up",
        Config(
            PENDULUM,
            replace(DREAMER, train_ratio=256.0),
            EncoderConfig(dim=64),
            Schedule(steps=15_000, eval_every=2_500, log_every=500),
            SWING,
        ),
    ),
)
