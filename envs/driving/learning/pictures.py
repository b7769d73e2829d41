"""Bird's-eye images of drives: road, lights, traffic, route, the way driven and the planned way."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from embodia.envs.driving.learning.drives import Drives
from embodia.envs.driving.learning.pool import Recent
from embodia.envs.driving.pictures.render import BirdsEye, View
from embodia.envs.driving.types import Floats, Insight

VIEW = View(512, 512)


class Pictures:
    """Draws drives. Backgrounds are drawn once per scenario and kept for the last 32 scenarios."""

    def __init__(self) -> None:
        self.painters: Recent[BirdsEye] = Recent(32)  # by scenario

    def draw(self, drives: Drives, i: int, planned: Floats | None, insight: Insight | None = None) -> NDArray[np.uint8]:
        """(512, 512, 3) of world i; `planned` (K, 3) are the poses that it tracks, in map coordinates."""
        scenario, t = drives.scenario_of(i), drives.iteration(i)
        way = scenario.ego[scenario.iterations, :2]
        make = partial(BirdsEye, scenario.map, way, scenario.route, VIEW)
        painter = self.painters.get(drives.number_of(i), make)
        driven = drives.driven(i, t + 1)
        ahead = None if planned is None or t == 0 else planned[:, :2]
        return painter.draw(driven[-1], drives.tracks(i), scenario.lights_at(t), ahead, driven[:, :2], insight)
