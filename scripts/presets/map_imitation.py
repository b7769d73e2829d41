"""Presets of agents that learn to plan on observed maps."""

from embodia.agents.imitation.map_imitation import MapImitationConfig
from embodia.agents.training.loop import Schedule
from embodia.scripts.assembly.config import Config, EvaluationConfig, Preset
from embodia.scripts.presets.grids import grid
from embodia.scripts.presets.inverse import MAPPED

AT_HOME = MapImitationConfig(
    iterations=48, relu=True, labels="shortest", learning_rate=2e-2, batch_size=4, updates=6_000, gradient_steps=20
)
"""In homes the expert walks in any direction, which the eight moves of a map follow poorly, so the labels are those of
shortest paths."""

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
        "value iteration network on the top-down maps of homes, from shortest paths on them",
        Config(
            MAPPED,
            AT_HOME,
            schedule=Schedule(steps=20_000, log_every=1_000),
            evaluation=EvaluationConfig(episodes=100, during=20),
        ),
    ),
)
