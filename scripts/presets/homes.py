"""Presets of the homes."""

from embodia.agents.imitation.bc import BCConfig
from embodia.agents.imitation.dagger import DAggerConfig
from embodia.agents.reinforcement.sb3.ppo import PPOConfig
from embodia.envs.homes.options import HomesOptions
from embodia.scripts.assembly.config import EncoderConfig, Preset, learned
from embodia.scripts.assembly.environments import EnvConfig

SEARCH = ("rgb", "depth", "objectgoal", "compass", "gps")
DEPTH = ("depth", "pointgoal_with_gps_compass")
POINTNAV = EnvConfig("embodia/PointNav-v0", HomesOptions(DEPTH, 32, 32, num_scenes=256, detail="low"), 32)
OBJECTNAV = EnvConfig("embodia/ObjectNav-v0", HomesOptions(SEARCH, 64, 64, num_scenes=256, detail="low"), 8)
SEES = EncoderConfig(dim=128, image="patch_cnn")
BLIND = EncoderConfig(dim=128, keys=DEPTH[1:])
LABELS = 120_000
# A label costs half a millisecond, and each of the eight times it is read an eighth of one. The expert lets go slowly
# (half the steps after 35,000 labels): a beginner left alone stands before walls and learns about nothing else.
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
        "dagger-pointnav", "DAgger in homes: depth, GPS and compass, a GRU", learned(POINTNAV, NAVIGATOR, SEES, LABELS)
    ),
    Preset("blind-pointnav", "the same without eyes: the control", learned(POINTNAV, NAVIGATOR, BLIND, LABELS)),
    Preset("ppo-pointnav", "PPO in homes: depth, GPS and compass", learned(POINTNAV, PPOConfig(), SEES, 1_000_000)),
    Preset("bc-objectnav", "clone the expert to objects", learned(OBJECTNAV, SEARCHER, SEES, 60_000)),
)
