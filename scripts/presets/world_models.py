"""Presets of agents that learn a world model or plan in one."""

from dataclasses import replace

from embodia.agents.reinforcement.dreamer import DreamerConfig
from embodia.agents.reinforcement.mpc import MPCConfig
from embodia.agents.reinforcement.td_mpc2 import TDMPC2Config
from embodia.agents.training.loop import Schedule
from embodia.envs.grid.options import GridOptions
from embodia.planners.models.rssm import RSSMConfig
from embodia.scripts.assembly.config import Config, EncoderConfig, EvaluationConfig, Preset
from embodia.scripts.assembly.environments import EnvConfig, NoOptions
from embodia.scripts.assembly.kinds import OBJECTIVE, PLANNER
from embodia.scripts.assembly.parts import configured

VIEW = EncoderConfig(keys=("symbolic", "direction"), channels=16, depth=2)
"""Reads the agent's own view."""
CLOSE = EnvConfig("embodia/MiniGrid-Empty-5x5-v0", GridOptions("symbolic"), num_envs=4)
PENDULUM = EnvConfig("Pendulum-v1", NoOptions(), num_envs=4)
SWING = EvaluationConfig(episodes=50, during=16)

SMALL = RSSMConfig(deter=128, stoch=8, classes=8, units=96)
SWINGING = replace(SMALL, discount_horizon=100.0)
"""A swing-up takes about 50 steps; values with a longer horizon take longer to learn."""
DREAMER = DreamerConfig(model=SMALL, imagination_last=8)
"""Small enough for a CPU core. Imagination starts from the last rows only, which takes a third of the time."""

MODELS: tuple[Preset, ...] = (
    Preset(
        "dreamer-empty",
        "Dreamer on the agent's own view",
        Config(
            CLOSE,
            replace(DREAMER, learning_starts=500, ent_coef=1e-3),
            VIEW,
            Schedule(steps=8_000, eval_every=1_000, log_every=400),
        ),
    ),
    Preset(
        "dreamer-pendulum",
        "Dreamer on the pendulum swing-up",
        Config(
            PENDULUM,
            replace(DREAMER, model=SWINGING, train_ratio=256.0, batch_size=32, sequence_length=16, imagination_last=4),
            EncoderConfig(dim=64),
            Schedule(steps=10_000, eval_every=2_000, log_every=500),
            SWING,
        ),
    ),
    Preset(
        "td-mpc2-pendulum",
        "TD-MPC2 on the pendulum swing-up",
        Config(
            PENDULUM,
            TDMPC2Config(),
            EncoderConfig(dim=64),
            Schedule(steps=6_000, eval_every=2_000, log_every=500),
            replace(SWING, episodes=20, during=8),
        ),
    ),
    Preset(
        "mpc-pendulum",
        "MPC by CEM in the pendulum's true equations; needs no training",
        Config(
            replace(PENDULUM, num_envs=1),
            MPCConfig(
                model="pendulum",
                objective="quadratic",
                planner=configured(PLANNER, "cem", horizon=45, samples=96, elites=10, iterations=4),
            ),
            schedule=Schedule(steps=200),
            evaluation=SWING,
        ),
    ),
    Preset(
        "mpc-rssm-pendulum",
        "MPC by CEM in a learned RSSM",
        Config(
            PENDULUM,
            MPCConfig(
                model=SMALL,
                n_action_steps=3,
                planner=configured(PLANNER, "cem", horizon=30, samples=64, elites=8, iterations=3),
            ),
            EncoderConfig(dim=64),
            Schedule(steps=6_000, eval_every=2_000, log_every=400),
            replace(SWING, episodes=16, during=8),
        ),
    ),
    Preset(
        "mpc-rssm-empty",
        "MPC by CEM in a learned RSSM, on the agent's own view",
        Config(
            CLOSE,
            MPCConfig(
                model=SMALL,
                learning_starts=500,
                planner=configured(PLANNER, "cem", horizon=10, samples=64, elites=8, iterations=3),
            ),
            VIEW,
            Schedule(steps=4_000, eval_every=1_000, log_every=400),
            replace(SWING, num_envs=8),
        ),
    ),
    Preset(
        "mpc-simulator-empty",
        "MPC by CEM in the environment itself, by its snapshots; needs no training",
        Config(
            replace(CLOSE, num_envs=1),
            MPCConfig(
                model="simulator",
                objective=configured(OBJECTIVE, "return", discount=0.95),
                planner=configured(PLANNER, "cem", horizon=10, samples=48, elites=6, iterations=3),
            ),
            VIEW,
            Schedule(steps=10),
            EvaluationConfig(episodes=20, during=2),
        ),
    ),
)
