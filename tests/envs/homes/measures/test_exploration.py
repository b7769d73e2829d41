"""How much of a floor was seen: a home's map of a floor is the same whoever asks for it first."""

import numpy as np
import pytest
import trimesh

from embodia.envs.homes.engines.engine import Home
from embodia.envs.homes.measures.exploration import AreaSeen
from embodia.envs.homes.navmesh.navmesh import NavMeshSettings, build_navmesh
from embodia.envs.homes.navmesh.pathfinder import PathFinder

LARGE, SMALL = np.array([2.0, 0.0, 2.0]), np.array([6.5, 0.0, 2.0])


@pytest.fixture
def home():
    """Two rooms of one floor without a way between them, 4 m by 4 m and 3 m by 4 m."""
    rooms = [((0, -0.2, 0), (4, 0, 4)), ((5, -0.2, 0), (8, 0, 4))]
    mesh = trimesh.util.concatenate([trimesh.creation.box(bounds=bounds) for bounds in rooms])
    return Home("two rooms", PathFinder(build_navmesh(mesh.vertices, mesh.faces, NavMeshSettings(agent_radius=0.1))))


@pytest.mark.parametrize("order", [(LARGE, SMALL), (SMALL, LARGE)])
def test_each_explores_the_room_it_stands_in(home, order):
    floors = {at[0]: AreaSeen(home, at, 90.0) for at in order}
    areas = {x: floor.free.sum() * floor.cell_area for x, floor in floors.items()}
    assert areas[LARGE[0]] == pytest.approx(3.8**2, rel=0.1)
    assert areas[SMALL[0]] == pytest.approx(2.8 * 3.8, rel=0.1)
    for x, floor in floors.items():
        assert floor.free[floor.grid.to_grid(x, 2.0)] == 1


def test_a_map_without_floor_is_seen_completely(home):
    area = AreaSeen(home, LARGE, 90.0)
    area.free[:], area.mask[:] = 0, 0
    assert area.coverage == 1.0
