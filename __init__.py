"""Embodied agents in homes, on roads and on grids: train, evaluate, record.

    import embodia, gymnasium
    env = gymnasium.make("embodia/MiniGrid-Empty-8x8-v0")

Importing `embodia` registers its environments with Gymnasium and imports nothing else that is heavy.
"""

from embodia.envs.control.ids import register_control
from embodia.envs.driving.ids import register_roads
from embodia.envs.grid.ids import register_grid
from embodia.envs.homes.ids import register_homes

register_control()
register_grid()
register_roads()
register_homes()
