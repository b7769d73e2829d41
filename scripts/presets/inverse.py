"""Presets of agents that learn an expert's rewards."""

from embodia.agents.imitation.inverse.adversarial import AdversarialConfig
from embodia.agents.imitation.inverse.map_agent import MaxEntConfig, MaxMarginConfig
from embodia.agents.training.loop import Schedule
from embodia.envs.control.options import RaceTrackOptions
from embodia.envs.grid.options import GridOptions
from embodia.envs.homes.options import HomesOptions
from embodia.scripts.assembly.config import Config, EncoderConfig, EvaluationConfig, Preset
from embodia.scripts.assembly.environments import EnvConfig

WHOLE = GridOptions("symbolic_full")
LAVA = EnvConfig("embodia/MiniGrid-LavaCrossingS9N2-v0", WHOLE)
ROOMS = EnvConfig("embodia/MiniGrid-FourRooms-v0", WHOLE)
MAPPED = EnvConfig(
    "embodia/PointNav-v0", HomesOptions(("map", "map_pose", "map_goal"), num_scenes=64, detail="low"), num_envs=8
)
AT_HOME = MaxMarginConfig(demonstrations=64, margin=0.01)
"""A small margin: on open floor many paths are as good as the expert's."""
TRACK = EnvConfig("embodia/RaceTrack-v0", RaceTrackOptions())
DRIVER = AdversarialConfig(
    n_steps=150, batch_size=200, n_epochs=8, ent_coef=0.0, gamma=0.95, learning_rate=1e-3, discriminator_steps=16
)

INVERSE: tuple[Preset, ...] = (
    Preset(
        "max-ent-lava",
        "MaxEnt IRL: costs of a grid's cells from the expert's walks around lava",
        Config(LAVA, MaxEntConfig(demonstrations=64, horizon=60), schedule=Schedule(steps=6_000, log_every=512)),
    ),
    Preset(
        "max-margin-fourrooms",
        "max-margin planning: costs of a grid's cells from the expert's walks",
        Config(ROOMS, MaxMarginConfig(demonstrations=64), schedule=Schedule(steps=4_000, log_every=512)),
    ),
    Preset(
        "max-margin-pointnav",
        "max-margin planning on the top-down maps of homes",
        Config(
            MAPPED,
            AT_HOME,
            schedule=Schedule(steps=10_000, log_every=1_000),
            evaluation=EvaluationConfig(episodes=100, during=20),
        ),
    ),
    Preset(
        "gail-race-track",
        "adversarial imitation of five drives on a race track",
        Config(TRACK, DRIVER, EncoderConfig(dim=64), Schedule(steps=60_000, eval_every=20_000)),
    ),
)
