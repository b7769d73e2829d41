"""Gymnasium ids of every world; `gym.make("envs:embodia/...")` imports `envs`, which calls `register_all` once."""

from envs.driving.ids import register_roads
from envs.grid.ids import register_grid
from envs.homes.ids import register_homes


def register_all() -> None:
    """Register every id under `embodia/`. Entry points are strings, so no simulator is imported here."""
    register_grid()
    register_roads()
    register_homes()
