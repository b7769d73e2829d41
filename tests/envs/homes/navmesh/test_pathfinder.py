"""Queries on a navmesh: exact where geometry gives the answer, consistent where it does not."""

from itertools import pairwise

import numpy as np
import pytest
import trimesh

from embodia.envs.homes.engines.engine import generated_scene
from embodia.envs.homes.navmesh.navmesh import NavMeshSettings, Surface, assemble, build_navmesh
from embodia.envs.homes.navmesh.pathfinder import PathFinder
from embodia.envs.homes.navmesh.shortest_paths import visibility_graph
from embodia.envs.homes.tasks.navigation import TASKS


def boxes(*bounds):
    mesh = trimesh.util.concatenate([trimesh.creation.box(bounds=b) for b in bounds])
    return PathFinder(build_navmesh(mesh.vertices, mesh.faces, NavMeshSettings(agent_radius=0.1)))


FLOOR = ((0, -0.2, 0), (6, 0, 6))
WALL = ((2.9, 0, 1.0), (3.1, 2, 6))  # leaves a way round through z < 1; a body of 0.1 m sees 2.8 to 3.2, z > 0.9
PILLARS = [((x, 0, z), (x + 0.5, 2, z + 0.5)) for x in (1.25, 2.75, 4.25) for z in (1.25, 2.75, 4.25)]


@pytest.fixture(scope="module")
def walled():
    return boxes(FLOOR, WALL)


@pytest.fixture(scope="module")
def pillars():
    return boxes(FLOOR, *PILLARS)


def test_around_a_wall_in_closed_form(walled):
    start, end = np.array([2, 0, 4.0]), np.array([4, 0, 4.0])
    path = walled.find_path(start, end)
    corners = path.points[1:-1]
    assert np.all(np.abs(corners[[0, -1]][:, [0, 2]] - [[2.8, 0.9], [3.2, 0.9]]) <= 0.1), "bends round its end"
    expected = np.hypot(0.8, 3.1) + 0.4 + np.hypot(0.8, 3.1)
    assert path.geodesic_distance == pytest.approx(expected, rel=0.02)
    assert path.geodesic_distance == pytest.approx(np.linalg.norm(np.diff(path.points, axis=0), axis=1).sum(), rel=1e-5)


def test_exact_distances_are_a_metric(pillars):
    rng = np.random.default_rng(0)
    points = np.array([pillars.get_random_navigable_point(rng, 0) for _ in range(12)])
    exact = PathFinder(pillars.mesh, "exact")
    d = np.array([[exact.geodesic_distance(a, b) for b in points] for a in points])
    euclid = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.testing.assert_allclose(d, d.T, atol=1e-4)
    assert (d >= euclid - 1e-4).all()
    assert (d[:, None, :] <= d[:, :, None] + d[None, :, :] + 1e-3).all(), "triangle inequality"
    clear = np.isclose(d, euclid, atol=1e-5)
    assert clear.any()
    assert not clear.all()


@pytest.mark.parametrize("geodesics", ["detour", "exact"])
def test_paths_stay_on_the_mesh(pillars, geodesics):
    rng, finder = np.random.default_rng(1), PathFinder(pillars.mesh, geodesics)
    for _ in range(20):
        a, b = (finder.get_random_navigable_point(rng, 0) for _ in range(2))
        path = finder.find_path(a, b)
        np.testing.assert_allclose(path.points[[0, -1]], [a, b], atol=1e-5)
        length = np.linalg.norm(np.diff(path.points, axis=0), axis=1).sum()
        assert path.geodesic_distance == pytest.approx(length, rel=1e-5)
        for p, q in pairwise(path.points):
            for share in np.linspace(0, 1, 20):
                assert finder.is_navigable(p + share * (q - p))


def test_detours_search_takes_detours_and_the_exact_one_none(pillars):
    rng = np.random.default_rng(5)
    pairs = [[pillars.get_random_navigable_point(rng, 0) for _ in range(2)] for _ in range(200)]
    detour = np.array([pillars.geodesic_distance(a, b) for a, b in pairs])
    exact = np.array([pillars.shortest_distance(a, pillars.goal_set(b)) for a, b in pairs])
    ratio = detour / exact
    assert (ratio > 1 - 1e-6).all()
    assert 1.01 < ratio.max() < 1.3
    assert np.median(ratio) < 1 + 1e-5
    with pytest.raises(ValueError, match="choose detour"):
        PathFinder(pillars.mesh, "euclidean")


def strip(length, flat_polygon=False):
    """A corridor of squares in a row, each a polygon of its own; `flat_polygon` adds one without area at its side."""
    corners = np.array([(10 * x, 0, 10 * z) for x in range(length + 1) for z in (1, 0)])
    squares = np.array([(2 * x, 2 * x + 2, 2 * x + 3, 2 * x + 1, -1, -1) for x in range(length)])
    halves = np.tile([(0, 1, 2, 0b011), (0, 2, 3, 0b110)], (length, 1))
    first = 2 * np.arange(length + 1)
    if flat_polygon:
        squares = np.append(squares, [(3, 5, 1, -1, -1, -1)], axis=0)
        halves, first = np.append(halves, [(0, 1, 2, 0b111)], axis=0), np.append(first, 2 * length + 1)
    bounds = np.array([(0, 0, 0), (0.5 * length, 1, 0.5)], np.float32)
    surface = Surface(
        corners,
        squares,
        np.zeros((0, 3), np.float32),
        np.zeros(len(squares) + 1, int),
        halves,
        first,
        bounds,
    )
    return PathFinder(assemble(surface, NavMeshSettings()))


def test_a_polygon_without_area_is_never_walked_on():
    with_it, without = strip(3, flat_polygon=True), strip(3)
    assert with_it.num_islands == 1
    assert with_it.navigable_area == pytest.approx(0.75, rel=1e-5)
    beside = [0.6, 0, -0.2]
    np.testing.assert_array_equal(with_it.snap_point(beside), without.snap_point(beside))
    np.testing.assert_array_equal(with_it.try_step([0.6, 0, 0.1], beside), without.try_step([0.6, 0, 0.1], beside))
    assert with_it.distance_to_closest_obstacle([0.6, 0, 0.1]) == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize(("squares", "reaches"), [(256, True), (257, False)])
def test_habitat_sim_gives_up_beyond_256_polygons(squares, reaches):
    finder, (start, end) = strip(squares), ([0.1, 0, 0.25], [0.5 * squares - 0.1, 0, 0.25])
    assert np.isfinite(finder.geodesic_distance(start, end)) == reaches
    exact = finder.shortest_distance(start, finder.goal_set(end))
    assert exact == pytest.approx(0.5 * squares - 0.2, rel=1e-5)


def test_the_nearest_of_many_goals(walled):
    goals = [[4, 0, 5], [1, 0, 5], [50, 0, 5]]
    path = walled.find_path([2, 0, 4], goals)
    assert path.closest_end == 1
    assert path.geodesic_distance == pytest.approx(np.hypot(1, 1), rel=1e-4)
    singles = [walled.geodesic_distance([2, 0, 4], goal) for goal in goals]
    assert min(singles) == pytest.approx(path.geodesic_distance)
    assert singles[2] == np.inf
    assert walled.find_path([2, 0, 4], [[50, 0, 5]])[2] == -1
    assert walled.find_path([2, 0, 4], [[50, 0, 5], [60, 0, 5]])[2] == -1


def test_a_goal_set_answers_as_single_queries_do(pillars):
    rng = np.random.default_rng(2)
    goals = np.array([pillars.get_random_navigable_point(rng, 0) for _ in range(5)])
    prepared = pillars.goal_set(goals)
    for _ in range(20):
        p = pillars.get_random_navigable_point(rng, 0)
        assert pillars.distance(p, prepared) == pytest.approx(
            min(pillars.geodesic_distance(p, goal) for goal in goals), rel=2e-6
        )


def test_sliding_and_stopping(walled):
    start, end = [2.5, 0, 4], [3.0, 0, 3.5]
    slid, stopped = walled.try_step(start, end), walled.try_step_no_sliding(start, end)
    assert slid[0] == pytest.approx(2.8, abs=0.06)
    assert slid[2] == pytest.approx(3.5, abs=1e-4)
    assert stopped[0] == pytest.approx(slid[0], abs=1e-4)
    assert stopped[2] == pytest.approx(4 - (stopped[0] - 2.5), abs=1e-4), "on the straight line to the wall"
    np.testing.assert_allclose(
        walled.try_step([1, 0.1, 3], [1.2, 0.1, 3.1]), [1.2, walled.snap_point([1, 0, 3])[1], 3.1]
    )
    np.testing.assert_array_equal(walled.try_step([1, 0, 3], [90, 0, 3]), [1, 0, 3], err_msg="off the mesh: no step")


def test_whoever_touches_a_wall_may_walk_away_from_it(walled):
    at_wall = walled.try_step_no_sliding([2.5, 0, 4], [3.0, 0, 3.9])
    assert walled.distance_to_closest_obstacle(at_wall) < 1e-4
    back = walled.try_step_no_sliding(at_wall, at_wall + np.array([-0.2, 0, 0.1], np.float32))
    np.testing.assert_allclose(back - at_wall, [-0.2, 0, 0.1], atol=1e-4)
    into = walled.try_step_no_sliding(at_wall, at_wall + np.array([0.2, 0, 0.1], np.float32))
    np.testing.assert_allclose(into, at_wall, atol=1e-4)


def test_steps_never_leave_the_island(pillars):
    rng = np.random.default_rng(3)
    p = pillars.get_random_navigable_point(rng, 0)
    for _ in range(500):
        angle = rng.uniform(0, 2 * np.pi)
        p = pillars.try_step(p, p + 0.25 * np.array([np.cos(angle), 0, np.sin(angle)], np.float32))
        assert pillars.get_island(p) == 0
        assert pillars.is_navigable(p)


def test_distance_to_walls(walled):
    assert walled.distance_to_closest_obstacle([2.0, 0, 3]) == pytest.approx(0.8, abs=0.1)
    assert walled.distance_to_closest_obstacle([2.0, 0, 3], max_search_radius=0.2) == pytest.approx(0.2)
    hit = walled.closest_obstacle_point([2.0, 0, 3])
    assert hit[[0, 2]] == pytest.approx([2.8, 3], abs=0.1)


def test_snapping(walled):
    assert np.isnan(walled.snap_point([40, 0, 3])).all()
    inside_wall = walled.snap_point([3, 0, 4])
    assert walled.is_navigable(inside_wall)
    assert np.abs(inside_wall[0] - 3) < 0.35
    assert not walled.is_navigable([3, 0, 4])


def test_random_points_are_spread_by_area_and_repeat_with_the_seed(walled):
    rng = np.random.default_rng(4)
    points = np.array([walled.get_random_navigable_point(rng, 0) for _ in range(2000)])
    left, strip = (points[:, 0] < 2.7).mean(), (points[:, 2] < 0.9).mean()
    assert left == pytest.approx(2.55 * 5.7 / (5.7**2 - 0.4 * 5), abs=0.04)
    assert strip == pytest.approx(0.75 * 5.7 / (5.7**2 - 0.4 * 5), abs=0.03)
    again = [walled.get_random_navigable_point(np.random.default_rng(9)) for _ in range(2)]
    np.testing.assert_array_equal(*again)
    near = walled.get_random_navigable_point_near(rng, [1, 0, 1], 0.3)
    assert np.hypot(*(near - [1, 0, 1])[[0, 2]]) <= 0.3
    assert np.isnan(walled.get_random_navigable_point_near(rng, [90, 0, 1], 0.3)).all()


def test_top_down_view(walled):
    view = walled.get_topdown_view(0.05, 0.0)
    assert view.shape == (120, 120)
    assert view.sum() * 0.05**2 == pytest.approx(walled.navigable_area, rel=0.03)
    assert not view[60:, 60].any()


def test_a_point_is_three_numbers(walled):
    with pytest.raises(ValueError, match="3 coordinates"):
        walled.snap_point([1, 2])


def test_shortest_paths_where_polygons_overlap():
    """In this home two polygons have an edge that the polygon beyond takes for a wall."""
    scene = generated_scene("home-1073741861-low")
    mesh = build_navmesh(scene.vertices, scene.faces, TASKS["ObjectNav"].navmesh)
    one_sided = [
        (p, int(other))
        for p, sides in enumerate(mesh.floor.sides)
        for other in mesh.floor.neighbours[p, :sides]
        if other >= 0 and p not in mesh.floor.neighbours[other]
    ]
    assert one_sided
    graph = visibility_graph(mesh)
    assert np.isfinite(graph.length).all()
    assert graph.target.max() < len(graph.place)
