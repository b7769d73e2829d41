"""The table of presets. Every field of a preset can be overridden by a flag."""

from embodia.scripts.assembly.config import Config, Preset
from embodia.scripts.mistake import Mistake, nearest
from embodia.scripts.presets.driving import DRIVING
from embodia.scripts.presets.grids import GRIDS
from embodia.scripts.presets.homes import HOMES
from embodia.scripts.presets.inverse import INVERSE
from embodia.scripts.presets.map_imitation import MAPS
from embodia.scripts.presets.world_models import MODELS

PRESETS: tuple[Preset, ...] = (*GRIDS, *HOMES, *DRIVING, *MODELS, *INVERSE, *MAPS)


def preset(name: str) -> Config:
    """Return the configuration of a preset. Raises Mistake, with the closest names, if there is none."""
    for each in PRESETS:
        if each.name == name:
            return each.config
    raise Mistake(
        f"unknown preset {name}. {nearest(name, [each.name for each in PRESETS])} `embodia list presets` lists them."
    )
