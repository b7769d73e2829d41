"""Navmeshes in habitat-sim's files; `data/*.navmesh` were built and laid out by Recast and Detour themselves."""

from pathlib import Path

import numpy as np
import pytest

from embodia.envs.homes.navmesh.detour_file import read_detour
from embodia.envs.homes.navmesh.navmesh import NavMeshError, NavMeshSettings, build_navmesh
from embodia.envs.homes.navmesh.pathfinder import PathFinder

DATA = Path(__file__).parents[1] / "data"


def under_a_slab():
    """A floor of 6 x 6 m, and a slab above it that leaves just the body's height of 1.5 m, 8 cells."""
    corners = np.array([(x, y, z) for y in (0, 1) for x in (0, 1) for z in (0, 1)])
    quads = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    box = np.concatenate([quads[:, [0, 2, 1]], quads[:, [0, 3, 2]]])
    vertices = np.concatenate([corners * [6, -0.05, 6], [2, 1.85, 2] + corners * [3, 0.15, 3]]).astype(np.float32)
    return vertices, np.concatenate([box, box + 8])


def check_equal(ours, theirs):
    for name in ("vertices", "polygons", "areas"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    for name, value in ours.floor._asdict().items():
        np.testing.assert_array_equal(value, getattr(theirs.floor, name), err_msg=name)


def test_the_navmesh_of_0_3_3_in_a_file_is_ours_to_the_last_bit():
    check_equal(build_navmesh(*under_a_slab()), read_detour(DATA / "slab_0_3_3.navmesh"))


def test_0_3_4_walks_where_just_the_bodys_height_is_free():
    """Recast 1.6 keeps such floor. In generated homes it makes islands of 1 to 4 m2 that 0.3.3 does not have."""
    newer = build_navmesh(*under_a_slab(), NavMeshSettings(filter_exact_height_spans=False))
    check_equal(newer, read_detour(DATA / "slab_0_3_4.navmesh"))
    below = [3.5, 0.2, 3.5]
    assert PathFinder(newer).is_navigable(below)
    assert not PathFinder(build_navmesh(*under_a_slab())).is_navigable(below)


@pytest.mark.parametrize("spoil", ["cut", "text", "index", "corner", "version"])
def test_spoiled_files_are_named(tmp_path, spoil):
    data, path = bytearray((DATA / "slab_0_3_3.navmesh").read_bytes()), tmp_path / "a.navmesh"
    if spoil == "cut":
        data = data[: len(data) // 2]
    elif spoil == "text":
        data = b"no navmesh"
    elif spoil == "version":
        data[4] = 9
    elif spoil == "index":
        data[-20:-16] = (-(10**6)).to_bytes(4, "little", signed=True)
    else:
        first_polygon = 12 + 28 + 56 + 8 + 100 + 12 * int.from_bytes(data[104 + 28 : 104 + 32], "little")
        data[first_polygon + 4] = 0xFF
    path.write_bytes(data)
    with pytest.raises(NavMeshError, match=r"a\.navmesh is not a navmesh of one tile as habitat-sim saves it"):
        read_detour(path)
