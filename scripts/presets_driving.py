"""Presets of the roads."""

from agents.bc import BCConfig
from agents.dagger import DAggerConfig
from agents.loop import Schedule
from agents.sb3 import PPOConfig
from scripts.config import AgentConfig, Config, EncoderConfig, EnvConfig, Preset, RoadOptions

ROADS = EnvConfig("embodia/Driving-v0", RoadOptions(), 32)
DRIVER = BCConfig(hidden=(256, 256), learning_starts=4_000, every=128, updates=64, batch_size=256, learning_rate=5e-4)
ADVISED = DAggerConfig(**vars(DRIVER))
SCENE = EncoderConfig(dim=256)


def learned(agent: AgentConfig, steps: int) -> Config:
    """Evaluated rarely while it learns."""
    return Config(ROADS, agent, SCENE, Schedule(steps, eval_every=steps // 4, log_every=steps // 60))


DRIVING: tuple[Preset, ...] = (
    Preset("bc-driving", "clone the logged drivers", learned(DRIVER, 200_000)),
    Preset("dagger-driving", "DAgger towards the logged drivers", learned(ADVISED, 200_000)),
    Preset("ppo-driving", "PPO on roads", learned(PPOConfig(n_steps=128, batch_size=512), 500_000)),
)
