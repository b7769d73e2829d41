"""Walkable surfaces: of hand-made rooms, where the answer is known, and of a home that a real habitat-sim measured."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from embodia.envs.homes.files.load import load_scene
from embodia.envs.homes.navmesh.navmesh import (
    NavMeshError,
    NavMeshSettings,
    build_navmesh,
    cached_navmesh,
    load_navmesh,
    mesh_hash,
)
from embodia.envs.homes.navmesh.pathfinder import PathFinder

APARTMENT = Path(__file__).parents[1] / "data" / "apartment"
POINT_BODY = NavMeshSettings(agent_radius=0.0)


def box(low, high):
    return trimesh.creation.box(bounds=[low, high])


def build(*parts, settings=POINT_BODY):
    mesh = trimesh.util.concatenate(parts)
    return PathFinder(build_navmesh(mesh.vertices, mesh.faces, settings))


def room(width, depth):
    return box((0, -0.2, 0), (width, 0, depth))


@pytest.fixture(scope="module")
def reference():
    return json.loads((APARTMENT / "navigation.json").read_text())


@pytest.fixture(scope="module")
def apartment():
    scene = load_scene(APARTMENT / "apartment.glb")
    return PathFinder(build_navmesh(scene.vertices, scene.faces, NavMeshSettings(agent_radius=0.18)))


class TestHabitatParity:
    """habitat-sim's own answers (main of 2026-05-07) on the apartment, body radius 0.18 m, height 1.5 m."""

    def test_area_and_islands(self, apartment, reference):
        areas = [apartment.island_area(i) for i in range(apartment.num_islands)]
        np.testing.assert_allclose(areas, [area for _, area in reference["islands"]], rtol=1e-3)
        assert apartment.navigable_area == pytest.approx(reference["navigable_area"], rel=1e-3)
        np.testing.assert_allclose(apartment.bounds, reference["bounds"], atol=1e-5)

    def test_geodesic_distances(self, apartment, reference):
        cases = np.array(reference["geodesic"])
        ours = np.array([apartment.geodesic_distance(c[:3], c[3:6]) for c in cases])
        np.testing.assert_allclose(ours, cases[:, 6], rtol=2e-5)

    def test_sliding_steps(self, apartment, reference):
        cases = np.array(reference["try_step"])
        ours = np.array([apartment.try_step(c[:3], c[3:6]) for c in cases])
        np.testing.assert_allclose(ours, cases[:, 6:9], atol=2e-6)

    def test_steps_without_sliding(self, apartment, reference):
        """Main slides no more by another rule than 0.3.3, which we follow: a few steps along walls end elsewhere."""
        cases = np.array(reference["try_step"])
        ours = np.array([apartment.try_step_no_sliding(c[:3], c[3:6]) for c in cases])
        error = np.linalg.norm(ours - cases[:, 9:12], axis=1)
        assert (error < 1e-3).mean() >= 0.99

    def test_distances_to_walls(self, apartment, reference):
        cases = np.array(reference["obstacle_distance"])
        ours = [apartment.distance_to_closest_obstacle(c[:3]) for c in cases]
        np.testing.assert_allclose(ours, cases[:, 3], atol=2e-5)

    def test_top_down_view(self, apartment, reference):
        seen = np.load(APARTMENT / "topdown.npz")["topdown"]
        ours = apartment.get_topdown_view(0.05, reference["poses_xyz_yaw"][0][1])
        np.testing.assert_array_equal(ours, seen)

    def test_heights(self, apartment, reference):
        for x, y, z, _ in reference["poses_xyz_yaw"]:
            assert apartment.snap_point([x, 0, z])[1] == pytest.approx(y, abs=1e-4)


def test_a_bare_floor_is_walkable_up_to_the_body_radius():
    settings = NavMeshSettings(agent_radius=0.2)
    finder = build(room(4, 3), settings=settings)
    # Ledge cells at the rim and the radius are taken off on every side.
    assert finder.navigable_area == pytest.approx((4 - 0.5) * (3 - 0.5), rel=0.02)
    assert finder.is_navigable([2, 0, 1.5])
    assert not finder.is_navigable([0.1, 0, 1.5])
    assert not finder.is_navigable([2, 1, 1.5])


@pytest.mark.parametrize(("height", "islands"), [(0.15, 1), (0.6, 2)])
def test_climbing(height, islands):
    """A platform in the middle is part of the floor if one step leads up to it."""
    finder = build(room(5, 5), box((1.5, 0, 1.5), (3.5, height, 3.5)))
    assert finder.num_islands == islands


@pytest.mark.parametrize(("clearance", "passes"), [(2.0, True), (1.0, False)])
def test_ceilings(clearance, passes):
    """A beam across the room stops a body of 1.5 m if it hangs lower than that."""
    finder = build(room(6, 3), box((2.5, clearance, -0.5), (3.5, clearance + 0.2, 3.5)))
    assert np.isfinite(finder.geodesic_distance([1, 0, 1.5], [5, 0, 1.5])) == passes


@pytest.mark.parametrize(("angle", "climbs"), [(20, True), (60, False)])
def test_slopes(angle, climbs):
    """A ramp to an upper floor 1.5 m higher."""
    run = 1.5 / np.tan(np.radians(angle))
    ramp = trimesh.Trimesh(
        [(3, 0, 0), (3 + run, 1.5, 0), (3 + run, 1.5, 3), (3, 0, 3)], [(0, 2, 1), (0, 3, 2)], process=False
    )
    upper = box((3 + run, 1.3, 0), (6 + run, 1.5, 3))
    finder = build(room(3, 3), ramp, upper)
    distance = finder.geodesic_distance([1, 0, 1.5], [5 + run, 1.5, 1.5])
    assert np.isfinite(distance) == climbs
    if climbs:
        assert distance == pytest.approx(2 + np.hypot(run, 1.5) + 2, rel=0.03)


def test_two_storeys_are_told_apart():
    finder = build(room(4, 4), box((0, 2.8, 0), (4, 3, 4)))
    assert finder.num_islands == 2
    assert finder.get_island([2, 0, 2]) != finder.get_island([2, 3, 2])
    assert finder.geodesic_distance([1, 0, 1], [3, 3, 3]) == np.inf
    assert finder.geodesic_distance([1, 3, 1], [3, 3, 3]) == pytest.approx(np.hypot(2, 2), rel=1e-3)


def test_a_bad_mesh_is_named():
    good = room(4, 3)
    with pytest.raises(NavMeshError, match="NaN or infinite"):
        build_navmesh(np.full_like(good.vertices, np.nan), good.faces)
    with pytest.raises(NavMeshError, match="no faces"):
        build_navmesh(good.vertices, np.zeros((0, 3), int))
    with pytest.raises(NavMeshError, match="vertex 99 of 8"):
        build_navmesh(good.vertices, [[0, 1, 99]])
    wall = box((0, 0, 0), (0.1, 2.5, 4))
    with pytest.raises(NavMeshError, match=r"attic\.glb has no floor that a body of radius 0\.1 m"):
        build_navmesh(wall.vertices, wall.faces, name="attic.glb")
    with pytest.raises(NavMeshError, match="check its unit"):
        build_navmesh(good.vertices * 1000, good.faces)
    with pytest.raises(NavMeshError, match="cell_size"):
        NavMeshSettings(cell_size=0)
    with pytest.raises(NavMeshError, match=r"the least is 0\.9 cells"):
        NavMeshSettings(detail_sample_dist=0.5)


def test_a_mesh_with_holes_and_loose_triangles_is_still_walked_on():
    """Non-manifold input: an edge with three faces, a duplicated face, a degenerate one."""
    floor = room(4, 3)
    fin = [[0, 6, 7]]
    faces = np.concatenate([floor.faces, floor.faces[:1], [[3, 3, 3]], fin])
    assert build_navmesh(floor.vertices, faces, POINT_BODY).areas.sum() > 8


def test_stored_beside_the_scene_and_used_again(tmp_path):
    floor, path = room(4, 3), tmp_path / "room.navmesh.npz"
    first = cached_navmesh(floor.vertices, floor.faces, POINT_BODY, path)
    stamp = path.stat().st_mtime_ns
    again = cached_navmesh(floor.vertices, floor.faces, POINT_BODY, path)
    assert path.stat().st_mtime_ns == stamp
    for one, other in ((first[:-1], again[:-1]), (first.floor, again.floor)):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert load_navmesh(path)[1:] == (POINT_BODY, mesh_hash(floor.vertices, floor.faces))
    other = cached_navmesh(floor.vertices, floor.faces, NavMeshSettings(agent_radius=0.4), path)
    assert len(other.vertices)
    assert load_navmesh(path)[1].agent_radius == 0.4


def test_a_torn_file_is_rebuilt_and_named(tmp_path):
    floor, path = room(4, 3), tmp_path / "room.navmesh.npz"
    path.write_bytes(b"PK torn")
    with pytest.raises(NavMeshError, match=r"room\.navmesh\.npz is not a navmesh"):
        load_navmesh(path)
    cached_navmesh(floor.vertices, floor.faces, POINT_BODY, path)
    assert load_navmesh(path)[1] == POINT_BODY


@pytest.mark.parametrize(
    ("field", "spoil"),
    [
        ("polygons", lambda a: a - 2),
        ("polygons", lambda a: a + 99),
        ("polygons", lambda a: a[:, ::-1]),
        ("triangles", lambda a: a + 99),
        ("triangles", lambda a: -a - 1),
        ("first_triangle", lambda a: a[::-1]),
        ("first_point", lambda a: a + 5),
        ("corners", lambda a: a[:1]),
        ("points", lambda a: a[:, :1]),
    ],
)
def test_a_file_with_wrong_numbers_is_named(tmp_path, field, spoil):
    """Kernels do not look at bounds, so what is read has to be right before they see it."""
    floor, path = room(4, 3), tmp_path / "room.navmesh.npz"
    cached_navmesh(floor.vertices, floor.faces, POINT_BODY, path)
    with np.load(path) as stored:
        data = dict(stored)
    np.savez(path, **data | {field: np.ascontiguousarray(spoil(data[field]))})
    with pytest.raises(NavMeshError, match=r"room\.navmesh\.npz is not a navmesh"):
        load_navmesh(path)


def test_details_follow_an_uneven_floor():
    """A hump of 0.6 m in the middle of a gentle floor: triangles rise with it, polygons are flat."""
    x, z = np.meshgrid(np.linspace(0, 6, 61), np.linspace(0, 6, 61), indexing="ij")
    y = 0.6 * np.exp(-((x - 3) ** 2 + (z - 3) ** 2))
    grid = np.arange(61 * 61).reshape(61, 61)
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    faces = np.concatenate([np.stack(f, -1).reshape(-1, 3) for f in ((a, c, b), (a, d, c))])
    finder = PathFinder(build_navmesh(np.stack([x, y, z], -1).reshape(-1, 3), faces))
    for px, pz in ((3, 3), (2, 3), (3.5, 3.5), (1, 1)):
        real = 0.6 * np.exp(-((px - 3) ** 2 + (pz - 3) ** 2))
        assert real < finder.snap_point([px, real, pz])[1] < real + 0.5, "up to two cells above the floor"
    assert finder.snap_point([3, 0.6, 3])[1] > finder.snap_point([1, 0, 1])[1] + 0.3
