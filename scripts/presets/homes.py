"""Presets of the home environments."""

from embodia.agents.imitation.bc import BCConfig
from embodia.agents.imitation.dagger import DAggerConfig
from embodia.agents.reinforcement.sb3.ppo import SB3PPOConfig
from embodia.envs.homes.options import HomesOptions
from embodia.scripts.assembly.config import Config, EncoderConfig, Preset, learned
from embodia.scripts.assembly.environments import EnvConfig

SEARCH = ("rgb", "depth", "objectgoal", "compass", "gps")
DEPTH = ("depth", "pointgoal_with_gps_compass")
POINTNAV = EnvConfig("embodia/PointNav-v0", HomesOptions(DEPTH, 32, 32, num_scenes=256, detail="low"), 32)
OBJECTNAV = EnvConfig("embodia/ObjectNav-v0", HomesOptions(SEARCH, 64, 64, num_scenes=256, detail="low"), 8)
EXPLORATION = EnvConfig("embodia/Exploration-v0", HomesOptions(("depth", "gps", "compass"), 128, 128, detail="low"), 8)
WALKING = EnvConfig(
    "embodia/PointNav-v0",
    HomesOptions(("depth", "pointgoal_with_gps_compass", "gps", "compass"), 128, 128, detail="low"),
    8,
)
FINDING = EnvConfig(
    "embodia/ObjectNav-v0",
    HomesOptions(("depth", "category", "objectgoal", "gps", "compass"), 96, 128, detail="low"),
    8,
)
SEES = EncoderConfig(dim=128, image="patch_cnn")
BLIND = EncoderConfig(dim=128, keys=DEPTH[1:])
LABELS = 120_000
# A label takes half a millisecond to collect, and an eighth of one for each of the eight times it is used. The expert's
# share falls slowly (to half the steps after 35,000 labels), because an untrained learner that acts alone gets stuck
# at walls and collects no other data.
NAVIGATOR = DAggerConfig(
    memory=128,
    memory_skip=True,
    sequence_length=16,
    batch_size=16,
    learning_starts=4_000,
    train_freq=32,
    gradient_steps=32,
    anneal_rows=LABELS,
    beta=0.98,
    temperature=0.5,
)
SEARCHER = BCConfig(
    memory=128,
    memory_skip=True,
    sequence_length=16,
    batch_size=16,
    train_freq=64,
    gradient_steps=16,
    anneal_rows=60_000,
    temperature=0.5,
)


HOMES: tuple[Preset, ...] = (
    Preset(
        "dagger-pointnav",
        "DAgger in homes on depth, GPS and compass, with a GRU memory",
        learned(POINTNAV, NAVIGATOR, SEES, LABELS),
    ),
    Preset("blind-pointnav", "the same without depth: a blind baseline", learned(POINTNAV, NAVIGATOR, BLIND, LABELS)),
    Preset(
        "ppo-pointnav", "PPO in homes on depth, GPS and compass", learned(POINTNAV, SB3PPOConfig(), SEES, 1_000_000)
    ),
    Preset("frontier", "exploration by frontiers on a map from depth; no training", Config(EXPLORATION, "frontier")),
    Preset(
        "modular-pointnav",
        "PointNav by A* on a map from depth; needs no training",
        Config(WALKING, "modular-pointnav"),
    ),
    Preset(
        "modular-objectnav",
        "ObjectNav on a semantic map with true labels; needs no training",
        Config(FINDING, "modular-objectnav"),
    ),
    Preset("bc-objectnav", "behaviour cloning of the expert in ObjectNav", learned(OBJECTNAV, SEARCHER, SEES, 60_000)),
)
