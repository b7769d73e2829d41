"""Bird's-eye pictures of drives: road, lights, traffic, the route, the way driven and the one planned."""

import numpy as np
from numpy.typing import NDArray

from embodia.envs.driving.learning.drives import Drives
from embodia.envs.driving.pictures.render import BirdsEye, View
from embodia.envs.driving.types import Floats

VIEW = View(512, 512)


class Pictures:
    """Draws drives; what stays the same in a scenario is drawn once."""

    def __init__(self) -> None:
        self.painters: dict[int, BirdsEye] = {}  # by scenario

    def draw(self, drives: Drives, i: int, planned: Floats | None) -> NDArray[np.uint8]:
        """(512, 512, 3) of world i; `planned` (K, 3) are the poses that it tracks, in map coordinates."""
        scenario, t, number = drives.scenario_of(i), drives.iteration(i), int(drives.worlds.scenario[i])
        if number not in self.painters:
            self.painters[number] = BirdsEye(scenario.map, scenario.ego[scenario.iterations, :2], scenario.route, VIEW)
        driven = drives.driven(i, t + 1)
        ahead = None if planned is None or t == 0 else planned[:, :2]
        return self.painters[number].draw(driven[-1], drives.tracks(i), scenario.lights_at(t), ahead, driven[:, :2])
