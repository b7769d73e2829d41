"""Named configurations: one entry each, any leaf overridden by a flag."""

from dataclasses import dataclass

from agents.bc import BCConfig
from agents.dagger import DAggerConfig
from agents.loop import Schedule
from scripts.config import Config, EncoderConfig, EnvConfig, GridOptions
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
VIEW = EncoderConfig(keys=("symbolic", "direction"))
LABELS = Schedule(steps=60_000, eval_every=10_000)


def clone(says: str, task: str, agent: BCConfig, observation: str = "symbolic_full") -> Config:
    return Config(grid(task, observation), agent, FULL if observation.endswith("full") else VIEW, LABELS)


PRESETS: tuple[Preset, ...] = (
    Preset("bc-doorkey", "clone the expert on DoorKey-8x8, whole grid", clone("", "DoorKey-8x8", BCConfig())),
    Preset("dagger-doorkey", "DAgger on DoorKey-8x8, whole grid", clone("", "DoorKey-8x8", DAggerConfig())),
    Preset("dagger-fourrooms", "DAgger on FourRooms, whole grid", clone("", "FourRooms", DAggerConfig())),
)


def preset(name: str) -> Config:
    """The named configuration. Raises Mistake with the nearest names."""
    for each in PRESETS:
        if each.name == name:
            return each.config
    raise Mistake(
        f"{name} is no preset. {nearest(name, [each.name for each in PRESETS])} `embodia list presets` names all."
    )
