"""Named configurations: one entry each, any leaf overridden by a flag."""

from embodia.scripts.assembly.config import Config, Preset
from embodia.scripts.mistake import Mistake, nearest
from embodia.scripts.presets.driving import DRIVING
from embodia.scripts.presets.grids import GRIDS
from embodia.scripts.presets.homes import HOMES
from embodia.scripts.presets.world_models import MODELS

PRESETS: tuple[Preset, ...] = (*GRIDS, *HOMES, *DRIVING, *MODELS)


def preset(name: str) -> Config:
    """The named configuration. Raises Mistake with the nearest names."""
    for each in PRESETS:
        if each.name == name:
            return each.config
    raise Mistake(
        f"{name} is no preset. {nearest(name, [each.name for each in PRESETS])} `embodia list presets` names all."
    )
