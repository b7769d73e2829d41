"""Presets of agents that learn to plan on observed maps."""

from embodia.agents.imitation.map_imitation import MapImitationConfig
from embodia.agents.training.loop import Schedule
from embodia.scripts.assembly.config import Config, EvaluationConfig, Preset
from embodia.scripts.presets.grids import grid
from embodia.scripts.presets.inverse import MAPPED

MAPS: tuple[Preset, ...] = (
    Preset(
        "vin-fourrooms",
        "value iteration network on the whole grid, from the expert's walks",
        Config(
            grid("FourRooms", "symbolic_full"),
            MapImitationConfig(iterations=40),
            schedule=Schedule(steps=8_000, log_every=500),
        ),
    ),
    Preset(
        "vin-pointnav",
        "value iteration network on the top-down maps of homes, from the expert's walks",
        Config(
            MAPPED,
            MapImitationConfig(iterations=80, relu=True, demonstrations=300),
            schedule=Schedule(steps=20_000, log_every=1_000),
            evaluation=EvaluationConfig(episodes=100, during=20),
        ),
    ),
)
